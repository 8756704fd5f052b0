"""How far apart ink and ground are painted, for a person to read the finished picture."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.warp import sometimes

_SPREAD_BY = ("noise", "shot", "speckle")  # their standard deviations


def survive(
    dark: Float[Array, " B"],
    light: Float[Array, " B"],
    least: float,
    draws: Draws,
    knobs: Any,
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Returns two tones, moved apart where later effects would bring them too near to each other.

    Light and shadow multiply the tones, gamma bends them, and a flat tone curve scales what is
    between them; all of it is known beforehand, because draws have names. Tones that stay far
    enough apart in the darkest place of the picture are returned as they are, bit for bit.

    Args:
      dark, light: tones of ink and ground, 0..1.
      least: distance between them that must be left, in the noise's absence.
      draws: of the same rows.
      knobs: static; shares and ranges of the effects.
    """
    dimmed = 1 - sometimes(draws, "light", knobs.light_share, knobs.light)
    dimmed = dimmed * (1 - sometimes(draws, "shade", knobs.shade_share, knobs.shade))
    exponent = _drawn_factor(draws, "gamma", "gamma", knobs)
    wanted = least + 2 * sum(
        sometimes(draws, name, knobs[f"{name}_share"], knobs[name]) for name in _SPREAD_BY
    )
    wanted = wanted / jnp.minimum(_drawn_factor(draws, "tone", "tone factor", knobs), 1.0)

    def finished(painted: Array) -> Array:
        return (painted * dimmed) ** exponent

    def painted(finished: Array) -> Array:
        return finished ** (1 / exponent) / dimmed

    brightest = finished(jnp.ones_like(dark))
    near = finished(light) - finished(dark) < wanted
    # Where white itself is too near, the darker tone makes room, down to black.
    low = jnp.maximum(jnp.minimum(finished(dark), brightest - wanted), 0.0)
    high = jnp.minimum(low + wanted, brightest)
    return jnp.where(near, painted(low), dark), jnp.where(
        near, jnp.minimum(painted(high), 1.0), light
    )


def _drawn_factor(draws: Draws, effect: str, name: str, knobs: Any) -> Array:
    """Returns what an effect draws by a name for its images, 1 for the others."""
    share = knobs[f"{effect}_share"]
    if not share:
        return jnp.ones(draws.seeds.shape[:1])
    return jnp.where(draws.chosen(effect, share), draws.between(name, knobs[effect]), 1.0)
