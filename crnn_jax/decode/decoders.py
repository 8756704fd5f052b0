"""Decoders by name.

A decoder has two halves. `on_device` runs in the program of the network, over a batch; `read` makes
a row's readings of what it found, on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from crnn_jax import types
from crnn_jax.charset import Charset
from crnn_jax.decode.beam import Beam
from crnn_jax.decode.candidates import Candidate
from crnn_jax.decode.greedy import Greedy
from crnn_jax.decode.lexicon import LexiconDecoder
from crnn_jax.errors import unknown_name


@runtime_checkable
class Decoder(Protocol):
    """What turns the frames of an image into readings."""

    @property
    def on_device(self) -> Callable[[types.Logits, types.FrameCounts, Any], Any]:
        """The compiled half: logits, frames and tables to a tree of arrays.

        The same object every time: programs are kept by it.
        """
        ...

    @property
    def tables(self) -> Any:
        """A tree of arrays that the compiled half is handed, such as a language model; or ()."""
        ...

    def read(self, found: Any, row: int, charset: Charset, words: Sequence[str]) -> list[Candidate]:
        """Returns a row's readings, best first; none where nothing can be read.

        Args:
          found: what `on_device` gave for the batch, as NumPy arrays.
          row: of the batch.
          charset: of the model.
          words: that the row is known to be among; empty where that is not known.
        """
        ...


DECODERS: dict[str, Callable[[], Decoder]] = {
    "greedy": Greedy,
    "beam": Beam,
    "lexicon": LexiconDecoder,
}


def make_decoder(decoder: str | Decoder) -> Decoder:
    """Returns a decoder, or the one of a name with its usual settings.

    Raises:
      UserError: there is none of that name.
    """
    if not isinstance(decoder, str):
        return decoder
    if decoder not in DECODERS:
        raise unknown_name("decoder", decoder, DECODERS)
    return DECODERS[decoder]()
