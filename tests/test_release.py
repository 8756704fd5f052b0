"""What is released: a wheel, made from the source archive, reads an image where nothing else is."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_MOST_BYTES = 30 * 2**20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """The source archive and the wheel that was made of it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(folder), str(_ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


def test_the_archives_hold_what_belongs_there(archives) -> None:
    source, wheel = archives
    assert max(source.stat().st_size, wheel.stat().st_size) < _MOST_BYTES
    names = set(zipfile.ZipFile(wheel).namelist())
    for part in ("py.typed", "shipped/tiny-latin.crnn", "experiments/quickstart.py", "runtime.py"):
        assert f"crnn_jax/{part}" in names
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "notebooks/")) for name in names)
    with tarfile.open(source) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
    assert {"CHANGELOG.md", "Makefile", "constraints.txt", "tests/conftest.py"} <= inside
    assert not any(name.startswith(("runs/", "build/", ".venv", ".hypothesis")) for name in inside)


def test_the_wheel_reads_an_image_in_an_empty_environment(archives, tmp_path) -> None:
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    # The versions that are tested; another Python takes the newest.
    pins = ["-c", str(_ROOT / "constraints.txt")] if sys.version_info[:2] == (3, 11) else []
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", *pins]
    subprocess.run([*pip, archives[1]], check=True)
    image = _ROOT / "docs" / "images" / "words" / "umbrella.jpg"
    # With all that the compiler does for speed, unlike other tests.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}

    def run(*argv: str) -> str:
        command = [python, "-m", *argv]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("crnn_jax.predict", str(image)).startswith(f"{image}: umbrella  (")
    assert "quickstart" in run("crnn_jax.main", "--list")
    run("crnn_jax.main", "--config=quickstart:smoke", "--workdir=run")
    assert (tmp_path / "run" / "summary.json").is_file()
