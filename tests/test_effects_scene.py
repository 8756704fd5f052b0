"""Things in the picture and the light on them: each effect does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from effect_images import apply, changed, crops, flat


def test_rules_are_visible_and_near_the_borders():
    images = flat(0.8, batch=256)
    cover = np.abs(apply("rules", images) - images)[..., 0]
    visible = cover.max(axis=(1, 2))
    assert (visible > 0.1).mean() > 0.97
    assert cover[:, 8:24, 16:-16].max() == 0
    assert cover[:, -6:].mean() > cover[:, 6:-6].mean()
    assert (cover > 0.05).mean(axis=(1, 2)).max() < 0.45


def test_strokes_cross_the_text_leave_most_of_it_and_are_as_thick_as_asked_for():
    images = flat(0.8, batch=256)
    thin, thick = (
        np.abs(apply("strokes", images, limits=(width, width)) - images)[..., 0]
        for width in (1.0, 2.0)
    )
    for cover, most in ((thin > 0.05, 0.3), (thick > 0.05, 0.4)):
        assert cover[:, 8:24].any(axis=(1, 2)).mean() > 0.9
        assert cover.any(axis=1).mean() > 0.7  # along most columns
        assert cover.mean(axis=(1, 2)).max() < most
    assert thick.sum() / thin.sum() == pytest.approx(2, rel=0.15)


def test_stains_have_the_opacity_asked_for():
    result = apply("stains", crops(), limits=(0.4, 0.4))
    # Whatever the colour of a blot, contrast within it falls by the opacity and no further.
    steps = [np.diff(images, axis=2)[..., 0] for images in (crops(), result)]
    kept = np.abs(steps[1]) - 0.6 * np.abs(steps[0])
    assert (kept > -0.12).mean() > 0.999
    hit = np.abs(result - crops()).max(axis=(1, 2, 3))
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


@pytest.mark.parametrize("width", [32, 512])
def test_occlusion_lands_in_the_picture_whatever_its_shape(width):
    images = flat(0.5, width=width)
    assert changed(images, apply("occlusion", images, limits=(0.2, 0.3))).mean() > 0.9


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
