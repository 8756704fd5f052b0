"""Runs an experiment with other knobs and seeds, and writes the table that compares them.

The experiment says in `sweep(add)` what varies. Finished runs are kept: the same command runs what
is missing, also after a kill. Where it ends, table.md, table.csv, table.png and runs.csv, a line
per run with its knobs, lie in the workdir, as far as runs are done.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crnn_jax import cli, files, slots
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.slurm import LAUNCHERS, LOCAL, SLURM
from crnn_jax.sweeps import runs

if TYPE_CHECKING:
    from crnn_jax.sweeps.table import Table

_LOG = logging.getLogger("crnn_jax")

_EXAMPLE = """example:
  python -m crnn_jax.sweep --config=ablations/recurrence --workdir=runs/recurrence --dry_run
  python -m crnn_jax.sweep --config=ablations/recurrence --workdir=runs/recurrence --jobs=2
  python -m crnn_jax.sweep --config=ablations/recurrence --workdir=/shared/sweep --launcher=slurm"""


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.sweep", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--config", required=True, metavar="NAME[:ARG]", help="the experiment")
    parser.add_argument("--config.KEY", dest="_", metavar="VALUE", help="a knob of all cells")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of the sweep")
    parser.add_argument("--launcher", default=LOCAL, help="local or slurm")
    parser.add_argument(
        "--jobs", type=cli.positive_int, default=0,
        help="most runs side by side; default: one per GPU, or per core; slurm: no limit",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", default=[], metavar="CELL",
        help="runs this cell, and those of other --only; * stands for anything",
    )  # fmt: skip
    parser.add_argument("--seeds", type=cli.positive_int, default=0, help="of every cell")
    parser.add_argument("--dry_run", action="store_true", help="shows runs and times, and stops")
    parser.add_argument("--collect", action="store_true", help="writes the table, runs nothing")
    parser.add_argument(
        "--baseline", default="", metavar="CELL",
        help="what the others are compared with; default: the first cell",
    )  # fmt: skip
    overrides, others = cli.split_overrides(argv)
    args = parser.parse_args(others)
    if args.launcher not in LAUNCHERS:
        raise unknown_name("launcher", args.launcher, LAUNCHERS)
    sweep = runs.load(args.config, args.workdir, args.seeds, overrides)
    baseline = sweep.baseline(args.baseline)
    wanted = sweep.only(args.only)
    if args.dry_run:
        from crnn_jax.sweeps import estimate

        print(estimate.describe(wanted, _side_by_side(wanted, args.launcher, args.jobs)))
        return cli.DONE
    whole, failed = True, list[str]()
    if not args.collect:
        whole, failed = _launch(wanted, args.launcher, args.jobs)
    table = _write(sweep, baseline)
    if table is None and args.collect:
        raise UserError(
            f"{args.workdir}: no run is done yet that can be read; run the sweep without --collect"
        )
    for line in failed:
        _LOG.warning("%s", line)
    return cli.DONE if whole and not (table and table.damaged) else cli.FAILED


def _side_by_side(sweep: runs.Sweep, launcher: str, jobs: int) -> int:
    """Returns how many runs go on at a time, by default as many as there is room for."""
    return jobs or (len(sweep.runs) if launcher == SLURM else slots.default_jobs())


def _launch(sweep: runs.Sweep, launcher: str, jobs: int) -> tuple[bool, list[str]]:
    """Runs what is missing; returns whether all is done, and a line for every run that failed."""
    from crnn_jax.sweeps import estimate, local, slurm, view

    with files.locked(sweep.folder / ".lock", "runs this sweep"):  # no cell has a folder of a dot
        totals = {
            cell.name: estimate.total_steps(config)
            for cell, config in zip(sweep.cells, sweep.configs, strict=True)
        }
        beside = _side_by_side(sweep, launcher, jobs)
        with view.View(sweep, totals, beside) as shown:
            if launcher == SLURM:
                whole = slurm.launch(sweep, jobs, shown.update)
            else:
                slurm.check_idle(sweep)
                state = local.launch(
                    sweep, beside, lambda s: shown.update(view.of_local(s), s.note)
                )
                whole = len(state.done) == len(sweep.runs)
        return whole, shown.failures()


def _write(sweep: runs.Sweep, baseline: str) -> Table | None:
    """Writes, prints and returns the table, as far as there is one."""
    from crnn_jax.sweeps import table

    found = table.collect(sweep, baseline)
    if found is None:
        return None
    from crnn_jax.sweeps import csv_files, plot

    text = table.to_markdown(found)
    files.write_text(sweep.folder / "table.md", text)
    files.write_text(sweep.folder / "table.csv", csv_files.of_cells(found))
    files.write_text(sweep.folder / "runs.csv", csv_files.of_runs(sweep, found))
    plot.save(sweep.folder / "table.png", found)
    print(text, end="")
    return found


if __name__ == "__main__":
    cli.run(main)
