"""Effects in common: identity where not chosen, the share asked for, rows on their own."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from effect_images import KNOBS, changed, compiled, crops, draws, limits_of

from crnn_jax.synth import effects, presets
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.effects_rows import GROUP, change

NAMES = tuple(effects.EFFECTS)
SHARES = {  # about those of scene text
    **{"stains": 0.1, "rules": 0.25, "strokes": 0.25, "occlusion": 0.1, "light": 0.4},
    **{"shade": 0.15, "blur": 0.6, "motion": 0.12, "defocus": 0.12, "lowres": 0.25, "shot": 0.2},
    **{"noise": 0.5, "speckle": 0.1, "salt": 0.05, "gamma": 0.3, "tone": 0.3, "invert": 0.05},
    **{"jpeg": 0.5},
}
ROWS = 1024


@functools.cache
def word() -> np.ndarray:
    """The same image in every row, of a size that no block or unit divides."""
    image = np.pad(crops()[1:2, :, 20:68], ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    return np.tile(image, (ROWS, 1, 1, 1))


@compiled
def each(images, draws):
    """Returns what every effect alone makes of the images."""
    return {
        name: effect(images, draws, SHARES[name], *limits_of(name))
        for name, effect in effects.EFFECTS.items()
    }


@functools.cache
def alone() -> dict[str, np.ndarray]:
    return jax.device_get(each(word(), draws(ROWS)))


def hits() -> dict[str, np.ndarray]:
    """Returns which of the rows each effect changes."""
    return {name: changed(word(), images) for name, images in alone().items()}


def test_a_share_of_zero_adds_nothing_to_the_program():
    program = jax.make_jaxpr(lambda images, draws: effects.degrade(images, draws, KNOBS))
    assert not program(crops(), draws(64)).eqns


def test_every_effect_gets_its_knobs_and_what_the_one_before_left(monkeypatch):
    def negative(name, images, _, *given):
        np.testing.assert_array_equal(images, left[-1])
        calls.append((name, *given))
        left.append(1 - images)
        return left[-1]

    knobs, calls = presets.plain(), []
    left = [jnp.asarray(np.random.default_rng(0).integers(2, size=(8, 4, 4, 1)), jnp.float32)]
    for i, name in enumerate(NAMES):
        knobs[f"{name}_share"] = (i + 1) / 100
        monkeypatch.setitem(effects.EFFECTS, name, functools.partial(negative, name))
    result = effects.degrade(left[0], draws(8), knobs)
    np.testing.assert_array_equal(result, left[-1])
    assert calls == [(name, (i + 1) / 100, *limits_of(name)) for i, name in enumerate(NAMES)]
    assert calls


def test_the_share_is_kept_and_the_other_images_keep_their_bits():
    # The rows are chosen independently, so four standard deviations; a blot may miss the picture.
    for name, found in hits().items():
        share, missed = SHARES[name], 0.1 if name in ("stains", "occlusion") else 0.0
        allowed = 4 * math.sqrt(share * (1 - share) / ROWS) + missed * share
        assert found.mean() == pytest.approx(share, abs=allowed), name


@pytest.mark.parametrize("rows", [3, GROUP], ids=["rows that are kept of a group", "all"])
def test_effects_meet_as_often_as_chance_has_it(rows):
    """Whatever is computed for a part of the rows, and whatever part of them is kept."""
    count = 1024
    images, all_ = jnp.zeros((count * GROUP, 1, 1, 1)), draws(count * GROUP)

    @jax.jit
    def inverted(images, draws):
        return {
            name: change(images, draws, name, share, lambda part, _: 1 - part)
            for name, share in SHARES.items()
        }

    found = {
        name: np.asarray(changed).reshape(count, GROUP)[:, :rows]
        for name, changed in inverted(images, all_).items()
    }
    number = count * rows
    for one, other in itertools.combinations(found, 2):
        share = SHARES[one] * SHARES[other]
        allowed = 5 * math.sqrt(share * (1 - share) / number)
        assert (found[one] * found[other]).mean() == pytest.approx(share, abs=allowed)
    for name, share in SHARES.items():
        allowed = 5 * math.sqrt(share * (1 - share) / number)
        for place in found[name].T:
            assert place.mean() == pytest.approx(share, abs=allowed * math.sqrt(rows))


def test_a_row_depends_on_its_own_draws_and_those_of_the_first_of_eight():
    kept, darker = np.random.default_rng(0).random((2, ROWS)) < [[0.2], [0.5]]
    kept[::GROUP] = True
    images = np.where((darker & ~kept)[:, None, None, None], word() * 0.9, word())
    seeds = jnp.where(kept[:, None], draws(ROWS).seeds, draws(ROWS, seed=1).seeds)
    again = jax.device_get(each(images, Draws(seeds)))
    for name, found in hits().items():
        assert found[kept].any(), name
        differ = changed(alone()[name], again[name])
        assert not differ[kept].any(), name
        assert differ[~kept & ~darker].any(), name  # the same images, other draws


def test_calm_images_are_left_as_they_are_and_no_others():
    knobs = presets.plain()
    for name, share in (("blur", 0.3), ("rules", 0.3), ("noise", 1.0), ("jpeg", 1.0)):
        knobs[f"{name}_share"] = share
    some = draws(64).calming(0.4)
    degrade = compiled(lambda images, draws: effects.degrade(images, draws, knobs))
    result = np.asarray(degrade(crops(), some))
    calm = np.asarray(some.calm)
    assert 15 < calm.sum() < 37
    np.testing.assert_array_equal(changed(crops(), result), ~calm)
    assert draws(64).calming(0.0).calm is None


def test_colour_images_of_any_size_stay_within_0_and_1():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (16, 44, 60, 3)).astype(np.float32)
    images[::2] = images[::2].round()
    knobs = presets.plain()
    for name in NAMES:
        knobs[f"{name}_share"] = 1.0
    degrade = compiled(lambda images, draws: effects.degrade(images, draws, knobs))
    result = np.asarray(degrade(images, draws(16)))
    for pictures in (result, *alone().values()):
        assert pictures.dtype == np.float32
        assert pictures.min() >= 0
        assert pictures.max() <= 1
    assert result.shape == images.shape
    assert changed(images, result).all()
    np.testing.assert_array_equal(result, degrade(images, draws(16)))
    assert changed(result, np.asarray(degrade(images, draws(16, seed=1)))).all()


@pytest.mark.parametrize("batch", [1, 5, 72, 128])
def test_any_batch_size(batch):
    def negative(images, draws):
        return [change(images, draws, "it", s, lambda part, _: 1 - part) for s in (0.3, 1.0)]

    images = np.random.default_rng(0).uniform(0.2, 0.4, (batch, 8, 8, 1)).astype(np.float32)
    some, all_ = map(np.asarray, compiled(negative)(images, draws(batch)))
    np.testing.assert_array_equal(all_, 1 - images)
    found = changed(images, some)
    np.testing.assert_array_equal(some, np.where(found[:, None, None, None], 1 - images, images))
    if batch > 5:
        assert 0 < found.sum() <= batch * 0.6


def test_only_a_part_of_the_rows_is_computed():
    counted = []

    def count(images, draws):
        counted.append(len(images))
        return images

    for share in (0.05, 0.125, 0.126, 0.5, 0.9, 1.0):
        jax.eval_shape(
            lambda images, share=share: change(images, draws(64), "count", share, count),
            jnp.zeros((64, 4, 4, 1)),
        )
    assert counted == [8, 8, 16, 32, 64, 64]


def test_pictures_end_where_their_padding_begins():
    """What is beyond the real width changes nothing of a picture."""
    knobs = presets.get_preset("scene")
    for name in NAMES:
        knobs[f"{name}_share"] = 0.0 if name in ("shot", "noise", "speckle", "salt") else 1.0
    degrade = compiled(lambda images, draws: effects.degrade(images, draws, knobs))
    widths = jnp.asarray([16.0, 60.0, 90.0, 120.0] * 16)
    some, images = draws(64)._replace(widths=widths), np.array(crops())
    real = np.arange(120) < np.asarray(widths)[:, None]
    other = np.where(real[:, None, :, None], images, 1 - images)
    lens = ("blur", "motion", "defocus", "lowres", "jpeg")  # which look beyond the border
    for name in lens:
        knobs[f"{name}_share"] = 0.0
    one, two = (np.asarray(degrade(pictures, some)) for pictures in (images, other))
    differ = (one != two).any(axis=(1, 3)) & real
    assert not differ.any()
