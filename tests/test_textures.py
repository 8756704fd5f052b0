"""Grounds: computed materials and photographs, the same bits every time."""

from __future__ import annotations

import logging
import pathlib
import time

import numpy as np
import pytest
from PIL import Image

from crnn_jax.errors import UserError
from crnn_jax.synth.textures import MATERIALS, build_textures


@pytest.fixture
def photographs(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two pictures: one of reds, one of blues."""
    rng = np.random.default_rng(0)
    for name, channel in (("red.png", 0), ("blue.jpg", 2)):
        pixels = np.zeros((60, 90, 3), np.uint8)
        pixels[..., channel] = rng.integers(100, 200, (60, 90))
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_a_bank_has_the_same_bits_every_time_and_others_for_another_seed(channels):
    bank = build_textures(count=16, size=48, seed=5, channels=channels)
    assert bank.shape == (16, 48, 48, channels)
    assert bank.dtype == np.uint8
    np.testing.assert_array_equal(
        bank, build_textures(count=16, size=48, seed=5, channels=channels)
    )
    assert (bank != build_textures(count=16, size=48, seed=6, channels=channels)).mean() > 0.9


def test_every_material_varies_within_a_tile_and_from_tile_to_tile():
    rounds = 3
    bank = build_textures(count=rounds * len(MATERIALS)).astype(float)[..., 0]
    assert bank.std(axis=(1, 2)).min() > 4  # visible
    assert bank.mean(axis=(1, 2)).min() > 40  # none is all black or all white
    assert bank.mean(axis=(1, 2)).max() < 225
    first, second = bank[: 2 * len(MATERIALS)].reshape(2, len(MATERIALS), -1)
    alike = [abs(np.corrcoef(one, other)[0, 1]) for one, other in zip(first, second, strict=True)]
    assert np.median(alike) < 0.2  # two gradients may be much alike


def test_a_larger_bank_begins_with_the_smaller_one():
    np.testing.assert_array_equal(
        build_textures(count=20, size=32)[:5], build_textures(count=5, size=32)
    )


def test_the_default_bank_takes_little_time():
    began = time.process_time()
    build_textures()
    assert time.process_time() - began < 6  # 0.5 s on a quiet core


def test_colour_tiles_have_colour():
    bank = build_textures(count=26, size=32, channels=3).astype(int)
    assert np.ptp(bank, axis=3).mean() > 3


def test_photographs_are_cropped_and_all_of_them_are_used(photographs):
    bank = build_textures(str(photographs), count=8, size=40, channels=3).astype(int)
    assert bank.shape == (8, 40, 40, 3)
    red, blue = bank[..., 0].mean(axis=(1, 2)), bank[..., 2].mean(axis=(1, 2))
    assert (red > 90).sum() == (blue > 90).sum() == 4
    assert ((red > 90) != (blue > 90)).all()
    crops = bank[red > 90]
    assert not (crops[0] == crops[1]).all()
    np.testing.assert_array_equal(
        bank, build_textures(str(photographs), count=8, size=40, channels=3)
    )


def test_grey_tiles_of_photographs_hold_their_brightness(photographs):
    bank = build_textures(str(photographs), count=4, size=40)
    assert bank.shape == (4, 40, 40, 1)
    np.testing.assert_allclose(
        sorted(bank.mean(axis=(1, 2, 3)))[::3], [150 * 0.114, 150 * 0.299], atol=4
    )


def test_files_that_cannot_be_read_are_named_and_left_out(photographs, caplog):
    (photographs / "empty.png").write_bytes(b"")
    (photographs / "notes.txt").write_text("not an image")
    (photographs / ".hidden").write_text("not counted")
    with caplog.at_level(logging.WARNING, logger="crnn_jax"):
        bank = build_textures(str(photographs), count=4, size=16)
    assert len(bank) == 4
    [message] = caplog.messages
    assert "2 of 4 files skipped" in message
    assert "empty.png" in message
    assert "notes.txt" in message


@pytest.mark.parametrize("content", [None, b"", b"plain text"])
def test_a_folder_without_a_readable_image_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "picture.png").write_bytes(content)
    with pytest.raises(UserError, match=r"none of its \d files is an image") as error:
        build_textures(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: cannot be read \(No such file") as error:
        build_textures(str(tmp_path / "nowhere"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"channels": 2}, {"count": 0}, {"size": 4}])
def test_sizes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match="write"):
        build_textures(**wrong)


def test_real_photographs(real_data):
    bank = build_textures(str(real_data / "textures"), count=32, size=96, channels=3)
    assert bank.shape == (32, 96, 96, 3)
    assert len(np.unique(bank.reshape(32, -1), axis=0)) == 32
    assert bank.std(axis=(1, 2)).mean() > 15
