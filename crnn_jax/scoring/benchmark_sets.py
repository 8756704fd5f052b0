"""Public test sets of scene text recognition: how they are named and how many images they have.

A number on a test set means something only on the whole set, and several sets go around in more
than one cut. Counts are those of Baek et al., ICCV 2019, of the Union14M paper (Jiang et al., ICCV
2023) and of VisionLAN (Wang et al., ICCV 2021) for OST.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

_SIMPLE = "words of three or more characters, all of them letters or digits"


@dataclasses.dataclass(frozen=True)
class BenchmarkSet:
    """A public test set.

    Attributes:
      name: as tables print it.
      pattern: regular expression of the whole name, in small letters, without separators, counts
        and words such as "test".
      variants: the accepted counts of images, each with what that cut holds.
      family: pattern of the benchmark that the set is a part of. Such a part has a name that other
        sets have, too (`general`): it is believed with the family's name before it, or with a
        count that fits.
    """

    name: str
    pattern: str
    variants: dict[int, str]
    family: str = ""


def _union14m(name: str, pattern: str, count: int) -> BenchmarkSet:
    return BenchmarkSet(f"Union14M {name}", pattern, {count: "all"}, r"(?:union14m|u14m)(?:l)?")


BENCHMARK_SETS: tuple[BenchmarkSet, ...] = (
    BenchmarkSet("IIIT5K", r"iiit(?:5k|5000)?(?:words?)?", {3000: "all"}),
    BenchmarkSet("SVT", r"svt|streetviewtext", {647: "all"}),
    BenchmarkSet(
        "IC03", r"ic(?:dar)?(?:20)?03", {860: f"{_SIMPLE}, less seven boxes", 867: _SIMPLE}
    ),
    BenchmarkSet(
        "IC13",
        r"ic(?:dar)?(?:20)?13",
        {857: _SIMPLE, 1015: "words of letters and digits only", 1095: "all"},
    ),
    BenchmarkSet(
        "IC15",
        r"ic(?:dar)?(?:20)?15",
        {1811: "without other characters and extremely rotated or curved words", 2077: "all"},
    ),
    BenchmarkSet("SVTP", r"svtp(?:erspective)?", {645: "all"}),
    BenchmarkSet("CUTE80", r"cute(?:80)?|ct80", {288: "all"}),
    _union14m("curve", r"curved?", 2426),
    _union14m("multi-oriented", r"multioriented", 1369),
    _union14m("artistic", r"artistic", 900),
    _union14m("contextless", r"contextless", 779),
    _union14m("salient", r"salient", 1585),
    _union14m("multi-words", r"multiwords?", 829),
    _union14m("general", r"general", 400_000),
    BenchmarkSet("OST weak", r"weak", {2416: "all"}, r"ost"),
    BenchmarkSet("OST heavy", r"heavy", {2416: "all"}, r"ost"),
    BenchmarkSet("OST", r"ost", {4832: "weak and heavy"}),
)

_OTHER_SPLITS = {"train", "training", "trainval", "val", "valid", "validation", "dev"}
_FILLERS = {"test", "testing", "eval", "evaluation", "benchmark", "benchmarks", "lmdb", "all"}


@dataclasses.dataclass(frozen=True)
class Recognised:
    """A set that goes by the name of a public test set.

    Attributes:
      benchmark: which one.
      rows: images that it has here.
      claimed: the count that its name states, as in `ic13_857`; None without.
    """

    benchmark: BenchmarkSet
    rows: int
    claimed: int | None = None

    @property
    def expected(self) -> tuple[int, ...]:
        """The counts that the set may have."""
        return tuple(self.benchmark.variants) if self.claimed is None else (self.claimed,)

    @property
    def complete(self) -> bool:
        """Whether the count is one that the set may have."""
        return self.rows in self.expected

    @property
    def variant(self) -> str:
        """The cut: "IC13 857"; without a count where the set is not complete."""
        name = self.benchmark.name
        return f"{name} {self.rows}" if self.complete else name

    def remark(self) -> str:
        """Returns what a table should say: nothing for a complete set of one cut only."""
        if not self.complete:
            counts = " or ".join(map(str, self.expected))
            return f"{self.rows} rows, but {self.benchmark.name} has {counts}: not the public set"
        if len(self.benchmark.variants) > 1:
            return f"{self.variant}: {self.benchmark.variants[self.rows]}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        return {
            "name": self.benchmark.name,
            "rows": self.rows,
            "expected_count": list(self.expected),
            "complete": self.complete,
            "variant": self.benchmark.variants[self.rows] if self.complete else None,
        }


def recognise(name: str, rows: int) -> Recognised | None:
    """Returns the public test set that a set is by its name, None when it is none.

    Case, separators and words such as `_test` do not matter; a training or validation split is
    never taken for the test set.

    Args:
      name: of the set.
      rows: images that it has.
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    if _OTHER_SPLITS & set(words):
        return None
    words = [word for word in words if word not in _FILLERS]
    for benchmark in BENCHMARK_SETS:
        for count in (None, *benchmark.variants):
            rest = [word for word in words if word != str(count)]
            if count is not None and len(rest) == len(words):
                continue  # the name does not state this count
            if _fits(benchmark, "".join(rest), rows):
                return Recognised(benchmark, rows, count)
    return None


def _fits(benchmark: BenchmarkSet, name: str, rows: int) -> bool:
    if re.fullmatch(benchmark.family + f"(?:{benchmark.pattern})", name):
        return True
    alone = benchmark.family and re.fullmatch(benchmark.pattern, name)
    return bool(alone) and rows in benchmark.variants
