"""The reader that stands alone reads with a language model as the package does."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import pathlib
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import search, string_score

from crnn_jax import export, runtime
from crnn_jax.charset import Charset, build_charset
from crnn_jax.decode import lm
from crnn_jax.decode.beam import Beam, BeamOptions
from crnn_jax.decode.language import Weighted
from crnn_jax.exporting import language
from crnn_jax.recognizer import Recognizer

TEXT = "the cat sat on the mat\na hat and a bat\nthat cat\t7\nUpper Case, too.\n"
MODEL = "tiny-latin"


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text(TEXT)
    return path


def packed(model: Weighted, charset: Charset) -> bytes:
    return language.pack("words", model, charset)


def loaded(content: bytes, tmp_path: pathlib.Path) -> runtime.LanguageModel:
    path = tmp_path / "model_lm.npz"
    path.write_bytes(content)
    return runtime.LanguageModel.load(path)


@pytest.mark.parametrize(
    ("name", "charset", "order"),
    [
        ("text", "latin94+space", 5),
        ("text", "alnum36", 3),
        ("english", "latin94+space", 3),
        ("german|french", "latin+space", 3),
    ],
)
def test_every_entry_of_the_table_is_found(name, charset, order, text_file, tmp_path) -> None:
    charset = build_charset(charset)
    model = lm.weighted(text_file if name == "text" else name, charset, 0.7, 0.3, order)
    ours = loaded(packed(model, charset), tmp_path)
    states = np.arange(len(model.model.ends))[:, None]
    ids = np.arange(1, charset.num_classes)[None, :]
    scores, following = ours.score(states, ids)
    expected, after = jax.jit(model.score)(states, ids)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    np.testing.assert_array_equal(following, after)
    ends, _ = ours.score(states[:, 0], 0)
    np.testing.assert_allclose(ends, jax.jit(model.end)(states[:, 0]), atol=1e-4)
    text = charset.encode_known("that bat")
    whole = string_score(model, jnp.array([text]), jnp.array([len(text)]))
    assert ours.string_score(text) == pytest.approx(float(whole[0]), abs=1e-3)


def test_repeats_are_left_out(text_file) -> None:
    charset = build_charset("latin94+space")
    model = lm.weighted(text_file, charset, order=5)
    with np.load(io.BytesIO(packed(model, charset))) as arrays:
        kept = len(arrays["entries"])
    assert kept < 0.2 * model.model.log_probs.size


@pytest.mark.parametrize("seed", range(10))
def test_search_finds_what_the_package_finds(seed, text_file, tmp_path) -> None:
    charset = build_charset("alnum36")
    model = lm.weighted(text_file, charset, 0.8, 0.5, 4)
    ours = loaded(packed(model, charset), tmp_path)
    rng = np.random.default_rng(seed)
    logits = 2.5 * rng.normal(size=(1, 12, charset.num_classes)).astype(np.float32)
    logits[..., 0] += 3
    options = BeamOptions(width=64, top=0, prune=math.inf)  # nothing is lost on the way
    theirs = search(logits, jnp.array([12]), options, model)
    p = runtime.posteriors(logits[0], 1.0)
    found = runtime.beam(p, width=64, prune=0.0, top=36, model=ours)
    ranks = runtime.log_probabilities(p, found) + [ours.string_score(ids) for ids in found]
    best = found[int(np.argmax(ranks))]
    assert best == tuple(theirs.ids[0, 0, : theirs.lengths[0, 0]].tolist())
    assert max(ranks) == pytest.approx(float(theirs.score[0, 0]), abs=1e-3)


def test_what_no_path_can_spell_is_not_read_whatever_the_model_wants(tmp_path) -> None:
    """Between doubled characters there must be a blank, and none is likely here."""
    charset = build_charset("alnum36")
    text_file = tmp_path / "doubled.txt"
    text_file.write_text("abba\n" * 9)
    model = lm.weighted(text_file, charset, 20.0, order=4)
    ours = loaded(packed(model, charset), tmp_path)
    a, b = (int(charset.encode(c)[0]) for c in "ab")
    logits = np.full((1, 4, charset.num_classes), -30.0, np.float32)
    logits[0, range(4), [a, b, b, a]] = 0.0
    logits[..., 0] = -10.0  # below the search's 1e-4
    theirs = search(logits, jnp.array([4]), model=model)
    found = runtime.beam(runtime.posteriors(logits[0], 1.0), model=ours)
    assert (a, b, b, a) not in found
    assert tuple(theirs.ids[0, 0, : theirs.lengths[0, 0]].tolist()) == (a, b, a)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, text_file) -> pathlib.Path:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    out = tmp_path_factory.mktemp("exported") / "word.onnx"
    code = export.main(
        [
            f"--model={MODEL}", "--to=onnx", f"--out={out}", "--with-runtime", f"--lm={text_file}",
            "--lm_weight=2", "--lm_order=4", "--data=tfds:rendered_words/tiny/test::limit=8",
        ]
    )  # fmt: skip
    assert code == 0
    return out


def images(count: int = 8) -> list[bytes]:
    from crnn_jax.data.sources import open_source

    source = open_source(f"tfds:rendered_words/tiny/test::limit={count}")
    return [source.image_bytes(i) for i in range(count)]


def test_exported_model_reads_as_the_package(exported, text_file) -> None:
    reader = runtime.Reader.load(exported, threads=1)
    model = runtime.LanguageModel.load(exported.with_name("word_lm.npz"))
    package = Recognizer.load(MODEL)
    decoder = Beam(model=lm.weighted(text_file, package.charset, 2.0, order=4))
    theirs = package.read(images(), decoder=decoder)
    ours = reader.read(images(), lm=model)
    assert [r.text for r in ours] == [r.text for r in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a.confidence == pytest.approx(b.confidence, abs=1e-3)
    assert [r.text for r in ours] != [r.text for r in reader.read(images(), decoder="beam")]


def test_command_line_takes_it(exported, tmp_path, capsys) -> None:
    image = tmp_path / "x.png"
    image.write_bytes(images(1)[0])
    reader = runtime.Reader.load(exported, threads=1)
    model = runtime.LanguageModel.load(exported.with_name("word_lm.npz"))
    (reading,) = reader.read([image], lm=model)
    argv = [f"--model={exported}", f"--lm={exported.with_name('word_lm.npz')}", str(image)]
    assert runtime.main(argv) == 0
    assert capsys.readouterr().out.startswith(f"{image}: {reading.text}  (")
    for other in ("--decoder=greedy", f"--lexicon={image}"):
        assert runtime.main([*argv, other]) == 2
        assert "--lm is for the beam search" in capsys.readouterr().err
    assert runtime.main([argv[0], "--lm=nothing.npz", argv[2]]) == 2
    assert "nothing.npz: no such language model" in capsys.readouterr().err
    assert runtime.main([argv[0], "--lm=", argv[2]]) == 2
    assert "--lm names no file" in capsys.readouterr().err


def test_a_path_is_no_language_model(exported) -> None:
    path = exported.with_name("word_reader.py")  # its types are not checked, as those of a copy
    spec = importlib.util.spec_from_file_location("word_reader", path)
    copy = importlib.util.module_from_spec(spec)
    sys.modules["word_reader"] = copy  # where its dataclasses look for their types
    spec.loader.exec_module(copy)
    reader = copy.Reader.load(exported, threads=1)
    with pytest.raises(copy.ReadError, match=r"lm= takes what LanguageModel\.load"):
        reader.read(images(1), lm=str(exported.with_name("word_lm.npz")))


def test_models_of_other_characters_are_refused(exported, text_file, tmp_path) -> None:
    charset = build_charset("alnum36")
    model = loaded(packed(lm.weighted(text_file, charset, order=2), charset), tmp_path)
    reader = runtime.Reader.load(exported, threads=1)
    with pytest.raises(runtime.ReadError, match="'words' was exported for other characters"):
        reader.read(images(1), lm=model)
    with pytest.raises(runtime.ReadError, match="decoder 'greedy' uses no language model"):
        reader.read(images(1), decoder="greedy", lm=model)


def test_damaged_files_are_one_line(text_file, tmp_path) -> None:
    charset = build_charset("alnum36")
    content = packed(lm.weighted(text_file, charset, order=3), charset)
    rng = np.random.default_rng(0)
    path = tmp_path / "x_lm.npz"
    told: list[str] = []
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged if rng.integers(2) else damaged[: rng.integers(len(damaged))])
        try:
            runtime.LanguageModel.load(path).string_score([1, 2, 3])
        except runtime.ReadError as error:
            told.append(str(error))
    assert len(told) > 150
    assert {line.count("\n") for line in told} == {0}
    assert all(line.startswith(f"{path}: ") for line in told)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("shorter", lambda a: a * 0 + 5),  # a circle
        ("following", lambda a: a + 10_000),
        ("back_off", lambda a: a * np.nan),
        ("counts", lambda a: a[:-1]),
        ("columns", lambda a: a - 100),
        ("entries", lambda a: np.concatenate([[-1], a[:-1].astype(np.int32)])),
        ("log_probs", lambda a: a[:, None]),
        ("about", lambda a: np.array(json.dumps(json.loads(str(a)) | {"weight": -1}))),
    ],
)
def test_tables_that_do_not_fit_are_refused(name, change, text_file, tmp_path) -> None:
    charset = build_charset("alnum36")
    content = packed(lm.weighted(text_file, charset, order=3), charset)
    with np.load(io.BytesIO(content)) as found:
        arrays = dict(found)
    arrays[name] = change(arrays[name])
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    with pytest.raises(runtime.ReadError, match=r"no language model of crnn_jax .*export it again"):
        loaded(stream.getvalue(), tmp_path)


def test_bombs_and_other_formats_are_refused(text_file, tmp_path, monkeypatch) -> None:
    charset = build_charset("alnum36")
    content = packed(lm.weighted(text_file, charset, order=3), charset)
    monkeypatch.setattr(runtime, "LM_FORMAT", 2)
    with pytest.raises(runtime.ReadError, match="format 1, and this reader knows 2"):
        loaded(content, tmp_path)
    monkeypatch.setattr(runtime, "_MOST_LM", 2**20)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("entries.npy", bytes(2**21))
    with pytest.raises(runtime.ReadError, match="more than 1 MB"):
        loaded(stream.getvalue(), tmp_path)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--to=stablehlo", "--lm=english"], "--lm belong to --to=onnx"),
        (["--to=onnx", "--lm=no/such.arpa"], "is no file"),
        (["--to=onnx", "--lm=english", "--lm_order=2", "--lm_weight=5000"], "lower --lm_order"),
        (["--to=onnx", "--lm_weight=1"], "add --lm=FILE or --lm=english"),
        (["--to=onnx", "--lm_bonus=1"], "add --lm=english or --lm=FILE"),
    ],
)
def test_mistakes(mistake, tmp_path, argv, message) -> None:
    pytest.importorskip("onnx")
    assert message in mistake(export.main, f"--model={MODEL}", f"--out={tmp_path / 'x'}", *argv)
