"""ONNX models compute what the network computes, whatever its parts, widths and batch."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from crnn_jax.charset import build_charset
from crnn_jax.data.images import Preprocess
from crnn_jax.errors import UserError
from crnn_jax.models.crnn import CRNN
from crnn_jax.models.encoders import ENCODERS, num_frames
from crnn_jax.recognizer import Recognizer

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from crnn_jax.exporting.onnx_graph import INT32, INT64, Graph
from crnn_jax.exporting.onnx_layers import output_widths
from crnn_jax.exporting.onnx_model import to_onnx
from crnn_jax.exporting.onnx_run import open_session, runner


def drawn(encoder="tiny", channels=1, **parts) -> Recognizer:
    """A recogniser with drawn weights, batch statistics included."""
    parts = {"recurrence": "lstm", "layers": 2, "hidden": 24, "projection": 20, **parts}
    network = CRNN(ENCODERS[encoder], num_classes=37, **parts)
    shape = (1, 32, 100, channels)
    rng = np.random.default_rng(0)
    init = jax.jit(network.init)
    variables = init(jax.random.key(0), np.zeros(shape, np.uint8), np.array([100]))
    changed = {
        "params": jax.tree.map(
            lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32) * (x.ndim == 1),
            variables["params"],
        ),
        "batch_stats": jax.tree.map(
            lambda x: x + 0.3 * rng.random(x.shape, np.float32), variables["batch_stats"]
        ),
    }
    preprocess = Preprocess(channels=channels, fit="keep", max_width=2000)
    return Recognizer(network, changed, build_charset("alnum36"), preprocess, "drawn")


def compare(recognizer: Recognizer, widths: list[int]) -> None:
    """Asserts that both give the same posteriors of a batch of noise."""
    preprocess = recognizer.preprocess
    shape = (len(widths), preprocess.height, max(widths), preprocess.channels)
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    counts = np.array(widths, np.int32)
    expected, frames = jax.jit(recognizer.model.apply)(recognizer.variables, images, counts)
    found, counted = runner(open_session(to_onnx(recognizer)))(images, counts)
    np.testing.assert_array_equal(counted, frames)
    assert found.shape == expected.shape
    for ours, theirs, n in zip(np.asarray(expected), found, counted, strict=True):
        if n > 1:
            assert ours[:n].std(axis=0).max() > 0.01  # constant logits would be alike, too
            np.testing.assert_allclose(ours[:n], theirs[:n], atol=2e-4 * ours[:n].std())


@pytest.mark.parametrize(
    "parts",
    [
        {"recurrence": "lstm"},
        {"recurrence": "lstm", "bidirectional": False, "layers": 1},
        {"recurrence": "gru", "standardize": True},
        {"recurrence": "gru", "bidirectional": False, "projection": 0, "layers": 3},
        {"recurrence": "none", "standardize": True, "channels": 3},
        pytest.param({"recurrence": "lstm", "layers": 0}, marks=pytest.mark.slow),
        pytest.param({"recurrence": "none"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_every_recurrence(parts):
    compare(drawn(**parts), [100, 32, 0, 57])


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder(encoder):
    compare(drawn(encoder), [2000])
    compare(drawn(encoder), [32, 777, 0, 1])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_frames_are_counted_as_in_training(encoder):
    graph = Graph()
    widths = graph.add("Cast", "widths", to=INT64)
    for layer in ENCODERS[encoder]:
        widths = output_widths(graph, widths, layer)
    graph.add("Cast", widths, to=INT32, name="frames")
    model = graph.model(
        {"widths": (INT32, ("batch",))}, {"frames": (INT32, ("batch",))}, "counting"
    )
    given = np.arange(260, dtype=np.int32)
    (found,) = open_session(model).run(None, {"widths": given})
    np.testing.assert_array_equal(found, num_frames(encoder, given))


def test_several_networks_are_refused(recognizer):
    from crnn_jax import ensembles

    with pytest.raises(UserError, match="single network"):
        to_onnx(ensembles.combine([recognizer, recognizer]))
