"""A report as text and as Markdown, from the same sections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn_jax.scoring.report import Report
    from crnn_jax.scoring.results import Result
    from crnn_jax.scoring.summaries import Summary


def table(results: Sequence[Result]) -> str:
    """Returns the results as an aligned text table, intervals of accuracies by Wilson.

    Wilson's interval holds for any number of images and has a width even where all are right, of
    which the bootstrap has none.
    """
    from crnn_jax.metrics import wilson_interval
    from crnn_jax.scoring.sections import remarks

    head = f"{'set':<20} {'images':>7} {'word accuracy':>24} {'CER':>7} {'1-NED':>7} {'img/s':>8}"
    lines = [head, "-" * len(head)]
    for result in results:
        m = result.metrics
        if not m["count"]:
            lines.append(f"{result.name:<20} {0:>7} no row has a label under this protocol")
            continue
        low, high = wilson_interval(round(m["word_accuracy"] * m["count"]), m["count"])
        accuracy = f"{m['word_accuracy']:.4f} [{low:.4f}, {high:.4f}]"
        rate = m["images_per_second"]
        lines.append(
            f"{result.name:<20} {m['count']:>7} {accuracy:>24} {m['cer']:>7.4f} "
            f"{m['one_minus_ned']:>7.4f} {'-' if rate is None else f'{rate:.0f}':>8}"
        )
        lines += [f"  {remark}" for remark in remarks(result)]
    return "\n".join(lines)


def report_text(report: Report, breakdown: bool = False) -> str:
    """Returns the report for a terminal.

    Args:
      report: what to show.
      breakdown: also accuracies by groups of images, which are long.
    """
    from crnn_jax.scoring import sections

    blocks = []
    for system in report.systems:
        kind = "readings" if system.matching else "model"
        lines = [
            f"{kind} {system.name}, protocol {report.protocol}{report.how}",
            "",
            table(system.results),
        ]
        lines += [_average(s) for s in report.averages if s.system == system.name]
        if system.matching and system.matching.missing:
            lines.append(f"  {len(system.matching.missing)} rows without a reading count as wrong")
        blocks.append("\n".join(lines))
    if report.averages:
        blocks[-1] += "\n\nintervals: 95 %, Wilson for sets, bootstrap over images for means"
    if report.files:
        blocks.append("\n".join(line for matching in report.files for line in matching.lines()))
    tables = [*sections.over_models_sections(report), *sections.comparison_sections(report)]
    tables += sections.breakdown_sections(report) if breakdown else ()
    tables += sections.published_sections(report)
    return "\n\n".join(blocks + [one.text() for one in tables])


def report_markdown(report: Report) -> str:
    """Returns the report as Markdown, breakdowns included."""
    from crnn_jax.scoring import sections

    start = f"# {report.names}\n\nProtocol {report.protocol}{report.how}. Intervals are of 95 %."
    files = [f"- {line.strip()}" for matching in report.files for line in matching.lines()]
    tables = [
        sections.results_section(report),
        *sections.over_models_sections(report),
        *sections.comparison_sections(report),
        *sections.published_sections(report),
        *sections.breakdown_sections(report),
    ]
    blocks = [start, *(["\n".join(files)] if files else []), *(one.markdown() for one in tables)]
    return "\n\n".join(blocks) + "\n"


def _average(summary: Summary) -> str:
    low, high = summary.intervals["word_accuracy"]
    accuracy = f"{summary.word_accuracy:.4f} [{low:.4f}, {high:.4f}]"
    return f"{summary.over:<20} {summary.count:>7} {accuracy:>24} {summary.cer:>7.4f}"
