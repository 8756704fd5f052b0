"""A text that is known in place of a reading, to see how well and where an image shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from crnn_jax import types
from crnn_jax.charset import Charset
from crnn_jax.decode.candidates import Candidate


def _nothing(logits: types.Logits, frames: types.FrameCounts, _: tuple) -> tuple:
    return ()


class Forced:
    """Reads the first of the words that come with an image, whatever the image shows.

    Characters that the model does not read are left out of what is scored.
    """

    on_device = staticmethod(_nothing)
    tables = ()

    def read(self, found: Any, row: int, charset: Charset, words: Sequence[str]) -> list[Candidate]:
        """Returns the word; its probability is not known here."""
        text = words[0]
        return [Candidate(text, tuple(charset.encode_known(text)), math.nan)]
