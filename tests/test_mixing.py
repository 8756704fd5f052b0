"""Weights between those of two models."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest

from crnn_jax import bundle as bundle_lib
from crnn_jax.bundle_file import Ancestor, load_bundle, save_bundle
from crnn_jax.bundle_zip import flatten
from crnn_jax.calibration_file import fingerprint
from crnn_jax.charset import Charset, build_charset
from crnn_jax.errors import UserError
from crnn_jax.mixing import mix


@pytest.fixture(scope="module")
def own(smoke_run):
    return bundle_lib.bundle_of_run(smoke_run, name="own")


@pytest.fixture(scope="module")
def other(own):
    """The same network with other weights, and an ancestor of its own."""
    variables = jax.tree.map(lambda x: x + 1.0, own.variables)
    return dataclasses.replace(
        own, variables=variables, lineage=(Ancestor("grandmother"), Ancestor("other"))
    )


def test_weights_are_between_those_of_both(own, other) -> None:
    mixed = mix(own, other, 0.25)
    mine, found = flatten(own.variables), flatten(mixed.variables)
    assert found.keys() == mine.keys()
    for path, value in found.items():
        np.testing.assert_allclose(value, mine[path] + 0.25, atol=1e-6)
        assert value.dtype == mine[path].dtype
    assert (mixed.name, mixed.calibration) == ("own", None)
    assert mixed.metrics == {"mix": {"with": "other", "share": 0.25}}


def test_new_characters_stay_as_they_are(own, other) -> None:
    """As after fine-tuning with a character that the first model had not; ids may differ, too."""
    few = [c for c in own.charset.classes if c not in "5a"][::-1]
    ids = [0, *(own.charset.classes.index(c) + 1 for c in few)]
    params = other.variables["params"]
    head = {name: np.asarray(x)[..., ids] for name, x in params["classifier"].items()}
    variables = {**other.variables, "params": {**params, "classifier": head}}
    smaller = dataclasses.replace(other, variables=variables, charset=Charset(tuple(few), "keep"))
    mine, found = (
        np.asarray(flatten(model.variables)["params/classifier/kernel"])
        for model in (own, mix(own, smaller, 0.25))
    )
    changed = found - mine
    new = [own.charset.classes.index(c) + 1 for c in "5a"]
    np.testing.assert_array_equal(changed[:, new], 0)
    np.testing.assert_allclose(np.delete(changed, new, axis=1), 0.25, atol=1e-6)


def test_ancestors_of_both_are_named_once(own, other) -> None:
    names = [ancestor.name for ancestor in mix(own, other, 0.5).lineage]
    assert names == ["grandmother", "other", "own"]
    shared = dataclasses.replace(own, lineage=(*other.lineage, *own.lineage))
    assert mix(shared, other, 0.5).lineage == shared.lineage


def test_models_that_are_not_alike_are_refused(own, other) -> None:
    for share in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(UserError, match="give one between 0 and 1"):
            mix(own, other, share)
    more = dataclasses.replace(other, charset=Charset((*own.charset.classes, "é"), "keep"))
    with pytest.raises(UserError, match=r"other knows characters that own does not.*\('é'\)"):
        mix(own, more, 0.5)
    with pytest.raises(UserError, match="or writes capitals otherwise"):
        mix(own, dataclasses.replace(other, charset=build_charset("alnum36")), 0.5)
    used, unused = {"squash": ("width", "max_width"), "keep": ("max_width", "width")}[
        own.config.data.fit
    ]
    config = other.config.copy_and_resolve_references()
    config.data[unused] += 32
    assert mix(own, dataclasses.replace(other, config=config), 0.5).name == "own"
    config.data[used] += 32
    with pytest.raises(UserError, match=rf"other has config\.data\.{used}="):
        mix(own, dataclasses.replace(other, config=config), 0.5)
    variables = jax.tree.map(lambda x: x[:-1], other.variables)
    with pytest.raises(UserError, match=r"model other: .* as its config wants it"):
        mix(own, dataclasses.replace(other, variables=variables), 0.5)


def test_command_mixes_and_calibrates(run_command, smoke_run, other, tmp_path) -> None:
    out, second = tmp_path / "mixed.crnn", tmp_path / "other.crnn"
    save_bundle(second, other)
    arguments = f"--run={smoke_run}", f"--out={out}", f"--mix={second}", "--share=0.25"
    done = run_command(bundle_lib.main, *arguments)
    assert done.code == 0, done.err
    mine = flatten(bundle_lib.bundle_of_run(smoke_run).variables)
    for path, value in flatten(load_bundle(out).variables).items():
        np.testing.assert_allclose(value, mine[path] + 0.25, atol=1e-6)
    told = run_command(bundle_lib.main, f"--show={out}").out
    assert "mixed     with 25% of the weights of other" in told

    half = *arguments, "--bf16"
    assert run_command(bundle_lib.main, *half).code == 0
    figures = {
        "sets": ["a"], "rows": 10, "accuracy": 0.5, "ece_before": 0.2, "ece_after": 0.1,
        "log_loss_before": 0.7, "log_loss_after": 0.6,
    }  # fmt: skip
    weights = fingerprint(load_bundle(out).recognizer().variables)
    report = {"model": "mixed", "temperature": 1.5, "protocol": "36", "fitted": figures,
              "checked": figures, "thresholds": [], "weights": weights}  # fmt: skip
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    done = run_command(bundle_lib.main, *half, f"--calibration={path}")
    assert done.code == 0, done.err
    assert load_bundle(out).recognizer().temperature == 1.5
    others = *half[:3], "--share=0.3", "--bf16", f"--calibration={path}"
    assert "the calibration of other weights" in run_command(bundle_lib.main, *others).err[0]


def test_mistakes(mistake, smoke_run, tmp_path) -> None:
    arguments = f"--run={smoke_run}", f"--out={tmp_path / 'x.crnn'}"
    assert "belong together" in mistake(bundle_lib.main, *arguments, "--mix=small-94")
    assert "belong together" in mistake(bundle_lib.main, *arguments, "--share=0.5")
    line = mistake(bundle_lib.main, *arguments, "--mix=small-94", "--share=0.5")
    assert "knows characters that" in line
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"model": smoke_run.name}))
    assert "damaged" in mistake(bundle_lib.main, *arguments, f"--calibration={path}")
