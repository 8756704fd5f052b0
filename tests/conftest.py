"""Strict settings for the whole suite: several CPU devices, no silent rank promotion."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import filelock
import jax
import pytest
from absl import flags

if TYPE_CHECKING:
    from crnn_jax.recognizer import Recognizer

_LONGEST = ("test_sweep", "test_notebooks", "test_resume", "test_fuzz")

# Tests and the processes they start compile the same small programs many times over.
_OWN = "JAX_COMPILATION_CACHE_DIR" not in os.environ  # else it belongs to whoever has set it
if _OWN:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
_COMPILED = os.environ["JAX_COMPILATION_CACHE_DIR"]
# Programs of tests run for seconds and compile for longer: a quarter as long without
# optimization and with the older of XLA's two generators of code for CPUs.
_QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
if _QUICK not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_QUICK}".strip()
# The small ones, too: where operations run one by one, there are hundreds of them in a test.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
jax.config.update("jax_compilation_cache_dir", _COMPILED)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()
# A shell's background jobs ignore it, and what they start would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

_ROOT = pathlib.Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first, so that at the end no worker waits for the other's."""
    items.sort(key=lambda item: item.path.stem not in _LONGEST)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The process that made the cache removes it; workers of xdist inherited its name."""
    if _OWN and not hasattr(config, "workerinput"):
        shutil.rmtree(_COMPILED, ignore_errors=True)


@pytest.fixture
def real_data() -> pathlib.Path:
    """Folder of real image sets; a test that needs it is skipped where it is absent."""
    folder = pathlib.Path(os.environ.get("CRNN_JAX_REAL_DATA", _ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real image sets are not on this machine (set CRNN_JAX_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Workdir of the quickstart experiment after its four smoke steps; copy it to change it."""
    from crnn_jax import cli, train

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # common to the workers: one trains, the others wait
    workdir = folder / "smoke"
    with filelock.FileLock(folder / "smoke.lock"):
        if not (workdir / "summary.json").exists():
            train.train_and_evaluate(cli.load_experiment("quickstart:smoke,loaded"), workdir)
    return workdir


@pytest.fixture(scope="session")
def recognizer(smoke_run: pathlib.Path) -> Recognizer:
    """The model of `smoke_run`: it reads nothing right, but not the same in every image."""
    from crnn_jax.recognizer import Recognizer

    return Recognizer.load(smoke_run)


@pytest.fixture(scope="session")
def slurm_conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The SLURM_CONF of a cluster of this machine alone."""
    pytest.importorskip("submitit")
    if not shutil.which("slurmctld") or os.getuid():
        pytest.skip("needs root and Debian's slurm-wlm (apt-get install slurm-wlm munge)")
    folder = tmp_path_factory.mktemp("slurm")
    script = ["bash", str(_ROOT / "tests" / "slurm_cluster.sh")]
    started = subprocess.run(
        [*script, "start", str(folder)], capture_output=True, text=True, timeout=120
    )
    try:
        if started.returncode:
            pytest.fail(f"SLURM is installed and does not start: {started.stderr[-500:]}")
        yield started.stdout.strip()
    finally:
        subprocess.run([*script, "stop", str(folder)], check=True)


@pytest.fixture(scope="session")
def bulk_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Nine words, one of them damaged, as files, in a list and in a tar."""
    import tarfile

    from crnn_jax.data.sources import open_source

    folder = tmp_path_factory.mktemp("bulk")
    source = open_source("tfds:rendered_words/tiny/test::limit=8")
    (folder / "words").mkdir()
    for i in range(8):
        (folder / "words" / f"{i}.png").write_bytes(source.image_bytes(i))
    (folder / "words" / "5b.png").write_bytes(source.image_bytes(0)[:50])
    names = [str(path) for path in sorted((folder / "words").iterdir())]
    (folder / "list.txt").write_text("\n".join([*names, ""]), encoding="utf-8")
    with tarfile.open(folder / "words.tar", "w") as tar:
        tar.add(folder / "words", "words")
    return folder


@pytest.fixture
def no_file(tmp_path: pathlib.Path) -> Callable[[str], pathlib.Path]:
    """Makes what is no file by its name: a pipe, a folder, a loop; others are paths as they are."""

    def make(name: str) -> pathlib.Path:
        path = tmp_path / name
        if name == "pipe":
            os.mkfifo(path)  # to open it would wait for its writer
        elif name == "folder":
            path.mkdir()
        elif name == "loop":
            path.symlink_to(path)
        elif name.startswith("/") and not path.exists():
            pytest.skip(f"no {name} on this system")
        return path

    return make


@pytest.fixture
def file_limit() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """Keeps files from growing beyond so many bytes, as a full disk does."""
    import resource

    @contextlib.contextmanager
    def limit(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: list[str]  # lines
    err: list[str]


@pytest.fixture
def run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs a command's `main` as its process does, in this one: no start-up to wait for."""
    from crnn_jax import cli, progress

    monkeypatch.setattr(progress, "start_logging", lambda: None)  # it would outlive the test

    def run(main: Callable, *argv: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, argv)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.run(main)
        out, err = capsys.readouterr()
        return Outcome(exit_.value.code, out.splitlines(), err.splitlines())

    return run


@pytest.fixture
def mistake(run_command: Callable[..., Outcome]) -> Callable[..., str]:
    """Runs a command that has to end in one line and exit code 2; returns the line."""

    def run(main: Callable, *argv: object) -> str:
        code, out, err = run_command(main, *argv)
        assert (code, out) == (2, []), err
        assert len(err) == 1, err
        assert err[0].startswith("error: ")
        return err[0]

    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An ONNX model of tiny-latin; copy it to change it. Skips where ONNX is not installed."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    from crnn_jax.bundle import open_model
    from crnn_jax.exporting.metadata import attach
    from crnn_jax.exporting.onnx_model import to_onnx

    bundle = open_model("tiny-latin")
    model = to_onnx(bundle.recognizer())
    attach(model, bundle)
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path
