"""The how-tos of the documentation do what they say."""

from __future__ import annotations

import concurrent.futures
import csv
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from slopes import on_a_slope

_ROOT = pathlib.Path(__file__).parent.parent


def _files(page: str) -> dict[str, str]:
    """Returns the Python files of a how-to by name."""
    text = (_ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w/.]+\.py)`\n\n```python\n(.*?)```", text, re.M | re.S))


@pytest.mark.slow
def test_an_encoder_is_added_as_written(tmp_path: pathlib.Path) -> None:
    """Follows the page in a copy of the checkout, with the sweep in smoke form."""
    text = (_ROOT / "docs" / "how-to" / "add-an-encoder.md").read_text(encoding="utf-8")
    for folder in ("crnn_jax", "experiments"):
        shutil.copytree(_ROOT / folder, tmp_path / folder)
    files = _files("add-an-encoder.md")
    assert len(files) == 2
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    [lines] = re.findall(r"^```python\n(from crnn_jax\.models\.flat.*?)```", text, re.M | re.S)
    importing, naming = lines.splitlines()
    registry = tmp_path / "crnn_jax" / "models" / "encoders.py"
    source = registry.read_text(encoding="utf-8")
    source = source.replace(
        "from crnn_jax.models.layers", f"{importing}\nfrom crnn_jax.models.layers"
    )
    source = re.sub(r"(^ENCODERS.*= \{$)", rf"\1\n{naming}", source, flags=re.M)
    registry.write_text(source, encoding="utf-8")
    assert sum(len(content.splitlines()) for content in files.values()) + 2 < 60

    [command] = re.findall(r"^(python -m crnn_jax\.sweep .*)$", text, re.M)[-1:]
    command = command.replace("ablations/flat ", "ablations/flat:smoke ")
    done = subprocess.run(
        [sys.executable, *command.split()[1:], "--seeds=1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "runs/flat/table.csv").read_text().splitlines()))
    assert [row["cell"] for row in rows] == ["tiny", "flat"]
    assert rows[0]["parameters"] != rows[1]["parameters"]


@pytest.fixture
def service(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """The service of the page, beside a model that the page's command wrote, and its client."""
    pytest.importorskip("fastapi")
    testing = pytest.importorskip("fastapi.testclient")
    from crnn_jax import export

    monkeypatch.chdir(tmp_path)
    assert (
        export.main(["--model=tiny-latin", "--to=onnx", "--out=model.onnx", "--with-runtime"]) == 0
    )
    pathlib.Path("serve.py").write_text(_files("deploy.md")["serve.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    import serve

    with testing.TestClient(serve.app) as client:
        yield serve, client
    for name in ("serve", "model_reader"):
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_is_served_as_written(service, monkeypatch: pytest.MonkeyPatch) -> None:
    serve, client = service
    from crnn_jax.data.sources import open_source
    from crnn_jax.recognizer import Recognizer

    source = open_source("synth:scene::seed=9,limit=12,charset=alnum62")
    images = [source.image_bytes(i) for i in range(12)]
    texts = [reading.text for reading in Recognizer.load("tiny-latin").read(images)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda image: client.post("/read", content=image), images))
    assert [answer.json()["text"] for answer in answers] == texts
    assert len(answers[0].json()["chars"]) == len(texts[0])

    sloping = io.BytesIO()
    on_a_slope("uniform", 19).save(sloping, "PNG")
    plain, careful = (
        client.post(f"/read?careful={asked}", content=sloping.getvalue()).json()
        for asked in ("false", "true")
    )
    assert plain["text"] != "uniform"
    assert (careful["text"], careful["slope"]) == ("uniform", 19)

    large, wide = io.BytesIO(), client.post("/read", content=bytes(serve.MOST_BYTES + 1))
    Image.new("1", (5_000, 5_000)).save(large, "PNG")
    assert wide.status_code == 413
    for content, told in ((b"text", "not an image"), (large.getvalue(), "5,000 x 5,000 pixels")):
        answer = client.post("/read", content=content)
        assert answer.status_code == 422
        assert told in answer.json()["detail"]
        assert not answer.json()["detail"].startswith("image 0")
    assert client.post("/read", files={"file": images[0]}).status_code == 415
    assert client.post("/read?decoder=beem", content=images[0]).status_code == 422
    monkeypatch.setattr(serve, "waiting", serve.MOST_WAITING)
    assert client.post("/read", content=images[0]).status_code == 503
