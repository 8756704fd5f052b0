"""Makes a page about a run: its result and course, what it reads, and how it goes wrong.

One HTML file that opens without a network and without anything beside it.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from crnn_jax import cli, files
from crnn_jax.errors import UserError

_EXAMPLE = """example:
  python -m crnn_jax.report --run=runs/quickstart
  python -m crnn_jax.report --run=runs/mine --data=tsv:words/labels.tsv --out=mine.html"""
_LIMIT = 5000


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.report", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--run", required=True, metavar="DIR", help="workdir of the run")
    parser.add_argument("--out", metavar="FILE.html", help="the page; default DIR/report.html")
    parser.add_argument(
        "--data", action="append", default=[], metavar="SPEC",
        help="a set to read beside the run's own validation sets",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=cli.positive_int, default=_LIMIT, metavar="N",
        help=f"most rows to read of a set, the first ones; default {_LIMIT}",
    )  # fmt: skip
    args = parser.parse_args(argv)
    path = pathlib.Path(args.run)
    if not path.is_dir():
        raise UserError(f"--run={args.run}: no such folder; give the workdir of a run")
    out = pathlib.Path(args.out or path / "report.html")
    cli.check_output(str(out))

    from crnn_jax.reporting import gather, page, sets

    run = gather.load(path)
    readings = sets.read(run, args.data, args.limit)
    html = page.to_html(run, readings, out)
    files.write_text(out, html)
    print(f"{out}: {len(html.encode()) / 1e6:.1f} MB")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
