"""Keeps what a model is judged by out of what it is trained on."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from crnn_jax.data.listed import place
from crnn_jax.data.sources import Source
from crnn_jax.data.spec import Spec
from crnn_jax.errors import UserError
from crnn_jax.scoring.benchmark_sets import recognise

_LOG = logging.getLogger("crnn_jax")


def refuse_test_set(name: str, rows: int) -> None:
    """Raises a UserError where a set that is trained on is a public test set.

    It is known by its name, with its number of images or the word "test" in the name, so that a
    training split in a folder of the benchmark's name is not taken for it.

    Args:
      name: of the set.
      rows: images that it has.
    """
    found = recognise(name, rows)
    if found and (found.complete or "test" in re.findall("[a-z]+", name.lower())):
        raise UserError(
            f"config.data.train has {name}, by its name and its {rows:,} images the public test "
            f"set {found.variant}: scores on it would mean nothing. Take it out, give it another "
            "name with ::name=NAME if it is none, or set config.data.train_on_test to true"
        )


def warn_of_shared_rows(
    train: Sequence[tuple[Spec, Source]], held_out: Sequence[tuple[Spec, Source]]
) -> None:
    """Warns of validation sets with rows that are trained on: same place, same keys."""
    for spec, source in held_out:
        for trained, other in train:
            if place(spec) != place(trained):
                continue
            keys = {other.key(i) for i in range(len(other))}
            shared = sum(source.key(i) in keys for i in range(len(source)))
            if shared:
                _LOG.warning(
                    "%s of %s rows of the validation set %s are trained on, too: its score says "
                    "little about new images; keep rows apart with ::split=0:90 and ::split=90:100",
                    f"{shared:,}", f"{len(source):,}", source.name,
                )  # fmt: skip
