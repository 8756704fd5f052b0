"""Ink on ground: what each knob of the colours changes in a painted square, and what it leaves."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from effect_images import compiled, draws
from ml_collections import FrozenConfigDict

from crnn_jax.synth import presets
from crnn_jax.synth.render import Distance, paint
from crnn_jax.synth.warp import Canvas

COUNT, SIZE, SIDE = 32, 48, 20
PIXEL = 0.04  # em
SHARES = ("gradient", "ink_texture", "bevel", "texture", "shadow", "glow", "outline")
PLAIN = {f"{name}_share": 0.0 for name in SHARES} | {
    "weight": (0.0, 0.0),
    "contrast": (0.4, 0.4),
    "dark_share": 0.5,
}


def square() -> tuple[Distance, np.ndarray]:
    """Returns the distance to a square in the middle, and the same in pixels, (SIZE, SIZE)."""
    x = np.arange(SIZE) - (SIZE - 1) / 2
    across = SIDE / 2 - np.abs(x)  # pixels to the nearer side, positive inside
    to_side = np.broadcast_to(across, (SIZE, SIZE))
    nearer_x = to_side <= to_side.T
    pixels = np.minimum(to_side, to_side.T)
    inward = np.broadcast_to(-np.sign(x), (SIZE, SIZE))
    slopes = np.where(nearer_x, inward, 0.0), np.where(nearer_x, 0.0, inward.T)
    arrays = (pixels * PIXEL, np.full_like(pixels, PIXEL), *slopes)
    rows = (jnp.broadcast_to(jnp.asarray(a, jnp.float32), (COUNT, SIZE, SIZE)) for a in arrays)
    return Distance(*rows), pixels


DISTANCE, PIXELS = square()
INSIDE, OUTSIDE = PIXELS > 4, PIXELS < -1  # away from the line
TEXTURES = np.random.default_rng(0).integers(256, size=(4, 32, 32, 1), dtype=np.uint8)


@functools.cache
def painted(**changes) -> np.ndarray:
    """Returns the square as paint makes it with these knobs, (COUNT, SIZE, SIZE) or in colour."""
    channels = changes.pop("channels", 1)
    knobs = FrozenConfigDict({**presets.plain().to_dict(), **PLAIN, **changes})
    textures = jnp.asarray(np.repeat(TEXTURES, channels, axis=3))
    canvas = Canvas(SIZE, SIZE, channels)
    run = compiled(lambda distance, draws: paint(distance, textures, draws, knobs, canvas))
    image = np.asarray(run(DISTANCE, draws(COUNT)))
    return image if channels == 3 else image[..., 0]


def tones(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what ink and ground are without any effect, (COUNT, 1, 1) each."""
    return image[:, SIZE // 2, SIZE // 2, None, None], image[:, 0, 0, None, None]


def assert_flat(image: np.ndarray, where: np.ndarray, tone: np.ndarray) -> None:
    found = image[:, where]
    np.testing.assert_allclose(found, np.broadcast_to(tone[..., 0], found.shape), atol=1e-6)


def test_a_plain_square_is_flat_ink_on_flat_ground():
    image = painted()
    ink, ground = tones(image)
    np.testing.assert_allclose(np.abs(ink - ground), 0.4, atol=1e-6)
    assert np.ptp(ground) > 0.5
    # The side runs between two pixels: each is all ink or all ground.
    assert_flat(image, PIXELS > 0, ink)
    assert_flat(image, PIXELS < 0, ground)


@pytest.mark.parametrize(("share", "sign"), [(1.0, -1), (0.0, 1)])
def test_ink_is_darker_as_often_as_asked(share, sign):
    ink, ground = tones(painted(dark_share=share))
    np.testing.assert_allclose(ink - ground, sign * 0.4, atol=1e-6)


def test_weight_makes_strokes_bolder():
    wide = painted(weight=(3 * PIXEL, 3 * PIXEL))
    ink, ground = tones(painted())
    assert_flat(wide, PIXELS > -3, ink)
    assert_flat(wide, PIXELS < -4, ground)


def test_an_outline_is_a_band_around_the_ink_of_a_third_tone():
    image = painted(outline_share=1.0, outline=(3 * PIXEL, 3 * PIXEL), hollow_share=0.0)
    ink, ground = tones(painted())
    assert_flat(image, PIXELS > 0, ink)
    assert_flat(image, PIXELS < -4, ground)
    # Away from the ink by half of the contrast, as far as black and white allow.
    line = np.clip(ground + (ground - ink) / 2, 0, 1)
    assert_flat(image, (PIXELS < 0) & (PIXELS > -3), line)
    assert (np.abs(line - ground) > 0.1).mean() > 0.5


def test_hollow_characters_are_a_line_in_the_ink_and_ground_inside():
    image = painted(outline_share=1.0, outline=(3 * PIXEL, 3 * PIXEL), hollow_share=1.0)
    ink, ground = tones(painted())
    assert_flat(image, PIXELS > 0, ground)
    assert_flat(image, PIXELS < -4, ground)
    assert_flat(image, (PIXELS < 0) & (PIXELS > -3), ink)


def test_a_glow_fades_away_from_the_ink():
    image, plain = painted(glow_share=1.0, glow=(4 * PIXEL, 4 * PIXEL)), painted()
    ink, ground = tones(plain)
    assert_flat(image, PIXELS > 0, ink)
    row = (image - plain)[:, SIZE // 2, : (SIZE - SIDE) // 2]  # from the border to the square
    room = (np.clip(ground + (ground - ink) / 2, 0, 1) - ground)[:, 0]
    # 0.7 of the way at the outline, and a factor of e less every four pixels.
    share = 0.7 * np.exp(-(np.arange(row.shape[1])[::-1] + 0.5) / 4)
    np.testing.assert_allclose(row, room * share, atol=1e-5)


def test_a_shadow_is_the_square_moved_and_lies_below_it():
    image, plain = painted(shadow_share=1.0, shadow=(0.5, 0.5), shadow_offset=(4.0, 4.0)), painted()
    assert_flat(image, PIXELS > 0, tones(plain)[0])
    inside, found = PIXELS > 0, set()
    moves = {
        (x, y): np.roll(inside, (y, x), axis=(0, 1)) & ~inside
        for x in range(-7, 8)
        for y in range(-7, 8)
        if abs(np.hypot(x, y) - 4 * SIZE / 32) < 0.75  # rounded to whole pixels
    }
    for changed in np.abs(image - plain) > 1e-4:
        move = next((m for m, seen in moves.items() if np.array_equal(changed, seen)), None)
        assert move or not changed.any()  # a tone like the ground's is not seen
        found.add(move)
    found.discard(None)
    assert len(found) > COUNT / 4
    assert {tuple(np.sign(move)) for move in found} >= {(1, 1), (1, -1), (-1, 1), (-1, -1)}


@pytest.mark.parametrize(
    ("name", "moves"), [("texture", OUTSIDE), ("ink_texture", INSIDE), ("gradient", INSIDE)]
)
def test_textures_and_gradients_belong_to_the_ground_or_to_the_ink(name, moves):
    image, plain = painted(**{f"{name}_share": 1.0, name: (0.5, 0.5)}), painted()
    still = INSIDE if moves is OUTSIDE else OUTSIDE
    np.testing.assert_allclose(image[:, still], plain[:, still], atol=1e-6)
    change = (image - plain)[:, moves]
    assert (change.std(axis=1) > 0.01).mean() > 0.9
    # They leave half of the contrast.
    assert np.abs(change).max() <= 0.2 + 1e-6
    if name != "texture":  # the ink comes nearer to the ground, never goes away from it
        ink, ground = tones(plain)
        assert (change * np.sign(ground - ink)[..., 0] >= -1e-6).all()


def test_a_bevel_lights_one_side_and_shades_the_other():
    image, plain = (
        painted(bevel_share=1.0, bevel=(0.9, 0.9), contrast=(0.2, 0.2)),
        painted(contrast=(0.2, 0.2)),
    )
    np.testing.assert_array_equal(image[:, PIXELS < 0], plain[:, PIXELS < 0])
    np.testing.assert_allclose(image[:, PIXELS > 5], plain[:, PIXELS > 5], atol=1e-4)
    change = image - plain
    middle, left, right = SIZE // 2, (SIZE - SIDE) // 2, (SIZE + SIDE) // 2 - 1
    for a, b in ((change[:, middle, left], change[:, middle, right]),
                 (change[:, left, middle], change[:, right, middle])):  # fmt: skip
        unclipped = (plain[:, middle, middle] > 0.1) & (plain[:, middle, middle] < 0.9)
        np.testing.assert_allclose(a[unclipped], -b[unclipped], atol=1e-5)
        assert (np.abs(a) > 0.03).mean() > 0.4


def test_colours_have_the_luma_of_the_tones_and_a_hue_of_their_own():
    grey, colour = (
        painted(contrast=(0.3, 0.3)),
        painted(channels=3, contrast=(0.3, 0.3), saturation=(0.1, 0.1)),
    )
    luma = colour @ np.array([0.299, 0.587, 0.114], np.float32)
    inner = (colour > 0).all(axis=(1, 2, 3)) & (colour < 1).all(axis=(1, 2, 3))
    assert inner.sum() >= 4
    np.testing.assert_allclose(luma[inner], grey[inner], atol=1e-5)
    spread = np.ptp(colour, axis=3)
    assert (spread[inner][:, SIZE // 2, SIZE // 2] > 0.01).mean() > 0.9
    assert (spread[inner][:, 0, 0] > 0.01).mean() > 0.9
    same = painted(channels=3, saturation=(0.0, 0.0))
    np.testing.assert_allclose(same, np.repeat(painted()[..., None], 3, axis=3), atol=1e-6)


def test_what_is_not_asked_for_is_not_computed():
    text = str(
        jax.make_jaxpr(
            lambda distance, draws: paint(
                distance, jnp.asarray(TEXTURES), draws,
                FrozenConfigDict({**presets.plain().to_dict(), **PLAIN}), Canvas(SIZE, SIZE),
            )
        )(DISTANCE, draws(COUNT))
    )  # fmt: skip
    assert "exp" not in text
    assert "gather" not in text
