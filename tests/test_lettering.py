"""Single characters: large initials, letters that dance, wide spacing; the sides of solid ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from crnn_jax.errors import UserError
from crnn_jax.synth import knobs as knobs_lib
from crnn_jax.synth import presets, render
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.lettering import letter
from crnn_jax.synth.warp import Canvas

INK = jnp.array([[True, True, False, True, True]] * 64)  # two words of two characters each
CAPS = jnp.full(64, 0.7)


def knobs(**changes):
    values = presets.get_preset("plain")
    with values.unlocked():
        values.update(changes)
    return values


def draws(rows=64):
    return Draws.from_keys(jax.random.split(jax.random.key(0), rows))


def test_first_characters_of_words_are_larger_and_may_hang_below_the_baseline():
    found = letter(INK, CAPS, draws(), knobs(initial_share=1.0, initial=(1.5, 1.5)))
    np.testing.assert_allclose(found.size, [[1.5, 1, 1, 1.5, 1]] * 64, rtol=1e-6)
    depth = np.asarray(found.y)
    assert (depth[:, [1, 2, 4]] == 0).all()
    np.testing.assert_array_equal(depth[:, 0], depth[:, 3])
    assert depth.min() == 0  # most stand on the baseline, others reach as high as the small ones
    assert 0.3 < depth.max() <= 0.5 * 0.7 + 1e-6
    assert 0.2 < (depth[:, 0] > 0).mean() < 0.6


def test_letters_dance_by_their_strength():
    weak, strong = (
        letter(INK, CAPS, draws(), knobs(dancing_share=1.0, dancing=(s, s))) for s in (0.5, 1.0)
    )
    for name, deviation in (("y", 0.06), ("angle", np.radians(7.0))):
        values = np.asarray(getattr(strong, name))
        assert values.std() == pytest.approx(deviation, rel=0.15)
        np.testing.assert_allclose(values, 2 * np.asarray(getattr(weak, name)), rtol=1e-4)
    assert np.log(strong.size).std() == pytest.approx(0.12, rel=0.15)


@pytest.mark.parametrize("effect", ["initial_share", "dancing_share"])
def test_some_texts_alone_have_it_and_calm_ones_never(effect):
    settings = knobs(**{effect: 0.5})
    some = np.ptp(letter(INK, CAPS, draws(), settings).size, axis=1) > 0
    assert 0.3 < some.mean() < 0.7
    assert np.ptp(letter(INK, CAPS, draws().calming(1.0), settings).size) == 0


@pytest.mark.parametrize("far", [0.75, 1.0, 1.5, 2.1, 3.1, 4.0, 5.0, 8.0])
def test_solid_letters_have_sides_from_the_letter_to_their_shadow(far):
    fill = jnp.zeros((64, 32, 64)).at[:, 14:16, 30:32].set(1.0)
    settings = knobs(shadow_share=1.0, shadow_offset=(far, far))
    canvas = Canvas(32, 64)
    copy = np.asarray(render._cast(fill, draws(), settings, canvas))
    with settings.unlocked():
        settings.solid_share = 1.0
    side = np.asarray(render._cast(fill, draws(), settings, canvas))
    np.testing.assert_array_equal(copy.sum(axis=(1, 2)), 4)
    assert (side[copy > 0] == 1).all()
    for row in range(64):
        ink = np.argwhere(np.maximum(fill[row], copy[row]) > 0)
        box = np.zeros((32, 64), bool)
        box[tuple(map(slice, ink.min(axis=0), ink.max(axis=0) + 1))] = True
        assert not side[row][~box].any()  # never beyond the shadow
        assert ndimage.label(fill[row] + side[row], np.ones((3, 3)))[1] == 1
    if far >= 4:
        assert max(ndimage.label(f + c)[1] for f, c in zip(fill, copy, strict=True)) == 2


def test_knobs_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"config\.synth\.initial is \(0\.0, 1\.5\).*positive"):
        knobs_lib.check_knobs(knobs(initial=(0.0, 1.5)))
