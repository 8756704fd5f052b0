"""What decoders find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crnn_jax.charset import Charset
from crnn_jax.types import AnyArray


class Candidate(NamedTuple):
    """A reading of an image.

    Attributes:
      text: the reading.
      ids: its class ids, in the order of the frames; the text of a lexicon's word may hold more.
      log_probability: log p(text | image) by the CTC forward score, of the logits that the decoder
        saw.
    """

    text: str
    ids: tuple[int, ...]
    log_probability: float

    @classmethod
    def of(
        cls, ids: AnyArray | Sequence[int], charset: Charset, log_probability: float
    ) -> Candidate:
        """Returns the reading that class ids spell."""
        return cls(charset.decode(ids), tuple(int(i) for i in ids), log_probability)
