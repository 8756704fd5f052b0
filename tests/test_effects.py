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
from crnn_jax.synth.effects_rows import Place, change

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


def test_effects_meet_about_as_often_as_chance_has_it():
    """Parts of the rows are fixed: they must neither coincide nor exclude one another."""
    often = ("blur", "lowres", "noise", "shot", "gamma", "tone", "light", "rules", "jpeg")
    found = hits()
    for one, other in itertools.combinations(often, 2):
        together = (found[one] & found[other]).mean() / (SHARES[one] * SHARES[other])
        assert 0.3 < together < 2.2, (one, other)


def test_a_row_depends_on_its_own_draws_and_place_alone():
    kept, darker = np.random.default_rng(0).random((2, ROWS)) < [[0.2], [0.5]]
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
        shares, place = (0.3, 1.0), Place(3, 8)
        return [change(images, draws, "it", s, place, lambda part, _: 1 - part) for s in shares]

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
        for place in (Place(0), Place(7), Place(3, 8)):
            jax.eval_shape(
                lambda images, share=share, place=place: change(
                    images, draws(64), "count", share, place, count
                ),
                jnp.zeros((64, 4, 4, 1)),
            )
    assert counted == [8] * 6 + [16] * 3 + [32] * 3 + [64] * 6
