"""The notebooks run in smoke form, and are saved executed, small and without a machine's paths."""

from __future__ import annotations

import pathlib
import re

import nbformat
import pytest

from crnn_jax.bundle import open_model
from crnn_jax.models.encoders import ENCODERS
from crnn_jax.synth.effects import EFFECTS
from crnn_jax.synth.knobs import plain_knobs

_ROOT = pathlib.Path(__file__).parent.parent
# At least so many pictures come out of each.
_PICTURES = {
    "01_quickstart": 6,
    "02_how_crnn_works": 10,
    "03_rendering": 13,
    "04_your_own_data": 6,
    "05_ablation": 4,
    "06_errors": 8,
}
_MAX_BYTES = 1_000_000
# An absolute path, but not the rest of a URL, of a relative path or of a fraction.
_MACHINE_PATH = re.compile(
    r"(?<![\w./:~-])/(?:bin|content|data|etc|home|media|mnt|opt|private|root|srv|tmp|usr|Users|var|"
    r"work|workspace)\b|\b[A-Za-z]:\\{1,2}\w"
)


def _path(name: str) -> pathlib.Path:
    return _ROOT / "notebooks" / f"{name}.ipynb"


def _load(name: str) -> nbformat.NotebookNode:
    return nbformat.read(_path(name), as_version=4)


def _code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def _text_outputs(cell: nbformat.NotebookNode) -> str:
    texts = []
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        data = output.get("data", {})
        texts.extend(str(value) for kind, value in data.items() if not kind.startswith("image/"))
    return "\n".join(texts)


def test_every_notebook_is_tested():
    assert {path.stem for path in _path("*").parent.glob("*.ipynb")} == set(_PICTURES)


@pytest.mark.slow
@pytest.mark.parametrize("name", _PICTURES)
def test_runs_in_smoke_form(name, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("CRNN_JAX_SMOKE", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the runs that it makes go there
    notebook = _load(name)
    for cell in _code(notebook):
        cell.outputs, cell.execution_count = [], None
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()  # raises for the first cell that fails
    assert _pictures(notebook) >= _PICTURES[name]


@pytest.mark.parametrize("name", _PICTURES)
def test_saved_executed_in_order(name):
    notebook = _load(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    cells = _code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert not [o for cell in cells for o in cell.outputs if o.get("name") == "stderr"]
    assert _pictures(notebook) >= _PICTURES[name]


@pytest.mark.parametrize("name", _PICTURES)
def test_saved_small(name):
    assert _path(name).stat().st_size < _MAX_BYTES


@pytest.mark.parametrize("name", _PICTURES)
def test_saved_without_a_machines_paths(name):
    for cell in _load(name).cells:
        texts = cell.source + ("\n" + _text_outputs(cell) if cell.cell_type == "code" else "")
        assert not _MACHINE_PATH.search(texts), cell.id
        for folder in (_ROOT, pathlib.Path.home()):
            assert f"{folder}/" not in texts, cell.id


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/home/someone/runs", True),
        ("preparing /home/me/.cache/x", True),
        ("'C:\\Users\\me'", True),
        ("https://arxiv.org/abs/1507.05717", False),
        ("crnn_jax/data/sources.py", False),
        ("runs/quickstart", False),
        ("tfds:rendered_words/train", False),
    ],
)
def test_machine_paths_are_recognised(text, found):
    assert bool(_MACHINE_PATH.search(text)) == found


def test_glossary_points_at_what_exists():
    (glossary,) = (c.source for c in _load("02_how_crnn_works").cells if c.id == "glossary")
    rows = [line.split("|")[3] for line in glossary.splitlines() if line.startswith("| ")]
    places = [re.findall("`([^`]+)`", row) for row in rows[1:]]
    assert len(places) >= 20
    for file, *names in places:
        source = (_ROOT / file).read_text(encoding="utf-8")
        for name in names:
            if name.endswith(".py"):
                assert (_ROOT / name).is_file(), name
                source += (_ROOT / name).read_text(encoding="utf-8")
            else:
                assert re.search(rf"\b{re.escape(name)}\b", source), f"{file}: {name}"


# Saved by the package as it is: what is cheap to compare.


def _said(name: str) -> str:
    return "\n".join(map(_text_outputs, _code(_load(name))))


def test_every_encoder_is_compared():
    assert all(re.search(rf"^{name} ", _said("02_how_crnn_works"), re.M) for name in ENCODERS)


def test_every_knob_is_turned():
    code = "\n".join(cell.source for cell in _code(_load("03_rendering")))
    of_files = {"atlas", "preset", "text_file", "textures"}
    assert f"not shown: {', '.join(sorted(of_files))}\n" in _said("03_rendering")
    shown = {knob.removesuffix("_share") for knob in plain_knobs()} - of_files - set(EFFECTS)
    assert not [knob for knob in shown if not re.search(rf"\"{knob}(_share)?\"", code)]


def test_models_are_the_shipped_ones():
    begun = open_model("tiny-latin").lineage
    assert f"lineage   {len(begun) + 1}. signs" in _said("04_your_own_data")
    assert all(f"tiny-latin: {a.steps} steps" in _said("04_your_own_data") for a in begun)
    temperature = open_model("small-94").recognizer().temperature
    assert f"temperature that the model came with: {temperature:.3f}" in _said("06_errors")
