"""Sections about what a run was started with, where it ran, and where its time went."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from crnn_jax import config as config_lib
from crnn_jax import pages
from crnn_jax.reporting.gather import Run
from crnn_jax.reporting.section import Section, duration


def config(run: Run) -> Section:
    """Returns all knobs, those first that differ from the defaults."""
    flat = config_lib.flatten(run.config)
    usual = config_lib.flatten(config_lib.default_config())
    meanings = config_lib.comments()
    changed = [key for key in meanings if flat[key] != usual[key]]

    def row(key: str, mark: str = "") -> tuple[str, str, str]:
        value = f"<code>{escape(repr(flat[key]))}</code>"
        if key in changed:
            value += f' <span class="soft">(default {escape(repr(usual[key]))})</span>'
        return f"<code>{escape(key)}</code>{mark}", value, escape(meanings[key])

    def marked(keys: Sequence[str]) -> list[tuple[str, str, str]]:
        mark = ' <span class="badge note">changed</span>'
        return [row(key, mark if key in changed else "") for key in keys]

    head = ("config", "value", "what it is")
    own = [key for key in meanings if not key.startswith("synth.")]
    drawn = [key for key in meanings if key.startswith("synth.")]
    return Section(
        "config",
        "Config",
        f"{len(changed)} of {len(meanings)} knobs differ from the defaults of this version; the "
        "run's folder holds all of them as config.json.",
        pages.table(head, [row(key) for key in changed])
        + _details(f"All {len(own)} knobs", pages.table(head, marked(own)))
        + _details(f"All {len(drawn)} knobs of rendered text", pages.table(head, marked(drawn))),
    )


def _details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def environment(run: Run) -> Section:
    """Returns where the run ran, and what its time went into."""
    found = run.provenance
    rows = [
        ("folder", str(run.path)),
        ("commit", found.get("commit") or "not known (no git checkout)"),
        ("Python", found.get("python", "not known")),
        ("packages", ", ".join(f"{k} {v}" for k, v in found.get("versions", {}).items())),
        ("device", ", ".join(f"{k} {v}" for k, v in found.get("device", {}).items())),
        *((f"fingerprint of {k}", v) for k, v in found.get("data", {}).items()),
    ]
    for number, step in enumerate(found.get("lineage", []), start=1):
        rows.append((f"began with, {number}", ", ".join(f"{k} {v}" for k, v in step.items())))
    times = [
        (escape(name), escape(duration(seconds)), escape(note))
        for name, seconds, note in _times(run)
    ]
    return Section(
        "environment",
        "Environment and time",
        "What the numbers depend on, from run.json, and where the time went, as far as "
        "metrics.jsonl tells.",
        pages.table(("", ""), [tuple(map(escape, row)) for row in rows])
        + "<h3>Time</h3>"
        + pages.table(("", "time", ""), times, numbers=(1,)),
    )


def _times(run: Run) -> list[tuple[str, float, str]]:
    """Returns what the time went into: (what, seconds, note)."""
    steps, before = 0.0, 0
    for line in run.lines:
        if rate := line.get("images_per_second"):
            steps += (line["step"] - before) * run.config.batch_size / rate
        before = line["step"]
    found = [one for line in run.evals for one in line["eval"].values()]
    timed = [one for one in found if one.get("images_per_second")]
    evaluating = sum(
        ((one["count"] + (one.get("skipped") or 0)) / one["images_per_second"] for one in timed),
        0.0,
    )
    first = f" (the first line came after {duration(run.lines[0]['seconds'])})" if run.lines else ""
    return [
        ("training steps", steps, "by the logged rates"),
        ("evaluations", evaluating, f"{len(run.evals):,} of them"),
        (
            "the rest",
            max(run.seconds - steps - evaluating, 0.0),
            f"start, compiling{first}, checkpoints, pictures",
        ),
        ("all", run.seconds, ""),
    ]
