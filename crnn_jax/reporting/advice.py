"""What is odd about a run, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crnn_jax.auditing.findings import Finding
from crnn_jax.metrics import wilson_interval
from crnn_jax.reporting.gather import Run
from crnn_jax.reporting.section import percent
from crnn_jax.reporting.sets import Readings

_RISE = 0.01  # of the word accuracy in the last evaluation, from which on it is still rising
_FALL = 0.01  # of the word accuracy, from the best evaluation to the last
_LATE = 0.6  # of the evaluations: what happens after it is "at the end"
_OVERFIT = 1.2  # validation loss at the end over its least
_WAITING = 0.25  # share of the time
_EMPTY = 0.5  # share of readings that are empty at the end
_OTHERWISE = 0.005  # of the word accuracy, in training and now
_WIDE = 0.03  # half of an interval of a word accuracy


class Advice(NamedTuple):
    """A badge (`error`, `warning`, `note` or `good`), what is seen, and what to do."""

    severity: str
    seen: str
    action: str


def advise(run: Run, readings: Readings, suspects: Sequence[Finding]) -> list[Advice]:
    """Returns what a reader should know first, the most severe first.

    Args:
      run: the run.
      readings: of its best checkpoint.
      suspects: labels that are likely wrong.
    """
    found = [
        *_unfinished(run),
        *_numbers(run),
        *_evaluations(run),
        *_speed(run),
        *_same(run, readings),
        *_sets(readings, suspects),
    ]
    if not any(entry.severity in ("error", "warning") for entry in found):
        found.append(Advice("good", "Nothing odd about this run.", ""))
    order = ("error", "warning", "good", "note")
    return sorted(found, key=lambda entry: order.index(entry.severity))


def _unfinished(run: Run) -> list[Advice]:
    if run.summary:
        return []
    of = f" of {run.total:,}" if run.total else ""
    return [
        Advice(
            "warning",
            f"The run has not ended: it is known up to step {run.step:,}{of}.",
            "It may be training just now; the command below goes on where it stopped.",
        )
    ]


def _numbers(run: Run) -> list[Advice]:
    """Returns what gradients, labels and images have given cause for."""
    found = []
    if run.course and run.course.rollbacks:
        found.append(
            Advice(
                "error",
                f"The run went back to an earlier checkpoint {run.course.rollbacks} time(s), as "
                "gradients were not finite.",
                "Lower config.optimizer.learning_rate or config.clip_norm, or warm up longer.",
            )
        )
    skipped = max([line.get("skipped_updates") or 0 for line in run.lines], default=0)
    if skipped:
        share = skipped / max(run.step, 1)
        found.append(
            Advice(
                "warning" if share > 0.001 else "note",
                f"{skipped:,.0f} updates ({percent(share, 2)}) were left out: their gradients "
                "were not finite.",
                "A few are harmless; with many, lower the learning rate.",
            )
        )
    for key, what, action in (
        ("infeasible", "rows had labels that do not fit their frames",
         "Widen the images (config.data.width, config.data.max_width) or mend the labels."),
        ("unreadable", "rows had no readable image",
         "python -m crnn_jax.audit names them; replace the files."),
    ):  # fmt: skip
        rows = sum(line.get(key) or 0 for line in run.lines)
        if rows:
            share = rows / max(run.images[0], 1)
            severity = "warning" if share > 0.001 else "note"
            seen = f"{rows:,.0f} training {what}; they were masked."
            found.append(Advice(severity, seen, action))
    empty = (run.lines[-1].get("empty_readings") or 0) if run.lines else 0
    if empty > _EMPTY:
        found.append(
            Advice(
                "error" if run.summary else "warning",
                f"{percent(empty, 0)} of the readings in training are empty: the network says "
                "nothing yet, which is usual early in CTC training.",
                "Train longer; if that does not help, lower the learning rate, warm up longer and "
                "check that labels match their images.",
            )
        )
    return found


def _evaluations(run: Run) -> list[Advice]:
    """Returns what the course of the validation sets tells; the first set picks the best."""
    if not run.eval_names:
        return [
            Advice(
                "note",
                "Nothing was evaluated during training.",
                "Give config.data.eval: the best checkpoint is chosen by its first set.",
            )
        ]
    name = run.eval_names[0]
    lines = [line["eval"][name] for line in run.evals if name in line["eval"]]
    scores = [line["word_accuracy"] for line in lines if line["word_accuracy"] is not None]
    found = []
    if scores and max(scores) == 0:
        found.append(
            Advice(
                "error" if run.summary else "warning",
                f"No word of {name} is read right.",
                "Train longer; a run of a few steps only shows that everything works.",
            )
        )
    elif len(scores) > 2:
        if max(scores) - scores[-1] > _FALL:
            found.append(
                Advice(
                    "warning",
                    f"The last evaluation on {name} ({percent(scores[-1], 1)}) is below the best "
                    f"({percent(max(scores), 1)}).",
                    "The best checkpoint is used. Train shorter, with more data or "
                    "config.data.augment, or end by config.stop_patience.",
                )
            )
        elif run.summary and scores[-1] - scores[-2] > _RISE:
            found.append(
                Advice(
                    "warning",
                    f"{name} was still rising by {percent(scores[-1] - scores[-2], 1)} in the last "
                    "evaluation: the run has not converged.",
                    "Train longer (config.total_steps, _epochs or _examples).",
                )
            )
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    late = losses[int(len(losses) * _LATE) :]
    if len(losses) > 3 and late[-1] > _OVERFIT * min(losses):
        found.append(
            Advice(
                "warning",
                f"The loss on {name} has risen from {min(losses):.3g} to {late[-1]:.3g}: the "
                "network learns its training set by heart.",
                "More data, config.data.augment, config.model.dropout or "
                "config.optimizer.weight_decay.",
            )
        )
    return found


def _speed(run: Run) -> list[Advice]:
    shares = [line["waiting"] for line in run.lines if line.get("waiting") is not None]
    mean = sum(shares) / len(shares) if shares else 0.0
    if mean < _WAITING:
        return []
    return [
        Advice(
            "warning",
            f"{percent(mean, 0)} of the training time went into waiting for data.",
            "Give config.data.workers, pack the set (python -m crnn_jax.data.prepare) or put it on "
            "the device (bank:).",
        )
    ]


def _same(run: Run, readings: Readings) -> list[Advice]:
    """Returns sets that are read otherwise now than in training, by the same checkpoint."""
    found = []
    for one in readings.sets:
        logged = [
            line["eval"][one.name]["word_accuracy"]
            for line in run.evals
            if line["step"] == run.best and one.name in line["eval"]
        ]
        whole = one.own and one.rows == len(one.source) and one.count
        if whole and logged and logged[-1] is not None:
            now = one.correct / one.count
            if abs(now - logged[-1]) > _OTHERWISE:
                found.append(
                    Advice(
                        "warning",
                        f"{one.name} is read with {percent(now, 2)} now, and was with "
                        f"{percent(logged[-1], 2)} in training, by the same checkpoint.",
                        "The set, the code or the device has changed since.",
                    )
                )
    return found


def _sets(readings: Readings, suspects: Sequence[Finding]) -> list[Advice]:
    found = [
        Advice("warning", f"{gone.spec} cannot be opened: {gone.why}", "Restore it to see more.")
        for gone in (*readings.missing, *readings.missing_training)
    ]
    for finding in suspects:
        name = readings.sets[finding.sets[0]].name
        found.append(
            Advice(
                "note",
                f"{finding.count:,} label(s) of {name} may be wrong.",
                "See likely label errors below.",
            )
        )
    for one in readings.sets:
        if one.own and one.squeezed:
            found.append(
                Advice(
                    "note",
                    f"{one.squeezed:,} image(s) of {one.name} are wider than "
                    f"{one.reader.preprocess.max_width} pixels at the height of the network, and "
                    "were squeezed, as in training.",
                    "python -m crnn_jax.evaluate reads them in windows.",
                )
            )
        low, high = wilson_interval(one.correct, one.count)
        if one.count and (high - low) / 2 > _WIDE:
            found.append(
                Advice(
                    "note",
                    f"{one.name} has {one.count:,} images: its word accuracy is known to about "
                    f"±{percent((high - low) / 2, 1)}.",
                    "Smaller differences between runs mean nothing on it alone.",
                )
            )
    return found
