"""Bundles: what goes in comes out, what is damaged is refused, what is owed is told."""

from __future__ import annotations

import dataclasses
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable

import jax
import numpy as np
import pytest

from crnn_jax import bundle as bundle_lib
from crnn_jax import bundle_zip, evaluate, files, predict, train
from crnn_jax import config as config_lib
from crnn_jax.bundle import Ancestor, Bundle, bundle_of_run, load_bundle, save_bundle
from crnn_jax.calibration_file import Calibration, Figures, fingerprint
from crnn_jax.charset import Charset
from crnn_jax.checkpoint import Checkpointer
from crnn_jax.data.sources import open_source
from crnn_jax.errors import UserError
from crnn_jax.recognizer import Recognizer

SET = "tfds:rendered_words/tiny/test::limit=8"


@pytest.fixture(scope="module")
def bundle(smoke_run: pathlib.Path) -> Bundle:
    return bundle_of_run(smoke_run, licence="CC0-1.0", name="smoke model", card="# Smoke\n")


@pytest.fixture(scope="module")
def file(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("bundle") / "smoke.crnn"
    save_bundle(path, bundle)
    return path


def resealed(content: bytes) -> bytes:
    """Gives a changed file the checksum that belongs to it, as one who means harm would."""
    content = content[:-64]
    return content + bundle_zip.hashlib.sha256(content).hexdigest().encode()


def remade(file: pathlib.Path, path: pathlib.Path, change: Callable, **options) -> pathlib.Path:
    """Writes a bundle whose members `change` has changed in place."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b"0" * 64
    path.write_bytes(resealed(stream.getvalue()))
    return path


def edited(file: pathlib.Path, path: pathlib.Path, **values) -> pathlib.Path:
    """Writes a bundle with other values in its model.json."""

    def change(members: dict[str, bytes]) -> None:
        members["model.json"] = json.dumps(json.loads(members["model.json"]) | values).encode()

    return remade(file, path, change)


# What goes in.


def test_a_bundle_comes_back_bit_for_bit(bundle, file):
    again = load_bundle(file)
    jax.tree.map(np.testing.assert_array_equal, bundle.variables, again.variables)
    for name in ("lineage", "charset", "metrics", "card", "name", "licence", "parameters"):
        assert getattr(again, name) == getattr(bundle, name), name
    assert again.config.to_dict() == bundle.config.to_dict()
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(again.variables))


def test_the_same_model_gives_the_same_bytes(bundle, file, tmp_path):
    save_bundle(tmp_path / "again.crnn", load_bundle(file))
    assert (tmp_path / "again.crnn").read_bytes() == file.read_bytes()


def test_a_bundle_reads_like_its_run(file, recognizer):
    source = open_source(SET)
    images = [source.image_bytes(i) for i in range(len(source))]
    model = Recognizer.load(file)
    assert model.name == "smoke model"
    found, expected = model.read(images), recognizer.read(images)
    assert [r.text for r in found] == [r.text for r in expected]
    # Sums over threads differ in their last bits where cores are busy.
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.confidence, theirs.confidence, rtol=1e-3)
        assert [c.char for c in ours.characters] == [c.char for c in theirs.characters]
        places = [[c[1:] for c in r.characters] for r in (ours, theirs)]
        np.testing.assert_allclose(*places, rtol=1e-3)


def test_bf16_halves_the_file_and_loses_little(bundle, file, tmp_path):
    path = tmp_path / "half.crnn"
    size = save_bundle(path, bundle, bf16=True)
    assert size == path.stat().st_size < 0.6 * file.stat().st_size
    exact, rounded = (Recognizer.load(p) for p in (file, path))
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 64, 1), np.uint8)
    widths = np.full(4, 64, np.int32)
    apply = jax.jit(exact.model.apply)
    logits, near = (apply(m.variables, images, widths)[0] for m in (exact, rounded))
    assert 0 < np.abs(logits - near).max() < 0.02 * np.abs(logits).max()
    stats = [jax.tree.leaves(model.variables["batch_stats"]) for model in (exact, rounded)]
    jax.tree.map(np.testing.assert_array_equal, *stats)
    again = tmp_path / "again.crnn"  # what is rounded once stays as it is
    save_bundle(again, load_bundle(path), bf16=True)
    assert again.read_bytes() == path.read_bytes()


def test_the_calibration_of_a_run_goes_into_its_bundle(smoke_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(smoke_run, folder)
    raw = Recognizer.load(folder)
    assert raw.temperature == 1
    figures = Figures(("words",), 100, 0.5, 0.1, 0.02, 0.6, 0.4)
    Calibration(1.7, fingerprint(raw.variables), "36", figures).save(folder)
    assert Recognizer.load(folder).temperature == 1.7
    found = bundle_of_run(folder)
    save_bundle(tmp_path / "half.crnn", found, bf16=True)
    again = load_bundle(tmp_path / "half.crnn")
    assert again.calibration == found.calibration
    assert again.recognizer().temperature == 1.7
    assert "temperature 1.700, fitted on 100 rows of words" in bundle_lib.show(
        tmp_path / "half.crnn"
    )
    Calibration(1.7, "other weights", "36", figures).save(folder)
    assert bundle_of_run(folder).calibration is None
    assert Recognizer.load(folder).temperature == 1


def test_numpy_reads_the_weights(bundle, file):
    with np.load(file, allow_pickle=False) as arrays:
        kernel = arrays["params/classifier/kernel"]
    np.testing.assert_array_equal(kernel, bundle.variables["params"]["classifier"]["kernel"])


def test_metrics_are_those_of_the_checkpoint_that_was_taken(bundle, smoke_run):
    summary = files.read_json(smoke_run / "summary.json")
    assert bundle.metrics["step"] == summary["step"] == bundle.lineage[-1].steps
    assert bundle.metrics["eval"] == summary["eval"]


def test_a_bundle_needs_no_orbax(file):
    code = (
        "import sys; from crnn_jax.recognizer import Recognizer\n"
        f"Recognizer.load({str(file)!r})\n"
        "sys.exit(any(name.startswith('orbax') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Where it comes from.


def test_the_lineage_names_what_was_trained_on(bundle, smoke_run):
    (own,) = bundle.lineage
    config = files.read_json(smoke_run / "config.json")
    assert own.train == config["data"]["train"]
    assert own.images == own.steps * config["batch_size"]
    assert own.fingerprints
    assert all(name.startswith("train") for name in own.fingerprints)
    assert not bundle.other_licences()


@pytest.fixture
def child(smoke_run, tmp_path) -> pathlib.Path:
    """A run whose run.json names an ancestor and whose sets lie in its maker's home."""
    import shutil

    folder = tmp_path / "child"
    shutil.copytree(smoke_run, folder)
    run = files.read_json(folder / "run.json")
    parent = Ancestor("parent", "CC-BY-4.0", "synth:scene", {"train 0: scene": "ab"}, 9, 90)
    files.write_json(folder / "run.json", run | {"lineage": [parent.to_json()]})
    config = files.read_json(folder / "config.json")
    config["data"]["train"] = "0.7*tsv:/home/me/my words/labels.tsv::limit=9 + 0.3*synth:scene"
    config["charset"] = "file:/home/me/my words/chars.txt"
    files.write_json(folder / "config.json", config)
    return folder


def test_an_ancestor_and_its_licence_are_never_dropped(child):
    made = bundle_of_run(child, licence="MIT")
    assert [(a.name, a.licence) for a in made.lineage] == [
        ("parent", "CC-BY-4.0"),
        ("child", "MIT"),
    ]
    (line,) = made.other_licences()
    assert re.search("parent has licence CC-BY-4.0, this model MIT", line)


def test_no_path_of_the_maker_leaves_the_house(child, tmp_path):
    path = tmp_path / "child.crnn"
    save_bundle(path, bundle_of_run(child))
    assert b"/home/me" not in path.read_bytes()
    short = "0.7*tsv:my words/labels.tsv::limit=9 + 0.3*synth:scene"
    assert load_bundle(path).lineage[-1].train == load_bundle(path).config.data.train == short


@pytest.mark.parametrize(
    ("given", "short"),
    [
        ("csv:/home/me/a/x.csv::image=f,root=/home/me/b/c", "csv:a/x.csv::image=f,root=b/c"),
        ("tsv:/labels.tsv", "tsv:labels.tsv"),
        ("tsv:/home/me/12:30/x.tsv", "tsv:12:30/x.tsv"),
        ("tsv:/home/me/12:30:/x.tsv + bank:/b.npz", "tsv:12:30:/x.tsv + bank:b.npz"),
        ("synth:scene::charset=file:/home/me/a/c.txt", "synth:scene::charset=file:a/c.txt"),
        ("synth:scene::charset=chars:ab:/-.", "synth:scene::charset=chars:ab:/-."),
        ("pairs:a/b/c/**", "pairs:a/b/c/**"),
    ],
)
def test_paths_in_specs_are_shortened(given, short):
    assert bundle_lib._short_specs(given) == short
    assert bundle_lib._short_specs(short) == short


def test_paths_in_knobs_are_shortened():
    config = config_lib.default_config()
    config.charset, config.synth.atlas = "chars:abc:/-.", "/atlas.npz"
    config.init_from, config.synth.textures = "/home/me/runs/a:/b", "/"
    found = bundle_lib._without_folders(config)
    assert (found.charset, found.synth.atlas) == ("chars:abc:/-.", "atlas.npz")
    assert (found.init_from, found.synth.textures) == ("a:/b", "/")
    config.charset = "/a/b/c:."  # characters
    assert bundle_lib._without_folders(config).charset == "/a/b/c:."
    config.charset = "file:/c.txt"
    assert bundle_lib._without_folders(config).charset == "file:c.txt"


def test_a_licence_is_one_line():
    for licence in ("", " ", "MIT\nor not", "x" * 201):
        with pytest.raises(UserError, match="one line of at most 200"):
            Ancestor("model", licence)


def test_a_model_is_a_run_or_a_bundle(bundle, file, smoke_run, tmp_path):
    for model in (file, smoke_run):
        assert bundle_lib.config_of(model).to_dict() == bundle.config.to_dict()
        opened = bundle_lib.open_model(model)
        jax.tree.map(np.testing.assert_array_equal, opened.variables, bundle.variables)
    assert bundle_lib.open_model(smoke_run).licence == "unknown"
    with pytest.raises(UserError, match="not a model"):
        bundle_lib.config_of(tmp_path)


# What is refused.


@pytest.mark.slow
def test_every_damaged_byte_is_found(file, tmp_path):
    content, path = file.read_bytes(), tmp_path / "x.crnn"
    for place in [*range(4, len(content), 997), *range(len(content) - 90, len(content), 7)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match=r"damaged.*checksum is wrong"):
            load_bundle(path)


@pytest.mark.parametrize("share", [0.999, 0.5, 0.0001])
def test_a_file_that_was_cut_is_found(file, tmp_path, share):
    content, path = file.read_bytes(), tmp_path / "x.crnn"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match="damaged"):
        load_bundle(path)


def test_other_files_are_told_apart(tmp_path, smoke_run):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(UserError, match="a zip that is no bundle"):
        load_bundle(other)
    with pytest.raises(UserError, match=r"not a bundle.*for a run give its folder"):
        load_bundle(smoke_run / "config.json")
    with pytest.raises(UserError, match="cannot be read"):
        load_bundle(tmp_path / "none.crnn")
    with pytest.raises(UserError, match="or a bundle, as in"):
        Recognizer.load(tmp_path / "none.crnn")


def test_a_zip_bomb_is_not_unpacked(file, tmp_path):
    def grow(members: dict[str, bytes]) -> None:
        members["zeros.npy"] = bytes(10_000_000)

    bomb = remade(file, tmp_path / "x.crnn", grow, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="more than its own size"):
        load_bundle(bomb)


def test_an_array_that_claims_to_be_huge_is_not_made(file, tmp_path):
    def claim(members: dict[str, bytes]) -> None:
        stream = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
        np.lib.format.write_array_header_1_0(stream, header)
        members["params/classifier/bias.npy"] = stream.getvalue() + bytes(4)

    with pytest.raises(UserError, match=r"bias: its shape .* does not fit its 4 bytes"):
        load_bundle(remade(file, tmp_path / "x.crnn", claim))


def test_an_array_of_objects_is_not_unpickled(file, tmp_path):
    def pickle(members: dict[str, bytes]) -> None:
        stream = io.BytesIO()
        np.save(stream, np.array([print], object), allow_pickle=True)
        members["params/classifier/bias.npy"] = stream.getvalue()

    with pytest.raises(UserError, match="stored as object"):
        load_bundle(remade(file, tmp_path / "x.crnn", pickle))


def test_a_long_header_is_refused(file, tmp_path):
    def lengthen(members: dict[str, bytes]) -> None:
        text = b"{" + b" " * 60_000 + b"}"
        members["params/classifier/bias.npy"] = (
            b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
        )

    with pytest.raises(UserError, match="array params/classifier/bias"):
        load_bundle(remade(file, tmp_path / "x.crnn", lengthen))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "update crnn_jax"),
        ({"lineage": None}, "has no lineage"),
        ({"lineage": []}, "no lineage"),
        ({"lineage": [{"name": "x"}]}, "not an ancestor"),
        ({"charset": {}}, "not a charset"),
        ({"arrays": {}}, "its arrays are not those"),
    ],
)
def test_a_model_file_of_another_make_is_refused(file, tmp_path, values, message):
    path = edited(file, tmp_path / "x.crnn", **values)
    with pytest.raises(UserError, match=message) as caught:
        load_bundle(path)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metrics": {"eval": {"words": 1}}}, "metrics in model.json are none"),
        ({"metrics": {"tests": 7}}, "metrics in model.json are none"),
        ({"charset": {"x" * 9999: 1}}, "not a charset"),
        ({"lineage": [{"name": "a\nb"}]}, "not an ancestor"),
    ],
)
def test_values_of_other_types_are_refused_in_one_line(file, tmp_path, values, message):
    with pytest.raises(UserError, match=message) as caught:
        load_bundle(edited(file, tmp_path / "x.crnn", **values))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1300


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("data", "width", True, "data.width is True, which is of another type"),
        ("data", "width", 10**9, "at most 4,194,304 pixels can be read"),
        ("data", "height", 10**40, "at most 4,194,304 pixels can be read"),
        ("data", "height", -1, "write at least 1 pixel"),
        ("model", "dropout", 10**400, "model.dropout is 1000.*of another type"),
        ("model", "hidden", 0, "describes no network"),
        ("model", "hidden", -5, "describes no network"),
        ("model", "hidden", 10**30, "describes no network"),
        ("model", "layers", 10**9, "give 0, 1, 2 or 3"),
        ("model", "encoder", "vg", "did you mean 'vgg'"),
    ],
)
def test_sizes_that_no_network_has_are_refused(file, tmp_path, section, key, value, message):
    def change(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        config[section][key] = value
        members["config.json"] = json.dumps(config).encode()

    with pytest.raises(UserError, match=message) as caught:
        Recognizer.load(remade(file, tmp_path / "x.crnn", change))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_config_without_a_bottom_is_refused(file, tmp_path, depth):
    def change(members: dict[str, bytes]) -> None:
        members["config.json"] = b'{"data":' * depth + b"1" + b"}" * depth

    with pytest.raises(UserError, match=r"config.json in it"):
        load_bundle(remade(file, tmp_path / "x.crnn", change))


def test_weights_that_are_not_finite_are_refused(file, tmp_path):
    def change(members: dict[str, bytes]) -> None:
        members["params/classifier/bias.npy"] = (
            members["params/classifier/bias.npy"][:-4] + np.float32(np.nan).tobytes()
        )

    with pytest.raises(UserError, match="bias holds weights that are not finite"):
        load_bundle(remade(file, tmp_path / "x.crnn", change))


@pytest.mark.parametrize("shape", ["(", "('a',)", "(1.5,)", "None"])
def test_a_header_that_is_none_is_refused(file, tmp_path, shape):
    def change(members: dict[str, bytes]) -> None:
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
        members["params/classifier/bias.npy"] = (
            b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
        )

    with pytest.raises(UserError, match="array params/classifier/bias"):
        load_bundle(remade(file, tmp_path / "x.crnn", change))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(file, tmp_path):
    path = shutil.copy(file, tmp_path / "x.crnn")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model.json", b"{}")
        archive.comment = b"0" * 64
    path.write_bytes(resealed(path.read_bytes()))
    with pytest.raises(UserError, match="members of the same name"):
        load_bundle(path)


@pytest.mark.parametrize("name", ["pipe", "folder", "/dev/zero", "a\0b"])
def test_what_is_no_file_is_refused_at_once(no_file, name):
    path = no_file(name)
    with pytest.raises(UserError, match="cannot be read"):
        load_bundle(path)


def test_gigabytes_of_nothing_are_refused_at_once(tmp_path):
    path = tmp_path / "sparse.crnn"
    with open(path, "wb") as sparse:
        sparse.write(b"PK\x03\x04")
        sparse.truncate(2**31 - 1)
    start = time.process_time()
    with pytest.raises(UserError, match="damaged"):
        load_bundle(path)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("name", ["model.json", "config.json"])
@pytest.mark.parametrize("content", [None, b"[", b"[]", b"[" * 100_000, b"\xff"])
def test_json_of_another_kind_is_refused(file, tmp_path, name, content):
    def change(members: dict[str, bytes]) -> None:
        members.pop(name)
        if content is not None:
            members[name] = content

    with pytest.raises(UserError, match=re.escape(str(tmp_path / "x.crnn"))):
        load_bundle(remade(file, tmp_path / "x.crnn", change))


def test_a_network_that_its_config_does_not_describe_is_refused(bundle, tmp_path):
    config = bundle.config.copy_and_resolve_references()
    config.model.hidden = 24
    save_bundle(tmp_path / "x.crnn", dataclasses.replace(bundle, config=config))
    with pytest.raises(UserError, match=r"as its config wants it.*another version"):
        Recognizer.load(tmp_path / "x.crnn")


def test_paths_within_paths_are_refused():
    for paths in (("a", "a/b"), ("a/b", "a")):
        with pytest.raises(UserError, match="another array"):
            bundle_zip.unflatten(dict.fromkeys(paths, np.zeros(1)))


def test_arrays_without_a_bottom_are_refused(file, tmp_path):
    path = "params/" + "a/" * 2000 + "x"

    def change(members: dict[str, bytes]) -> None:
        model = json.loads(members["model.json"])
        model["arrays"][path] = "float32"
        members["model.json"] = json.dumps(model).encode()
        members[f"{path}.npy"] = members["params/classifier/bias.npy"]

    with pytest.raises(UserError, match="lies 2,001 levels deep, and 31 are the most") as caught:
        Recognizer.load(remade(file, tmp_path / "x.crnn", change))
    assert len(str(caught.value)) < 400
    deepest = "a/" * 31 + "x"
    assert list(bundle_zip.flatten(bundle_zip.unflatten({deepest: 1}))) == [deepest]


# Commands.


def test_what_is_shown_is_not_obeyed_by_terminals(file, tmp_path):
    def change(members: dict[str, bytes]) -> None:
        model = json.loads(members["model.json"])
        model["lineage"][0]["train"] = "tsv:\x1b[31mx\nlicence   MIT"
        model["lineage"][0]["fingerprints"] = {"\x1b]0;x\x07": "\u2028"}
        model["metrics"]["eval"] = {"\x9b31m": {"cer\r": "\x7f"}}
        members["model.json"] = json.dumps(model).encode()
        members["README.md"] = "# A\x1b[2Jb\n\n\tcode\r\nend\x85".encode()

    shown = bundle_lib.show(remade(file, tmp_path / "x.crnn", change))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", shown)
    assert "tsv:\\x1b[31mx\\nlicence   MIT" in shown
    assert shown.endswith("# A\\x1b[2Jb\n\n        code\nend")


def test_the_command_writes_and_shows(run_command, smoke_run, tmp_path):
    card, out = tmp_path / "card.md", tmp_path / "mine.crnn"
    card.write_text("# Mine\n\nReads nothing yet.\n", encoding="utf-8")
    done = run_command(bundle_lib.main, f"--run={smoke_run}", f"--out={out}", f"--card={card}")
    assert done.code == 0
    assert "licence unknown (say what others may do with it" in done.out[0]
    shown = run_command(bundle_lib.main, f"--show={out}")
    assert shown.code == 0
    text = "\n".join(shown.out)
    for part in ("licence   unknown", "62 characters", "lineage   1. smoke", "Reads nothing yet."):
        assert part in text


def test_the_command_tells_of_other_licences(run_command, child, tmp_path):
    out = tmp_path / "mine.crnn"
    done = run_command(bundle_lib.main, f"--run={child}", f"--out={out}", "--licence=MIT", "--bf16")
    assert done.code == 0
    assert "its ancestor parent has licence CC-BY-4.0" in done.out[1]
    assert any(
        line.startswith("note ") for line in run_command(bundle_lib.main, f"--show={out}").out
    )


def test_mistakes_are_one_line(mistake, smoke_run, tmp_path):
    line = mistake(bundle_lib.main, "--run=small-94", f"--out={tmp_path / 'x.crnn'}")
    assert "this is a bundle already, --show=small-94 prints it" in line
    (tmp_path / "my.crnn").touch()
    line = mistake(bundle_lib.main, f"--run={tmp_path}/my.crnn", f"--out={tmp_path / 'x.crnn'}")
    assert "my.crnn: this is a bundle already" in line
    assert "give --run" in mistake(bundle_lib.main)
    assert "not a model" in mistake(bundle_lib.main, f"--run={tmp_path}", f"--out={tmp_path}/x")
    run, out = f"--run={smoke_run}", f"--out={tmp_path}/x"
    assert "its folder does not exist" in mistake(bundle_lib.main, run, f"--out={tmp_path}/no/x")
    assert "cannot be read" in mistake(bundle_lib.main, run, out, f"--card={tmp_path}/none.md")
    assert "one line" in mistake(bundle_lib.main, run, out, "--licence=a\nb")


def test_evaluate_and_predict_take_a_bundle(run_command, file, tmp_path):
    done = run_command(evaluate.main, f"--model={file}", f"--data={SET}")
    assert done.code == 0
    assert "model smoke model" in done.out[0]
    source = open_source(SET)
    (tmp_path / "a.png").write_bytes(source.image_bytes(0))
    assert run_command(predict.main, f"--model={file}", tmp_path / "a.png").code == 0


def states_of(run):
    """Returns the states of the smoke run's two checkpoints."""
    config = config_lib.load(run / "config.json")
    _, shapes = train.abstract_state(config, Charset.load(run / "charset.json"))
    saved = Checkpointer(run, read_only=True)
    try:
        return [saved.restore(step, shapes) for step in (2, 4)]
    finally:
        saved.close()


def test_the_best_checkpoint_is_the_model(smoke_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    early, late = states_of(smoke_run)
    saved = Checkpointer(run)
    saved.save(2, early, 0.9)
    saved.save(4, late, 0.1)
    saved.close()
    bundle = bundle_of_run(run)
    assert bundle.lineage[-1].steps == 2
    early, late = early.eval_variables(), late.eval_variables()
    jax.tree.map(np.testing.assert_array_equal, bundle.variables, early)
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), early, late)))


def test_the_newest_checkpoints_can_be_averaged(smoke_run, tmp_path):
    path = tmp_path / "mean.crnn"
    assert bundle_lib.main([f"--run={smoke_run}", f"--out={path}", "--average=2"]) == 0
    two = [state.eval_variables() for state in states_of(smoke_run)]
    found = load_bundle(path)
    means = jax.tree.map(lambda a, b: (a + b) / 2, *two)
    jax.tree.map(np.testing.assert_allclose, found.variables, means)
    assert not found.metrics
    older = tmp_path / "older"
    shutil.copytree(smoke_run, older)
    shutil.copytree(older / "checkpoints" / "2", older / "checkpoints" / "1")  # as a best one stays
    for run in (smoke_run, older):
        with pytest.raises(
            UserError, match=r"3 checkpoints .*, and the newest that are kept are 2"
        ):
            bundle_of_run(run, average=3)
