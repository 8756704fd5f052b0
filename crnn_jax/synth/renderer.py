"""A renderer: keys in, a batch of labelled text images out; one compiled program.

The static part (`Renderer`) is hashable and belongs to the program; the arrays (`Assets`) are its
arguments. Image i is a function of its own key, of its place among 8 and of the first one's key.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import FrozenConfigDict

from crnn_jax import types
from crnn_jax.charset import Charset
from crnn_jax.ctc.loss import frames_needed
from crnn_jax.keys import named_key
from crnn_jax.synth import assets as assets_lib
from crnn_jax.synth.atlas import AtlasFile, load_atlas
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects import degrade
from crnn_jax.synth.effects_rows import GROUP
from crnn_jax.synth.layout import lay_out
from crnn_jax.synth.render import paint, sample
from crnn_jax.synth.staging import settle
from crnn_jax.synth.text import TextPlan, sample_texts
from crnn_jax.synth.text_bank import build_texts
from crnn_jax.synth.textures import build_textures
from crnn_jax.synth.warp import Canvas, locate

ROWS = GROUP  # batches are multiples of it: costly effects are computed for a part of so many
_CACHED = 64  # images that a CPU renders at once: what they need stays in its caches


@dataclasses.dataclass(frozen=True)
class Renderer:
    """The static part of rendering.

    Attributes:
      knobs: see `presets`.
      canvas: the picture.
      texts: static part of the texts.
    """

    knobs: FrozenConfigDict
    canvas: Canvas
    texts: TextPlan

    def __call__(self, assets: assets_lib.Assets, keys: Any) -> types.Batch:
        """Renders one image per key; pure, to be jitted alone or with what uses the batch.

        Args:
          assets: from `build_renderer`.
          keys: typed PRNG keys (B,), B a multiple of ROWS.
        """
        count = len(keys)
        if count % ROWS:
            raise ValueError(f"{count} keys: the number must be a multiple of {ROWS}")
        if jax.default_backend() == "cpu" and count > _CACHED and count % _CACHED == 0:
            parts = jax.lax.map(lambda part: self._render(assets, part), keys.reshape(-1, _CACHED))
            return jax.tree.map(lambda array: array.reshape(count, *array.shape[2:]), parts)
        return self._render(assets, keys)

    def _render(self, assets: assets_lib.Assets, keys: Any) -> types.Batch:
        """Renders one image per key, all at once."""
        knobs, canvas, faces = self.knobs, self.canvas, assets.faces
        texts = sample_texts(assets.texts, self.texts, keys)
        draws = Draws.from_keys(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))
        draws = draws.calming(knobs.calm_share)
        least = assets.least_widths[frames_needed(texts.labels, texts.label_lengths)]

        glyphs, frame = lay_out(faces, texts.glyphs, texts.lengths, least, draws, knobs, canvas)
        glyphs, frame = jax.tree.map(settle, (glyphs, frame))
        if canvas.keep:
            draws = draws._replace(widths=frame.widths.astype(jnp.float32))
        u, v = locate(frame, draws, knobs, canvas)
        distance = sample(faces.field, glyphs, settle(u), settle(v), knobs)
        picture = paint(distance, assets.textures, draws, knobs, canvas)
        picture = degrade(picture, draws, knobs)
        images = jnp.round(picture * 255).astype(jnp.uint8)
        if canvas.keep:
            real = jnp.arange(canvas.width)[None, :] < frame.widths[:, None]
            images = jnp.where(real[:, None, :, None], images, jnp.uint8(0))
        return types.Batch(images, frame.widths, texts.labels, texts.label_lengths)


def build_renderer(
    knobs: Any,
    charset: Charset,
    canvas: Canvas,
    num_frames: Callable[[Any], Any],
    side: str = "train",
    seed: int = 0,
) -> tuple[Renderer, assets_lib.Assets]:
    """Returns a renderer and its arrays (on the host).

    Args:
      knobs: ConfigDict of `presets`.
      charset: of the labels.
      canvas: the picture.
      num_frames: frames of the model for widths in pixels: every label fits them.
      side: "train" or "test": texts of one side never occur on the other.
      seed: of the procedural textures.

    Raises:
      UserError: for an atlas, text file or folder of textures that cannot be read, or knobs that
        leave nothing to write.
    """
    atlas, faces = _load_faces(knobs.atlas, knobs.faces, _written(knobs.atlas))
    most = int(num_frames(canvas.width))
    texts, plan = build_texts(
        knobs, charset, atlas.characters, side, min(knobs.max_length, most), most
    )
    with_textures = knobs.texture_share or knobs.ink_texture_share
    assets = assets_lib.Assets(
        faces=faces,
        texts=texts,
        textures=build_textures(
            knobs.textures, count=64 if with_textures else 1, seed=seed, channels=canvas.channels
        ),
        least_widths=assets_lib.least_widths(num_frames, canvas.width, most),
    )
    return Renderer(FrozenConfigDict(knobs), canvas, plan), assets


@functools.lru_cache(maxsize=2)
def _load_faces(path: str, tags: str, written: int) -> tuple[AtlasFile, assets_lib.Faces]:
    """Returns an atlas and its faces, which the presets of a run share: they may be gigabytes.

    Args:
      path: of the atlas; empty: the default.
      tags: see `select_faces`.
      written: when; a file that is written anew is read anew.
    """
    atlas = assets_lib.select_faces(load_atlas(path), tags)
    return atlas, assets_lib.build_faces(atlas)


def _written(path: str) -> int:
    try:
        return os.stat(os.path.expanduser(path)).st_mtime_ns if path else 0
    except OSError:
        return 0  # reading it says what is wrong


def row_keys(seed: Any, name: str, rows: Any) -> Any:
    """Returns the key of every row of a stream: a function of (seed, name, number of the row)."""
    return jax.vmap(functools.partial(named_key, seed, name))(rows)
