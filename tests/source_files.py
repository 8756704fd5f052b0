"""Sets written to disk for the tests of sources."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data.sources import Source, open_source
from crnn_jax.errors import DataError


def png(width: int = 20, height: int = 10, value: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def labels(source: Source) -> list[str]:
    return [source.label(i) for i in range(len(source))]


def keys(spec: str) -> list[str]:
    source = open_source(spec)
    return [source.key(i) for i in range(len(source))]


def refused(spec: str) -> str:
    with pytest.raises(DataError) as error:
        open_source(spec)
    assert "\n" not in str(error.value)
    return str(error.value)


def write_lmdb(folder, labels, images=None, **more):
    """Writes labels with images (by default, each a pixel wider than the last) as an LMDB."""
    import lmdb

    rows = enumerate(labels, start=1)
    values = {f"label-{i:09d}": text for i, text in rows}
    images = images or [png(20 + i) for i in range(len(labels))]
    values |= {f"image-{i:09d}": data for i, data in enumerate(images, start=1)}
    values |= {"num-samples": str(len(labels))} | more
    folder.mkdir(parents=True, exist_ok=True)
    with (
        lmdb.open(str(folder), map_size=1 << 24) as environment,
        environment.begin(write=True) as writer,
    ):
        for key, value in values.items():
            if value is not None:
                writer.put(key.encode(), value if isinstance(value, bytes) else value.encode())
    return folder
