"""Keeps what a model is judged by out of what it is trained on."""

from __future__ import annotations

import re

from crnn_jax.data.spec import Spec
from crnn_jax.errors import UserError
from crnn_jax.scoring.benchmark_sets import Recognised, recognise


def public_test_set(name: str, rows: int) -> Recognised | None:
    """Returns which public test set a set is; None for any other set.

    It is known by its name, with its number of images or the word "test" in the name, so that a
    training split in a folder of the benchmark's name is not taken for it.

    Args:
      name: of the set.
      rows: images that it has.
    """
    found = recognise(name, rows)
    known = found and (found.complete or "test" in re.findall("[a-z]+", name.lower()))
    return found if known else None


def told_name(spec: Spec, name: str) -> str:
    """Returns a set's name with the TFDS splits that are read; one that was given as it is.

    Args:
      spec: of the set.
      name: of its source.
    """
    if spec.kind != "tfds" or spec.name is not None:
        return name
    splits = re.sub(r"\[.*?\]", "", spec.location.rpartition("/")[2])  # without slices
    return " ".join([name, *re.findall(r"\w+", splits)])


def refuse_test_set(name: str, rows: int) -> None:
    """Raises a UserError where a set that is trained on is a public test set."""
    if found := public_test_set(name, rows):
        raise UserError(
            f"config.data.train has {name}, by its name and its {rows:,} images the public test "
            f"set {found.variant}: scores on it would mean nothing. Take it out, give it another "
            "name with ::name=NAME if it is none, or set config.data.train_on_test to true"
        )
