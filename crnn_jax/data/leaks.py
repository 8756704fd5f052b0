"""Keeps what a model is judged by out of what it is trained on."""

from __future__ import annotations

import re

from crnn_jax.data.spec import Spec, tfds_splits
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
    return " ".join([name, *tfds_splits(spec.location.rpartition("/")[2])])


def refuse_test_set(
    name: str,
    rows: int,
    where: str = "config.data.train",
    lost: str = "scores",
    allow: str = "set config.data.train_on_test to true",
) -> None:
    """Raises a UserError where a set that something is chosen by is a public test set.

    Args:
      name: of the set, as `told_name` has it.
      rows: images that it has.
      where: it was given.
      lost: what would mean nothing on it.
      allow: what to do to take it all the same.
    """
    if found := public_test_set(name, rows):
        raise UserError(
            f"{where} has {name}, by its name and its {rows:,} images the public test set "
            f"{found.variant}: {lost} on it would mean nothing. Take it out, give it another name "
            f"with ::name=NAME if it is none, or {allow}"
        )
