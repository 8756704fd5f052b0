"""Ink and ground are painted so far apart that they can still be told apart in the end."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from crnn_jax.synth import presets
from crnn_jax.synth.contrast import survive
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects import EFFECTS, degrade

LEAST = 0.15
LIGHTING = ("light", "shade", "gamma", "tone")
COUNT = 256


def knobs(**shares: float) -> ConfigDict:
    """Returns scene's knobs with only the given effects."""
    values = presets.get_preset("scene")
    for name in EFFECTS:
        values[f"{name}_share"] = shares.get(name, 0.0)
    return values


def draws() -> Draws:
    return Draws.from_keys(jax.random.split(jax.random.key(5), COUNT))


def faint() -> tuple[jax.Array, jax.Array]:
    """Returns pairs of tones at the least distance, from black to white."""
    dark = draws().uniform("tone") * (1 - LEAST)
    return dark, dark + LEAST


def worst_contrast(dark: jax.Array, light: jax.Array, values: ConfigDict) -> np.ndarray:
    """Returns how much two tones, in stripes, differ after the effects, where they do so least.

    A shadow's hard edge is as wide as a stripe: a twentieth of the places is left out.
    """
    striped = jnp.where(jnp.arange(64)[None, :] % 2 == 0, dark[:, None], light[:, None])
    images = jnp.broadcast_to(striped[:, None, :, None], (COUNT, 32, 64, 1))
    changed = jax.jit(lambda images, draws: degrade(images, draws, values))
    images = np.asarray(changed(images, draws()))[..., 0]
    return np.quantile(np.abs(np.diff(images, axis=2)), 0.05, axis=(1, 2))


def test_lighting_leaves_the_least_contrast():
    values = knobs(**dict.fromkeys(LIGHTING, 0.7))
    unaided = worst_contrast(*faint(), values)
    assert np.quantile(unaided, 0.25) < 0.5 * LEAST
    apart = jax.jit(lambda dark, light, draws: survive(dark, light, LEAST, draws, values))
    dark, light = apart(*faint(), draws())
    assert ((dark >= 0) & (dark < light) & (light <= 1)).all()
    # Black on white is the most there is, and is not enough for a few.
    possible = np.asarray((dark > 0) | (light < 1))
    assert possible.mean() > 0.9
    assert worst_contrast(dark, light, values)[possible].min() > 0.9 * LEAST


def test_tones_far_enough_apart_stay_as_they_are():
    none = knobs()
    for before, after in zip(faint(), survive(*faint(), LEAST - 1e-6, draws(), none), strict=True):
        np.testing.assert_array_equal(after, before)


def test_noise_asks_for_more_contrast():
    noisy = knobs(noise=1.0)
    dark, light = survive(*faint(), LEAST, draws(), noisy)
    sigma = draws().between("noise", noisy.noise)
    np.testing.assert_allclose(light - dark, LEAST + 2 * sigma, atol=1e-5)
