"""Words on slopes, made of the demo's pictures."""

from __future__ import annotations

import math
import pathlib

import numpy as np
from PIL import Image

from crnn_jax import demoing

EXAMPLES = pathlib.Path(demoing.__file__).parent / "examples"


def on_a_slope(name, degrees):
    """Returns one of the demo's pictures, its columns moved down more and more, or up."""
    with Image.open(EXAMPLES / f"{name}.png") as image:
        word = np.asarray(image.convert("L"))
    height, width = word.shape
    rise = math.tan(math.radians(degrees))
    tops = np.rint(rise * np.arange(width)).astype(int)
    tops -= tops.min()
    picture = np.full((height + tops.max(), width), int(np.median(word)), np.uint8)
    for column, top in enumerate(tops):
        picture[top : top + height, column] = word[:, column]
    return Image.fromarray(picture)
