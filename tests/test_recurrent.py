from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.models.recurrent import GATES, RecurrentLayer, check_cell, flip_sequences
from crnn_jax.pytorch.layers import recurrent_from_torch

B, T, D, H = 5, 7, 6, 4
LENGTHS = jnp.asarray([7, 4, 1, 0, 6])
CELLS = sorted(GATES)
REAL = np.arange(T)[None, :] < np.asarray(LENGTHS)[:, None]

directions = pytest.mark.parametrize("bidirectional", [True, False], ids=["both", "forward"])
cells = pytest.mark.parametrize("cell", CELLS)


def frames_of(seed=0, batch=B):
    x = np.random.default_rng(seed).normal(size=(batch, T, D))
    return jnp.asarray(x, jnp.float32)


def random_params(layer, seed=1):
    """Parameters of the layer's own shapes, none of them zero."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), frames_of(), LENGTHS)["params"]
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(scale=0.5, size=leaf.shape), jnp.float32)
        for name, leaf in sorted(shapes.items())
    }


@functools.partial(jax.jit, static_argnums=0)
def run(layer, params, x, lengths):
    return layer.apply({"params": params}, x, lengths)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(cell, params, n, x):
    """Direction n over one unpadded sequence (T, D), frame by frame in float64."""
    params = {name: np.asarray(value[n], np.float64) for name, value in params.items()}
    h, c, out = np.zeros(H), np.zeros(H), []
    for frame in np.asarray(x, np.float64):
        inputs = np.split(frame @ params["kernel"] + params["bias"], GATES[cell])
        memory = np.split(h @ params["recurrent_kernel"], GATES[cell])
        if cell == "lstm":
            i, f, g, o = (a + b for a, b in zip(inputs, memory, strict=True))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            r, z = (sigmoid(a + b) for a, b in zip(inputs[:2], memory[:2], strict=True))
            candidate = np.tanh(inputs[2] + r * (memory[2] + params["reset_bias"]))
            h = (1 - z) * candidate + z * h
        out.append(h)
    return np.array(out).reshape(len(x), H)


def test_flip_sequences_reverses_what_is_real():
    x = jnp.arange(1, 11).reshape(2, 5, 1).astype(jnp.float32)
    flipped = flip_sequences(x, jnp.asarray([3, 5]))
    assert flipped[:, :, 0].tolist() == [[3, 2, 1, 4, 5], [10, 9, 8, 7, 6]]
    assert flip_sequences(x, jnp.asarray([0, 1])).tolist() == x.tolist()
    lengths = jnp.asarray([4, 2])
    assert flip_sequences(flip_sequences(x, lengths), lengths).tolist() == x.tolist()


@directions
@cells
def test_layer_is_the_equations_frame_by_frame(cell, bidirectional):
    layer = RecurrentLayer(cell, H, bidirectional)
    params, x = random_params(layer), frames_of()
    out = run(layer, params, x, LENGTHS)
    assert out.shape == (B, T, 2 * H if bidirectional else H)
    for row, length in enumerate(LENGTHS):
        real = x[row, :length]
        expected = reference(cell, params, 0, real)
        if bidirectional:
            backward = reference(cell, params, 1, real[::-1])[::-1]
            expected = np.concatenate([expected, backward], axis=1)
        np.testing.assert_allclose(out[row, :length], expected, atol=1e-6)
        assert np.all(out[row, length:] == 0)


@pytest.mark.parametrize("lengths", [jnp.full(B, T), LENGTHS], ids=["full", "ragged"])
@cells
def test_a_reversed_input_swaps_the_directions(cell, lengths):
    layer = RecurrentLayer(cell, H)
    params, x = random_params(layer), frames_of()
    swapped = {name: value[::-1] for name, value in params.items()}
    out = run(layer, params, x, lengths)
    mirrored = run(layer, swapped, flip_sequences(x, lengths), lengths)
    np.testing.assert_allclose(
        mirrored,
        flip_sequences(jnp.concatenate([out[..., H:], out[..., :H]], axis=-1), lengths),
        atol=1e-6,
    )


@directions
@cells
def test_padding_is_never_read(cell, bidirectional):
    layer = RecurrentLayer(cell, H, bidirectional)
    params, x = random_params(layer), frames_of()
    out = run(layer, params, x, LENGTHS)
    alone = run(layer, params, x[1:2, :4], LENGTHS[1:2])  # a row by itself, without padding
    np.testing.assert_allclose(out[1:2, :4], alone, atol=1e-6)
    assert np.all(np.asarray(out)[~REAL] == 0)
    for garbage in (np.nan, np.inf, 1e30):
        spoilt = jnp.where(REAL[:, :, None], x, garbage)
        np.testing.assert_array_equal(run(layer, params, spoilt, LENGTHS), out)


@directions
@cells
def test_padding_has_no_gradient(cell, bidirectional):
    layer = RecurrentLayer(cell, H, bidirectional)
    params, x = random_params(layer), frames_of()
    weights = frames_of(2)[:, :, :1]  # on padded frames of the output, too

    @jax.jit
    def gradients(params, x):
        def score(params, x):
            return jnp.sum(layer.apply({"params": params}, x, LENGTHS) * weights)

        return jax.grad(score, argnums=(0, 1))(params, x)

    of_params, of_x = gradients(params, x)
    assert np.all(np.asarray(of_x)[~REAL] == 0)
    assert np.all(np.abs(of_x).sum(axis=-1)[REAL] > 0)
    # Parameters learn the same whatever the padding holds.
    again, _ = gradients(params, jnp.where(REAL[:, :, None], x, 100.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), of_params, again)


@cells
def test_bfloat16_stays_close(cell):
    exact = RecurrentLayer(cell, H)
    params, x = random_params(exact), frames_of()
    expected = run(exact, params, x, LENGTHS)
    layer = RecurrentLayer(cell, H, dtype=jnp.bfloat16)
    out = run(layer, params, x.astype(jnp.bfloat16), LENGTHS)
    assert out.dtype == jnp.bfloat16
    difference = np.abs(out.astype(jnp.float32) - expected)
    assert 0 < difference.max() < 0.05
    created = jax.eval_shape(layer.init, jax.random.key(0), x, LENGTHS)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(created)} == {jnp.dtype("float32")}


@cells
def test_initialisation_is_by_gate_and_direction(cell):
    init = jax.jit(RecurrentLayer(cell, H).init)
    params = init(jax.random.key(0), frames_of(), LENGTHS)["params"]
    blocks = params["recurrent_kernel"].reshape(2, H, GATES[cell], H).transpose(0, 2, 1, 3)
    blocks = np.asarray(blocks).reshape(-1, H, H)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-5)
    assert len(np.unique(blocks[:, 0, 0])) == len(blocks)
    bound = np.sqrt(6 / (D + H))  # Glorot's, of one gate
    assert 0.8 * bound < np.abs(params["kernel"]).max() <= bound
    bias = np.zeros((2, GATES[cell], H))
    if cell == "lstm":
        bias[:, 1] = 1
    np.testing.assert_array_equal(params["bias"], bias.reshape(2, -1))


def test_unknown_cells_are_refused():
    check_cell("none")
    with pytest.raises(UserError, match="unknown recurrence 'lstn': did you mean 'lstm'"):
        check_cell("lstn")


# PyTorch


def torch_layer(torch, cell, bidirectional, layers=1):
    torch.manual_seed(3)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    return kind(D, H, layers, batch_first=True, bidirectional=bidirectional)


@pytest.mark.torch
@directions
@cells
def test_parity_with_torch(cell, bidirectional):
    torch = pytest.importorskip("torch")
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    module = torch_layer(torch, cell, bidirectional)
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    params = recurrent_from_torch(cell, weights, bidirectional=bidirectional)
    layer = RecurrentLayer(cell, H, bidirectional)
    expected_shapes = {name: value.shape for name, value in random_params(layer).items()}
    assert {name: value.shape for name, value in params.items()} == expected_shapes
    params = {name: jnp.asarray(value) for name, value in params.items()}

    lengths = jnp.maximum(LENGTHS, 1)  # PyTorch packs no empty rows
    x = frames_of()
    with torch.no_grad():
        packed = pack_padded_sequence(
            torch.tensor(np.asarray(x)), lengths.tolist(), batch_first=True, enforce_sorted=False
        )
        expected, _ = pad_packed_sequence(module(packed)[0], batch_first=True, total_length=T)
    np.testing.assert_allclose(run(layer, params, x, lengths), expected.numpy(), atol=1e-5)


@pytest.mark.torch
def test_one_of_several_torch_layers():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch_layer(torch, "gru", True, layers=2))
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    x, full = frames_of(), jnp.full(B, T)
    out = x
    for i in range(2):
        params = recurrent_from_torch("gru", weights, prefix="0.", layer=i)
        params = {name: jnp.asarray(value) for name, value in params.items()}
        out = run(RecurrentLayer("gru", H), params, out, full)
    with torch.no_grad():
        expected, _ = module[0](torch.tensor(np.asarray(x)))
    np.testing.assert_allclose(out, expected.numpy(), atol=1e-5)


def test_initial_kernels_are_drawn_without_batched_decompositions():
    """Two batched QR calls in one program (two layers) deadlock on a CPU with two threads."""
    layers = [RecurrentLayer("lstm", hidden=8) for _ in range(2)]
    x, lengths = jnp.zeros((1, 3, 8)), jnp.array([3])
    init = jax.jit(lambda key: [layer.init(key, x, lengths) for layer in layers])
    program = init.lower(jax.random.key(0)).as_text()
    calls = [line for line in program.splitlines() if "custom_call" in line and "geqrf" in line]
    assert calls
    assert all(re.search(r"\(tensor<\d+x\d+xf32>\)", line) for line in calls), calls[0]
