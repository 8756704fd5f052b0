"""Eight-bit weights and activations, by onnxruntime's quantisation."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from crnn_jax import runtime
from crnn_jax.charset import PRESETS
from crnn_jax.data.sources import Source, open_source
from crnn_jax.errors import DataError, UserError
from crnn_jax.exporting.onnx_run import open_session
from crnn_jax.metrics import apply_protocol

if TYPE_CHECKING:
    import onnx

    from crnn_jax.charset import Charset
    from crnn_jax.data.images import Preprocess

MOST_LOST = 0.005  # of word accuracy
COUNT = 2_000  # images that accuracy is compared on
_CALIBRATION = 128  # images that give the ranges of activations
_SEED = 7_002
_RENDERED = ("latin94", "alnum62", "digits")  # charsets that the package renders, widest first


@dataclasses.dataclass(frozen=True)
class Cost:
    """What eight bits cost.

    Attributes:
      rows: compared.
      before, after: word accuracy in float32 and with eight bits.
      protocol: by which readings are right.
    """

    rows: int
    before: float
    after: float
    protocol: str

    def __str__(self) -> str:
        return (
            f"{self.rows} words, protocol {self.protocol}: {100 * self.before:.2f} % in float32, "
            f"{100 * self.after:.2f} % with 8 bits"
        )


def comparison_set(charset: Charset, data: str | None = None) -> Source:
    """Returns labelled images for `quantize`: of a set, else rendered words of the charset.

    Raises:
      UserError: the set cannot be opened, or no font of the package has such characters.
    """
    if data:
        return open_source(data)
    known = set(charset.classes)
    for name in _RENDERED:
        # Words in both cases for a model that folds it: the protocol folds their labels.
        if known >= set(map(charset.normalise, PRESETS[name])):
            return open_source(f"synth:scene::seed={_SEED},limit={COUNT},charset={name}")
    raise UserError(
        "the package renders no words of this model's charset: give labelled images of its kind "
        "with --data=SPEC, which eight bits are tried on"
    )


def quantize(model: onnx.ModelProto, preprocess: Preprocess, source: Source) -> onnx.ModelProto:
    """Returns a model with 8-bit convolutions, LSTMs and products.

    Ranges of activations in front of convolutions are those on the first images of a set; LSTMs and
    linear layers find theirs for every image. GRUs stay in float32: no such operator exists.
    """
    import onnx
    from onnxruntime import quantization as q

    images = list(_images(preprocess, source, _CALIBRATION))

    class Images(q.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            if image is None:
                return None
            return {"images": image[None], "widths": np.array([image.shape[1]], np.int32)}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        paths = [str(pathlib.Path(folder) / f"{i}.onnx") for i in range(3)]
        onnx.save(model, paths[0])
        q.quantize_static(
            paths[0],
            paths[1],
            Images(),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
        )
        q.quantize_dynamic(
            paths[1],
            paths[2],
            op_types_to_quantize=["MatMul", "LSTM"],
            weight_type=q.QuantType.QInt8,
        )
        return onnx.load(paths[2])


def check_cost(
    before: onnx.ModelProto, after: onnx.ModelProto, source: Source, protocol: str
) -> Cost:
    """Compares word accuracy of a model in float32 and with eight bits.

    Raises:
      UserError: more than MOST_LOST is lost, or the set has no image that can be read.
    """
    readers = [runtime.Reader(open_session(model)) for model in (before, after)]
    preprocess = readers[0].preprocess
    rows = []
    for i in range(min(COUNT, len(source))):
        with contextlib.suppress(DataError, runtime.ReadError):
            image = runtime.load_image(source.image_bytes(i), preprocess.channels)
            # Of the size that reading leaves as it is: photographs would be gigabytes.
            rows.append((preprocess(image), apply_protocol(source.label(i), protocol)))
    if not rows:
        raise UserError("no image of the set can be read: give another with --data=SPEC")
    right = []
    for reader in readers:
        readings = reader.read([image for image, _ in rows], characters=False)
        right.append(
            np.mean(
                [
                    apply_protocol(reading.text, protocol) == label
                    for reading, (_, label) in zip(readings, rows, strict=True)
                ]
            )
        )
    cost = Cost(len(rows), float(right[0]), float(right[1]), protocol)
    if cost.before - cost.after > MOST_LOST:
        raise UserError(
            f"eight bits lose more than {100 * MOST_LOST:g} points ({cost}): export without "
            "--int8, or give images of the kind that will be read with --data=SPEC"
        )
    return cost


def _images(preprocess: Preprocess, source: Source, count: int) -> Iterator[np.ndarray]:
    for i in range(len(source)):
        with contextlib.suppress(DataError):
            yield preprocess(source.image_bytes(i))
            count -= 1
        if not count:
            return


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences advice about steps that are not needed: normalisation is folded already."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
