"""Images for the tests of effects, and effects compiled for them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crnn_jax.synth import effects, presets
from crnn_jax.synth.draws import WORDS, Draws

KNOBS = presets.plain()
# Half the time of compiling; what XLA does at its higher levels is no business of these tests.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draws(batch: int, seed: int = 0) -> Draws:
    seeds = np.random.default_rng(seed).integers(2**32, size=(batch, WORDS), dtype=np.uint32)
    return Draws(jnp.asarray(seeds))


def limits_of(name: str) -> tuple:
    """Returns what an effect takes after its share; two effects have no range."""
    return (tuple(KNOBS[name]),) if name in KNOBS else ()


@functools.cache
def _compiled(name: str, share: float, rest: tuple) -> Callable:
    return compiled(lambda images, draws: effects.EFFECTS[name](images, draws, share, *rest))


def apply(name, images, share=1.0, limits=None, seed=0):
    """Returns what an effect makes of images, as numpy."""
    effect = _compiled(name, share, limits_of(name) if limits is None else (limits,))
    return np.asarray(effect(jnp.asarray(images), draws(len(images), seed)))


@functools.cache
def crops() -> np.ndarray:
    """64 pictures of a word, 32 x 120, grey, dark on light and light on dark."""
    picture = Image.new("L", (480, 128), 0)
    font = ImageFont.load_default(size=110)
    ImageDraw.Draw(picture).text((20, 0), "crumple", 255, font=font)
    mask = np.asarray(picture.resize((120, 32), Image.Resampling.BOX), np.float32) / 255
    rng = np.random.default_rng(0)
    ground, ink = rng.uniform(0.55, 0.95, 64), rng.uniform(0.05, 0.4, 64)
    ground[::3], ink[::3] = ink[::3], ground[::3].copy()
    ground, ink = ground[:, None, None, None], ink[:, None, None, None]
    pictures = (ground + (ink - ground) * mask[None, :, :, None]).astype(np.float32)
    pictures.flags.writeable = False
    return pictures


def flat(value: float, batch: int = 64, height: int = 32, width: int = 96, channels: int = 1):
    return np.full((batch, height, width, channels), value, np.float32)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Returns which images differ."""
    return (before != after).any(axis=(1, 2, 3))
