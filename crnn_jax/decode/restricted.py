"""Reading with some of the characters alone, those that are allowed or not blocked."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from crnn_jax import types
from crnn_jax.charset import Charset
from crnn_jax.decode.candidates import Candidate
from crnn_jax.decode.lexicon import LexiconDecoder
from crnn_jax.errors import UserError

_NEVER = -1e9  # logit of a class that may not be read; finite, so that differences are, too


def allowed_classes(charset: Charset, allow: str = "", block: str = "") -> Bool[np.ndarray, " K"]:
    """Returns which classes may be read; the blank always.

    Args:
      charset: of the model.
      allow: characters that may be read; empty allows all.
      block: characters that may not.

    Raises:
      UserError: a character that the model cannot read anyway, or none is left.
    """
    sets = {}
    for name, text in (("allowed", allow), ("blocked", block)):
        sets[name] = set(charset.normalise(text))
        known = set("".join(charset.classes))
        if unknown := sorted(sets[name] - known):
            raise UserError(
                f"{name} characters {''.join(unknown)!r} are not among those that the model reads: "
                f"{''.join(charset.classes)[:100]}"
            )
    found = np.ones(charset.num_classes, bool)
    for number, piece in enumerate(charset.classes, start=1):
        fits = not allow or set(piece) <= sets["allowed"]
        found[number] = fits and not set(piece) & sets["blocked"]
    if not found[1:].any():
        raise UserError("no character is left to be read: allow more of them or block fewer")
    return found


class Restricted:
    """Lets another decoder see some of the classes alone.

    Confidence stays what it is, the posterior of the text among all texts: it is low where the
    image shows something else.

    Args:
      decoder: which reads.
      allowed: classes that it sees, (K,), the blank among them.
    """

    def __init__(self, decoder: Any, allowed: Bool[np.ndarray, " K"]):
        if isinstance(decoder, LexiconDecoder):  # which would look among words that none can be
            decoder = decoder.within(allowed)
        self._decoder, self._allowed = decoder, allowed
        self.on_device = _masked(decoder.on_device)
        self.tables = jnp.asarray(allowed), decoder.tables

    def read(self, found: Any, row: int, charset: Charset, words: Sequence[str]) -> list[Candidate]:
        """Returns the other decoder's readings, whose probabilities are not known here.

        A beam under a lexicon may end in other characters, too, which score low: they are left out.
        """
        readings = self._decoder.read(found, row, charset, words)
        return [
            candidate._replace(log_probability=math.nan)
            for candidate in readings
            if all(self._allowed[id_] for id_ in candidate.ids)
        ]


@functools.cache  # the same function for the same decoder: it is what programs are kept by
def _masked(decode: Callable[..., Any]) -> Callable[..., Any]:
    def on_device(logits: types.Logits, frames: types.FrameCounts, tables: Any) -> Any:
        allowed, own = tables
        return decode(jnp.where(allowed[None, None, :], logits, _NEVER), frames, own)

    return on_device
