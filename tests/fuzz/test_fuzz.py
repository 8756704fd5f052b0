"""The short form: a few hundred inputs, the same in every run; `fuzz.py` is the long one."""

from __future__ import annotations

import json
import pathlib
import random
import subprocess
import sys

import pytest

pytest.importorskip("hypothesis")

import fuzz_targets
from fuzz_bombs import BOMBS, COSTLY
from fuzz_bundles import bundle_case
from fuzz_images import Case, image_case, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crnn_jax import shipped
from crnn_jax.bundle_file import load_bundle
from crnn_jax.data.images import Preprocess, decode_image
from crnn_jax.errors import DataError, UserError

FOLDER = pathlib.Path(__file__).parent
# Hypothesis steers what `random.Random` draws, and so makes a failing input small.
RANDOMS = st.randoms(use_true_random=False)
SHORT = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
PREPROCESSES = (
    Preprocess(),
    Preprocess(height=48, channels=3, fit="keep", min_width=8, max_width=9000),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", seeds())
def test_the_images_to_begin_with_are_read(name: str) -> None:
    assert decode_image(seeds()[name], 1).shape[:2] in ((24, 72), (72, 24))


@settings(SHORT, max_examples=500)
@given(rng=RANDOMS)
def test_images_are_read_or_refused_in_one_line(folder: pathlib.Path, rng: random.Random) -> None:
    case = image_case(rng)
    if case.kind.removeprefix("bomb: ") in COSTLY:
        return
    image = fuzz_targets.placed(case, folder, as_path=rng.random() < 0.5)
    if not isinstance(image, fuzz_targets.TAKEN):  # the shape checks of tests would refuse it
        return
    try:
        fuzz_targets.check_pixels(image, rng.choice(PREPROCESSES))
    except DataError as error:
        fuzz_targets.one_line(error)


@pytest.mark.parametrize("name", sorted(set(BOMBS) - set(COSTLY)))
def test_bombs_are_read_or_refused_in_one_line(name: str) -> None:
    for number in range(3):
        try:
            PREPROCESSES[0](BOMBS[name](random.Random(number)))
        except DataError as error:
            fuzz_targets.one_line(error)


@settings(SHORT, max_examples=40)
@given(rng=RANDOMS)
def test_bundles_are_loaded_or_refused_in_one_line(
    folder: pathlib.Path, rng: random.Random
) -> None:
    case = bundle_case(rng, shipped.find(fuzz_targets.SMALL).read_bytes())
    path = fuzz_targets.placed(case, folder, as_path=True)
    try:
        load_bundle(path)
    except UserError as error:
        fuzz_targets.one_line(error)


@pytest.mark.slow
def test_the_long_form_on_few_inputs(tmp_path: pathlib.Path) -> None:
    counts = "--images=40", "--bundles=15", "--models=10", "--requests=40"
    done = subprocess.run(
        [sys.executable, FOLDER / "fuzz.py", *counts, f"--out={tmp_path}/failed"],
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, told["failures"]) == (0, 0), done.stdout
    assert set(told) > {"images", "reader", "predict", "bundles", "models"}


def test_a_failing_input_is_told() -> None:
    class Target:
        def run(self, case: Case, rng: random.Random) -> str | None:
            raise KeyError(case.kind)

    outcome, told = fuzz_targets.attempt(Target(), Case("kind", b""), random.Random(0))
    assert outcome == "failed"
    assert "KeyError: 'kind'" in told
    with pytest.raises(fuzz_targets.Wrong, match="not in one line"):
        fuzz_targets.one_line(ValueError("one\ntwo"))
