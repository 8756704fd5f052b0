"""A trained model as a library: `Recognizer.load(MODEL).read(images)`."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import models, runtime, shipped, types
from crnn_jax.charset import Charset
from crnn_jax.ctc.loss import ctc_loss
from crnn_jax.data.images import Preprocess, size_of
from crnn_jax.data.stream import Streamed, stream_batches
from crnn_jax.decode import Decoder, make_decoder
from crnn_jax.decode.candidates import Candidate
from crnn_jax.decode.greedy import Greedy
from crnn_jax.errors import DataError, UserError
from crnn_jax.models.encoders import frame_centres
from crnn_jax.models.ensemble import Ensemble
from crnn_jax.models.windows import Windowed, layers_of
from crnn_jax.reading import (
    NOTHING,
    Reading,
    Scores,
    place_characters,
    probability,
    score_candidates,
)
from crnn_jax.runtime import Alternative, Character, turned_size

T = TypeVar("T")

_LAST = Streamed(None, [], None)  # in place of a batch, when there are no more


class _Outputs(NamedTuple):
    logits: types.Logits
    frames: types.FrameCounts
    found: Any  # by the decoder
    losses: types.PerRow | None  # where there are labels
    feasible: types.RowMask | None


@functools.partial(jax.jit, static_argnames=("model", "decode", "labelled"))
def predict_step(
    model: models.CRNN | Ensemble | Windowed,
    variables: types.Variables,
    batch: types.Batch,
    decode: Callable[[types.Logits, types.FrameCounts, Any], Any],
    tables: Any,
    labelled: bool,
) -> _Outputs:
    """Reads a batch and scores its labels, if any; compiled once per model, decoder and shape."""
    outputs: Any = model.apply(variables, batch.images, batch.widths)
    logits, frames = outputs
    losses, feasible = None, None
    if labelled:
        losses, feasible = ctc_loss(logits, frames, batch.labels, batch.label_lengths)
    return _Outputs(logits, frames, decode(logits, frames, tables), losses, feasible)


@dataclasses.dataclass
class _UnderWay:
    """A batch between the network and its readings."""

    positions: list[int]
    widths: np.ndarray
    outputs: _Outputs
    candidates: list[list[Candidate]] = dataclasses.field(default_factory=list)
    scores: Scores | None = None


def preprocess_of(config: Any) -> Preprocess:
    """Returns how a config makes model input of an image.

    Raises:
      UserError: for sizes that no network reads, or none in a computer's memory.
    """
    data = config.data
    made = Preprocess(
        height=data.height,
        channels=data.channels,
        fit=data.fit,
        width=data.width,
        min_width=data.min_width,
        max_width=data.max_width,
    )
    if made.height * made.widest > runtime.MOST_INPUT:
        raise UserError(
            f"images of {made.widest} x {made.height} pixels as the network's input: at most "
            f"{runtime.MOST_INPUT:,} pixels can be read; lower config.data.height, "
            "config.data.width or config.data.max_width"
        )
    return made


def network_of(
    config: Any, num_classes: int, axis_name: str | None = None, training: bool = False
) -> models.CRNN:
    """Returns the network that a config describes.

    Args:
      config: of a run.
      num_classes: classes, the blank included.
      axis_name: see `models.build_model`.
      training: with what only training needs.
    """
    made = preprocess_of(config)
    model = models.build_model(config.model, num_classes, made.height, made.narrowest, axis_name)
    return model if training else model.clone(auxiliary=False)


def default_protocol(charset: Charset) -> str:
    """Returns the protocol by which a model is judged unless told otherwise."""
    if charset.case != "fold":
        return "exact"
    alnum = string.digits + string.ascii_lowercase
    return "36" if sorted(charset.classes) == sorted(alnum) else "fold"


@dataclasses.dataclass(frozen=True)
class Recognizer:
    """A network with its weights, charset and preprocessing.

    Attributes:
      model: the network.
      variables: its weights and batch statistics.
      charset: classes of the network.
      preprocess: images to model input.
      name: for tables.
      place: puts a batch on the device, or on those that the weights are on.
      temperature: divides the logits where confidence is computed; 1 until it is calibrated.
    """

    model: models.CRNN | Ensemble | Windowed
    variables: types.Variables
    charset: Charset
    preprocess: Preprocess
    name: str = "model"
    place: Callable[[types.Batch], types.Batch] = jax.device_put
    temperature: float = 1.0

    @classmethod
    def load(cls, model: str | pathlib.Path) -> Recognizer:
        """Loads the best checkpoint of a run, a bundle, or a shipped model.

        Args:
          model: the run's workdir, a bundle (a file that `crnn_jax.bundle` wrote), or the name of
            a shipped model. A run of replicas reads with all of them: the mean of their frame
            posteriors.

        Raises:
          UserError: when there is no such model or it cannot be read.
        """
        path = shipped.find(model)
        if path.is_file():
            from crnn_jax import bundle_file

            return bundle_file.load_bundle(path).recognizer()
        from crnn_jax import load_run

        return load_run.load(path)

    def in_windows(self) -> Recognizer:
        """Returns the same recogniser, which reads lines wider than those of training in windows.

        Otherwise such lines are squeezed to the width that training ended at. A model whose images
        are all squashed to one width stays as it is.
        """
        if self.preprocess.fit == "squash" or isinstance(self.model, Windowed):
            return self
        windowed = Windowed.of(self.model, self.preprocess.max_width)
        longest = dataclasses.replace(self.preprocess, max_width=runtime.LONGEST * windowed.width)
        return dataclasses.replace(self, model=windowed, preprocess=longest)

    def read(
        self, images: Sequence[Any], batch_size: int = 32, decoder: str | Decoder = "greedy"
    ) -> list[Reading]:
        """Reads images: paths, encoded bytes, arrays (H, W[, C]) or Pillow images.

        Readings have their characters, whose places are pixels of the images as they are given.

        Raises:
          UserError: for one image in place of several, or a batch of none.
          DataError: for the first image that cannot be read; `stream` goes on instead.
        """
        if isinstance(images, str | bytes | bytearray) or not isinstance(images, Sequence):
            raise UserError("read takes a list of images: put the one into brackets, as in [IMAGE]")
        readings: dict[int, Reading] = {}
        stream = self.stream(images, self.preprocess, batch_size, decoder, characters=True)
        for position, reading in stream:
            if isinstance(reading, DataError):
                raise DataError(f"image {position}: {reading}")
            width, _ = turned_size(*size_of(images[position]), reading.rotation)
            readings[position] = reading.in_pixels(width)
        return [readings[position] for position in range(len(images))]

    def stream(
        self,
        items: Iterable[T],
        load: Callable[[T], np.ndarray],
        batch_size: int = 32,
        decoder: str | Decoder = "greedy",
        label: Callable[[T], str] | None = None,
        words: Callable[[T], Sequence[str]] | None = None,
        characters: bool = False,
    ) -> Iterator[tuple[int, Reading | DataError]]:
        """Yields (position, reading or error) of every item, in the order in which they are done.

        Args:
          items: what to read; may be long, since only a window of it is held.
          load: pixels (H, W, C) of an item, as `preprocess` makes them; may raise a DataError.
          batch_size: most images per step.
          decoder: one of `crnn_jax.decode`, or its name.
          label: the true text of an item, where it is known, for the loss.
          words: that an item is known to be among, for decoders that use them.
          characters: whether readings have their characters, with places as shares of the width.
        """
        decoder = make_decoder(decoder)
        tempered = isinstance(decoder, Greedy)
        if tempered:  # it scores by divided logits at once, so that nothing else has to
            decoder = Greedy(self.temperature)
        lexica: dict[int, Sequence[str]] = {}  # of items under way
        columns = 1 if label is None else self._frames()

        def encode(text: str) -> list[int]:
            ids = [] if self.charset.unknown(text) else self.charset.encode(text)
            return ids if len(ids) <= columns else []

        def noted(items: Iterable[T]) -> Iterator[T]:
            for position, item in enumerate(items):
                if words:
                    lexica[position] = words(item)
                yield item

        batches = stream_batches(
            noted(items),
            load,
            self.preprocess,
            batch_size,
            None if label is None else lambda item: encode(label(item)),
            columns,
        )
        # The device stays ahead of the host, which decodes one batch while the next is computed.
        coming: _UnderWay | None = None  # its candidates are not known yet
        scored: _UnderWay | None = None  # its scores are being computed
        for batch, positions, error in itertools.chain(batches, [_LAST, _LAST]):
            if error is not None:
                lexica.pop(positions[0], None)
                yield positions[0], error
                continue
            following = None
            if batch is not None:
                placed = self.place(batch)
                outputs = predict_step(
                    self.model,
                    self.variables,
                    placed,
                    decoder.on_device,
                    decoder.tables,
                    labelled=label is not None,
                )
                following = _UnderWay(positions, np.asarray(batch.widths), outputs)
            if coming is not None:
                self._decode(coming, decoder, lexica)
                coming.scores = score_candidates(
                    coming.outputs.logits,
                    coming.outputs.frames,
                    coming.candidates,
                    self.temperature,
                    characters,
                    scored=tempered,
                )
            if scored is not None:
                yield from self._readings(scored)
            coming, scored = following, coming

    def _decode(self, batch: _UnderWay, decoder: Decoder, lexica: dict[int, Sequence[str]]) -> None:
        """Finds the candidates of a batch, once the device has what they are made of."""
        found = jax.device_get(batch.outputs.found)
        for row, position in enumerate(batch.positions):
            own = lexica.pop(position, ())
            batch.candidates.append(decoder.read(found, row, self.charset, own) or [NOTHING])

    def _readings(self, batch: _UnderWay) -> Iterator[tuple[int, Reading]]:
        """Yields the readings of a batch whose candidates are known."""
        losses, feasible, scores = jax.device_get(
            (batch.outputs.losses, batch.outputs.feasible, batch.scores)
        )
        centres = frame_centres(layers_of(self.model), batch.outputs.logits.shape[1])
        for row, position in enumerate(batch.positions):
            own = batch.candidates[row]
            logs = [c.log_probability for c in own]
            if scores is not None and scores.log_probability is not None:
                logs = scores.log_probability[row, : len(own)].tolist()
            best, *others = [
                Alternative(candidate.text, probability(log))
                for candidate, log in zip(own, logs, strict=True)
            ]
            placed: tuple[Character, ...] = ()
            if scores is not None and scores.alignment is not None:
                placed = place_characters(
                    own[0].ids, self.charset, scores.characters[row], scores.alignment, row,
                    centres, float(batch.widths[row]),
                )  # fmt: skip
            loss = float(losses[row]) if losses is not None and feasible[row] else None
            yield position, Reading(best.text, best.confidence, tuple(others), placed, loss=loss)

    def _frames(self) -> int:
        """Frames of the widest image: no feasible label is longer.

        Of windows, those of one: longer labels, which would cost memory in every batch, get no
        loss.
        """
        data = self.preprocess
        widest = self.model.width if isinstance(self.model, Windowed) else data.widest
        return jax.eval_shape(
            lambda v, i, w: self.model.apply(v, i, w)[0],
            self.variables,
            jax.ShapeDtypeStruct((1, data.height, widest, data.channels), jnp.uint8),
            jax.ShapeDtypeStruct((1,), jnp.int32),
        ).shape[1]
