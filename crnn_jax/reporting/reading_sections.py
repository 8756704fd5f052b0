"""Sections with pictures of what was read: samples, frames, the worst, likely label errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from crnn_jax import metrics
from crnn_jax.auditing.findings import Finding
from crnn_jax.errors import DataError
from crnn_jax.pages import Pictures
from crnn_jax.reporting import alignment, slips
from crnn_jax.reporting.gather import Run
from crnn_jax.reporting.section import Section
from crnn_jax.reporting.sets import Pair, Readings
from crnn_jax.reporting.texts import comparison
from crnn_jax.scoring.worst import worst_rows

_SAMPLES = 24  # over all sets
_RIGHT, _WRONG = 4, 9  # pictures of frames
_WORST = 100
_SUSPICIOUS = 24  # of each set
_SEED = 1


class _Chosen(NamedTuple):
    """A reading whose frames are shown, and why it was chosen."""

    why: str
    pair: Pair


def samples(readings: Readings, pictures: Pictures) -> Section:
    """Returns readings of rows drawn at random."""
    rng = np.random.default_rng(_SEED)
    share = -(-_SAMPLES // max(len(readings.sets), 1))
    by_set = defaultdict(list)
    for pair in readings.pairs:
        by_set[pair.set].append(pair)
    parts = []
    for number, pairs in by_set.items():
        chosen = sorted(rng.choice(len(pairs), min(share, len(pairs)), replace=False).tolist())
        cards = "".join(card(readings, pairs[i], pictures) for i in chosen)
        name = readings.sets[number].name
        parts.append(f'<h3>{escape(name)}</h3><div class="grid">{cards}</div>')
    return Section(
        "samples",
        "Sample readings",
        "Rows drawn at random, right and wrong ones as they come. Marked characters differ; the "
        "number is the confidence, p(text | image). Texts are shown as the protocol compares them.",
        "".join(parts) or "<p>No set was read.</p>",
    )


def card(readings: Readings, pair: Pair, pictures: Pictures, note: str = "") -> str:
    """Returns a reading with its picture."""
    source, row = readings.source(pair)
    place = f"{readings.sets[pair.set].name}: {source.where(row)}"
    key = f"{pair.label} {pair.reading} {place}".lower()
    distance = metrics.edit_distance(pair.label, pair.reading)
    return (
        f'<div class="card" data-text="{escape(key)}" data-sure="{pair.confidence:.4f}" '
        f'data-edits="{distance}">{pictures.of([(source, row)])}'
        f"{comparison(pair.label, pair.reading, pair.confidence)}"
        + (f"<div>{escape(note)}</div>" if note else "")
        + f'<div class="soft place">{escape(place)}</div></div>'
    )


def frames(run: Run, readings: Readings, doubtful: set[tuple[int, int]]) -> Section:
    """Returns what the network says frame by frame, for right and for wrong readings.

    Args:
      run: its network.
      readings: to choose from.
      doubtful: (set, row) of labels that are likely wrong, which teach nothing here.
    """
    chosen = _chosen([pair for pair in readings.pairs if (pair.set, pair.row) not in doubtful])
    shown, images = [], []
    for entry in chosen:
        source, row = readings.source(entry.pair)
        try:
            reader = readings.sets[entry.pair.set].reader
            images.append(reader.preprocess(source.image_bytes(row)))
        except DataError:
            continue
        shown.append(entry)
    charset = run.recognizer.charset
    labels = [_spelled_label(run, readings, entry.pair) for entry in shown]
    texts = [readings.sets[e.pair.set].result.rows[e.pair.row].reading for e in shown]
    read = [alignment.spelled(charset, text) for text in texts]
    readers = [readings.sets[entry.pair.set].reader for entry in shown]
    looks: dict[int, alignment.Look] = {}
    for reader in {id(reader): reader for reader in readers}.values():
        some = [i for i, own in enumerate(readers) if own is reader]
        texts_of = ([ids[i] for i in some] for ids in (labels, read))
        found = alignment.look(reader, [images[i] for i in some], *texts_of)
        looks.update(zip(some, found, strict=True))
    parts: dict[bool, list[str]] = {True: [], False: []}
    for i, entry in enumerate(shown):
        pair, seen = entry.pair, looks[i]
        name = f"{pair.label} read as {pair.reading or 'nothing'}: {entry.why}"
        parts[pair.label == pair.reading].append(
            f'<figure class="aligned"><figcaption><b>{escape(entry.why)}</b>'
            f"{comparison(pair.label, pair.reading, pair.confidence)}</figcaption>"
            f"{alignment.heat_map(seen, charset, name)}</figure>"
        )
    body = "".join(
        f'<h3>{title}</h3><div class="aligneds">{"".join(parts[right])}</div>'
        for title, right in (("Read wrong", False), ("Read right", True))
        if parts[right]
    )
    return Section(
        "frames",
        "Frame by frame",
        "Time runs with the columns of the image, which is drawn as the network gets it. Every "
        "lane is a class, its colour the stronger the likelier; CTC says a character in "
        "a frame or two and blank between. Boxes joined by a line are the forced alignment: the "
        "likeliest way to spell the label (green), and what was read where that differs (red, "
        "dashed). A doubled letter needs a blank between its halves: look there when one is lost.",
        body or "<p>No set was read.</p>",
    )


def _chosen(pairs: Sequence[Pair]) -> list[_Chosen]:
    """Returns readings worth a look: wrong ones of every kind, right ones of several lengths."""
    wrong = [pair for pair in pairs if pair.label != pair.reading]
    telling = [pair for pair in wrong if pair.reading] or wrong  # of nothing little is to be seen
    found = [_Chosen(why, pair) for why, pair in slips.instructive(telling, _WRONG)]
    right = sorted(
        (pair for pair in pairs if pair.label == pair.reading),
        key=lambda pair: (len(pair.label), -pair.confidence),
    )
    doubled = [p for p in right if any(map(str.__eq__, p.label, p.label[1:]))]
    wanted = [
        ("the longest that is right", right[-1:]),
        ("right with a doubled character", doubled[-1:]),
        ("right, the least sure", sorted(right, key=lambda pair: pair.confidence)[:1]),
        ("right, an ordinary one", right[len(right) // 2 :][:1]),
    ]
    used = set()
    for why, candidates in wanted[:_RIGHT]:
        for pair in candidates:
            if (pair.set, pair.row) not in used:
                used.add((pair.set, pair.row))
                found.append(_Chosen(why, pair))
    return found


def _spelled_label(run: Run, readings: Readings, pair: Pair) -> list[int]:
    """Returns the class ids of a label as it is, or else as the protocol has it."""
    charset = run.recognizer.charset
    label = readings.sets[pair.set].result.rows[pair.row].label
    return alignment.spelled(charset, label) or alignment.spelled(charset, pair.label)


def worst(run: Run, readings: Readings, pictures: Pictures) -> Section:
    """Returns the readings that are furthest from their labels."""
    results = [one.result for one in readings.sets]
    pairs = {(pair.set, pair.row): pair for pair in readings.pairs}
    rows = worst_rows(results, run.protocol, _WORST)
    cards = "".join(card(readings, pairs[row.set, row.row], pictures) for row in rows)
    tools = (
        '<div class="tools" hidden><label>Search <input id="worst-search" type="search" '
        'placeholder="label, reading, file"></label> <label>Order <select id="worst-order">'
        '<option value="">furthest first</option><option value="sure">surest first</option>'
        '<option value="edits">most edits first</option></select></label> '
        '<span id="worst-count" class="soft" role="status"></span></div>'
    )
    wrong = sum(pair.label != pair.reading for pair in readings.pairs)
    return Section(
        "worst",
        f"Worst {len(rows)}" if rows else "Worst readings",
        f"{wrong:,} of {len(readings.pairs):,} readings are wrong; these are furthest from their "
        "labels by 1 - distance / length, the surest first among equals. A sure reading far from "
        "its label is often a label error.",
        f'{tools}<div class="grid" id="worst-cards">{cards}</div>'
        if rows
        else "<p>No reading is wrong.</p>",
    )


def label_errors(readings: Readings, suspects: Sequence[Finding], pictures: Pictures) -> Section:
    """Returns labels that the model is sure to be otherwise.

    Args:
      readings: of the sets.
      suspects: the findings, see `suspects.find`.
      pictures: of the page.
    """
    pairs = {(pair.set, pair.row): pair for pair in readings.pairs}
    parts = []
    for finding in suspects:
        cards = "".join(
            card(readings, pairs[row.set, row.row], pictures, _apart(example.values["nats"]))
            for example in finding.examples[:_SUSPICIOUS]
            for row in example.rows
        )
        name = readings.sets[finding.sets[0]].name
        parts.append(
            f"<h3>{escape(name)}: {finding.count:,}</h3>"
            f'<div class="grid">{cards}</div>{_more(finding.count - _SUSPICIOUS)}'
        )
    return Section(
        "label-errors",
        "Likely label errors",
        "The model is sure of another text than the label, and finds the label far less likely. "
        "Label errors gather at the top, errors of the model further down: look, and mend the set. "
        "Labels of rendered text are true, and left out.",
        "".join(parts) or "<p>The model is sure of no other text than a label.</p>",
    )


def _apart(nats: float | None) -> str:
    if nats is None:
        return "the model cannot give the label: its characters, or so many of them"
    return f"{nats:.1f} nats likelier than the label"


def _more(count: int) -> str:
    return f'<p class="soft">and {count:,} more</p>' if count > 0 else ""
