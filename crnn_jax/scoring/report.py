"""Everything that is known of systems on sets: results, intervals, breakdowns and tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn_jax.metrics import wilson_interval
from crnn_jax.scoring import published, significance
from crnn_jax.scoring.benchmark_sets import Recognised, recognise
from crnn_jax.scoring.breakdown import Group, breakdown
from crnn_jax.scoring.matching import Matching
from crnn_jax.scoring.significance import Interval, PairedTest, RowScores
from crnn_jax.scoring.summaries import Summary, summarise

if TYPE_CHECKING:
    from crnn_jax.scoring.results import Result


@dataclasses.dataclass(frozen=True)
class System:
    """What read the sets: a model, or another recogniser by its file of readings.

    Attributes:
      name: for tables.
      results: of every set.
      matching: of the file's readings with the sets' rows; None for a model.
    """

    name: str
    results: tuple[Result, ...]
    matching: Matching | None = None

    def present(self, s: int) -> np.ndarray:
        """Returns which rows of a set were read, (N,) bool."""
        if self.matching is None:
            return np.ones(len(self.results[s].rows), bool)
        return np.array([reading is not None for reading in self.matching.sets[s]])


@dataclasses.dataclass(frozen=True)
class SetReport:
    """One system on one set.

    Attributes:
      system: its name.
      result: what it read.
      benchmark: the public test set that this is.
      intervals: of the bootstrap over images, by metric.
      groups: word accuracies by kind of group.
    """

    system: str
    result: Result
    benchmark: Recognised | None
    intervals: dict[str, Interval]
    groups: dict[str, list[Group]]

    def wilson(self) -> Interval:
        """Returns the interval of the word accuracy as tables show it.

        Unlike the bootstrap's it has a width where all images are right.
        """
        groups = self.groups["label_length"]
        count = sum(group.count for group in groups)
        if not count:
            return Interval(np.nan, np.nan)
        return Interval(*wilson_interval(sum(group.correct for group in groups), count))

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        groups = {kind: [g.to_json() for g in groups] for kind, groups in self.groups.items()}
        return self.result.to_json() | {
            "model": self.system,
            "benchmark": self.benchmark and self.benchmark.to_json(),
            "intervals": self.intervals | {"word_accuracy_wilson": self.wilson()},
            "breakdown": groups,
        }


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A paired test of two systems on a set, and how many rows one of them has no reading of."""

    over: str
    a: str
    b: str
    left_out: int
    test: PairedTest

    def to_json(self) -> dict[str, Any]:
        """Returns the entry of the results file."""
        own = {"set": self.over, "a": self.a, "b": self.b, "left_out": self.left_out}
        return own | self.test.to_json()


@dataclasses.dataclass(frozen=True)
class Report:
    """All of it, in the order of tables.

    Attributes:
      systems: what was evaluated, in order.
      protocol: how texts were compared.
      decoder: of the models; None for files.
      resamples: of every interval.
      sets: every system on every set.
      averages: over sets and over images, per system, where there are several sets.
      over_models: means over several models, per set and over them.
      tests: paired.
      files: of readings, with what found no partner.
      published: whether published rows are asked for.
      lexicon: whose words the readings were chosen from; None where they were not.
    """

    systems: tuple[System, ...]
    protocol: str
    decoder: str | None
    resamples: int
    sets: list[SetReport]
    averages: list[Summary]
    over_models: list[Summary]
    tests: list[Comparison]
    files: list[Matching]
    published: bool
    lexicon: str | None = None

    @property
    def how(self) -> str:
        """What the models were read with, for headings; '' for files."""
        if self.decoder is None:
            return ""
        return f", decoder {self.decoder}" + (f" ({self.lexicon} words)" if self.lexicon else "")

    @property
    def names(self) -> str:
        """The systems' names."""
        return ", ".join(system.name for system in self.systems)

    def of(self, system: str) -> list[SetReport]:
        """Returns a system's sets."""
        return [one for one in self.sets if one.system == system]

    def recognised(self) -> list[Recognised]:
        """Returns the public test sets among the sets."""
        return [s.benchmark for s in self.of(self.systems[0].name) if s.benchmark]

    def to_json(self) -> dict[str, Any]:
        """Returns the results file."""
        rows = published.rows_for(self.recognised()) if self.published else []
        return {
            "model": self.names,
            "protocol": self.protocol,
            "decoder": self.decoder,
            "sets": [one.to_json() for one in self.sets],
            "averages": [summary.to_json() for summary in self.averages],
            "over_models": [summary.to_json() for summary in self.over_models],
            "tests": [test.to_json() for test in self.tests],
            "files": [matching.to_json() for matching in self.files],
            "published": [row.to_json() for row in rows],
            "resamples": self.resamples,
            "lexicon": self.lexicon,
        }


def build_report(
    systems: Sequence[System],
    opponents: Sequence[System],
    ratios: Sequence[Sequence[float | None]],
    protocol: str,
    decoder: str | None = None,
    resamples: int = significance.RESAMPLES,
    with_published: bool = False,
    lexicon: str | None = None,
    alike: int | None = None,
) -> Report:
    """Makes the report of systems that read the same sets.

    Args:
      systems: at least one. The first is tested against each of the others.
      opponents: systems that are not reported, but every system is tested against them.
      ratios: width over height of the images of every set, as `breakdown.aspect_ratios` gives.
      protocol: a name of `crnn_jax.metrics.PROTOCOLS`.
      decoder: of the models.
      resamples: for intervals and p-values.
      with_published: whether published rows are asked for.
      lexicon: whose words the readings were chosen from.
      alike: so many of the first systems are models that differ in their seed, and have a mean;
        None: all.
    """
    names = [result.name for result in systems[0].results]
    scores = {
        id(system): [significance.score_rows(result.rows, protocol) for result in system.results]
        for system in (*systems, *opponents)
    }
    sets, averages = [], []
    for system in systems:
        own = scores[id(system)]
        every, means = summarise(system.name, names, [[one] for one in own], resamples)
        averages += means
        for s, result in enumerate(system.results):
            groups = breakdown(result.rows, own[s], ratios[s], protocol)
            benchmark = recognise(result.name, len(result.rows))
            sets.append(SetReport(system.name, result, benchmark, every[s].intervals, groups))
    over_models = []
    seeds = systems[:alike]
    if len(seeds) > 1:
        stacked = [[scores[id(system)][s] for system in seeds] for s in range(len(names))]
        title = f"mean of {len(seeds)} models"
        over_models = [one for part in summarise(title, names, stacked, resamples) for one in part]
    pairs = [(systems[0], other) for other in systems[1:]]
    pairs += [(opponent, system) for system in systems for opponent in opponents]
    tests = [
        test
        for a, b in pairs
        for test in _comparisons(a, b, scores[id(a)], scores[id(b)], resamples)
    ]
    files = [system.matching for system in (*systems, *opponents) if system.matching]
    return Report(
        tuple(systems), protocol, decoder, resamples, sets, averages, over_models, tests, files,
        with_published, lexicon,
    )  # fmt: skip


def _comparisons(
    a: System,
    b: System,
    a_scores: Sequence[RowScores],
    b_scores: Sequence[RowScores],
    resamples: int,
) -> list[Comparison]:
    """Tests two systems on every set, and on the images of all if there are several."""
    masks = [a.present(s) & b.present(s) for s in range(len(a_scores))]
    parts = [(result.name, [s]) for s, result in enumerate(a.results)]
    if len(masks) > 1:
        parts.append(("all sets", list(range(len(masks)))))
    found = []
    for over, chosen in parts:
        a_rows, b_rows = (
            significance.join([scores[s].where(masks[s]) for s in chosen])
            for scores in (a_scores, b_scores)
        )
        test = significance.paired_test(a_rows, b_rows, over, resamples)
        if test is not None:
            left_out = sum(int((~masks[s]).sum()) for s in chosen)
            found.append(Comparison(over, a.name, b.name, left_out, test))
    return found
