"""Sections about the run itself: its result and its course."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Sequence
from html import escape
from typing import Any

import jax

from crnn_jax import pages
from crnn_jax.auditing.findings import Finding
from crnn_jax.metrics import wilson_interval
from crnn_jax.reporting import charts
from crnn_jax.reporting.advice import advise
from crnn_jax.reporting.charts import Line
from crnn_jax.reporting.gather import Run
from crnn_jax.reporting.section import Section, duration, percent
from crnn_jax.reporting.sets import Readings

_ROOT = pathlib.Path(__file__).parents[2]  # where the package lies


def headline(run: Run, readings: Readings, suspects: Sequence[Finding]) -> Section:
    """Returns the result in numbers, and what is odd.

    Args:
      run: the run.
      readings: of its best checkpoint.
      suspects: labels that are likely wrong.
    """
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.recognizer.variables["params"]))
    model = run.config.model
    images, exact = run.images
    rate = images / run.seconds if run.seconds else 0.0
    tiles = [
        ("parameters", f"{parameters:,}", f"{model.name}, {_network(model)}"),
        (
            "steps",
            f"{run.step:,}" + (f" of {run.total:,}" if not run.summary and run.total else ""),
            f"best checkpoint: step {run.best:,}",
        ),
        (
            "images trained on",
            f"{'' if exact else 'about '}{images:,}",
            f"in batches of {run.config.batch_size}",
        ),
        ("time", duration(run.seconds), f"{rate:,.0f} images/s, evaluations included"),
        ("device", escape(_device(run)), f"{len(run.recognizer.charset.classes)} characters"),
    ]
    boxes = "".join(
        f'<div class="tile"><div class="soft">{name}</div><div class="big">{value}</div>'
        f'<div class="soft">{escape(note)}</div></div>'
        for name, value, note in tiles
    )
    advice = "".join(
        f'<li><span class="badge {entry.severity}">{_badge(entry.severity)}</span>'
        f'{escape(entry.seen)} <span class="soft">{escape(entry.action)}</span></li>'
        for entry in advise(run, readings, suspects)
    )
    return Section(
        "result",
        "Result",
        "Word accuracy is the share of images read without any mistake "
        f"(protocol {run.protocol}); the range behind it is the 95 % Wilson interval, within "
        "which chance alone moves it.",
        f'{_scores(run, readings)}<div class="tiles">{boxes}</div>'
        f'<ul class="advice">{advice}</ul>{_replicas(run)}'
        f'<h3>The command</h3><pre class="command">{escape(command(run))}</pre>',
    )


def _badge(severity: str) -> str:
    return {"error": "trouble", "warning": "look", "note": "note", "good": "good"}[severity]


def _network(model: Any) -> str:
    recurrence = f"{model.layers} x {model.recurrence}" if model.layers else "no recurrence"
    return f"{model.encoder} encoder, {recurrence} of {model.hidden}"


def _device(run: Run) -> str:
    device = run.provenance.get("device", {})
    count = device.get("count", 1)
    return f"{f'{count} x ' if count > 1 else ''}{device.get('kind', 'not known')}"


def _scores(run: Run, readings: Readings) -> str:
    rows = []
    for one in readings.sets:
        limited = one.rows > len(one.source)
        note = f"the first {len(one.source):,} of {one.rows:,} rows" if limited else ""
        rows.append(_score(one.name, one.correct, one.count, one.result.metrics, note))
    here = {one.name for one in readings.sets}
    of_best = [line["eval"] for line in run.evals if line["step"] == run.best]
    for name in run.eval_names:
        if name not in here and of_best and name in of_best[-1]:
            found = of_best[-1][name]
            correct = round((found["word_accuracy"] or 0) * found["count"])
            note = f"evaluated at step {run.best:,}"
            rows.append(_score(name, correct, found["count"], found, note))
    if not rows:
        return '<p class="soft">No set was read: see --data.</p>'
    head = ("set", "", "word accuracy", "95 % interval", "CER", "1-NED", "images", "")
    return pages.table(head, rows, numbers=(2, 4, 5, 6))


def _score(
    name: str, correct: int, count: int, found: dict[str, Any], note: str
) -> tuple[str, ...]:
    if not count:
        return (escape(name), "", "-", "", "-", "-", "0", note)
    low, high = wilson_interval(correct, count)
    accuracy = correct / count
    return (
        f"<b>{escape(name)}</b>",
        charts.interval_bar(accuracy, low, high),
        f"<b>{percent(accuracy, 2)}</b>",
        f"{percent(low)}\u00a0to\u00a0{percent(high)}",
        f"{found['cer']:.4f}",
        f"{found['one_minus_ned']:.4f}",
        f"{count:,}",
        f'<span class="soft whole">{note}</span>',
    )


def _replicas(run: Run) -> str:
    """Returns the table of all replicas: this report is of the first one."""
    if not run.replicas:
        return ""
    names = list((run.together or next(filter(None, run.replicas), {"eval": {}}))["eval"])
    rows = []
    for number, summary in enumerate(run.replicas):
        cells = [f"replica {number}" + (" (this report)" if number == run.replica else "")]
        for name in names:
            value = summary["eval"][name]["word_accuracy"] if summary else None
            cells.append("not ended" if value is None else percent(value, 2))
        rows.append(cells)
    if run.together:
        spreads = [run.together["eval"][name]["word_accuracy"] for name in names]
        rows.append(
            [
                "<b>mean ± standard deviation</b>",
                *(
                    "-"
                    if s["mean"] is None
                    else f"<b>{percent(s['mean'], 2)} ± {percent(s['std'], 2)}</b>"
                    for s in spreads
                ),
            ]
        )
    head = ["last evaluation, word accuracy", *map(escape, names)]
    table = pages.table(head, rows, numbers=range(1, len(head)))
    return f"<h3>All replicas</h3>{table}"


def command(run: Run) -> str:
    """Returns the command that made the run, as it can be typed."""
    words = run.provenance.get("command") or []
    if not words:
        return "not known"
    program = pathlib.PurePath(words[0])
    places = [i for i, part in enumerate(program.parts) if part == "crnn_jax"]
    inside = program.parts[places[-1] :] if places else ()
    # A script may lie in a folder of that name that is no package.
    if not _ROOT.joinpath(*inside).is_file():
        return shlex.join(words)
    module = ".".join(pathlib.PurePath(*inside).with_suffix("").parts)
    # Cores are a sweep's to give out.
    others = [word for word in words[1:] if not word.startswith(("--cores=", "--parent="))]
    return shlex.join(["python", "-m", module, *others])


def curves(run: Run) -> Section:
    """Returns the course of the run."""

    def series(key: str) -> list[tuple[float, float | None]]:
        return [(float(line["step"]), line.get(key)) for line in run.lines]

    names = run.eval_names
    losses = [Line("training", series("loss"), colour=0)]
    accuracies, errors = [], []
    for name in names:
        colour = charts.colour_of(name, names)
        lines = [
            (float(line["step"]), line["eval"][name]) for line in run.evals if name in line["eval"]
        ]
        losses.append(
            Line(name, [(step, found.get("loss")) for step, found in lines], True, colour=colour)
        )
        band = [
            wilson_interval(round((f["word_accuracy"] or 0) * f["count"]), f["count"])
            for _, f in lines
        ]
        scores = [(step, found["word_accuracy"]) for step, found in lines]
        accuracies.append(Line(name, scores, True, band if len(names) < 3 else None, colour=colour))
        errors.append(
            Line(name, [(step, found["cer"]) for step, found in lines], True, colour=colour)
        )
    best = float(run.best)
    figures = [
        charts.curves("loss, nats", losses, best),
        charts.curves("word accuracy", accuracies, best, percent=True, low=0.0, high=1.0),
        charts.curves("character error rate", errors, best, percent=True, low=0.0),
        charts.curves("learning rate", [Line("rate", series("learning_rate"))], linear=True),
        charts.curves("norm of the gradient", [Line("norm", series("grad_norm"))], low=0.0),
        charts.curves("images per second", [Line("rate", series("images_per_second"))], low=0.0),
        charts.curves(
            "time waiting for data", [Line("share", series("waiting"))], percent=True, low=0.0,
            high=0.05,
        ),
    ]  # fmt: skip
    for key, title in (
        ("skipped_updates", "updates left out so far"),
        ("infeasible", "rows whose labels do not fit, per line"),
        ("unreadable", "rows without a readable image, per line"),
    ):
        if any(line.get(key) for line in run.lines):
            figures.append(charts.curves(title, [Line(title, series(key))], low=0.0))
    if any((line.get("empty_readings") or 0) > 0.01 for line in run.lines):
        line = Line("share", series("empty_readings"))
        figures.append(charts.curves("empty readings in training", [line], percent=True, low=0.0))
    body = f'<div class="curves">{"".join(figures)}</div>'
    if not any(figures):
        body = "<p>The run has written no line yet.</p>"
    return Section(
        "curves",
        "Curves",
        "Step by step from left to right; the dashed line is the checkpoint that this report "
        "reads with. Strong lines are running medians, faint ones what was logged; bands are 95 % "
        "intervals. Validation falling behind while the training loss sinks means learning by "
        "heart.",
        body,
    )
