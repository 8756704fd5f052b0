"""A language model for the reader without JAX: the table of the beam search without its repeats.

Most entries of a row are those of a shorter history's row plus one number. The file holds what
differs, and for every state which shorter one stands in for it: 3.4 MB of a table of 59 for
`english`, order 6, and 95 characters. What is read of the file is the table but for 2e-5 nats for
every shorter history that it is looked up in.
"""

from __future__ import annotations

import io
import json

import numpy as np
from jaxtyping import Int

from crnn_jax import runtime
from crnn_jax.charset import Charset
from crnn_jax.decode.language import Ngrams, Weighted

_ROUNDING = 2e-5  # nats: two sums of the same float32 numbers are as near


def pack(name: str, model: Weighted, charset: Charset) -> bytes:
    """Returns the content of a file that `runtime.LanguageModel.load` opens.

    Args:
      name: of the language model, for tables.
      model: an n-gram model with its weight and its bonus.
      charset: of the recogniser; the file goes with models of the same one.
    """
    tables = model.model
    assert isinstance(tables, Ngrams)
    told = {
        "format": runtime.LM_FORMAT,
        "name": name,
        "classes": list(charset.classes),
        "weight": float(model.weight),
        "bonus": float(model.bonus),
    }
    arrays = _without_repeats(tables)
    arrays["columns"] = np.asarray(tables.columns, np.int32)
    arrays["first"] = np.asarray(tables.first, np.int32)
    arrays["about"] = np.array(json.dumps(told, ensure_ascii=False))
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _without_repeats(tables: Ngrams) -> dict[str, np.ndarray]:
    """Returns the entries that differ from those of shorter histories; the end is a column more."""
    log_probs = np.concatenate([tables.log_probs, np.asarray(tables.ends)[:, None]], axis=1)
    following = np.pad(np.asarray(tables.following, np.int32), ((0, 0), (0, 1)))
    shorter = _shorter(following[:, :-1], int(tables.first))
    gaps = log_probs - log_probs[shorter]
    back_off = np.median(gaps, axis=1).astype(np.float32)
    listed = np.abs(gaps - back_off[:, None]) > _ROUNDING
    listed |= following != following[shorter]
    listed[0], back_off[0] = True, 0.0  # the empty history ends every search
    return {
        "counts": listed.sum(axis=1, dtype=np.uint16),
        "entries": np.nonzero(listed)[1].astype(np.uint16),
        "log_probs": log_probs[listed],
        "following": following[listed],
        "shorter": shorter.astype(np.int32),
        "back_off": back_off,
    }


def _shorter(following: Int[np.ndarray, "S C"], first: int) -> Int[np.ndarray, " S"]:
    """Returns for every state an earlier one whose row its own is likely to repeat.

    That is the longest other history that it ends in: what follows, after the same character, the
    one that its own history without the last character ends in (Aho and Corasick, 1975). Others
    would be as right, and the file larger.
    """
    shorter = np.zeros(len(following), np.int64)
    seen = np.zeros(len(following), bool)
    for root in (0, first):
        reached = np.array([root])
        seen[root] = True
        while len(reached):
            to = following[reached].astype(np.int64)
            ends_in = following[shorter[reached]].astype(np.int64)
            ends_in[reached == 0] = 0
            to, at = np.unique(to, return_index=True)
            ends_in = ends_in.reshape(-1)[at]
            new = ~seen[to]
            reached, ends_in = to[new], ends_in[new]
            shorter[reached] = np.where(ends_in < reached, ends_in, 0)
            seen[reached] = True
    return shorter
