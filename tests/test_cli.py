"""The command line: light help, one-line mistakes, experiments by name, every one of them runs."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import jax
import pytest

import crnn_jax
from crnn_jax import cli, evaluate, main, predict
from crnn_jax import config as config_lib
from crnn_jax.errors import UserError
from crnn_jax.sweeps import runs

EXPERIMENTS = sorted(cli.experiments())
ABLATIONS = [name for name in EXPERIMENTS if name.startswith("ablations/")]
PACKAGE = pathlib.Path(crnn_jax.__file__).parent
COMMANDS = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if "\n    cli.run(main)\n" in path.read_text("utf-8") and path.stem != "work"  # of sweeps
)
HEAVY = ("jax", "flax", "orbax", "tensorflow_datasets", "grain", "matplotlib", "PIL")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def run_module(name: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"crnn_jax.{name}", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


# Help.


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_light_and_shows_an_example(name: str) -> None:
    done = run_python(
        "import sys; sys.argv = ['command', '--help']\n"
        f"from crnn_jax import cli; from crnn_jax.{name} import main\n"
        "try: cli.run(main)\n"
        f"finally: print(*(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    )
    assert done.returncode == 0
    assert done.stderr.split() == []  # that takes 0.1 s; jax alone would take a second
    assert f"example:\n  python -m crnn_jax.{name} --" in done.stdout


def test_commands_are_found() -> None:
    assert {"evaluate", "main", "predict"} <= set(COMMANDS)


# Mistakes: the processes themselves, for exit code and output; then many more in this process.


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("main", ["--config=quickstart", "--config.bath_size=3"], "did you mean 'batch_size'"),
        ("evaluate", ["--model=runs/quickstart"], "required: --data"),
        ("predict", ["--model=runs/none", "--fromat=tsv", "x.png"], "did you mean '--format'"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    name: str, argv: list[str], message: str
) -> None:
    done = run_module(name, *argv)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        ([], ["--config is empty", "--config=quickstart"]),
        (["--config=quickstrt"], ["experiment 'quickstrt'", "mean 'quickstart'", *EXPERIMENTS]),
        (["--config=experiments/quickstrt.py"], ["did you mean 'experiments/quickstart.py'"]),
        (["--config=quickstart:smok"], ["'smok'", "did you mean 'smoke'"]),
        (["--config=captcha:width=3"], ["'width'", "data"]),
        (["--config=quickstart", "--config.batch_size=many"], ["batch_size", "whole number"]),
        (["--config=quickstart", "--config.data.heigth=3"], ["did you mean 'data.height'"]),
        (["--config=quickstart", "--config.batch_size"], ["write --config.batch_size=VALUE"]),
        (["--config=quickstart", "--config.ema", "--list"], ["write --config.ema=VALUE"]),
        (["--config=quickstart", "--workdri=x"], ["'--workdri'", "did you mean '--workdir'"]),
        (["--config=quickstart", "--workdir"], ["--workdir", "expected one argument"]),
        (["--config=quickstart", "runs/x"], ["unknown argument 'runs/x'", "--workdir"]),
        (["--confg=quickstart"], ["did you mean '--config'"]),
        (["--config=words"], ["config.data.train is empty"]),
        (["--config=words", "--config.data.train=tsv:no/labels.tsv"], ["no/labels.tsv"]),
        (["--config=words", "--config.data.train=names:no"], ["names:no does not exist"]),
        (["--config=words", "--config.data.train=nams:no"], ["did you mean 'names'"]),
    ],
)
def test_mistakes_of_main(
    mistake: Callable, tmp_path: pathlib.Path, argv: list[str], messages: list[str]
) -> None:
    workdir = [] if argv and argv[-1] == "--workdir" else [f"--workdir={tmp_path / 'run'}"]
    line = mistake(main.main, *workdir, *argv)
    assert all(message in line for message in messages), line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        (["--data=tsv:x"], ["required: --model"]),
        (["--model=x"], ["required: --data"]),
        (["--model=x", "--data=tsv:x", "--batch_size=0"], ["'0' is not a positive whole number"]),
        (["--model=x", "--data=tsv:x", "--batch_size=all"], ["--batch_size", "'all'"]),
        (["--model=x", "--data=tsv:x", "--protocol=37"], ["'37'", "36, 62, 94, exact"]),
        (["--model=x", "--data=tsv:x", "--decoder=gredy"], ["did you mean 'greedy'"]),
        (["--model=x", "--data=tsv:x", "--out=no/folder.json"], ["no/folder.json", "create it"]),
        (["--model=x", "--data=tsv:x", "--predictions=."], [".: is a folder"]),
        (["--model=x", "--data=tsv:no"], ["tsv:no does not exist"]),
    ],
)
def test_mistakes_of_evaluate(mistake: Callable, argv: list[str], messages: list[str]) -> None:
    line = mistake(evaluate.main, *argv)
    assert all(message in line for message in messages), line


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        (["--model=runs/none"], ["no images given"]),
        (["--model=runs/none", "--format=jsn", "x.png"], ["did you mean 'json'", "text, tsv"]),
        (["--model=runs/none", "--batch_size=-1", "x.png"], ["'-1' is not a positive whole"]),
        (["--model=runs/none", "x.png"], ["runs/none: not a model", "config.json"]),
    ],
)
def test_mistakes_of_predict(mistake: Callable, argv: list[str], messages: list[str]) -> None:
    line = mistake(predict.main, *argv)
    assert all(message in line for message in messages), line


# Experiments.


def test_list_names_every_experiment_with_its_purpose(run_command: Callable) -> None:
    code, out, err = run_command(main.main, "--list")
    assert (code, err) == (0, [])
    assert [line.split()[0] for line in out] == EXPERIMENTS
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in out)


def test_print_config_shows_every_knob_as_overridden(run_command: Callable) -> None:
    argv = ["--config=quickstart", "--config.data.height=48", "--config.ema", "0.5"]
    code, out, err = run_command(main.main, *argv, "--print_config")
    assert (code, err) == (0, [])
    shown = {line.split(" = ")[0]: line for line in out}
    assert list(shown) == [f"config.{key}" for key in config_lib.comments()]
    assert "config.data.height = 48 " in shown["config.data.height"]
    assert "config.ema = 0.5 " in shown["config.ema"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_load_by_name_and_by_path_from_anywhere(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = config_lib.flatten(cli.load_experiment(name))
    monkeypatch.chdir(tmp_path)
    assert config_lib.flatten(cli.load_experiment(f"experiments/{name}.py")) == by_name
    assert config_lib.flatten(cli.load_experiment(f"experiments/{name}.py:")) == by_name
    assert config_lib.flatten(cli.load_experiment(str(cli.experiments()[name]))) == by_name
    small = config_lib.flatten(cli.load_experiment(f"experiments/{name}.py:smoke"))
    assert small == config_lib.flatten(cli.load_experiment(f"{name}:smoke"))
    assert (small["total_steps"], small["batch_size"]) == (4, 4)
    assert by_name["total_steps"] != 4


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_say_what_they_are_and_how_to_run_them(name: str) -> None:
    text = cli.experiments()[name].read_text(encoding="utf-8")
    command = "sweep" if name in ABLATIONS else "main"
    assert f"python -m crnn_jax.{command} --config={name}" in text.split('"""')[1]


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_are_sweeps_of_valid_configs(name: str, tmp_path: pathlib.Path) -> None:
    sweep = runs.load(name, str(tmp_path))
    assert sweep.seeds >= 3
    assert len(sweep.cells) >= 2
    assert sweep.question.endswith("?")


def test_options_of_an_experiment_may_hold_any_path() -> None:
    config = cli.load_experiment("captcha:data=C:/my data/x.y")
    assert config.data.train.startswith("names:C:/my data/x.y::")


def test_own_config_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "mine.py"
    text = cli.experiments()["quickstart"].read_text(encoding="utf-8")
    path.write_text(text.replace("hidden = 96", "hidden = 95"), encoding="utf-8")
    config = cli.load_experiment(f"{path}:smoke", [("seed", "7")])
    assert (config.seed, config.total_steps, config.is_locked) == (7, 4, True)
    assert cli.load_experiment(str(path)).model.hidden == 95


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import json as\n", "mine.py line 1: SyntaxError"),
        ("\n1 / 0\n", "mine.py line 2: ZeroDivisionError: division by zero"),
        ("\n\ndef get_config(arg):\n    return json\n", "mine.py line 4: NameError"),
        ("x = 1\n", "mine.py: not an experiment, it has no get_config"),
        ("def get_config(arg):\n    pass\n", "mine.py: its get_config.* returns no config"),
        (
            "from crnn_jax import config\ndef get_config(arg):\n"
            "    c = config.default_config()\n    c.bath_size = 3\n",
            "mine.py line 4: AttributeError: .*bath_size",
        ),
    ],
)
def test_mistake_in_a_config_file_is_told_with_its_line(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        cli.load_experiment(f"{tmp_path / 'mine.py'}:smoke")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("words", "words"),
        ("words:smoke", "words"),
        ("experiments/words.py:smoke", "words"),
        ("captcha:data=/a/b", "captcha"),
        ("ablations/lr.py", "lr"),
        ("", "run"),
    ],
)
def test_default_workdir_is_named_for_the_experiment(name: str, folder: str) -> None:
    assert cli.run_name(name) == folder


def test_overrides_are_taken_out_of_the_arguments_in_order() -> None:
    argv = ["--config=a", "--config.x.y=1=2", "--list", "--config.z", "-3", "--config.x.y="]
    assert cli.split_overrides(argv) == (
        [("x.y", "1=2"), ("z", "-3"), ("x.y", "")],
        ["--config=a", "--list"],
    )


# What these two do with words is what `words` and `quickstart` do.
LIKE_OTHERS = {"captcha", "receipts", "words", "crnn_paper", "paper36", "best94", "tiny_latin",
               "small94", "medium94", "short", "finetune"}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name
        for name in EXPERIMENTS
        if name not in ABLATIONS  # they train `short`
    ],
)
def test_every_experiment_trains_its_smoke_config(
    name: str, run_command: Callable, tmp_path: pathlib.Path
) -> None:
    workdir = tmp_path / "run"
    code, _, err = run_command(main.main, f"--config={name}:smoke", f"--workdir={workdir}")
    assert code == 0, err
    summary = json.loads((workdir / "summary.json").read_text("utf-8"))
    assert summary["step"] == 4
    assert summary["parameters"] > 1000
    (result,) = summary["eval"].values()
    assert result["count"] == 16
    lines = (workdir / "metrics.jsonl").read_text("utf-8").splitlines()
    losses = {line["step"]: line["loss"] for line in map(json.loads, lines) if "loss" in line}
    assert sorted(losses) == [2, 4]
    assert all(0 < loss < 1000 for loss in losses.values())
    assert config_lib.load(workdir / "config.json").total_steps == 4


def test_dry_run_says_what_the_run_would_cost(
    run_command: Callable, smoke_run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    workdir = tmp_path / "run"
    argv = ["--config=quickstart:smoke,loaded", f"--workdir={workdir}", "--dry_run"]
    code, out, err = run_command(main.main, *argv)
    assert code == 0, err
    said = {line[:14].strip(): line[14:].strip() for line in out}
    summary = json.loads((smoke_run / "summary.json").read_text("utf-8"))
    assert said["parameters"] == f"{summary['parameters']:,}"
    assert said["frames"] == "64 px: 16"
    assert said["batches"].startswith("4 x 32 x ")
    assert said["steps"].startswith("4 (64 per epoch, warm-up 1)")
    assert "MB state" in said["memory"]
    assert "images/s" in said["speed"]
    assert "minutes" in said["time"]
    assert not workdir.exists()


# The end of a process.


def test_interruption_and_a_reader_that_leaves_are_no_tracebacks(run_command: Callable) -> None:
    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    assert run_command(interrupted) == (1, [], ["interrupted"])

    def too_large(argv: list[str]) -> int:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating\n8 bytes.")

    code, _, (line,) = run_command(too_large)
    assert code == 1
    assert "(RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.): lower config.batch" in line

    def too_large_for_the_host(argv: list[str]) -> int:
        raise MemoryError("Unable to allocate 2.91 TiB")

    code, _, (line,) = run_command(too_large_for_the_host)
    assert code == 1
    assert "memory is too small (Unable to allocate 2.91 TiB): lower config.batch" in line

    code = "from crnn_jax import cli; cli.run(lambda argv: [print(i) for i in range(10**6)] and 0)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


def test_output_that_the_terminal_cannot_show_is_escaped() -> None:
    code = "from crnn_jax import cli; cli.run(lambda argv: print('é', '\\udcff') or 0)"
    done = run_python(code, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\xe9 \\udcff\n", "")
    done = run_python(code, PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, "é \\udcff\n", "")


def test_a_pipe_is_no_place_for_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a device or a pipe; give the name of a file"):
        cli.check_output(str(tmp_path / "pipe"))


def test_protocols_are_those_that_there_are():
    from crnn_jax import metrics

    assert cli.PROTOCOLS.replace(" or ", ", ").split(", ") == list(metrics.PROTOCOLS)
