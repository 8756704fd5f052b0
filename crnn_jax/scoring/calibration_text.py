"""A calibration report as text."""

from __future__ import annotations

from crnn_jax.calibration_file import Figures
from crnn_jax.metrics import wilson_interval
from crnn_jax.scoring.calibration_report import (
    COVERAGES,
    CalibrationReport,
    Check,
    Side,
    verdict,
)
from crnn_jax.scoring.selective import Threshold, rows_needed, shown

_VERDICTS = {
    "contains": "an interval that contains {}",
    "below": "an interval below {}",
    "above": "an interval ABOVE {}",
}


def report_text(report: CalibrationReport) -> str:
    """Returns the report for a terminal."""
    fitted, checked = report.fitted, report.checked
    lines = [
        f"{report.model}: temperature {report.temperature:.3f}, protocol {report.protocol}",
        f"fitted on {_rows(fitted)}",
        f"checked on {_rows(checked)}",
        *report.remarks,
        "",
        *_scores(report.before, report.after),
        "",
        *_reliability(report.after),
        "",
        *_coverage(report.after),
    ]
    for check in report.thresholds:
        lines += ["", *_thresholds(check)]
    return "\n".join(lines)


def _rows(some: Figures) -> str:
    return f"{', '.join(some.sets)}: {some.rows:,} readings, {_percent(some.accuracy, 1)} right"


def _scores(before: Side, after: Side) -> list[str]:
    a, b = before.summary, after.summary
    floor = b.floor
    lines = [f"{'on the checked rows':<26} {'raw':>8} {'95 %':>15} {'calibrated':>11} {'95 %':>15}"]
    lines.append("-" * len(lines[0]))
    lines.append(
        f"{f'ECE, {len(after.bins)} bins of equal mass':<26} {a.ece:>8.4f} "
        f"{_between(before.interval):>15} {b.ece:>11.4f} {_between(after.interval):>15}"
    )
    for name, x, y in (
        ("ECE, bins of equal width", a.ece_width, b.ece_width),
        ("maximum calibration error", a.mce, b.mce),
        ("log loss", a.log_loss, b.log_loss),
        ("Brier score", a.brier, b.brier),
        ("area under risk-coverage", before.aurc, after.aurc),
    ):
        lines.append(f"{name:<26} {x:>8.4f} {'':>15} {y:>11.4f}")
    lines.append(
        f"by chance alone, calibrated confidences of {b.rows:,} rows show an ECE of "
        f"{floor.mean:.4f} (95 %: up to {floor.high:.4f}); p = {floor.p:.3f}"
    )
    return lines


def _reliability(side: Side) -> list[str]:
    head = f"{'calibrated confidence':<22} {'rows':>6} {'mean':>7} {'right':>7} {'95 %':>15}"
    lines = [head, "-" * len(head)]
    for b in side.bins:
        span = f"{b.low:.4f} to {b.high:.4f}"
        lines.append(
            f"{span:<22} {b.count:>6} {b.confidence:>7.3f} {b.accuracy:>7.3f} "
            f"{_between(b.interval, 3):>15}"
        )
    return lines


def _coverage(side: Side) -> list[str]:
    head = f"{'accepted':>8} {'confidence from':>16} {'wrong of these':>15} {'95 %':>15}"
    lines = [head, "-" * len(head)]
    for i in map(side.curve.at, COVERAGES):
        share, threshold = float(side.curve.coverage[i]), float(side.curve.thresholds[i])
        errors, accepted = int(side.curve.errors[i]), int(side.curve.accepted[i])
        interval = _between(wilson_interval(errors, accepted))
        risk = _percent(errors / accepted, 2)
        lines.append(f"{_percent(share, 1):>8} {shown(threshold, 4):>16} {risk:>15} {interval:>15}")
    return lines


def _thresholds(check: Check) -> list[str]:
    chosen, wanted = check.chosen, check.chosen.error_rate
    sure = f"{_percent(1 - chosen.delta)} certainty"
    lines = [
        f"at most {_percent(wanted)} of the accepted wrong",
        f"  plain: {_threshold(chosen.plain, check.plain, wanted)}",
    ]
    if chosen.guaranteed.value is None:
        needed = rows_needed(wanted, chosen.delta)
        said = (
            f"none with {sure}: it takes {needed:,} accepted readings of the fitted rows without "
            "an error, or more of them with some"
        )
    else:
        said = _threshold(chosen.guaranteed, check.guaranteed, wanted)
        said += f"; {sure}, for rows like the fitted"
    return [*lines, f"  guaranteed: {said}"]


def _threshold(there: Threshold, here: Threshold, wanted: float) -> str:
    if there.value is None:
        return "none: the surest readings are wrong more often"
    share = _percent(there.coverage, 1)
    said = f"confidence >= {shown(there.value, 5)} accepts {share} of the fitted rows; "
    if not here.accepted:
        return f"{said}checked, none is accepted"
    low, high = here.interval
    return (
        f"{said}checked {_percent(here.coverage, 1)}, {here.errors} of {here.accepted} wrong: "
        f"{_percent(here.error_rate, 2)} (95 %: {100 * low:.2f} to {_percent(high, 2)}), "
        f"{_VERDICTS[verdict(here, wanted)].format(_percent(wanted))}"
    )


def _percent(share: float, digits: int | None = None) -> str:
    return f"{100 * share:.6g} %" if digits is None else f"{100 * share:.{digits}f} %"


def _between(interval: tuple[float, float], digits: int = 4) -> str:
    return f"{interval[0]:.{digits}f}-{interval[1]:.{digits}f}"
