"""Labels that a trained model reads otherwise, and is sure of it: likely label errors."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from tqdm import tqdm

from crnn_jax.auditing.findings import Example, Finding
from crnn_jax.auditing.rows import MAX_NAMED, AuditSet, Row
from crnn_jax.errors import DataError
from crnn_jax.metrics import apply_protocol

if TYPE_CHECKING:
    from crnn_jax.recognizer import Recognizer

SURE = 0.7  # p(reading | image): below it the model's own errors crowd the list
RATIO = 100.0  # p(reading | image) / p(label | image): below it the label is a close second


def check_readings(
    number: int, audited: AuditSet, model: Recognizer, protocol: str, batch_size: int = 64
) -> list[Finding]:
    """Returns the finding about labels of set `number` that the model reads otherwise.

    Rows are ranked by how many nats less probable the label is than the reading,
    log p(reading | image) - log p(label | image): of a label error that is much, and of a letter
    that the model takes for a similar one little. Labels that the model cannot spell come last.

    Args:
      number: of the set.
      audited: the set.
      model: reads it.
      protocol: how label and reading are compared, a name of `crnn_jax.metrics.PROTOCOLS`.
      batch_size: most images per step.
    """
    source = audited.source
    rows = audited.images.readable.nonzero()[0].tolist()
    # Losses are of logits as they are: so are the confidences that they are compared with.
    model = dataclasses.replace(model, temperature=1.0)
    found: list[tuple[float, Example]] = []
    bar = tqdm(total=len(rows), desc=f"reading {audited.name}", unit="img", delay=1, disable=None)
    with bar:
        for position, reading in model.stream(
            rows,
            lambda i: model.preprocess(source.image_bytes(i)),
            batch_size,
            label=lambda i: apply_protocol(source.label(i), protocol),
        ):
            bar.update()
            if isinstance(reading, DataError):  # it could be read before: the disk changed
                raise reading
            i = rows[position]
            label = apply_protocol(source.label(i), protocol)
            text = apply_protocol(reading.text, protocol)
            if not label or text == label or reading.confidence < SURE:
                continue
            nats = None
            if reading.loss is not None:
                nats = math.log(reading.confidence) + reading.loss
                if nats < math.log(RATIO):
                    continue
            example = Example(
                (Row(number, i),),
                f"read {reading.text!r} with confidence {reading.confidence:.2f}",
                {"reading": reading.text, "confidence": reading.confidence, "nats": nats},
            )
            found.append((nats or 0.0, example))
    found.sort(key=lambda entry: (-entry[0], entry[1].rows))
    if not found:
        return []
    examples = [example for _, example in found[:MAX_NAMED]]
    return [Finding("suspicious_label", (number,), len(found), examples)]
