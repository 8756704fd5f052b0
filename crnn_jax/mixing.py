"""Weights between those of two models: what fine-tuning has learnt, without all it has forgotten.

Models that went on from the same weights read, between them, often better than either, and need no
more time for it (Wortsman et al., 2022, arXiv:2109.01903).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn_jax import bundle_zip, surgery
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.bundle_file import Bundle


def mix(own: Bundle, other: Bundle, share: float) -> Bundle:
    """Returns a model with some of another's weights, without scores and calibration.

    Args:
      own: the model that stays what it is but for its weights.
      other: of the same network; its lineage is added. It may know fewer characters: what `own`
        knows besides stays as it is.
      share: of the other's weights and batch statistics in the mean, above 0 and below 1.

    Raises:
      UserError: the models are not alike, or the share is none.
    """
    if not 0 < share < 1:
        raise UserError(f"a share of {share:g} of {other.name}'s weights: give one between 0 and 1")
    missing = [c for c in other.charset.classes if c not in own.charset.classes]
    if missing or own.charset.case != other.charset.case:
        raise UserError(
            f"{other.name} knows characters that {own.name} does not, or writes capitals otherwise "
            f"({''.join(missing)[:20]!r}): give a model and the one that it went on from"
        )
    knobs = (*surgery.NETWORK_KNOBS, *surgery.input_knobs(own.config.data.fit))
    if wrong := surgery.differing_knobs(other.config, own.config, knobs):
        raise UserError(
            f"{own.name} and {other.name} are other networks, or see images otherwise: "
            f"{other.name} has {', '.join(wrong)}"
        )
    for model in (own, other):
        model.recognizer()  # which is refused where its weights are not those of its config
    mine = bundle_zip.flatten(own.variables)
    theirs = bundle_zip.flatten(_for_charset(other, own))
    mixed = {path: (1 - share) * mine[path] + share * theirs[path] for path in mine}
    foreign = [ancestor for ancestor in other.lineage if ancestor not in own.lineage]
    return dataclasses.replace(
        own,
        variables=bundle_zip.unflatten(mixed),
        lineage=(*foreign, *own.lineage),
        metrics={"mix": {"with": other.name, "share": share}},
        calibration=None,
    )


def _for_charset(other: Bundle, own: Bundle) -> dict[str, Any]:
    """Returns the variables of a model for the characters of another, whose own rows fill in."""
    ids = {char: i for i, char in enumerate(other.charset.classes, start=1)}
    rows = np.array([0, *(ids.get(char, -1) for char in own.charset.classes)])
    head = {}
    for name, theirs in other.variables["params"]["classifier"].items():
        mine = own.variables["params"]["classifier"][name]
        head[name] = np.where(rows >= 0, np.asarray(theirs)[..., rows], mine)
    return {**other.variables, "params": {**other.variables["params"], "classifier": head}}
