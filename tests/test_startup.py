"""The compilation cache, what is counted of compilations, profiles, arithmetic of networks."""

from __future__ import annotations

import os
import types

import jax
import jax.numpy as jnp
import pytest
from small import small_config

from crnn_jax import config as config_lib
from crnn_jax import flops, models, startup, train
from crnn_jax.errors import UserError


def test_compiled_programs_are_kept_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("CRNN_JAX_CACHE", str(tmp_path))
    startup.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "compiled")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    startup.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"


def test_determinism_is_asked_of_the_compiler_once(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--some_flag=1")
    startup.settle(types.SimpleNamespace(deterministic=False))
    assert os.environ["XLA_FLAGS"] == "--some_flag=1"
    for _ in range(2):
        startup.settle(types.SimpleNamespace(deterministic=True))
    assert os.environ["XLA_FLAGS"] == "--some_flag=1 --xla_gpu_deterministic_ops=true"


def test_determinism_that_the_compiler_was_not_asked_for_is_told(monkeypatch):
    wish = types.SimpleNamespace(deterministic=True)
    monkeypatch.setenv("XLA_FLAGS", "")
    startup.check(wish)  # a CPU needs no flag
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(UserError, match="set XLA_FLAGS=--xla_gpu_deterministic_ops=true before"):
        startup.check(wish)
    startup.check(types.SimpleNamespace(deterministic=False))
    startup.settle(wish)
    startup.check(wish)


def test_compilations_are_counted_from_where_one_begins():
    x = jnp.ones(7)
    compilations = startup.Compilations()
    jax.jit(lambda x: x * 3 + 1)(x).block_until_ready()
    assert compilations.programs == 1
    assert compilations.seconds > 0
    assert startup.Compilations().programs == 0


def test_a_profile_holds_the_steps_that_were_asked_for(tmp_path):
    trace = startup.Trace(tmp_path, 2, 2)
    for step in range(1, 6):
        trace.after(step, jnp.ones(3) * step)
        assert trace._running == (step in (2, 3))
    trace.close()
    assert list(tmp_path.rglob("*.xplane.pb"))
    nothing = startup.Trace(tmp_path / "none", 2, 0)
    nothing.after(2, jnp.ones(1))
    nothing.close()
    assert not (tmp_path / "none").exists()


def test_products_are_counted_in_convolutions_loops_and_calls():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    matrix = jnp.ones((4, 4))

    def function(x, kernel, matrix):
        y = jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        z, _ = jax.lax.scan(lambda c, _: (jax.jit(jnp.dot)(c, matrix), None), matrix, length=6)
        return y, z

    convolution = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    assert flops.count(function, x, kernel, matrix) == convolution + 6 * 2 * 4**3


def test_training_on_an_image_takes_three_times_its_reading():
    config = config_lib.default_config()
    model = models.build_model(config.model, 37, 32, 100)
    found = flops.per_image(config, model, 100)
    # The paper's network by hand: output positions x window x channels in x channels out.
    convolutions = (
        32 * 100 * 9 * 64,
        16 * 50 * 9 * 64 * 128,
        8 * 25 * 9 * (128 * 256 + 256 * 256),
        4 * 25 * 9 * (256 * 512 + 512 * 512),
        24 * 4 * 512 * 512,
    )
    recurrent = 24 * 2 * 1024 * ((512 + 256) + (256 + 256))
    dense = 24 * (512 * 256 + 512 * 37)
    assert found == 3 * 2 * (sum(convolutions) + recurrent + dense)


def test_peaks_go_by_the_longest_name_of_whole_words_and_the_dtype():
    def device(kind):
        return types.SimpleNamespace(device_kind=kind)

    assert flops.peak(device("NVIDIA H100 80GB HBM3"), jnp.bfloat16) == 989e12
    assert flops.peak(device("NVIDIA H100 PCIe"), jnp.bfloat16) == 756e12
    assert flops.peak(device("NVIDIA H100 NVL"), jnp.bfloat16) == 835e12
    assert flops.peak(device("NVIDIA A100-SXM4-80GB"), jnp.bfloat16) == 312e12
    assert flops.peak(device("NVIDIA L40"), jnp.bfloat16) == 181e12
    assert flops.peak(device("NVIDIA L400"), jnp.bfloat16) is None  # another device
    assert flops.peak(device("TPU v5 lite"), jnp.bfloat16) == 197e12
    assert flops.peak(device("NVIDIA H100 80GB HBM3"), jnp.float32) is None
    assert flops.peak(device("cpu"), jnp.bfloat16) is None


@pytest.mark.slow
def test_there_are_no_more_programs_of_the_step_than_widths(tmp_path, monkeypatch):
    real, made = train.compile_train_step, []

    def compile_train_step(*args):
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(train, "compile_train_step", compile_train_step)
    config = small_config(
        **{"data.fit": "keep", "data.max_width": 160, "data.buckets": 2, "total_steps": 12}
    )
    train.train_and_evaluate(config, tmp_path)
    (step_fn,) = made
    assert 1 <= step_fn._cache_size() <= 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_step_with_its_renderer_lowers_for_tpus(dtype, monkeypatch):
    from crnn_jax import cli
    from crnn_jax.data.training_set import open_training_set
    from crnn_jax.recognizer import preprocess_of

    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    config = cli.load_experiment(
        "quickstart:smoke",
        [("data.train", "synth:scene"), ("batch_size", "16"), ("model.dtype", dtype)],
    )
    data = open_training_set(config, preprocess_of(config))
    model, tx, _ = train.build(config, data.charset.num_classes, warmup=1, total=4)
    state = jax.eval_shape(lambda: train.create_train_state(config, model, tx))
    step = train.compile_train_step(model, tx, config, data.feed)
    lowered = step.trace(state, None, data.assets).lower(lowering_platforms=("tpu",))
    assert "stablehlo.convolution" in lowered.as_text()
    donated = lowered.as_text().count("tf.aliasing_output")
    assert donated == len(jax.tree.leaves(state))  # the state is updated where it lies
