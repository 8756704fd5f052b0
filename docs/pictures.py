"""Draws docs/images/alignment.png: from an image over frames and classes to its text.

python docs/pictures.py
"""

from __future__ import annotations

import pathlib

import jax
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from crnn_jax.data.images import decode_image
from crnn_jax.recognizer import Recognizer

_IMAGES = pathlib.Path(__file__).parent / "images"
_BLANK = "blank"


def main() -> None:
    """Reads a word with a shipped model and draws what its frames say."""
    model = Recognizer.load("tiny-latin")
    pixels = model.preprocess(_IMAGES / "words" / "gumdrop.jpg")
    width = pixels.shape[1]
    logits, _ = model.model.apply(model.variables, pixels[None], np.array([width], np.int32))
    posteriors = np.asarray(jax.nn.softmax(logits[0], axis=-1))
    best = posteriors.argmax(axis=1)
    # The rows of the map: the blank, and the characters in the order in which they are read.
    classes = [0, *dict.fromkeys(best[best > 0].tolist())]
    names = [_BLANK, *(model.charset.classes[i - 1] for i in classes[1:])]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 5), height_ratios=(1, 1.6), layout="constrained", sharex=True
    )
    frames = len(posteriors)
    above.imshow(pixels[..., 0], cmap="gray", extent=(0, frames, 0, frames / 4), aspect="auto")
    above.set(
        yticks=[], title=f"the image, as the network sees it: {width} pixels, {frames} frames"
    )
    above.tick_params(bottom=False, labelbottom=False)
    below.imshow(
        posteriors[:, classes].T, cmap="Blues", vmin=0, vmax=1, aspect="auto",
        extent=(0, frames, len(classes), 0),
    )  # fmt: skip
    below.set_yticks(np.arange(len(classes)) + 0.5, names)
    path = ["-" if i == 0 else model.charset.classes[i - 1] for i in best]
    below.set_xticks(np.arange(frames) + 0.5, path, family="monospace")
    below.tick_params(length=0)
    below.set_xlabel("the likeliest class of every frame, - for the blank")
    below.set_title("what the network says of every frame (dark: likely)")
    text = model.read([decode_image(_IMAGES / "words" / "gumdrop.jpg", 3)])[0].text
    figure.suptitle(f"repeats merged, blanks taken out: {text}", y=-0.02, va="top")
    figure.savefig(_IMAGES / "alignment.png", dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
