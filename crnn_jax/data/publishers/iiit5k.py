"""IIIT5K-Words as distributed: `traindata.mat`, `testdata.mat`, and the images in two folders.

Source: Mishra, Alahari and Jawahar, Scene Text Recognition using Higher Order Language Priors,
2012, and the readme of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from crnn_jax.data import files_of_rows
from crnn_jax.data.label_lists import Row
from crnn_jax.data.listed import open_list
from crnn_jax.data.publishers import matlab
from crnn_jax.data.spec import Spec
from crnn_jax.errors import DataError, one_of

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source

PARTS = ("train", "test")
LEXICONS = ("small", "medium")


def open_iiit5k(spec: Spec) -> Source:
    """Opens one part (`part=`, by default train) of the folder, with one lexicon (`lexicon=`).

    Keys are `test/PHOTOGRAPH_WORD.png`: `group=^[^_]+` finds the photograph.

    Raises:
      DataError: no such folder, no annotation in it, or one that cannot be read.
      UserError: an unknown part or lexicon.
    """
    folder = files_of_rows.existing("iiit5k", spec.location)
    part = one_of("part of IIIT5K", spec.part, PARTS)
    lexicon = one_of("lexicon of IIIT5K", spec.lexicon, LEXICONS)
    variable = f"{part}data"
    if not (folder / f"{variable}.mat").is_file():
        raise DataError(
            f"iiit5k:{spec.location} has no {variable}.mat: give the folder IIIT5K of the archive"
        )
    return open_list(
        folder / f"{variable}.mat",
        read_annotation,
        folder,
        {"variable": variable, "lexicon": f"{lexicon}Lexi"},
        f"iiit5k_{part}",
    )


def read_annotation(data: bytes, path: Path, variable: str, lexicon: str) -> Iterator[Row]:
    """Reads the rows of a MATLAB file.

    Args:
      data: of the file.
      path: for messages.
      variable: name of the structure array.
      lexicon: its field of lexicon words.
    """
    try:
        rows = matlab.read_structs(data, variable, ("ImgName", "GroundTruth", lexicon))
        for number, (image, label, words) in enumerate(rows, start=1):
            if not isinstance(image, str) or not image or not isinstance(label, str):
                raise DataError(f"row {number} has no ImgName or GroundTruth that is one text")
            words = (words,) if isinstance(words, str) else words
            yield Row(number, image, label, tuple(filter(None, words)))
    except DataError as error:
        raise DataError(f"{path} {error}") from None
