"""Effects on rendered images, in the order in which a picture comes about.

First things in the scene, then light, lens, sensor, tone, file. Every effect leaves images that it
does not choose as they are, bit for bit, and with a share of 0 adds nothing to the program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_file import gamma, invert, jpeg, tone
from crnn_jax.synth.effects_light import expose, light, shade
from crnn_jax.synth.effects_optics import blur, defocus, motion
from crnn_jax.synth.effects_rows import Pictures
from crnn_jax.synth.effects_scene import occlusion, rules, stains, strokes
from crnn_jax.synth.effects_sensor import lowres, noise, salt, shot, speckle
from crnn_jax.synth.staging import settle

# Name of the knobs -> effect, in the order of application.
EFFECTS: dict[str, Callable[..., Pictures]] = {
    **{"stains": stains, "rules": rules, "strokes": strokes, "occlusion": occlusion},
    **{"light": light, "shade": shade},
    **{"blur": blur, "motion": motion, "defocus": defocus},
    **{"lowres": lowres, "shot": shot, "noise": noise, "speckle": speckle, "salt": salt},
    **{"gamma": gamma, "tone": tone, "invert": invert, "jpeg": jpeg},
}
# After these, contrast is brought back to what can be read if one of the others took too much.
_EXPOSED = {"shade": ("light", "shade"), "invert": ("gamma", "tone")}


def degrade(images: Pictures, draws: Draws, knobs: Any) -> Pictures:
    """Returns the images with all effects that the knobs ask for, in 0..1.

    Args:
      images: 0..1. Costly effects are computed for a part of the rows if B is a multiple of 8,
        for all rows otherwise.
      draws: of the same rows.
      knobs: of `crnn_jax.synth.presets`; Python numbers.
    """
    shares = {name: knobs[f"{name}_share"] for name in EFFECTS}
    if any(share > 0 for share in shares.values()):
        images = settle(images)
    for name, effect in EFFECTS.items():
        limits = [knobs[name]] if name in knobs else []  # two effects have no range
        images = effect(images, draws, shares[name], *limits)
        if name in _EXPOSED and any(shares[other] > 0 for other in _EXPOSED[name]):
            images = expose(images, draws)
    return images
