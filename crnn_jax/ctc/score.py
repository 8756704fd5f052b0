"""The CTC forward score of many strings against one image, however unlikely they are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_NEVER = -1e30  # in place of log 0, which would make NaNs of differences
_LEAST = -1e4  # log-probability that a class has at least


@jax.jit
def score_strings(
    log_probs: Float[Array, "T K"],
    frames: Int[Array, ""],
    ids: Int[Array, "C L"],
    lengths: Int[Array, " C"],
) -> Float[Array, " C"]:
    """Returns log p(string | image) of every string, as `string_log_probability` does for rows.

    The forward variables of Graves et al. (2006, eq. 6). They are kept as logarithms: those of a
    string that the image does not show are too far apart for one scale.

    Args:
      log_probs: of the classes in every frame of the image, class 0 the blank.
      frames: real frames.
      ids: of the strings, right-padded with anything.
      lengths: of the strings; 0 is the empty one.

    Returns:
      Natural logarithms; -inf where a string needs more frames than there are.
    """
    log_probs = jnp.maximum(log_probs.astype(jnp.float32), _LEAST)
    real = jnp.arange(len(log_probs)) < frames
    never = jnp.full((len(ids), 1), _NEVER)
    # A letter may follow another at once, but for its like: those need a blank between.
    unlike = jnp.where(ids[:, 1:] != ids[:, :-1], 0.0, _NEVER)
    unlike = jnp.concatenate([never, unlike], axis=1)

    def step(carry: tuple, frame: tuple) -> tuple:
        on_letter, on_blank = carry  # (C, L), (C, L + 1): before each letter, and at the end
        now, counts = frame
        before = jnp.concatenate([never, on_letter], axis=1)
        letter = _add(on_letter, on_blank[:, :-1], before[:, :-1] + unlike) + now[ids]
        blank = _add(on_blank, before) + now[0]
        moved = letter, blank
        return jax.tree.map(lambda new, old: jnp.where(counts, new, old), moved, carry), None

    nowhere = jnp.full(ids.shape, _NEVER)
    start = nowhere, jnp.concatenate([jnp.zeros_like(never), nowhere], axis=1)
    (letter, blank), _ = jax.lax.scan(step, start, (log_probs, real))
    row = jnp.arange(len(ids))
    last = jnp.where(lengths > 0, letter[row, jnp.maximum(lengths - 1, 0)], _NEVER)
    found = _add(blank[row, lengths], last)
    return jnp.where(found < _NEVER / 2, -jnp.inf, found)


def _add(*terms: Array) -> Array:
    """Returns the logarithm of a sum, of logarithms."""
    largest = jnp.stack(terms).max(axis=0)
    return largest + jnp.log(sum(jnp.exp(term - largest) for term in terms))
