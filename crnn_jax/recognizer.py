"""A trained model as a library: `Recognizer.load(MODEL).read(images)`."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax import models, shipped, types
from crnn_jax.charset import Charset
from crnn_jax.ctc.loss import ctc_loss
from crnn_jax.data.images import Preprocess
from crnn_jax.data.stream import stream_batches
from crnn_jax.decode import Decoder, make_decoder
from crnn_jax.decode.candidates import Candidate
from crnn_jax.errors import DataError, UserError
from crnn_jax.models.ensemble import Ensemble, stack
from crnn_jax.models.windows import Windowed

T = TypeVar("T")

_NOTHING = Candidate("", -np.inf)  # where no string is possible
_LONGEST = 16  # windows' widths: a longer line is squeezed to that


@dataclasses.dataclass(frozen=True)
class Reading:
    """What was read in an image.

    Attributes:
      text: the reading.
      confidence: p(text | image) by the CTC forward score, 0 to 1.
      loss: -log p(label | image) in nats where a label was given and fits the frames, else None.
      alternatives: what else the decoder found, best first.
    """

    text: str
    confidence: float
    loss: float | None = None
    alternatives: tuple[Candidate, ...] = ()


class _Outputs(NamedTuple):
    found: Any  # by the decoder
    losses: types.PerRow
    feasible: types.RowMask


@functools.partial(jax.jit, static_argnames=("model", "decode"))
def predict_step(
    model: models.CRNN | Ensemble | Windowed,
    variables: types.Variables,
    batch: types.Batch,
    decode: Callable[[types.Logits, types.FrameCounts], Any],
) -> _Outputs:
    """Reads a batch and scores its labels; compiled once per model and shape."""
    logits, frames = model.apply(variables, batch.images, batch.widths)
    losses, feasible = ctc_loss(logits, frames, batch.labels, batch.label_lengths)
    return _Outputs(decode(logits, frames), losses, feasible)


def preprocess_of(config: Any) -> Preprocess:
    """Returns how a config makes model input of an image."""
    data = config.data
    return Preprocess(
        height=data.height,
        channels=data.channels,
        fit=data.fit,
        width=data.width,
        min_width=data.min_width,
        max_width=data.max_width,
    )


def network_of(config: Any, num_classes: int, axis_name: str | None = None) -> models.CRNN:
    """Returns the network that a config describes.

    Args:
      config: of a run.
      num_classes: classes, the blank included.
      axis_name: see `models.build_model`.
    """
    data = config.data
    narrowest = data.width if data.fit == "squash" else data.min_width
    return models.build_model(config.model, num_classes, data.height, narrowest, axis_name)


def default_protocol(charset: Charset) -> str:
    """Returns the protocol by which a model is judged unless told otherwise."""
    folded_alnum = charset.case == "fold" and "".join(sorted(charset.classes)) == (
        "0123456789abcdefghijklmnopqrstuvwxyz"
    )
    return "36" if folded_alnum else "exact"


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
    """

    model: models.CRNN | Ensemble | Windowed
    variables: types.Variables
    charset: Charset
    preprocess: Preprocess
    name: str = "model"
    place: Callable[[types.Batch], types.Batch] = jax.device_put

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
        if folders := _replicas(path):
            members = [load_run(folder)[0] for folder in folders]
            stacked = stack([member.variables for member in members])
            ensemble = Ensemble(members[0].model, len(members))
            return dataclasses.replace(
                members[0], model=ensemble, variables=stacked, name=path.name
            )
        return load_run(path)[0]

    def with_variables(self, variables: types.Variables) -> Recognizer:
        """Returns the same recogniser with other weights; nothing is compiled anew."""
        return dataclasses.replace(self, variables=variables)

    def in_windows(self) -> Recognizer:
        """Returns the same recogniser, which reads lines wider than those of training in windows.

        Otherwise such lines are squeezed to the width that training ended at. A model whose images
        are all squashed to one width stays as it is.
        """
        if self.preprocess.fit == "squash" or isinstance(self.model, Windowed):
            return self
        windowed = Windowed.of(self.model, self.preprocess.max_width)
        longest = dataclasses.replace(self.preprocess, max_width=_LONGEST * windowed.width)
        return dataclasses.replace(self, model=windowed, preprocess=longest)

    def read(
        self, images: Sequence[Any], batch_size: int = 32, decoder: str | Decoder = "greedy"
    ) -> list[Reading]:
        """Reads images: paths, encoded bytes, arrays (H, W[, C]) or Pillow images.

        Raises:
          DataError: for the first image that cannot be read; `stream` goes on instead.
        """
        readings: list[Reading | None] = [None] * len(images)
        for position, reading in self.stream(images, self.preprocess, batch_size, decoder):
            if isinstance(reading, DataError):
                raise DataError(f"image {position}: {reading}")
            readings[position] = reading
        return readings

    def stream(
        self,
        items: Iterable[T],
        load: Callable[[T], np.ndarray],
        batch_size: int = 32,
        decoder: str | Decoder = "greedy",
        label: Callable[[T], str] | None = None,
        words: Callable[[T], Sequence[str]] | None = None,
    ) -> Iterator[tuple[int, Reading | DataError]]:
        """Yields (position, reading or error) of every item, in the order in which they are done.

        Args:
          items: what to read; may be long, since only a window of it is held.
          load: pixels (H, W, C) of an item, as `preprocess` makes them; may raise a DataError.
          batch_size: most images per step.
          decoder: one of `crnn_jax.decode`, or its name.
          label: the true text of an item, where it is known, for the loss.
          words: that an item is known to be among, for decoders that use them.
        """
        decoder = make_decoder(decoder)
        lexica: dict[int, Sequence[str]] = {}  # of items under way
        columns = 1 if label is None else self._frames()

        def encode(item: T) -> list[int]:
            text = label(item)
            ids = [] if self.charset.unknown(text) else self.charset.encode(text)
            return ids if len(ids) <= columns else []

        def noted(items: Iterable[T]) -> Iterator[T]:
            for position, item in enumerate(items):
                if words:
                    lexica[position] = words(item)
                yield item

        batches = stream_batches(
            noted(items), load, self.preprocess, batch_size, label and encode, columns
        )
        running: tuple[list[int], _Outputs] | None = None  # keeps the device one batch ahead
        for batch, positions, error in batches:
            if error is not None:
                lexica.pop(positions[0], None)
                yield positions[0], error
                continue
            outputs = predict_step(self.model, self.variables, self.place(batch), decoder.on_device)
            if running is not None:
                yield from self._readings(*running, decoder, lexica)
            running = positions, outputs
        if running is not None:
            yield from self._readings(*running, decoder, lexica)

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

    def _readings(
        self,
        positions: list[int],
        outputs: _Outputs,
        decoder: Decoder,
        lexica: dict[int, Sequence[str]],
    ) -> Iterator[tuple[int, Reading | DataError]]:
        host = jax.device_get(outputs)
        for row, position in enumerate(positions):
            own = lexica.pop(position, ())
            best, *others = decoder.read(host.found, row, self.charset, own) or [_NOTHING]
            loss = float(host.losses[row]) if host.feasible[row] else None
            confidence = float(np.exp(best.log_probability))
            yield position, Reading(best.text, confidence, loss, tuple(others))


def _replicas(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders of a run's replicas; none for a run without, or for no run."""
    from crnn_jax.workdir import replica_folders

    if not (workdir / "config.json").is_file():
        return []
    count = config_lib.load(workdir / "config.json").replicas
    return replica_folders(workdir, count) if count > 1 else []


def load_run(workdir: pathlib.Path, average: int = 1) -> tuple[Recognizer, Any, int]:
    """Returns the best checkpoint of a run as a recogniser, the run's config, and its step.

    Args:
      workdir: of the run.
      average: above 1 the mean of the weights of so many of the newest checkpoints instead.

    Raises:
      UserError: when there is no such run or it cannot be read.
    """
    from crnn_jax import checkpoint, train
    from crnn_jax.workdir import replica_folders

    if not (workdir / "config.json").is_file():
        raise shipped.no_model(workdir)
    config = config_lib.load(workdir / "config.json")
    if config.replicas > 1:
        raise UserError(
            f"{workdir} holds {config.replicas} replicas: name one of them, as in "
            f"{replica_folders(workdir, config.replicas)[0]}"
        )
    charset = Charset.load(workdir / "charset.json")
    saved = checkpoint.Checkpointer(workdir, read_only=True)
    try:
        step = saved.best_step()
        if step is None:
            raise UserError(
                f"{workdir}: the run has no checkpoint yet; train it further with "
                f"python -m crnn_jax.main --config=NAME --workdir={workdir}"
            )
        network, shapes = train.abstract_state(config, charset)
        steps = saved.steps()[-average:] if average > 1 else [step]
        if len(steps) < average:
            raise UserError(
                f"{workdir}: {average} checkpoints are to be averaged, and there are "
                f"{len(steps)}; keep more of them with config.keep_checkpoints"
            )
        found = [saved.restore(step, shapes).eval_variables() for step in steps]
    finally:
        saved.close()
    step, preprocess = steps[-1], preprocess_of(config)
    variables = found[0]
    if average > 1:
        variables = jax.tree.map(lambda *arrays: sum(arrays) / len(arrays), *found)
    return Recognizer(network, variables, charset, preprocess, workdir.name), config, step
