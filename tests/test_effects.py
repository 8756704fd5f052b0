"""Effects: identity where not chosen, the share asked for, and each does what it says."""

from __future__ import annotations

import io
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from crnn_jax.synth import effects, effects_optics, presets
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_file import compress
from crnn_jax.synth.effects_rows import Place, change

KNOBS = presets.plain()
NAMES = tuple(effects.EFFECTS)
SHARES = {  # about those of scene text
    **{
        "stains": 0.1,
        "rules": 0.25,
        "strokes": 0.25,
        "occlusion": 0.1,
        "light": 0.4,
        "shade": 0.15,
    },
    **{"blur": 0.6, "motion": 0.12, "defocus": 0.12, "lowres": 0.25, "shot": 0.2, "noise": 0.5},
    **{"speckle": 0.1, "salt": 0.05, "gamma": 0.3, "tone": 0.3, "invert": 0.05, "jpeg": 0.5},
}
WITHOUT_LIMITS = ("rules", "invert")


def draws(batch: int, seed: int = 0) -> Draws:
    return Draws.from_keys(jax.random.split(jax.random.key(seed), batch))


def apply(name, images, share=1.0, limits=None, seed=0):
    """Returns what an effect makes of images, compiled, as numpy."""
    if name in WITHOUT_LIMITS:
        rest = (share,)
    else:
        rest = (share, tuple(KNOBS[name]) if limits is None else limits)
    effect = jax.jit(lambda images, draws: getattr(effects, name)(images, draws, *rest))
    return np.asarray(effect(jnp.asarray(images), draws(len(images), seed)))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """64 pictures of a word, grey, dark on light and light on dark."""
    picture = Image.new("L", (480, 128), 0)
    font = ImageFont.load_default(size=110)
    ImageDraw.Draw(picture).text((20, 0), "crumple", 255, font=font)
    mask = np.asarray(picture.resize((120, 32), Image.Resampling.BOX), np.float32) / 255
    rng = np.random.default_rng(0)
    ground, ink = rng.uniform(0.55, 0.95, 64), rng.uniform(0.05, 0.4, 64)
    ground[::3], ink[::3] = ink[::3], ground[::3].copy()
    ground, ink = ground[:, None, None, None], ink[:, None, None, None]
    return (ground + (ink - ground) * mask[None, :, :, None]).astype(np.float32)


def flat(value: float, batch: int = 64, height: int = 32, width: int = 96, channels: int = 1):
    return np.full((batch, height, width, channels), value, np.float32)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=(1, 2, 3))


def test_a_share_of_zero_adds_nothing_to_the_program(crops):
    program = jax.make_jaxpr(lambda images, draws: effects.degrade(images, draws, KNOBS))
    assert not program(crops, draws(64)).eqns
    for name in NAMES:
        one = presets.plain()
        one[f"{name}_share"] = 0.5
        program = jax.make_jaxpr(lambda images, draws, one=one: effects.degrade(images, draws, one))
        assert program(crops, draws(64)).eqns, name


@pytest.fixture(scope="module")
def hits(crops) -> dict[str, np.ndarray]:
    """Which of 1024 images each effect changes."""
    images = np.tile(crops[1:2], (1024, 1, 1, 1))[:, :, 20:68]
    return {name: changed(images, apply(name, images, share)) for name, share in SHARES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_share_is_kept_and_the_other_images_keep_their_bits(name, hits):
    # The rows are chosen independently, so four standard deviations; a blot may miss the picture.
    share, missed = SHARES[name], 0.1 if name in ("stains", "occlusion") else 0.0
    allowed = 4 * math.sqrt(share * (1 - share) / 1024) + missed * share
    assert hits[name].mean() == pytest.approx(share, abs=allowed)


def test_effects_meet_about_as_often_as_chance_has_it(hits):
    """Parts of the rows are fixed: they must neither coincide nor exclude one another."""
    often = ("blur", "lowres", "noise", "shot", "gamma", "tone", "light", "rules", "jpeg")
    for one, other in itertools.combinations(often, 2):
        together = (hits[one] & hits[other]).mean() / (SHARES[one] * SHARES[other])
        assert 0.3 < together < 2.2, (one, other)


@pytest.mark.parametrize(("height", "width", "channels"), [(40, 100, 1), (44, 60, 3)])
def test_any_size_and_colour_stays_within_0_and_1(height, width, channels):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (16, height, width, channels)).astype(np.float32)
    images[::2] = images[::2].round()
    for names in (NAMES[:9], NAMES[9:]):
        knobs = presets.plain()
        for name in names:
            knobs[f"{name}_share"] = 1.0
        degrade = jax.jit(lambda images, draws, knobs=knobs: effects.degrade(images, draws, knobs))
        result = np.asarray(degrade(images, draws(16)))
        assert result.shape == images.shape
        assert result.dtype == np.float32
        assert result.min() >= 0
        assert result.max() <= 1
        assert changed(images, result).all()


def test_a_row_depends_on_its_own_draws_and_place_alone(crops):
    knobs = presets.plain()
    for name in NAMES:
        knobs[f"{name}_share"] = 0.4
    degrade = jax.jit(lambda images, draws: effects.degrade(images, draws, knobs))
    first = np.asarray(degrade(crops, draws(64)))
    np.testing.assert_array_equal(first, degrade(crops, draws(64)))
    assert changed(first, np.asarray(degrade(crops, draws(64, seed=1)))).mean() > 0.9
    # Other images and other seeds in all rows but three.
    kept, seeds = np.array([0, 13, 63]), draws(64, seed=1).seeds
    others = np.roll(crops, 1, axis=2)[::-1].copy()
    others[kept] = crops[kept]
    seeds = seeds.at[kept].set(draws(64).seeds[kept])
    np.testing.assert_array_equal(np.asarray(degrade(others, Draws(seeds)))[kept], first[kept])


@pytest.mark.parametrize("batch", [1, 5, 8, 72])
def test_any_batch_size(batch):
    images = np.random.default_rng(0).uniform(0.2, 0.8, (batch, 8, 8, 1)).astype(np.float32)
    assert changed(images, apply("gamma", images)).all()
    assert apply("gamma", images, 0.3).shape == images.shape


def test_only_a_part_of_the_rows_is_computed():
    counted = []

    def count(images, draws):
        counted.append(len(images))
        return images

    for share in (0.05, 0.125, 0.126, 0.5, 0.9, 1.0):
        for place in (Place(0), Place(7), Place(3, 8)):
            jax.eval_shape(
                lambda images, share=share, place=place: change(
                    images, draws(64), "count", share, place, count
                ),
                jnp.zeros((64, 4, 4, 1)),
            )
    assert counted == [8] * 6 + [16] * 3 + [32] * 3 + [64] * 6


def test_gaussian_blur_is_that_of_numpy(crops):
    sigma = 0.9
    result = apply("blur", crops, limits=(sigma, sigma))
    taps = np.exp(-0.5 * (np.arange(-3, 4) / sigma) ** 2)
    taps /= taps.sum()
    expected = np.pad(crops[..., 0].astype(float), ((0, 0), (3, 3), (3, 3)), mode="edge")
    for axis in (1, 2):
        expected = np.apply_along_axis(np.convolve, axis, expected, taps, mode="valid")
    np.testing.assert_allclose(result[..., 0], expected, atol=1e-6)


def test_blur_grows_with_the_height():
    def spread(height: int) -> float:
        images = np.zeros((8, height, 64, 1), np.float32)
        images[:, :, 32] = 1
        profile = apply("blur", images, limits=(1.0, 1.0))[0, height // 2, :, 0]
        return math.sqrt(profile @ (np.arange(64) - 32.0) ** 2)

    assert spread(32) == pytest.approx(1, rel=0.03)
    assert spread(64) == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("name", ["blur", "motion", "defocus", "lowres"])
def test_what_smooths_keeps_brightness_everywhere(name, crops):
    np.testing.assert_allclose(apply(name, flat(0.7)), 0.7, atol=1e-5)
    result = apply(name, crops)
    assert np.abs(result.mean(axis=(1, 2)) - crops.mean(axis=(1, 2))).max() < 0.01
    roughness = [np.abs(np.diff(images, axis=2)).mean(axis=(1, 2, 3)) for images in (crops, result)]
    assert (roughness[1] <= roughness[0] * 1.001).all()
    assert roughness[1].mean() < 0.95 * roughness[0].mean()


def test_motion_has_the_length_asked_for_in_every_direction():
    images = np.zeros((256, 33, 33, 1), np.float32)
    images[:, 16, 16] = 1
    spots = apply("motion", images, limits=(6.0, 6.0))[..., 0]
    y, x = np.mgrid[-16:17, -16:17]
    np.testing.assert_allclose(spots.sum(axis=(1, 2)), 1, atol=1e-5)
    second = np.array(
        [[(spots * a * b).sum(axis=(1, 2)) for a in (y, x)] for b in (y, x)]
    ).transpose(2, 0, 1)
    small, large = np.linalg.eigvalsh(second).T
    length = 6 * 33 / 32
    assert np.abs(large - length**2 / 12).max() < 1
    assert small.max() < 0.5  # a line; bilinear shifts widen it a little
    angles = 0.5 * np.arctan2(2 * second[:, 0, 1], second[:, 1, 1] - second[:, 0, 0])
    assert np.histogram(angles, 4, (-np.pi / 2, np.pi / 2))[0].min() > 30


def test_defocus_is_a_disc():
    images = np.zeros((8, 32, 33, 1), np.float32)
    images[:, 16, 16] = 1
    spot = apply("defocus", images, limits=(4.0, 4.0))[0, ..., 0]
    assert spot.sum() / spot.max() == pytest.approx(math.pi * 16, rel=0.05)
    np.testing.assert_array_equal(spot[12:21, 12:21], spot[12:21, 12:21].T)


def test_lowres_averages_areas_and_interpolates(crops):
    result = apply("lowres", crops, limits=(0.5, 0.5))
    area = crops.reshape(64, 16, 2, 60, 2, 1).mean(axis=(2, 4))
    nearest = area.repeat(2, axis=1).repeat(2, axis=2)
    bilinear = [
        np.asarray(Image.fromarray(image[..., 0]).resize((120, 32), Image.Resampling.BILINEAR))
        for image in area
    ]
    is_nearest = np.abs(result - nearest).max(axis=(1, 2, 3)) < 1e-5
    is_bilinear = np.abs(result[..., 0] - bilinear).max(axis=(1, 2)) < 1e-5
    assert (is_nearest ^ is_bilinear).all()
    assert 0.1 < is_nearest.mean() < 0.5


def _through_pillow(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape)


@pytest.mark.parametrize("quality", [10, 25, 50, 75, 90])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_libjpeg(quality, channels, crops):
    image = np.round(crops[:1] * 255)
    if channels == 3:
        image = np.concatenate([image, image[:, :, ::-1], 255 - image], axis=3)
    image = image[:, :, :112].astype(np.uint8)  # whole units: how the rest is padded is free
    expected = _through_pillow(image[0], quality).astype(float)
    result = compress(
        jnp.asarray(image / 255, jnp.float32), jnp.array([float(quality)]), jnp.zeros((1, 2), int)
    )
    result = np.clip(np.asarray(result[0]), 0, 1) * 255
    lost = np.abs(expected - image[0]).mean()
    # libjpeg computes with integers and rounds to them after every stage.
    assert np.abs(result - expected).mean() < (0.9 if channels == 1 else 2.5)
    assert np.abs(result - expected).mean() < 0.3 * lost


def test_blocks_of_jpeg_begin_where_they_are_told(crops):
    """An image shifted against its blocks is the image cut from a larger one at that place."""
    image = np.round(crops[:1, :, :112] * 255).astype(np.uint8)
    down, right = 3, 6
    larger = np.pad(image, ((0, 0), (down, 5), (right, 2), (0, 0)), mode="edge")
    expected = _through_pillow(larger[0], 40)[down : down + 32, right : right + 112] / 255
    phase = jnp.array([[down, right]], jnp.int32)
    result = compress(jnp.asarray(image / 255, jnp.float32), jnp.array([40.0]), phase)[0]
    assert np.abs(np.clip(result, 0, 1) - expected).mean() < 0.003
    assert np.abs(_through_pillow(image[0], 40) / 255 - expected).mean() > 0.006


def test_low_quality_costs_more(crops):
    image = jnp.asarray(crops[[0, 0, 0]])
    result = compress(image, jnp.array([90.0, 50.0, 20.0]), jnp.zeros((3, 2), int))
    errors = np.abs(result - image).mean(axis=(1, 2, 3))
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize(
    ("name", "at_half"), [("noise", 0.05), ("shot", 0.05 * 0.5**0.5), ("speckle", 0.025)]
)
def test_noise_has_the_strength_asked_for(name, at_half):
    result = apply(name, flat(0.5), limits=(0.05, 0.05)) - 0.5
    assert result.std() == pytest.approx(at_half, rel=0.02)
    assert abs(result.mean()) < 0.001
    fields = result.reshape(64, -1)
    np.testing.assert_allclose(np.corrcoef(fields), np.eye(64), atol=0.1)
    beside = np.corrcoef(result[:, :, 1:].ravel(), result[:, :, :-1].ravel())[0, 1]
    assert abs(beside) < 0.01


def test_noise_of_colour_images_is_grey_half_of_the_time():
    result = apply("noise", flat(0.5, channels=3))
    grey = np.ptp(result, axis=3).max(axis=(1, 2)) == 0
    assert 0.25 < grey.mean() < 0.75


def test_salt_hits_its_share_of_the_pixels():
    result = apply("salt", flat(0.5), limits=(0.02, 0.02))
    assert (result == 0).mean() == pytest.approx(0.01, rel=0.15)
    assert (result == 1).mean() == pytest.approx(0.01, rel=0.15)
    assert ((result == 0) | (result == 1) | (result == 0.5)).all()


def test_gamma_is_a_power(crops):
    np.testing.assert_allclose(apply("gamma", crops, limits=(1.4, 1.4)), crops**1.4, atol=1e-5)


def test_tone_scales_the_contrast_and_keeps_values_inside(crops):
    result = apply("tone", crops, limits=(0.6, 0.6))
    np.testing.assert_allclose(
        result.std(axis=(1, 2, 3)), 0.6 * crops.std(axis=(1, 2, 3)), rtol=1e-4
    )
    shift = result.mean(axis=(1, 2, 3)) - crops.mean(axis=(1, 2, 3))
    assert shift.std() > 0.03
    assert np.abs(shift).max() < 0.21
    extreme = apply("tone", np.round(crops), limits=(0.6, 0.6))
    assert extreme.std(axis=(1, 2, 3)) == pytest.approx(
        0.6 * np.round(crops).std(axis=(1, 2, 3)), rel=1e-3
    )


def test_invert_is_the_negative(crops):
    np.testing.assert_array_equal(apply("invert", crops), 1 - crops)


def test_light_is_smooth_and_as_strong_as_asked_for():
    field = apply("light", flat(1.0), limits=(0.4, 0.4))[..., 0]
    assert field.max() <= 1
    assert field.min(axis=(1, 2)) == pytest.approx(np.full(64, 0.6), abs=0.03)
    assert field.max(axis=(1, 2)) == pytest.approx(np.ones(64), abs=0.06)
    assert np.abs(np.diff(field, axis=1)).max() < 0.05
    assert np.abs(np.diff(field, axis=2)).max() < 0.05


def test_shade_darkens_one_side():
    field = apply("shade", flat(1.0), limits=(0.4, 0.4))[..., 0]
    assert field.min() == pytest.approx(0.6, abs=1e-5)
    assert field.max() == 1
    lit, dark = (field > 0.99).mean(axis=(1, 2)), (field < 0.61).mean(axis=(1, 2))
    assert np.median(lit + dark) > 0.7
    assert lit.mean() == pytest.approx(0.45, abs=0.15)


def test_rules_are_visible_and_near_the_borders(crops):
    images = flat(0.8, batch=256)
    cover = np.abs(apply("rules", images) - images)[..., 0]
    visible = cover.max(axis=(1, 2))
    assert (visible > 0.1).mean() > 0.97
    assert cover[:, 8:24, 16:-16].max() == 0
    assert cover[:, -6:].mean() > cover[:, 6:-6].mean()
    assert (cover > 0.05).mean(axis=(1, 2)).max() < 0.45


def test_strokes_cross_the_text_and_leave_most_of_it():
    images = flat(0.8, batch=256)
    cover = np.abs(apply("strokes", images) - images)[..., 0] > 0.05
    assert cover[:, 8:24].any(axis=(1, 2)).mean() > 0.9
    assert cover.any(axis=1).mean() > 0.7  # along most columns
    assert cover.mean(axis=(1, 2)).max() < 0.35


def test_strokes_have_the_thickness_asked_for():
    images = flat(1.0, batch=64, height=64, width=128)
    thin, thick = (
        (1 - apply("strokes", images, limits=(width, width))).sum() for width in (1.0, 2.0)
    )
    assert thick / thin == pytest.approx(2, rel=0.15)


def test_stains_have_the_opacity_asked_for(crops):
    result = apply("stains", crops, limits=(0.4, 0.4))
    # Whatever the colour of a blot, contrast within it falls by the opacity and no further.
    steps = [np.diff(images, axis=2)[..., 0] for images in (crops, result)]
    kept = np.abs(steps[1]) - 0.6 * np.abs(steps[0])
    assert (kept > -0.12).mean() > 0.999
    hit = np.abs(result - crops).max(axis=(1, 2, 3))
    assert 0.05 < np.median(hit) < 0.4


def test_occlusion_is_as_small_as_asked_for():
    images = flat(0.5, batch=512)
    cover = np.abs(apply("occlusion", images, limits=(0.1, 0.12)) - images)[..., 0] > 0.02
    area = cover.sum(axis=(1, 2))
    assert area.max() <= (0.12 * 32 * 1.3 + 2) ** 2
    assert np.median(area) > 4
    where = cover.mean(axis=0)
    assert where[:16].sum() == pytest.approx(where[16:].sum(), rel=0.4)
    assert where[:, :48].sum() == pytest.approx(where[:, 48:].sum(), rel=0.4)


def test_a_kernel_is_not_turned_around():
    images = np.zeros((1, 5, 5, 1), np.float32)
    images[0, 2, 2] = 1
    kernel = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    result = effects_optics.convolve(jnp.asarray(images), jnp.asarray(kernel))
    np.testing.assert_array_equal(result[0, 1:4, 1:4, 0], kernel[0, ::-1, ::-1])
