"""Where the renderer says its characters are, against the pictures themselves."""

from __future__ import annotations

import jax
import numpy as np

from crnn_jax.charset import build_charset
from crnn_jax.synth import places, presets, renderer
from crnn_jax.synth.warp import Canvas


def test_ink_is_where_characters_are_said_to_be():
    charset = build_charset("alnum62", "keep")
    canvas = Canvas(32, 160, channels=1, keep=True)
    render, assets = renderer.build_renderer(
        presets.get_preset("plain"), charset, canvas, lambda width: width // 4, side="test"
    )
    keys = renderer.row_keys(np.uint32(0), "places", np.arange(16, dtype=np.uint32))
    batch, where = jax.device_get(places.program(render, assets, keys))
    same = jax.device_get(jax.jit(render.__call__)(assets, keys))
    np.testing.assert_array_equal(batch.images, same.images)
    for image, width, length, place in zip(
        batch.images, batch.widths, batch.label_lengths, where, strict=True
    ):
        place = place[:length]
        assert np.isnan(where[0][batch.label_lengths[0] :]).all()
        assert (place[:, 0] < place[:, 1]).all()
        assert (np.diff(place[:, 0]) > 0).all()  # in the order of the text
        pixels = image[:, :width, 0].astype(int)
        ground = np.bincount(pixels.ravel()).argmax()
        contrast = np.abs(pixels - ground)
        inked = (contrast > 0.6 * contrast.max()).any(axis=0)  # more than half covered
        claimed = np.zeros(width, bool)
        for x0, x1 in place:
            claimed[int(x0) : int(x1)] = True
            assert (contrast[:, int(x0) : int(x1)] > 0.4 * contrast.max()).any()
        assert not (inked & ~claimed).any()
