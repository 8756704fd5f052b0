"""What a model was measured to do: scores on labelled sets and time per word, kept in its bundle.

They come from files: what `evaluate --out=FILE.json` wrote about the very weights of the bundle,
and {"ms": 8.8, "device": "one core of ..."} from a benchmark. The card shows them where it says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from crnn_jax import files
from crnn_jax.errors import UserError

RESULTS, SPEED = "{results}", "{speed}"  # lines of a card that the figures take the place of


def _is_number(value: Any) -> bool:
    """Returns whether a JSON value is a number that can be shown: finite, and no endless int."""
    return type(value) in (int, float) and abs(value) < 1e15


@dataclasses.dataclass(frozen=True)
class Score:
    """Reading one set.

    Attributes:
      set: its name.
      count: images.
      word_accuracy: share of them that were read right.
      low, high: its 95 % interval (Wilson).
      cer: character error rate.
      protocol: how texts were compared.
      decoder: that found them.
    """

    set: str
    count: int
    word_accuracy: float
    low: float
    high: float
    cer: float
    protocol: str
    decoder: str

    def __str__(self) -> str:
        return f"{self.set} {100 * self.word_accuracy:.1f} %"

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values; `from_json` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Any, what: str) -> Score:
        """Returns what `to_json` described; UserError, which names `what`, for anything else."""
        texts = ("set", "protocol", "decoder")
        names = [field.name for field in dataclasses.fields(cls)]
        if (
            not isinstance(value, dict)
            or sorted(value) != sorted(names)
            or any(not isinstance(value[name], str) for name in texts)
            or not all(_is_number(value[name]) for name in set(names) - set(texts))
        ):
            raise UserError(f"{what}: not a score ({value!r:.80}); it has {', '.join(names)}")
        return cls(**value)


@dataclasses.dataclass(frozen=True)
class Speed:
    """Milliseconds that a word takes, read alone, and on what."""

    ms: float
    device: str

    @classmethod
    def from_json(cls, value: Any, what: str) -> Speed:
        """Returns the speed that JSON values tell; UserError, which names `what`, for others."""
        found = value if isinstance(value, dict) else {}
        ms, device = found.get("ms", 0), found.get("device")
        if not _is_number(ms) or not ms > 0 or not isinstance(device, str):
            raise UserError(
                f'{what}: not a speed; it holds {{"ms": 8.8, "device": "one core ..."}}'
            )
        return cls(ms, device)


def read_scores(path: str, model: str) -> list[Score]:
    """Returns the scores in a results file of one model that `evaluate` wrote as JSON.

    Args:
      path: of the file.
      model: its name, which is to be that in the file.

    Raises:
      UserError: for another file, or one of another model, of several, or of several decoders.
    """
    results = files.read_json(path)
    try:
        scores = [
            Score(
                found["name"],
                found["count"],
                found["word_accuracy"],
                low,
                high,
                found["cer"],
                results["protocol"],
                results["decoder"],
            )
            for found in results["sets"]
            for low, high in [found["intervals"]["word_accuracy_wilson"]]
        ]
    except (KeyError, TypeError, ValueError):
        scores = []
    if not scores or len({score.set for score in scores}) < len(scores):
        raise UserError(
            f"{path}: not the results of one model; write them with "
            f"python -m crnn_jax.evaluate --model=MODEL --data=SPEC --out={path}"
        )
    if results.get("model") != model:
        raise UserError(
            f"{path}: the results of {results.get('model')!r:.60}, and the bundle is of {model!r}: "
            "evaluate that, and not another"
        )
    return [Score.from_json(score.to_json(), path) for score in scores]


def read_speed(path: str) -> Speed:
    """Returns the speed in a file; raises UserError for another file."""
    return Speed.from_json(files.read_json(path), path)


def scores_of(metrics: Mapping[str, Any]) -> list[Score]:
    """Returns the scores in a bundle's metrics, none where there are none."""
    return [Score.from_json(value, "a bundle's metrics") for value in metrics.get("tests", [])]


def speed_of(metrics: Mapping[str, Any]) -> Speed | None:
    """Returns the speed in a bundle's metrics, None where there is none."""
    found = metrics.get("speed")
    return None if found is None else Speed.from_json(found, "a bundle's metrics")


def table(scores: Sequence[Score]) -> str:
    """Returns scores as a table in Markdown."""
    lines = ["| set | images | word accuracy | CER |", "|-|-|-|-|"]
    for s in scores:
        interval = f"[{100 * s.low:.1f}, {100 * s.high:.1f}]"
        lines.append(
            f"| {s.set} | {s.count:,} | {100 * s.word_accuracy:.1f} % {interval} "
            f"| {100 * s.cer:.1f} % |"
        )
    return "\n".join(lines)


def fill(card: str, scores: Sequence[Score], speed: Speed | None) -> str:
    """Returns a card with its figures in the place of the lines RESULTS and SPEED.

    Raises:
      UserError: when the card has a line for figures that are not given.
    """
    for line, option, found in (
        (RESULTS, "--results", table(scores) if scores else ""),
        (SPEED, "--speed", f"{speed.ms:.1f} ms ({speed.device})" if speed else ""),
    ):
        if line in card and not found:
            raise UserError(f"the card says {line}: give the figures with {option}=FILE.json")
        card = card.replace(line, found)
    return card
