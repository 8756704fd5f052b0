"""The runs of a sweep, and how far each of them is, as its folder tells."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from crnn_jax import cli, files, metric_lines
from crnn_jax import config as config_lib
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.slurm import Resources, last_line
from crnn_jax.sweeps.cells import Add, Cell
from crnn_jax.sweeps.cells import collect as collect_cells

JOB, FIGURES, LOG = "job.json", "figures.json", "log.txt"


@dataclasses.dataclass(frozen=True)
class Run:
    """A cell with a seed, and its folder, which tells it from others."""

    cell: Cell = dataclasses.field(compare=False)
    seed: int
    folder: pathlib.Path

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.cell.name}, seed {self.seed}"

    @property
    def is_done(self) -> bool:
        """Whether it was trained and judged; one whose figures are damaged is judged anew."""
        return self.figures is not None

    @property
    def figures(self) -> Figures | None:
        """What it was judged by and what it cost; None before, and where the file is damaged."""
        try:
            return Figures.from_json(json.loads((self.folder / FIGURES).read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def progress(self) -> Progress:
        """Returns how far it is; nothing where it has not begun."""
        try:
            config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            lines = files.tail(self.folder / metric_lines.METRICS_FILE)
            batch = int(config["batch_size"])
        except (OSError, ValueError, TypeError, KeyError):
            return Progress()
        step, rate, seconds = 0, 0.0, 0.0
        for line in metric_lines.parse(lines):
            step = max(step, line["step"])
            rate = float(line.get("images_per_second") or rate)
            seconds = float(line["seconds"])
        return Progress(step, rate, seconds, batch)

    def last_line(self) -> str:
        """Returns the last line of its log."""
        return last_line(self.folder / LOG)


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a finished run was judged by, and what it cost.

    Attributes:
      protocol: of the judging.
      sets: their names.
      parameters: of the network.
      megaflops: of reading one image of the widest kind.
      images_per_second: trained on, over all its time.
      minutes: of training, compilation and evaluations included.
    """

    protocol: str
    sets: list[str]
    parameters: int
    megaflops: float
    images_per_second: float
    minutes: float

    @classmethod
    def from_json(cls, data: Any) -> Figures:
        """Returns the figures of a file; raises TypeError, KeyError or ValueError where damaged."""
        sets = [str(name) for name in data["sets"]]
        numbers = (float(data[key]) for key in ("megaflops", "images_per_second", "minutes"))
        return cls(str(data["protocol"]), sets, int(data["parameters"]), *numbers)


@dataclasses.dataclass(frozen=True)
class Progress:
    """Steps done, images per second, seconds of training, images per step."""

    step: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    batch: int = 0


@dataclasses.dataclass(frozen=True)
class Sweep:
    """All that a sweep is.

    Attributes:
      experiment: its name with its argument, as --config gives it.
      folder: of the sweep.
      cells: in the order of the table, the baseline first.
      configs: of the cells, in their order, with the first seed.
      seeds: of every cell.
      data: SPECs that judge the runs; none: each run's validation sets.
      needs: of a run, on a cluster.
      question: first line of the experiment's docstring.
    """

    experiment: str
    folder: pathlib.Path
    cells: tuple[Cell, ...]
    configs: tuple[ConfigDict, ...]
    seeds: int
    data: tuple[str, ...]
    needs: Resources
    question: str

    @functools.cached_property
    def runs(self) -> list[Run]:
        """All runs, the first seed of every cell before the second of any."""
        return [
            Run(cell, seed, self.folder / cell.slug / f"seed_{seed}")
            for seed in range(self.seeds)
            for cell in self.cells
        ]

    def baseline(self, name: str = "") -> str:
        """Returns the cell that the others are compared with: the first unless it is named.

        Raises:
          UserError: no cell of that name.
        """
        names = [cell.name for cell in self.cells]
        if name and name not in names:
            raise unknown_name("cell of this sweep", name, names)
        return name or names[0]

    def only(self, patterns: Sequence[str]) -> Sweep:
        """Returns the sweep of the cells whose names match a pattern, of all where there is none.

        Raises:
          UserError: a pattern that no cell matches.
        """
        kept: set[str] = set()
        names = [cell.name for cell in self.cells]
        for pattern in patterns:
            # A name may hold brackets; only the star is special.
            form = re.compile(".*".join(map(re.escape, pattern.split("*"))))
            found = [name for name in names if form.fullmatch(name)]
            if not found:
                raise unknown_name("cell of this sweep", pattern, names)
            kept.update(found)
        if not patterns:
            return self
        both = [(c, own) for c, own in zip(self.cells, self.configs, strict=True) if c.name in kept]
        cells, configs = zip(*both, strict=True)
        return dataclasses.replace(self, cells=cells, configs=configs)

    def config(self, run: Run) -> ConfigDict:
        """Returns the config of a run."""
        config = self.configs[self.cells.index(run.cell)].copy_and_resolve_references()
        config.seed = run.seed
        return config

    def prepare(self, run: Run) -> None:
        """Writes what a worker has to know into the folder of a run.

        With it all runs have the knobs that the experiment named when the sweep's command began,
        whatever is edited while it goes on.
        """
        run.folder.mkdir(parents=True, exist_ok=True)
        job = {
            "experiment": self.experiment,
            "config": json.loads(config_lib.to_json(self.config(run))),
            "data": list(self.data),
        }
        files.write_json(run.folder / JOB, job)


def load(
    experiment: str, folder: str, seeds: int = 0, overrides: Sequence[tuple[str, str]] = ()
) -> Sweep:
    """Returns the sweep of an experiment, every cell of which is known to have a valid config.

    Args:
      experiment: NAME_OR_PATH[:ARG].
      folder: of the sweep.
      seeds: of every cell; 0: as the experiment says.
      overrides: of all cells.

    Raises:
      UserError: for an experiment without a sweep, a wrong knob, or a folder that holds runs of the
        same cells with other knobs or judged by other sets.
    """
    from crnn_jax.validation import validate

    path, arg = cli.find_experiment(experiment)
    module = cli.load_module(path)
    if not hasattr(module, "sweep"):
        raise UserError(f"{path}: no sweep; define sweep(add) beside get_config(arg)")
    add: Add = cli.in_experiment(path, lambda: collect_cells(module.sweep))
    _check_overrides(overrides, add.cells)
    cells = tuple(Cell(c.name, {**dict(overrides), **c.knobs}) for c in add.cells)
    name = f"{path}:{arg}" if arg else str(path)
    configs = []
    for cell in cells:
        try:
            configs.append(cli.load_experiment(name, cell.overrides(0)))
            validate(configs[-1])
        except UserError as error:
            raise UserError(f"sweep: cell {cell.name!r}: {error}") from None
    if not folder or pathlib.Path(folder).is_file():
        what = "is a file" if folder else "is empty"
        raise UserError(f"--workdir={folder} {what}; give a folder for the sweep")
    sweep = Sweep(
        name, pathlib.Path(folder), cells, tuple(configs), seeds or add.seed_count, add.specs,
        add.needs, (module.__doc__ or "").strip().partition("\n")[0],
    )  # fmt: skip
    _check_judges(sweep)
    for run in sweep.runs:
        _check(run, sweep)
    return sweep


def _check_overrides(overrides: Sequence[tuple[str, str]], cells: Sequence[Cell]) -> None:
    """Raises UserError where the command line sets for all cells what a cell sets."""
    for key, _ in overrides:
        if key == "seed":
            raise UserError(
                "--config.seed: a sweep numbers its seeds from 0; --seeds=N is how many"
            )
        if varied := [cell.name for cell in cells if key in cell.knobs]:
            raise UserError(
                f"--config.{key} is for all cells, and {varied[0]!r} sets it itself: change the "
                "experiment's sweep(add)"
            )


def _check_judges(sweep: Sweep) -> None:
    """Raises UserError where no table could compare the runs, or one would mean something else."""
    first = sweep.configs[0]
    for cell, config in zip(sweep.cells, sweep.configs, strict=True):
        advice = None
        if config.replicas > 1:
            advice = f"has config.replicas={config.replicas}: say add.seeds(N) for N runs of a cell"
        elif not config.protocol and (config.charset, config.case) != (first.charset, first.case):
            advice = (
                "has other characters than the first, and would be judged by another protocol: "
                "set config.protocol (36 | 62 | 94 | exact)"
            )
        elif config.protocol != first.protocol:
            advice = "has another config.protocol than the first: give all the same"
        elif not sweep.data and config.data.eval != first.data.eval:
            advice = (
                "has another config.data.eval than the first: name the sets that judge all runs, "
                "as in add.data('tsv:words/labels.tsv')"
            )
        if advice:
            raise UserError(f"sweep: cell {cell.name!r} {advice}")


def _check(run: Run, sweep: Sweep) -> None:
    """Raises a UserError where the folder of a run holds another one, finished or not."""
    from crnn_jax.workdir import HELPERS, changed_knobs

    advice = "delete it, or give the sweep another --workdir"
    if (run.folder / "config.json").is_file():
        before = config_lib.load(run.folder / "config.json")
        if changed := changed_knobs(before, sweep.config(run), HELPERS):
            raise UserError(
                f"{run.folder} holds a run with other knobs: {', '.join(changed)}; {advice}"
            )
    if run.is_done and (run.folder / JOB).is_file():
        judged = files.read_json(run.folder / JOB).get("data", [])
        if judged != list(sweep.data):
            there, here = (" + ".join(d) or "its validation sets" for d in (judged, sweep.data))
            raise UserError(
                f"{run.folder} holds a run that was judged by other sets ({there} there, {here} "
                f"here); {advice}"
            )


def readings_file(folder: pathlib.Path, of: str) -> pathlib.Path:
    """Returns the file of a run's readings of a set."""
    safe = re.sub(r"[^-.=+\w]", "_", of)
    return folder / f"readings_{safe}.tsv"
