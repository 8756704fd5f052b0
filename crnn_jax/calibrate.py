"""Calibrates the confidence of a model: it then means the share of readings that are right.

Fits the temperature that the logits are divided by, on labelled images that the model was not
trained on, checks it on rows that were held out, and finds the confidence from which on readings
have a wanted error rate. A run reads with the temperature from then on: its folder gets it.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli, files
from crnn_jax.errors import DataError, UserError

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source
    from crnn_jax.data.spec import Spec
    from crnn_jax.recognizer import Recognizer
    from crnn_jax.scoring.calibration_report import CalibrationReport, Rows

_EXAMPLE = """example:
  python -m crnn_jax.calibrate --model=runs/mine --data=tsv:mine/labels.tsv::split=90:100
  python -m crnn_jax.calibrate --model=runs/mine '--data=tsv:words/labels.tsv::group=^[^_]+' \\
      --error_rate=0.01 --out=calibration_report.json --plot=calibration.png
  python -m crnn_jax.calibrate --model=runs/mine --data=tsv:val/labels.tsv \\
      --check=tsv:other/labels.tsv

Without --check each half of --data is checked with what the other half gives, and the model gets
what all of it gives. Halves are those of a hash of each row's group: give group= where several
images come from one photograph or page."""

_LOG = logging.getLogger("crnn_jax")
_ERROR_RATES = (0.01, 0.02, 0.05)
_HALVES = (
    "no --check: each half of --data, by a hash of groups, is checked with what the other gives"
)


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    args = _parse(argv)

    from crnn_jax.calibration_file import Calibration, fingerprint
    from crnn_jax.data import leaks
    from crnn_jax.data.spec import parse_spec
    from crnn_jax.recognizer import Recognizer
    from crnn_jax.scoring.calibration_text import report_text

    data, check = [parse_spec(s) for s in args.data], [parse_spec(s) for s in args.check]
    for spec in data:
        source = _open(spec)
        if not args.fit_on_test:
            name = leaks.told_name(spec, source.name)
            leaks.refuse_test_set(name, len(source), "--data", "confidences", "add --fit_on_test")
    for spec in check:
        _open(spec)  # a mistake in it must not cost the reading of the others
    for spec in [] if check else data:
        _open_halves(spec)
    model = Recognizer.load(args.model)
    report = calibrate(
        model if args.squeeze else model.in_windows(),
        data,
        check,
        args.protocol,
        args.error_rate or _ERROR_RATES,
        args.delta,
        args.batch_size,
    )
    weights, written = fingerprint(model.variables), None
    try:
        if args.out:
            files.write_json(args.out, report.to_json() | {"weights": weights})
        if pathlib.Path(args.model).is_dir():
            found = report.temperature, weights, report.protocol, report.fitted, report.checked
            written = Calibration(*found).save(args.model)
        if args.plot:
            from crnn_jax.scoring.calibration_plot import save_calibration_plot

            save_calibration_plot(args.plot, report)
    finally:  # neither a full disk nor a closed pipe may cost the other
        print(report_text(report))
    if written:
        print(f"\nwritten: {written}")
    return cli.DONE


def calibrate(
    model: Recognizer,
    data: Sequence[Spec],
    check: Sequence[Spec] = (),
    protocol: str = "",
    error_rates: Sequence[float] = _ERROR_RATES,
    delta: float = 0.05,
    batch_size: int = 64,
) -> CalibrationReport:
    """Fits a temperature to a model's readings and measures it on rows that were held out.

    Args:
      model: whose confidences are calibrated; it is not changed.
      data: sets to fit on.
      check: sets to check on; without any, each half of `data` is checked with what the other half
        gives, and the temperature is that of all of it.
      protocol: by which readings are right or wrong; "" is the model's own.
      error_rates: wanted among accepted readings.
      delta: how often a guaranteed threshold may fail its error rate.
      batch_size: most images per step.

    Raises:
      UserError: a set that cannot be opened, or that has no right or no wrong readings.
    """
    from crnn_jax.recognizer import default_protocol
    from crnn_jax.scoring.calibration_report import Fold, Rows, build_report
    from crnn_jax.scoring.temperature import fit_temperature, join

    protocol = protocol or default_protocol(model.charset)
    sides = [list(data), list(check)] if check else list(zip(*map(halves, data), strict=True))
    remarks = [] if check else [_HALVES]
    first, second = (_read(model, specs, protocol, batch_size, remarks) for specs in sides)
    pairs = [(first, second)] if check else [(first, second), (second, first)]
    folds = [Fold(a.posteriors, b.posteriors, fit_temperature(a.posteriors)) for a, b in pairs]
    fitted, checked = first, second
    if not check:
        # In the order of the folds: what is checked first is the second half.
        names = tuple(_name(spec, _open(spec)) for spec in data)
        fitted, checked = (
            Rows(names, join([a.posteriors, b.posteriors]), (*a.groups, *b.groups))
            for a, b in pairs
        )
    if not len(checked.posteriors):
        raise UserError(
            f"nothing to check on: --check has no labels to compare under protocol {protocol}; "
            "give another set or another --protocol"
        )
    return build_report(model.name, protocol, fitted, checked, folds, error_rates, delta, remarks)


def halves(spec: Spec) -> tuple[Spec, Spec]:
    """Returns two SPECs, each of half of a set's groups: `split=` cut in the middle.

    With `limit=` each half has half as many rows at most; of rendered text it is the set's size.
    """
    low, high = spec.split or (0.0, 100.0)
    middle = (low + high) / 2
    limit = spec.limit
    if limit is not None and spec.kind != "synth":
        limit = max(1, limit // 2)
    return (
        dataclasses.replace(spec, split=(low, middle), limit=limit),
        dataclasses.replace(spec, split=(middle, high), limit=limit),
    )


def _open_halves(spec: Spec) -> None:
    """Raises a UserError where a half of a set has no rows, as where all are of one group."""
    try:
        for half in halves(spec):
            _open(half)
    except DataError:
        raise UserError(
            f"--data={spec}: its groups are too few for two halves, of which each is checked with "
            "what the other gives: give another group=, or --check=SPEC"
        ) from None


def _open(spec: Spec) -> Source:
    from crnn_jax.data.sources import open_source

    return open_source(spec)


def _name(spec: Spec, source: Source) -> str:
    """Returns the name of a set, with what was taken of it."""
    values = {name: getattr(spec, name) for name in ("rows", "split", "limit")}
    chosen = [
        f"{name}={f'{value[0]:g}:{value[1]:g}' if isinstance(value, tuple) else value}"
        for name, value in values.items()
        if value is not None
    ]
    return f"{source.name} ({', '.join(chosen)})" if chosen else source.name


def _read(
    model: Recognizer,
    specs: Sequence[Spec],
    protocol: str,
    batch_size: int,
    remarks: list[str],
) -> Rows:
    """Reads sets, one after the other; what is left out of them is added to the remarks."""
    from crnn_jax.data.sources import row_groups
    from crnn_jax.scoring.calibration_report import Rows
    from crnn_jax.scoring.posteriors import read_posteriors
    from crnn_jax.scoring.temperature import join

    names, groups, parts = [], [], []
    for number, spec in enumerate(specs):
        source = _open(spec)
        found = read_posteriors(model, source, protocol, batch_size)
        names.append(_name(spec, source))
        keys = [source.key(i) for i in found.rows]
        groups += [(number, group) for group in (row_groups(keys, spec) if keys else [])]
        if found.unreadable:
            remarks.append(f"{names[-1]}: {found.unreadable} images cannot be read, left out")
        if found.skipped:
            remarks.append(
                f"{names[-1]}: {found.skipped} labels are empty under protocol {protocol}, left out"
            )
        parts.append(found.posteriors)
    return Rows(tuple(names), join(parts), tuple(groups))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments; mistakes must not cost the reading of a set."""
    parser = cli.Parser(prog="python -m crnn_jax.calibrate", description=__doc__, epilog=_EXAMPLE)

    def add(name: str, text: str, **kwargs: Any) -> None:
        parser.add_argument(name, help=text, **kwargs)

    add("--model", "workdir of a run, which gets the calibration, or a bundle", required=True)
    add("--data", "a set to fit on", action="append", required=True, metavar="SPEC")
    several = {"action": "append", "default": []}
    add("--check", "a set to check on; default: half of --data", metavar="SPEC", **several)
    parser.add_protocol()
    wanted = "of accepted readings, at most; may be repeated; default: 0.01, 0.02 and 0.05"
    add("--error_rate", wanted, type=_share, metavar="SHARE", **several)
    certain = "how often a guaranteed threshold may fail its error rate"
    add("--delta", certain, type=_share, metavar="SHARE", default=0.05)
    add("--batch_size", "most images per step", type=cli.positive_int, default=64)
    parser.add_squeeze()
    add("--fit_on_test", "allows public test sets in --data", action="store_true")
    add("--out", "writes the report", metavar="FILE.json")
    add("--plot", "draws reliability and risk-coverage", metavar="FILE.png")
    args = parser.parse_args(argv)

    from crnn_jax.calibration_file import CALIBRATION_FILE

    written = pathlib.Path(args.model, CALIBRATION_FILE)
    cli.check_outputs(
        [
            ("--model", str(written) if written.parent.is_dir() else None, ()),
            ("--out", args.out, ()),
            ("--plot", args.plot, (".png",)),
        ]
    )
    for both in sorted(set(args.data) & set(args.check)):
        _LOG.warning(
            "%s is given by --data and by --check: what was fitted on looks better than it is; "
            "give other images, or leave --check out", both,
        )  # fmt: skip

    from crnn_jax import shipped

    if shipped.find(args.model).is_file() and not args.out:
        raise UserError(
            f"--model={args.model}: a bundle is not changed; calibrate the run it was made of, and "
            "bundle that again, or add --out=FILE.json, and bundle it with --calibration=FILE.json"
        )
    if args.protocol:
        from crnn_jax import metrics

        metrics.apply_protocol("", args.protocol)
    return args


def _share(text: str) -> float:
    """Parses a share above 0 and below 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and below 1, as in 0.01")
    return value


if __name__ == "__main__":
    cli.run(main)
