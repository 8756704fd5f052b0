"""What a camera and a file do to a picture: each effect does what it says."""

from __future__ import annotations

import functools
import io
import math

import jax.numpy as jnp
import numpy as np
import pytest
from effect_images import apply, compiled, crops, flat
from PIL import Image

from crnn_jax.synth import effects_optics
from crnn_jax.synth.effects_file import compress

SMOOTH = {"blur": 0.9, "motion": 6.0, "defocus": 4.0, "lowres": 0.5}


@functools.cache
def smoothed(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what an effect makes of words, of flat images and of single bright pixels."""
    images = np.concatenate([crops(), flat(0.7, batch=8, width=120), flat(0.0, 184, width=120)])
    images[72:, 16, 60] = 1
    result = apply(name, images, limits=(SMOOTH[name], SMOOTH[name]))
    return result[:64], result[64:72], result[72:, ..., 0]


@pytest.mark.parametrize("name", SMOOTH)
def test_what_smooths_keeps_brightness_everywhere(name):
    words, even, _ = smoothed(name)
    np.testing.assert_allclose(even, 0.7, atol=1e-5)
    assert np.abs(words.mean(axis=(1, 2)) - crops().mean(axis=(1, 2))).max() < 0.01
    roughness = [
        np.abs(np.diff(images, axis=2)).mean(axis=(1, 2, 3)) for images in (crops(), words)
    ]
    assert (roughness[1] <= roughness[0] * 1.001).all()
    assert roughness[1].mean() < 0.95 * roughness[0].mean()


def test_gaussian_blur_is_that_of_numpy():
    taps = np.exp(-0.5 * (np.arange(-3, 4) / SMOOTH["blur"]) ** 2)
    taps /= taps.sum()
    expected = np.pad(crops()[..., 0].astype(float), ((0, 0), (3, 3), (3, 3)), mode="edge")
    for axis in (1, 2):
        expected = np.apply_along_axis(np.convolve, axis, expected, taps, mode="valid")
    np.testing.assert_allclose(smoothed("blur")[0][..., 0], expected, atol=1e-6)


def test_blur_grows_with_the_height():
    def spread(spot: np.ndarray) -> float:
        profile = spot.sum(axis=0)
        return math.sqrt(profile @ (np.arange(len(profile)) - profile.argmax()) ** 2)

    tall = flat(0.0, batch=8, height=64, width=64)
    tall[:, 32, 32] = 1
    assert spread(smoothed("blur")[2][0]) == pytest.approx(0.9, rel=0.03)
    assert spread(apply("blur", tall, limits=(0.9, 0.9))[0, ..., 0]) == pytest.approx(1.8, rel=0.03)


def test_motion_has_the_length_asked_for_in_every_direction():
    spots = smoothed("motion")[2]
    y, x = np.mgrid[-16:16, -60:60]
    np.testing.assert_allclose(spots.sum(axis=(1, 2)), 1, atol=1e-5)
    second = np.array(
        [[(spots * a * b).sum(axis=(1, 2)) for a in (y, x)] for b in (y, x)]
    ).transpose(2, 0, 1)
    small, large = np.linalg.eigvalsh(second).T
    assert np.abs(large - 6**2 / 12).max() < 1
    assert small.max() < 0.5  # a line; bilinear shifts widen it a little
    angles = 0.5 * np.arctan2(2 * second[:, 0, 1], second[:, 1, 1] - second[:, 0, 0])
    assert np.histogram(angles, 4, (-np.pi / 2, np.pi / 2))[0].min() > len(spots) / 8


def test_defocus_is_a_disc():
    spot = smoothed("defocus")[2][0]
    assert spot.sum() / spot.max() == pytest.approx(math.pi * 16, rel=0.05)
    centre = spot[12:21, 56:65]
    assert centre.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(centre, centre.T)


def test_lowres_averages_areas_and_interpolates():
    result = smoothed("lowres")[0]
    area = crops().reshape(64, 16, 2, 60, 2, 1).mean(axis=(2, 4))
    nearest = area.repeat(2, axis=1).repeat(2, axis=2)
    bilinear = [
        np.asarray(Image.fromarray(image[..., 0]).resize((120, 32), Image.Resampling.BILINEAR))
        for image in area
    ]
    is_nearest = np.abs(result - nearest).max(axis=(1, 2, 3)) < 1e-5
    is_bilinear = np.abs(result[..., 0] - bilinear).max(axis=(1, 2)) < 1e-5
    assert (is_nearest ^ is_bilinear).all()
    assert 0.1 < is_nearest.mean() < 0.5


def test_a_kernel_is_not_turned_around():
    images = np.zeros((1, 5, 5, 1), np.float32)
    images[0, 2, 2] = 1
    kernel = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    result = compiled(effects_optics.convolve)(jnp.asarray(images), jnp.asarray(kernel))
    np.testing.assert_array_equal(result[0, 1:4, 1:4, 0], kernel[0, ::-1, ::-1])


_compress = compiled(compress)
QUALITIES = (10, 25, 50, 75, 90)


def compressed(image: np.ndarray, qualities=QUALITIES, phase=(0, 0)) -> np.ndarray:
    """Returns a uint8 image (H, W, C) in five qualities, 0..255."""
    images = jnp.asarray(np.stack([image] * 5) / 255, jnp.float32)
    qualities, phase = jnp.array(qualities, jnp.float32), jnp.tile(jnp.array([phase]), (5, 1))
    return np.clip(np.asarray(_compress(images, qualities, phase)), 0, 1) * 255


def word(channels: int) -> np.ndarray:
    """Returns a picture of whole units: how the rest is padded is free."""
    image = np.round(crops()[0, :, :112] * 255).astype(np.uint8)
    return image if channels == 1 else np.concatenate([image, image[:, ::-1], 255 - image], axis=2)


def through_pillow(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape).astype(float)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_libjpeg(channels):
    image = word(channels)
    for quality, result in zip(QUALITIES, compressed(image), strict=True):
        expected = through_pillow(image, quality)
        lost = np.abs(expected - image).mean()
        # libjpeg computes with integers and rounds to them after every stage.
        assert np.abs(result - expected).mean() < (0.9 if channels == 1 else 2.5), quality
        assert np.abs(result - expected).mean() < 0.3 * lost, quality


def test_blocks_of_jpeg_begin_where_they_are_told():
    """An image shifted against its blocks is the image cut from a larger one at that place."""
    image, (down, right) = word(1), (3, 6)
    larger = np.pad(image, ((down, 5), (right, 2), (0, 0)), mode="edge")
    expected = through_pillow(larger, 40)[down : down + 32, right : right + 112]
    result = compressed(image, (40,) * 5, (down, right))[0]
    assert np.abs(result - expected).mean() < 0.003 * 255
    assert np.abs(through_pillow(image, 40) - expected).mean() > 0.006 * 255


def test_low_quality_costs_more():
    errors = np.abs(compressed(word(1)) - word(1)).mean(axis=(1, 2, 3))
    assert (np.diff(errors) < 0).all()


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


def test_gamma_is_a_power():
    np.testing.assert_allclose(
        apply("gamma", crops(), limits=(1.4, 1.4)), crops() ** 1.4, atol=1e-5
    )


def test_tone_scales_the_contrast_and_keeps_values_inside():
    result = apply("tone", crops(), limits=(0.6, 0.6))
    np.testing.assert_allclose(
        result.std(axis=(1, 2, 3)), 0.6 * crops().std(axis=(1, 2, 3)), rtol=1e-4
    )
    shift = result.mean(axis=(1, 2, 3)) - crops().mean(axis=(1, 2, 3))
    assert shift.std() > 0.03
    assert np.abs(shift).max() < 0.21
    extreme = apply("tone", np.round(crops()), limits=(0.6, 0.6))
    assert extreme.std(axis=(1, 2, 3)) == pytest.approx(
        0.6 * np.round(crops()).std(axis=(1, 2, 3)), rel=1e-3
    )


def test_invert_is_the_negative():
    np.testing.assert_array_equal(apply("invert", crops()), 1 - crops())
