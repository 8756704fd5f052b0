"""Images that occur twice: exact and near-duplicates, in a set and between sets.

NEAR, the distance in bits up to which two images are reported, was chosen by looking at pairs of
photographed words in the order of their distances. Between ICDAR 2003's train and test words three
are within 64 bits: the same lettering ("Essex", "County", "XML") in other photographs, and no image
twice. Up to 82 follow the same words on other signs, and from 83 on different words mix in ("Road",
"Used"). In the sets of IIIT5K, ICDAR 2003 and ICDAR 2015 nearly all of 106 pairs below 64 are one
object or one lettering, three of them with labels that differ; from 65 on other words of equal
length come up ("Florida", "Monica").

Copies made of such words are within 64 bits: 95 % of those saved again as JPEG of quality 30, 93 %
of those of half the size, all that had up to 2 % cut off every side and 85 % of those with up to
4 %. Images of one layout (captchas, meters) are nearer to each other: there, pairs with different
text are reported, too.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from crnn_jax.auditing.findings import Collector, Example, Finding
from crnn_jax.auditing.near_duplicates import Pairs, nearest_pairs
from crnn_jax.auditing.rows import AuditSet, Row
from crnn_jax.auditing.shapes import BLANK
from crnn_jax.charset import Charset
from crnn_jax.data import chain
from crnn_jax.data.sources import row_groups
from crnn_jax.errors import DataError

NEAR = 64
MOST_PAIRS = 1_000  # pairs that are listed, whatever their distance
_LABELS = 8  # of equal images, that the detail names

_Pair = tuple[Row, Row, int]  # and their distance in bits


@dataclass(frozen=True)
class NearPairs:
    """The nearest pairs of two sets, or of one with itself.

    Attributes:
      sets: their numbers, one or two.
      within: pairs up to the threshold.
      pairs: (row, row, distance in bits), nearest first, at most MOST_PAIRS.
      other_within: pairs up to the threshold whose labels differ; 0 of two sets.
      others: as many of these.
    """

    sets: tuple[int, ...]
    within: int
    pairs: list[_Pair]
    other_within: int = 0
    others: Sequence[_Pair] = ()


def check_duplicates(number: int, audited: AuditSet, charset: Charset | None) -> list[Finding]:
    """Returns the findings about images of set `number` whose pixels are equal."""
    repeated = Collector("duplicate_image", number)
    conflicting = Collector("conflicting_labels", number)
    for group in _equal(audited):
        rows = [Row(number, i) for i in group]
        for row in rows[1:]:
            repeated.add([row, rows[0]])
        labels = {_compared(audited.source.label(i), charset): i for i in reversed(group)}
        if len(labels) > 1:
            texts = [audited.source.label(i) for i in sorted(labels.values())]
            named = list(map(repr, texts[:_LABELS]))
            if len(texts) > _LABELS:
                named.append(f"{len(texts) - _LABELS:,} more")
            conflicting.add(rows, " / ".join(named), labels=texts)
    return conflicting.findings() + repeated.findings()


def _equal(audited: AuditSet) -> Iterator[list[int]]:
    """Yields groups of rows with equal pixels, in the order of their first rows."""
    readable = np.flatnonzero(audited.images.readable)
    digests = audited.images.digests[readable]
    order = np.argsort(digests, kind="stable")
    cuts = np.flatnonzero(np.diff(digests[order])) + 1
    groups = [readable[part].tolist() for part in np.split(order, cuts) if len(part) > 1]
    yield from sorted(groups)


def check_between(
    first: int, a: AuditSet, second: int, b: AuditSet
) -> tuple[list[Finding], Bool[np.ndarray, " N"]]:
    """Returns the findings about rows, groups and images that two sets share.

    Returns also which rows of the second set are in the first as well, as rows or as pixels.
    """
    findings, same = check_rows(first, a, second, b)
    images = Collector("shared_image", first, second)
    first_with: dict[int, int] = {}
    for i in np.flatnonzero(a.images.readable).tolist():
        first_with.setdefault(int(a.images.digests[i]), i)
    for j in np.flatnonzero(b.images.readable & ~same).tolist():
        if (other := first_with.get(int(b.images.digests[j]))) is not None:
            images.add([Row(first, other), Row(second, j)])
            same[j] = True
    return findings + images.findings(), same


def check_rows(
    first: int, a: AuditSet, second: int, b: AuditSet
) -> tuple[list[Finding], Bool[np.ndarray, " N"]]:
    """Returns the findings about rows and groups that two sets share, and the second one's rows.

    Images are not looked at.
    """
    shared = Collector("shared_row", first, second)
    same = np.zeros(len(b.source), bool)
    findings: list[Finding] = []
    roots = chain.root(a.spec), chain.root(b.spec)
    common = min(roots, key=len)
    if all(f"{root}/".startswith(f"{common}/") for root in roots):
        ours, theirs = (f"{root}/"[len(common) + 1 :] for root in roots)  # '' or the path of a part
        # Keys of `**` begin with "./".
        keys = [theirs + b.source.key(j).removeprefix("./") for j in range(len(b.source))]
        wanted, row_of = set(keys), dict[str, int]()
        for i in range(len(a.source)):  # which may be millions
            key = ours + a.source.key(i).removeprefix("./")
            if key in wanted:
                row_of.setdefault(key, i)
        for j, key in enumerate(keys):
            if key in row_of:
                same[j] = True
                shared.add([Row(first, row_of[key]), Row(second, j)])
    if roots[0] == roots[1]:
        findings = _check_groups(first, a, second, b, same)
    return shared.findings() + findings, same


def _check_groups(
    first: int, a: AuditSet, second: int, b: AuditSet, same: Bool[np.ndarray, " N"]
) -> list[Finding]:
    """Returns the finding about groups on both sides; none where no SPEC names groups, or a side
    has none.
    """
    spec = a.spec if a.spec.group is not None else b.spec
    if spec.group is None:
        return []
    sides: list[dict[str, list[int]]] = []
    for audited in (a, b):
        rows_of: dict[str, list[int]] = defaultdict(list)
        keys = [audited.source.key(i) for i in range(len(audited.source))]
        try:
            groups = row_groups(keys, spec)
        except DataError:  # the part that is held out may have no group
            return []
        for i, group in enumerate(groups):
            rows_of[group].append(i)
        sides.append(rows_of)
    found = Collector("straddling_group", first, second)
    for group, rows in sides[0].items():
        others = [j for j in sides[1].get(group, []) if not same[j]]
        if others:
            example = [Row(first, rows[0]), Row(second, others[0])]
            counts = f"{len(rows)} rows on the one side, {len(others)} on the other"
            found.add(example, f"group {group!r}: {counts}", group=group)
    return found.findings()


def find_near(
    first: int,
    a: AuditSet,
    second: int | None = None,
    b: AuditSet | None = None,
    known: Bool[np.ndarray, " N"] | None = None,
    threshold: int = NEAR,
    charset: Charset | None = None,
) -> NearPairs:
    """Searches the nearest pairs in a set, or between two.

    Blank images are left out, and so are copies with equal pixels but for the first: other
    findings name them.

    Args:
      first, a: number of the set, and the set.
      second, b: of another set.
      known: rows of the second set to leave out, see `check_between`.
      threshold: in bits.
      charset: as which labels are compared.
    """
    rows = _hashed(a)
    more: dict[str, Any] = {}
    if second is None or b is None:
        sets, others = (first, first), rows
        comparisons, what = len(rows) * len(rows) // 2, f"near-duplicates in {a.name}"
        numbers: dict[str, int] = {}
        labels = (_compared(a.source.label(int(row)), charset).casefold() for row in rows)
        groups = [numbers.setdefault(label, len(numbers)) for label in labels]
        more = {"groups": np.array(groups, np.int32)}
    else:
        sets, others = (first, second), _hashed(b, known)
        more = {"right": b.images.hashes[others], "right_aspects": b.images.aspects[others]}
        comparisons, what = len(rows) * len(others), f"near-duplicates: {a.name}, {b.name}"
    bar = tqdm(total=comparisons, desc=what, unit="pair", unit_scale=True, delay=1, disable=None)
    with bar:
        found = nearest_pairs(
            a.images.hashes[rows],
            a.images.aspects[rows],
            **more,
            within=threshold,
            most=MOST_PAIRS,
            progress=bar.update,
        )

    def listed(pairs: Pairs) -> list[_Pair]:
        return [
            (Row(sets[0], int(rows[i])), Row(sets[1], int(others[j])), int(distance))
            for i, j, distance in zip(pairs.left, pairs.right, pairs.distances, strict=True)
        ]

    if found.apart is None:
        return NearPairs(sets, found.within, listed(found))
    return NearPairs((first,), found.within, listed(found), found.apart.within, listed(found.apart))


def _hashed(audited: AuditSet, left_out: np.ndarray | None = None) -> np.ndarray:
    """Returns the rows whose hash means something, one of each that are equal."""
    images = audited.images
    usable = images.readable & (images.contrasts >= BLANK)
    if left_out is not None:
        usable &= ~left_out
    rows = np.flatnonzero(usable)
    return rows[np.sort(np.unique(images.digests[rows], return_index=True)[1])]


def near_findings(near: NearPairs, threshold: int) -> list[Finding]:
    """Returns the findings about pairs within the threshold; counts all, names the nearest."""

    def finding(kind: str, count: int, pairs: Sequence[_Pair]) -> Finding:
        close = [pair for pair in pairs if pair[2] <= threshold]
        examples = [Example((a, b), f"distance {d} of 255", {"distance": d}) for a, b, d in close]
        return Finding(kind, near.sets, count, examples)

    kind = "near_duplicate" if len(near.sets) == 1 else "near_duplicate_between_sets"
    findings = [finding(kind, near.within, near.pairs)] if near.within else []
    if near.other_within:
        findings.append(finding("near_duplicate_with_other_label", near.other_within, near.others))
    return findings


def _compared(label: str, charset: Charset | None) -> str:
    """Returns a label as the model would see it."""
    if charset is not None:
        return charset.normalise(label)
    return unicodedata.normalize("NFC", label)
