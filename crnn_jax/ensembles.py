"""Several models that read together: as one network where they can, by votes where not."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from crnn_jax.charset import Charset
from crnn_jax.decode import Decoder
from crnn_jax.errors import DataError, UserError
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.encoders import frames_of
from crnn_jax.models.ensemble import Ensemble
from crnn_jax.models.windows import layers_of
from crnn_jax.reading import Reading
from crnn_jax.recognizer import Recognizer
from crnn_jax.runtime import AS_IT_IS, Alternative, View

T = TypeVar("T")


def combine(models: Sequence[Recognizer]) -> Recognizer | Voters:
    """Returns models that read as one.

    Models of the same characters, preprocessing and frames become one network, the mean of their
    frame posteriors, which any decoder reads. Others vote, see `Voters`.

    Args:
      models: at least one; not in windows (say `in_windows()` of what comes out).

    Raises:
      UserError: for replicas or other models that are several already.
    """
    if len(models) == 1:
        return models[0]
    name = " + ".join(model.name for model in models)
    if any(isinstance(model.model, Ensemble) for model in models):
        raise UserError(
            f"{name}: one of these is an ensemble itself; name its members, such as RUN/replica_0"
        )
    if len({_interface(model) for model in models}) > 1:
        return Voters(tuple(models), name)
    networks = tuple(model.model for model in models if isinstance(model.model, CRNN))
    assert len(networks) == len(models), "models are combined before they read in windows"
    network = Ensemble(networks, tuple(model.temperature for model in models))
    return dataclasses.replace(
        models[0],
        model=network,
        variables=Ensemble.gather([model.variables for model in models]),
        name=name,
        temperature=1.0,
    )


def _interface(model: Recognizer) -> tuple:
    """Returns what models must share to have frames of the same meaning."""
    widest = model.preprocess.widest
    frames = tuple(np.atleast_1d(frames_of(layers_of(model.model), np.arange(1, widest + 1))))
    return model.charset.classes, model.charset.case, model.preprocess, frames


@dataclasses.dataclass(frozen=True)
class Voters:
    """Models that read by themselves; the text that they believe in most is the reading.

    A text weighs what the models give it together: the sum of its confidences, where each model
    gives those of its reading and of its alternatives. The mean of them over all models is the
    confidence of the reading.

    Attributes:
      members: the models.
      name: for tables.
    """

    members: tuple[Recognizer, ...]
    name: str

    @property
    def charset(self) -> Charset:
        """Characters of the first model."""
        return self.members[0].charset

    @staticmethod
    def preprocess(image: Any, view: View = AS_IT_IS) -> tuple[Any, View]:
        """Returns the arguments of each model's own preprocessing."""
        return image, view

    def in_windows(self) -> Voters:
        """Returns the same voters, which read long lines in windows."""
        members = tuple(member.in_windows() for member in self.members)
        return dataclasses.replace(self, members=members)

    read = Recognizer.read  # all that it asks for are `stream` and `preprocess`

    def stream(
        self,
        items: Iterable[T],
        load: Callable[[T], Any],
        batch_size: int = 32,
        decoder: str | Decoder | tuple[Decoder, ...] = "greedy",
        label: Callable[[T], str] | None = None,
        words: Callable[[T], Sequence[str]] | None = None,
        characters: bool = False,
    ) -> Iterator[tuple[int, Reading | DataError]]:
        """Yields the readings of items, see `Recognizer.stream`; losses of labels are not known.

        Args:
          items: what to read.
          load: of an item, what `preprocess` returns.
          batch_size: most images per step.
          decoder: its name, one for each model, or one that suits the characters of all.
          label: not used.
          words: that an item is known to be among.
          characters: whether readings have their characters.

        Raises:
          UserError: for a decoder made for one charset, where the models have several.
        """
        own = decoder if isinstance(decoder, tuple) else (decoder,) * len(self.members)
        several = len({member.charset.classes for member in self.members}) > 1
        if several and not isinstance(decoder, str | tuple):
            raise UserError(
                f"{self.name}: a decoder is made for one charset, and these models have several; "
                "give one for each, see `decoder_of`"
            )
        copies = itertools.tee(items, len(self.members))
        streams = [
            member.stream(
                copy,
                functools.partial(_prepared, member, load),
                batch_size,
                each,
                words=words,
                characters=characters,
            )
            for member, copy, each in zip(self.members, copies, own, strict=True)
        ]
        found: dict[int, dict[int, Reading | DataError]] = collections.defaultdict(dict)
        for together in itertools.zip_longest(*streams):  # a step each: none runs far ahead
            for voter, entry in enumerate(together):
                if entry is None:
                    continue
                position, reading = entry
                votes = found[position]
                votes[voter] = reading
                if len(votes) == len(self.members):
                    yield position, vote([votes[v] for v in range(len(votes))])
                    del found[position]


def decoder_of(
    model: Recognizer | Voters, build: Callable[[Charset], Decoder]
) -> Decoder | tuple[Decoder, ...]:
    """Returns the decoder of a model; of voters one for each, made for its charset."""
    if isinstance(model, Voters):
        return tuple(build(member.charset) for member in model.members)
    return build(model.charset)


def _prepared(member: Recognizer, load: Callable[[T], Any], item: T) -> np.ndarray:
    image, view = load(item)
    return member.preprocess(image, view=view)


def vote(readings: Sequence[Reading | DataError]) -> Reading | DataError:
    """Returns the reading that several models believe in most, or the error of one of them.

    Of texts that weigh the same, that of the first model is taken.
    """
    votes: list[Reading] = []
    for reading in readings:
        if isinstance(reading, DataError):
            return reading
        votes.append(reading)
    weights: dict[str, float] = {}
    for reading in votes:
        for text, confidence in ((reading.text, reading.confidence), *reading.alternatives):
            weights[text] = weights.get(text, 0.0) + confidence
    ranked = sorted(weights.items(), key=lambda item: -item[1])  # stable
    best, *others = [Alternative(text, weight / len(votes)) for text, weight in ranked]
    shown = next((r for r in votes if r.text == best.text), None)
    return Reading(
        best.text,
        best.confidence,
        alternatives=tuple(others),
        characters=shown.characters if shown else (),
    )
