"""Weights between those of two models: what fine-tuning has learnt, without all it has forgotten.

Models that went on from the same weights read, between them, often better than either, and need no
more time for it (Wortsman et al., 2022, arXiv:2109.01903).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from crnn_jax import bundle_zip, surgery
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.bundle_file import Bundle

_UNUSED = {"squash": ("data.min_width", "data.max_width"), "keep": ("data.width",)}


def mix(own: Bundle, other: Bundle, share: float) -> Bundle:
    """Returns a model with some of another's weights, without scores and calibration.

    Args:
      own: the model that stays what it is but for its weights.
      other: of the same network and the same characters; its lineage is added.
      share: of the other's weights and batch statistics in the mean, above 0 and below 1.

    Raises:
      UserError: the models are not alike, or the share is none.
    """
    if not 0 < share < 1:
        raise UserError(f"a share of {share:g} of {other.name}'s weights: give one between 0 and 1")
    if own.charset != other.charset:
        raise UserError(
            f"{own.name} and {other.name} know other characters: weights of models that read the "
            "same ones can be mixed, as of a model and of one that went on from it without new ones"
        )
    # Widths that such images do not have may differ.
    unused = _UNUSED["squash" if own.config.data.fit == "squash" else "keep"]
    knobs = [k for k in (*surgery.NETWORK_KNOBS, *surgery.INPUT_KNOBS) if k not in unused]
    if wrong := surgery.differing_knobs(other.config, own.config, knobs):
        raise UserError(
            f"{own.name} and {other.name} are other networks, or see images otherwise: "
            f"{other.name} has {', '.join(wrong)}"
        )
    mine, theirs = (bundle_zip.flatten(model.variables) for model in (own, other))
    if wrong := [
        path
        for path in {**mine, **theirs}
        if path not in mine or path not in theirs or mine[path].shape != theirs[path].shape
    ]:
        raise UserError(
            f"{own.name} and {other.name} are other networks, {wrong[0]} is not alike: weights of "
            "one network can be mixed"
        )
    mixed = {path: (1 - share) * mine[path] + share * theirs[path] for path in mine}
    foreign = [ancestor for ancestor in other.lineage if ancestor not in own.lineage]
    return dataclasses.replace(
        own,
        variables=bundle_zip.unflatten(mixed),
        lineage=(*foreign, *own.lineage),
        metrics={"mix": {"with": other.name, "share": share}},
        calibration=None,
    )
