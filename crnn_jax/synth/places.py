"""Where the ink of each rendered character is: ground truth for what finds characters."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crnn_jax import types
from crnn_jax.ctc.loss import frames_needed
from crnn_jax.synth import render
from crnn_jax.synth.assets import Assets
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.layout import lay_out, strokes
from crnn_jax.synth.renderer import Renderer
from crnn_jax.synth.text import sample_texts
from crnn_jax.synth.warp import locate


def render_with_places(
    renderer: Renderer, assets: Assets, keys: Any
) -> tuple[types.Batch, Float[Array, "B L 2"]]:
    """Renders one image per key, and says where its characters are; pure.

    Args:
      renderer, assets: from `build_renderer`.
      keys: typed PRNG keys (B,), B a multiple of `renderer.ROWS`.

    Returns:
      The batch as the renderer makes it, and the pixels along x at which the ink of each character
      of the text begins and ends, all bends included. A character without ink, as a space is, or
      one outside the picture, has NaN. Characters are those that are drawn: of lines cut short or
      folded for the label, the label's may be fewer.
    """
    knobs, canvas = renderer.knobs, renderer.canvas
    texts = sample_texts(assets.texts, renderer.texts, keys)
    draws = Draws.from_keys(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))
    draws = draws.calming(knobs.calm_share)
    least = assets.least_widths[frames_needed(texts.labels, texts.label_lengths)]
    glyphs, frame = lay_out(assets.faces, texts.glyphs, texts.lengths, least, draws, knobs, canvas)
    corners = locate(frame, draws, knobs, canvas)
    u, v = (_mean_of_corners(corner) for corner in corners)
    weight = jnp.maximum(sum(strokes(draws, knobs)), 0.0)[:, None, None]
    columns = jnp.arange(canvas.width)[None, :]
    real = columns < frame.widths[:, None]

    def extent(k: Array) -> Array:
        slot = jnp.full(u.shape, k, jnp.int32)
        em, _, _ = render.glyph_distance(assets.faces.field, glyphs, slot, u, v, knobs)
        inked = jnp.any(em + weight > 0, axis=1) & real & (k < texts.lengths)[:, None]
        first = jnp.min(jnp.where(inked, columns, canvas.width), axis=1)
        last = jnp.max(jnp.where(inked, columns + 1, 0), axis=1)
        both = jnp.stack([first, last], axis=1).astype(jnp.float32)
        return jnp.where(jnp.any(inked, axis=1)[:, None], both, jnp.nan)

    found = jax.lax.map(extent, jnp.arange(texts.glyphs.shape[1]))
    return renderer(assets, keys), jnp.moveaxis(found, 0, 1)


def _mean_of_corners(corners: Float[Array, "B H1 W1"]) -> Array:
    above = corners[:, :-1, :-1] + corners[:, :-1, 1:]
    return (above + corners[:, 1:, :-1] + corners[:, 1:, 1:]) / 4


@functools.partial(jax.jit, static_argnames="renderer")
def program(renderer: Renderer, assets: Assets, keys: Any) -> Any:
    """`render_with_places`, compiled."""
    return render_with_places(renderer, assets, keys)
