"""Presets of rendered text: named settings of all knobs."""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from crnn_jax.errors import unknown_name
from crnn_jax.synth.knobs import EVERYWHERE, plain_knobs


def _set(synth: ConfigDict, **values: object) -> ConfigDict:
    with synth.unlocked():
        synth.update(values)
    return synth


def plain() -> ConfigDict:
    """Upright black text on white, no effect: what all others start from."""
    return plain_knobs()


def clean() -> ConfigDict:
    """Sharp words, as on screens: any face, tone and case, hardly an effect."""
    return _set(
        plain(),
        words=0.75, random=0.1, numbers=0.05, prices=0.04, dates=0.03, codes=0.03,
        punctuation=0.05, lower=0.5, title=0.25, upper=0.23, mixed=0.02,
        tracking=(-0.01, 0.05), stretch=(0.85, 1.2),
        rotation_share=0.2, rotation=(-1.5, 1.5),
        margin_x=(0.05, 0.2), margin_y=(0.05, 0.15), line_box_share=0.4,
        weight=(-0.005, 0.015), contrast=(0.5, 1.0), dark_share=0.8, saturation=(0.0, 0.3),
        blur_share=0.3, blur=(0.3, 0.6), noise_share=0.2, noise=(0.005, 0.02),
    )  # fmt: skip


def document() -> ConfigDict:
    """Printed pages, scanned or photographed: dark on light, paper, a little of everything."""
    return _set(
        clean(),
        words=0.75, random=0.05, numbers=0.07, prices=0.04, dates=0.05, codes=0.04,
        punctuation=0.2, lower=0.6, title=0.25, upper=0.15, mixed=0.0,
        tracking=(-0.015, 0.04), baseline_jitter=0.003,
        rotation_share=0.5, rotation=(-2.0, 2.0), perspective_share=0.15, perspective=(0.03, 0.12),
        elastic_share=0.1, elastic=(0.004, 0.012), slant_share=0.1, slant=(-3.0, 12.0),
        line_box_share=0.6, margin_x=(0.02, 0.2), margin_y=(0.02, 0.15),
        weight=(-0.012, 0.02), contrast=(0.35, 0.95), dark_share=0.95, saturation=(0.0, 0.15),
        texture_share=0.4, texture=(0.05, 0.3), ink_texture_share=0.25, ink_texture=(0.05, 0.35),
        neighbours_share=0.25, neighbours=(1.0, 1.3), rules_share=0.12,
        light_share=0.4, light=(0.05, 0.3), shade_share=0.1, shade=(0.1, 0.35),
        stains_share=0.05, stains=(0.05, 0.25),
        blur_share=0.5, blur=(0.3, 0.8), defocus_share=0.05, defocus=(0.5, 1.0),
        lowres_share=0.2, lowres=(0.55, 0.9), noise_share=0.5, noise=(0.005, 0.04),
        shot_share=0.1, speckle_share=0.05, speckle=(0.02, 0.08), salt_share=0.03,
        salt=(0.001, 0.008), gamma_share=0.2, gamma=(0.7, 1.5), tone_share=0.2, tone=(0.6, 1.05),
        jpeg_share=0.4, jpeg=(35, 90),
    )  # fmt: skip


def receipt() -> ConfigDict:
    """Thermal and matrix printing: lines of words, prices and codes, faded, creased."""
    return _set(
        document(),
        words=0.45, random=0.05, numbers=0.12, prices=0.2, dates=0.08, codes=0.1,
        line_words=(1, 5), punctuation=0.1, lower=0.15, title=0.25, upper=0.6,
        faces="mono|sans", max_length=40, stretch=(0.7, 1.1),
        weight=(-0.02, 0.015), contrast=(0.25, 0.85), ink_texture_share=0.6, ink_texture=(0.1, 0.6),
        texture_share=0.3, light_share=0.5, elastic_share=0.25, elastic=(0.004, 0.02),
        rotation=(-1.5, 1.5), lowres_share=0.3, lowres=(0.45, 0.9), saturation=(0.0, 0.05),
    )  # fmt: skip


def scene() -> ConfigDict:
    """Words in photographs: signs, shops, labels, screens, from any side in any light."""
    return _set(
        clean(),
        words=0.69, random=0.2, numbers=0.05, prices=0.03, dates=0.01, codes=0.02,
        temper=0.5, punctuation=0.05, lower=0.3, title=0.3, upper=0.38, mixed=0.02,
        calm_share=0.5, tracking=(-0.02, 0.15), spacing_jitter=0.005, baseline_jitter=0.004,
        mixed_faces_share=0.01,
        slant_share=0.25, slant=(-18.0, 26.0), stretch=(0.7, 1.4),
        rotation_share=0.4, rotation=(-9.0, 9.0), arc_share=0.2, arc=(-130.0, 130.0),
        wave_share=0.06, wave=(0.02, 0.12), perspective_share=0.4, perspective=(0.03, 0.55),
        elastic_share=0.12, elastic=(0.01, 0.04),
        margin_x=(-0.02, 0.25), margin_y=(-0.02, 0.2), line_box_share=0.4,
        weight=(-0.01, 0.045), contrast=(0.15, 1.0), dark_share=0.5, saturation=(0.0, 0.8),
        gradient_share=0.25, gradient=(0.1, 0.5), outline_share=0.1, outline=(0.015, 0.05),
        hollow_share=0.2, shadow_share=0.2, shadow=(0.3, 0.9), shadow_offset=(0.5, 2.5),
        glow_share=0.06, glow=(0.04, 0.12), bevel_share=0.12, bevel=(0.2, 0.9),
        texture_share=0.4, texture=(0.1, 0.8), ink_texture_share=0.2, ink_texture=(0.05, 0.4),
        neighbours_share=0.12, neighbours=(1.0, 1.5), rules_share=0.15,
        stains_share=0.06, stains=(0.1, 0.4), occlusion_share=0.08, occlusion=(0.05, 0.25),
        light_share=0.45, light=(0.1, 0.5), shade_share=0.15, shade=(0.15, 0.5),
        blur_share=0.37, blur=(0.3, 1.8), motion_share=0.15, motion=(1.5, 5.0),
        defocus_share=0.12, defocus=(0.6, 2.0), lowres_share=0.35, lowres=(0.2, 0.9),
        noise_share=0.35, noise=(0.005, 0.05), shot_share=0.12, shot=(0.01, 0.05),
        speckle_share=0.05, speckle=(0.03, 0.1), salt_share=0.02, salt=(0.001, 0.01),
        gamma_share=0.25, gamma=(0.6, 1.6), tone_share=0.25, tone=(0.5, 1.1), invert_share=0.0,
        jpeg_share=0.37, jpeg=(20, 90),
    )  # fmt: skip


def street() -> ConfigDict:
    """Shop signs seen from the street: bold capitals with relief, far away, blurred and dim."""
    return _set(
        scene(),
        words=0.86, random=0.08, numbers=0.03, prices=0.0, dates=0.0, codes=0.03,
        punctuation=0.02, lower=0.12, title=0.38, upper=0.48,
        calm_share=0.15, arc_share=0.1, tracking=(-0.03, 0.3), stretch=(0.7, 1.8),
        initial_share=0.25, dancing_share=0.12, spaced_share=0.08,
        margin_x=(-0.04, 0.2), weight=(-0.01, 0.07),
        contrast=(0.15, 0.8), outline_share=0.15, outline=(0.015, 0.07), hollow_share=0.1,
        shadow_share=0.45, shadow_offset=(0.5, 4.0), solid_share=0.5,
        bevel_share=0.4, bevel=(0.3, 1.0), gradient_share=0.35,
        light_share=0.6, shade_share=0.25, neighbours_share=0.2, beside_share=0.3,
        blur_share=0.6, blur=(0.4, 1.6), motion_share=0.12, motion=(1.5, 4.0),
        lowres_share=0.6, lowres=(0.25, 0.75), tone_share=0.45, tone=(0.4, 1.0),
        jpeg_share=0.6, jpeg=(20, 80),
    )  # fmt: skip


def captcha() -> ConfigDict:
    """Random characters, jittered, bent and crossed out."""
    return _set(
        clean(),
        words=0.0, random=0.0, numbers=0.0, prices=0.0, dates=0.0, codes=0.0, punctuation=0.0,
        patterns=1.0, pattern="[0-9A-Za-z]{4,7}", max_length=8,
        tracking=(-0.04, 0.25), spacing_jitter=0.02, baseline_jitter=0.06,
        size_jitter=0.12, tilt_jitter=12.0, mixed_faces_share=0.5, slant_share=0.4,
        rotation_share=0.4, rotation=(-8.0, 8.0), wave_share=0.5, wave=(0.02, 0.1),
        arc_share=0.2, arc=(-50.0, 50.0), elastic_share=0.5, elastic=(0.01, 0.05),
        margin_x=(0.1, 0.5), margin_y=(0.05, 0.3), contrast=(0.3, 0.95), dark_share=0.75,
        saturation=(0.0, 0.8), texture_share=0.4, texture=(0.1, 0.6),
        strokes_share=0.8, strokes=(0.5, 1.6), occlusion_share=0.1, stains_share=0.2,
        noise_share=0.6, noise=(0.01, 0.08), salt_share=0.3, salt=(0.005, 0.04),
        blur_share=0.5, blur=(0.3, 0.9), jpeg_share=0.4, jpeg=(35, 90),
    )  # fmt: skip


def meter() -> ConfigDict:
    """Readings of seven-segment displays and of counters with rolling digits."""
    return _set(
        scene(),
        words=0.0, random=0.0, numbers=0.2, prices=0.0, dates=0.0, codes=0.0,
        patterns=0.8, pattern="[0-9]{3,8}|[0-9]{2,5}[.][0-9]{1,3}|[0-9]{1,2}:[0-9]{2}",
        punctuation=0.0, faces="led|mono", max_length=10, tracking=(0.0, 0.35),
        spacing_jitter=0.0, mixed_faces_share=0.0, arc_share=0.0, wave_share=0.0,
        slant_share=0.4, slant=(-4.0, 14.0), outline_share=0.0, hollow_share=0.0,
        rolling_share=1.0, rolling=(0.0, 0.2), neighbours_share=0.0, line_box_share=0.0,
        margin_x=(0.0, 0.35), margin_y=(0.0, 0.25), glow_share=0.3, glow=(0.05, 0.14),
        dark_share=0.5, ink_texture_share=0.1,
    )  # fmt: skip


PRESETS: dict[str, Callable[[], ConfigDict]] = {
    "plain": plain,
    "clean": clean,
    "document": document,
    "receipt": receipt,
    "scene": scene,
    "street": street,
    "captcha": captcha,
    "meter": meter,
}


def get_preset(name: str) -> ConfigDict:
    """Returns the knobs of a preset; an unknown name is a UserError."""
    if name not in PRESETS:
        raise unknown_name("preset of rendered text", name, PRESETS)
    return _set(PRESETS[name](), preset=name)


def changed(synth: ConfigDict) -> list[str]:
    """Returns the knobs that are not as in the preset that they come from."""
    usual = get_preset(synth.preset)
    return [name for name, value in usual.items() if synth[name] != value]


def of_run(synth: ConfigDict, name: str) -> ConfigDict:
    """Returns the knobs of a preset in a run.

    Args:
      synth: `config.synth` of the run.
      name: of the preset. That of `synth` has all its knobs, any other those that a run changes
        for all of them (`knobs.EVERYWHERE`).
    """
    if name == synth.preset:
        return synth
    shared = {key: synth[key] for key in changed(synth) if key in EVERYWHERE}
    return _set(get_preset(name), **shared)
