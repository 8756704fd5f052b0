"""A back-off model written out for the beam search: a row of probabilities for every history.

A state is a history that the model tells from its shorter endings: one that begins a longer n-gram
or has a back-off weight. After a state and a character comes the longest state that both end in.
Rows are filled from the shortest histories to the longest: with the row of the longest other state
that the history ends in, weighted, and then with what is listed in its place.
"""

from __future__ import annotations

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from crnn_jax.charset import Charset
from crnn_jax.decode.language import Ngrams
from crnn_jax.decode.ngram_model import END, START, UNKNOWN, NgramModel
from crnn_jax.errors import UserError

MAX_BYTES = 256 << 20
_LEAST = -99 * math.log(10)  # nats; ARPA's "never", finite so that 0 times it is 0
_BYTES = 8  # of a character after a state: a float32 and an int32


def build_tables(model: NgramModel, charset: Charset) -> Ngrams:
    """Returns a model's table for the class ids of a charset.

    A character that the model lacks has the probability of <unk>, each of them the whole of it;
    where there is no <unk>, 1e-7. Back-off weights come on top, as for any n-gram that is not
    listed. No entry is below 1e-99.

    Raises:
      UserError: the table would be larger than MAX_BYTES, or the model has none of the characters.
    """
    symbols = model.symbols_of(charset)
    if (symbols[1:] == UNKNOWN).all():
        raise UserError(
            "the language model has none of the charset's characters: train one on texts in them "
            "(python -m crnn_jax.decode.lm)"
        )
    states = _number_states(model, symbols)
    # A column for each symbol that is used; the last one is the end.
    used = np.append(np.unique(symbols), END)
    _check_size(states, len(used) - 1)
    column = np.full(len(model.tokens), -1)
    column[used] = np.arange(len(used))
    total = _totals(states)[-1]
    log_probs = np.empty((total, len(used)), np.float32)
    following = np.zeros((total, len(used)), np.int32)
    log_probs[0] = model.unigrams[used]
    if states:
        following[0] = np.maximum(states[0][used], 0)
    shorter = np.zeros(len(model.tokens), np.int64)  # of each history: its longest other state
    for n, rows in enumerate(states):
        level, longer = model.levels[n], model.levels[n + 1]
        live = np.flatnonzero(rows >= 0)
        if n:
            parents = shorter[level.parent[live]]
            shorter = np.zeros(len(rows), np.int64)
            shorter[live] = following[parents, column[level.symbol[live]]]
        log_probs[rows[live]] = log_probs[shorter[live]] + level.back_off[live, None]
        following[rows[live]] = following[shorter[live]]
        row, at = rows[longer.parent], column[longer.symbol]
        listed = (row >= 0) & (at >= 0)
        log_probs[row[listed], at[listed]] = longer.log_prob[listed]
        if n + 1 < len(states):
            listed &= states[n + 1] >= 0
            following[row[listed], at[listed]] = states[n + 1][listed]
    np.maximum(log_probs, _LEAST, out=log_probs)
    first = max(int(states[0][START]), 0) if states else 0
    return Ngrams(
        jnp.asarray(log_probs[:, :-1]),
        jnp.asarray(following[:, :-1]),
        jnp.asarray(log_probs[:, -1]),
        jnp.int32(first),
        jnp.asarray(column[symbols], jnp.int32),
    )


def _number_states(model: NgramModel, symbols: Int32[np.ndarray, " K"]) -> list[np.ndarray]:
    """Returns the state of each n-gram of 1, 2, ... symbols that may be a history, or -1.

    States are counted from the shortest histories to the longest; 0 is the empty one. Histories
    with characters that the charset lacks are none: they never occur.
    """
    known = np.zeros(len(model.tokens), bool)
    known[symbols] = True
    reached = known.copy()
    reached[START] = True
    states: list[np.ndarray] = []
    total = 1
    for level, longer in zip(model.levels, model.levels[1:], strict=False):
        if states:
            reached = reached[level.parent] & known[level.symbol]
        goes_on = (known[longer.symbol] | (longer.symbol == END)) & reached[longer.parent]
        live = np.bincount(longer.parent[goes_on], minlength=len(reached)) > 0
        live |= reached & (level.back_off != 0)
        states.append(np.where(live, total + np.cumsum(live) - 1, -1))
        total += int(live.sum())
    return states


def _totals(states: list[np.ndarray]) -> list[int]:
    """Returns how many states models of the orders 1, 2, ... have."""
    new = [1, *(int(np.count_nonzero(rows >= 0)) for rows in states)]
    return list(itertools.accumulate(new))


def _check_size(states: list[np.ndarray], columns: int) -> None:
    totals = _totals(states)
    sizes = [total * columns * _BYTES for total in totals]
    if sizes[-1] <= MAX_BYTES:
        return
    fitting = sum(size <= MAX_BYTES for size in sizes)
    advice = f"order {fitting} would take {sizes[fitting - 1] >> 20} MB; " if fitting else ""
    raise UserError(
        f"the language model's table would take {sizes[-1] >> 20} MB ({totals[-1]:,} histories of "
        f"{columns} characters), more than {MAX_BYTES >> 20} MB: {advice}give a lower order, or "
        "train it with a higher --min_count"
    )
