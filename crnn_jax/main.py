"""Trains and evaluates what an experiment describes."""

from __future__ import annotations

from collections.abc import Sequence

from crnn_jax import cli

_EXAMPLE = """example:
  python -m crnn_jax.main --config=quickstart --workdir=runs/quickstart
  python -m crnn_jax.main --config=words --workdir=runs/mine \\
      --config.data.train=tsv:mine/labels.tsv::split=0:90 \\
      --config.data.eval=tsv:mine/labels.tsv::split=90:100
  (the same command again goes on where a run has stopped)"""


# Kept without logic: notebooks and tests call `crnn_jax.train.train_and_evaluate`.
def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.main", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--config", default="", metavar="NAME[:ARG]", help="experiment or its file")
    parser.add_argument("--config.KEY", dest="_", metavar="VALUE", help="overrides one knob")
    parser.add_argument("--workdir", metavar="DIR", help="of the run; default runs/NAME")
    parser.add_argument("--list", action="store_true", help="names the experiments")
    parser.add_argument("--print_config", action="store_true", help="shows every knob and stops")
    parser.add_argument("--dry_run", action="store_true", help="shows sizes and time and stops")
    group = parser.add_argument_group("several processes (found by themselves under SLURM)")
    group.add_argument(
        "--coordinator", default="", metavar="HOST:PORT", help="of process 0; auto: a pod's"
    )
    group.add_argument("--processes", type=cli.positive_int, default=0, help="how many")
    group.add_argument("--process", type=int, default=-1, help="which of them this is, from 0")
    overrides, others = cli.split_overrides(argv)
    args = parser.parse_args(others)
    if args.list:
        for name, path in cli.experiments().items():
            print(f"{name:<22} {cli.purpose(path)}")
        return cli.DONE
    config = cli.load_experiment(args.config, overrides)
    if args.print_config:
        from crnn_jax import config as config_lib

        print(config_lib.describe(config))
        return cli.DONE
    from crnn_jax import startup

    startup.settle(config)
    if args.dry_run:
        from crnn_jax import dry_run

        print(dry_run.describe(config))
        return cli.DONE
    from crnn_jax import processes, train

    processes.connect(args.coordinator, args.processes, args.process)
    workdir = args.workdir or f"runs/{cli.run_name(args.config)}"
    _, summary = train.train_and_evaluate(config, workdir)
    return cli.DONE if summary else cli.FAILED


if __name__ == "__main__":
    cli.run(main)
