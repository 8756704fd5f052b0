"""What a sweep varies: the cells that an experiment's `sweep(add)` names.

def sweep(add):
    add("LSTM")  # the first is what the others are compared with
    add("GRU", {"model.recurrence": "gru"})
    add.grid({"data.width": (100, 128), "model.hidden": (96, 192)})
    add.random(8, {"optimizer.learning_rate": add.log(1e-4, 1e-2), "batch_size": (32, 64)})
    add.seeds(3)
    add.data("tsv:words/labels.tsv")
    add.resources(minutes=30, gpus=1)
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import numbers
import random
import re
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from crnn_jax.errors import UserError
from crnn_jax.slurm import Resources

_LONGEST_SLUG = 60
# Other things in a sweep's folder.
_RESERVED = ("runs.csv", "slurm", "table.csv", "table.md", "table.png")
_MOST_DRAWS = 1000  # in a row, none of which is new


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row of the table.

    Attributes:
      name: for people.
      knobs: config keys and values that differ from the experiment's.
    """

    name: str
    knobs: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """Name of its folder; one that had to be cut ends in a hash of the whole."""
        safe = re.sub(r"[^\w.=+-]+", "_", self.name).strip("_.")
        if safe and len(safe) <= _LONGEST_SLUG:
            return safe
        return f"{safe[:_LONGEST_SLUG] or 'cell'}_{hashlib.md5(self.name.encode()).hexdigest()[:6]}"

    def overrides(self, seed: int) -> list[tuple[str, str]]:
        """Returns its knobs and a seed as the command line would give them."""
        return [(key, str(value)) for key, value in {**self.knobs, "seed": seed}.items()]


@dataclasses.dataclass(frozen=True)
class _Range:
    low: float | int
    high: float | int
    logarithmic: bool = False
    whole: bool = False

    def __post_init__(self):
        ends = self.low, self.high
        if not all(isinstance(end, numbers.Real) for end in ends):
            wrong = "give numbers"
        elif not -math.inf < self.low <= self.high < math.inf:
            wrong = "give the lower end first, both finite"
        elif self.whole and any(end != int(end) for end in ends):
            wrong = "give whole numbers"
        elif self.logarithmic and self.low <= 0:
            wrong = "orders of magnitude begin above 0"
        else:
            return
        raise UserError(f"sweep: a range from {self.low!r} to {self.high!r}: {wrong}")

    def draw(self, rng: random.Random) -> float | int:
        if self.whole and not self.logarithmic:
            return rng.randint(int(self.low), int(self.high))
        if not self.logarithmic:
            return self._inside(float(f"{rng.uniform(self.low, self.high):.6g}"))
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return round(value) if self.whole else self._inside(float(f"{value:.3g}"))

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)  # rounding leads out of the range


class Add:
    """Collects the cells of a sweep; see the module."""

    def __init__(self):
        self.cells: list[Cell] = []
        self._drawn: list[dict[str, Any]] = []  # by `random`, which draws nothing twice
        self.seed_count = 1
        self.specs: tuple[str, ...] = ()
        self.needs = Resources()

    def __call__(
        self, name: str = "", knobs: Mapping[str, Any] | None = None, /, **more: Any
    ) -> None:
        """Adds a cell.

        Args:
          name: for the table; by default its knobs.
          knobs: config keys and values.
          **more: those whose keys have no dot.
        """
        knobs = {**(knobs or {}), **more}
        if "seed" in knobs:
            raise UserError(f"sweep: cell {name!r} sets the seed; say add.seeds(3) for three each")
        self.cells.append(Cell(name or _describe(knobs), knobs))

    def grid(self, choices: Mapping[str, Iterable[Any]]) -> None:
        """Adds a cell for every combination of values, the last key changing fastest.

        Raises:
          UserError: for a key without values.
        """
        listed = [_values("grid", key, values) for key, values in choices.items()]
        for values in itertools.product(*listed):
            self("", dict(zip(choices, values, strict=True)))

    def random(self, count: int, choices: Mapping[str, Any], seed: int = 0) -> None:
        """Adds new cells whose values are drawn: from a sequence, or one of the ranges below.

        Raises:
          UserError: there are not so many combinations, or a key has no values.
        """
        if not isinstance(count, numbers.Integral) or count < 1:
            raise UserError(f"sweep: add.random({count!r}, ...): give a whole number, 1 or more")
        listed = {
            key: values if isinstance(values, _Range) else _values("random", key, values)
            for key, values in choices.items()
        }
        rng = random.Random(seed)
        found = in_vain = 0
        while found < count:
            drawn = {
                key: values.draw(rng) if isinstance(values, _Range) else rng.choice(values)
                for key, values in listed.items()
            }
            if drawn not in self._drawn:
                self("", drawn)
                self._drawn.append(drawn)
                found, in_vain = found + 1, 0
                continue
            in_vain += 1
            if in_vain == _MOST_DRAWS:
                raise UserError(
                    f"sweep: add.random({count}, ...) finds only {found} new combinations: "
                    "ask for fewer, or give more choices"
                )

    @staticmethod
    def uniform(low: float, high: float) -> _Range:
        """Returns a range whose numbers are equally likely."""
        return _Range(low, high)

    @staticmethod
    def log(low: float, high: float) -> _Range:
        """Returns a range whose orders of magnitude are equally likely."""
        return _Range(low, high, logarithmic=True)

    @staticmethod
    def integer(low: int, high: int, log: bool = False) -> _Range:
        """Returns a range of whole numbers, both ends included; `log` as for `add.log`."""
        return _Range(low, high, log, whole=True)

    def seeds(self, count: int) -> None:
        """Says how many times every cell is run, with the seeds 0, 1, ..."""
        if not isinstance(count, int) or count < 1:
            raise UserError(f"sweep: add.seeds({count!r}): give a whole number, 1 or more")
        self.seed_count = count

    def data(self, *specs: str) -> None:
        """Says which sets judge the runs, instead of their validation sets."""
        if wrong := [spec for spec in specs if not isinstance(spec, str)]:
            raise UserError(f"sweep: add.data({wrong[0]!r}): give SPECs one by one, as strings")
        self.specs = specs

    def resources(self, **needs: Any) -> None:
        """Says what a run needs of a cluster, see Resources."""
        try:
            self.needs = Resources(**needs)
        except TypeError:
            names = ", ".join(field.name for field in dataclasses.fields(Resources))
            given = ", ".join(needs)
            raise UserError(f"sweep: add.resources({given}): it takes {names}") from None
        for field in dataclasses.fields(Resources):
            value = getattr(self.needs, field.name)
            if type(value) is not type(field.default):
                raise UserError(
                    f"sweep: add.resources({field.name}={value!r}): give one like {field.default!r}"
                )


def collect(sweep: Callable[[Add], None]) -> Add:
    """Returns what an experiment's `sweep` adds.

    Raises:
      UserError: for no cell, two of one name, or no seed.
    """
    add = Add()
    sweep(add)
    if not add.cells:
        raise UserError("sweep(add) adds no cell: call add(NAME, {KEY: VALUE})")
    slugs = [cell.slug for cell in add.cells]
    for i, slug in enumerate(slugs):
        if slug in slugs[:i]:
            raise UserError(f"sweep: two cells are called {slug!r}: give names of their own")
        if slug in _RESERVED:
            raise UserError(
                f"sweep: no cell can be called {slug!r}: the sweep has a file of that name"
            )
    return add


def _values(what: str, key: str, values: Any) -> list[Any]:
    """Returns what a key of a grid or of a random search is to be; raises UserError for nothing."""
    unordered = isinstance(values, str | bytes | Mapping | Set)
    listed = [] if unordered or not isinstance(values, Iterable) else list(values)
    if not listed:
        raise UserError(
            f"sweep: add.{what}({{{key!r}: {values!r}}}): give a list of values, as in "
            f"{{{key!r}: [1, 2]}}"
        )
    return listed


def _describe(knobs: Mapping[str, Any]) -> str:
    return (
        " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in knobs.items()) or "as it is"
    )
