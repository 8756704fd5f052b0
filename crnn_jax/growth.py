"""Weights of a trained network for one that begins as it does and is larger, or ends otherwise.

Layers are compared from the image on. As long as they are the same, they go on from the trained
ones; a residual block in between begins as the identity, so that what follows sees what it has
learnt from (Chen et al., 2016, arXiv:1511.05641, for blocks with a shortcut). The first other
layer, and all after it, begin anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from crnn_jax import bundle_zip, types
from crnn_jax.errors import UserError
from crnn_jax.models.crnn import AUXILIARY
from crnn_jax.models.encoder_layers import Residual, named
from crnn_jax.models.encoders import get_encoder

WHICH = ("all", "alike")

_CLASSIFIER = "classifier"


@dataclasses.dataclass(frozen=True)
class Growth:
    """What became of a network's layers.

    Attributes:
      variables: of the larger network: params and batch_stats.
      kept: names of the layers that go on, as the larger network calls them.
      identities: residual blocks that begin as the identity.
      new: layers that begin anew.
    """

    variables: types.Variables
    kept: tuple[str, ...]
    identities: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def keeps_classifier(self) -> bool:
        """Whether the old classifier goes on; it has the old charset's classes then."""
        return _CLASSIFIER in self.kept

    def __str__(self) -> str:
        text = f"layers: {len(self.kept)} kept"
        if self.identities:
            text += f", begun as the identity: {', '.join(self.identities)}"
        return text + f", new: {', '.join(self.new) or 'none'}"


def grow(
    variables: types.Variables, old: ConfigDict, new: ConfigDict, fresh: types.Variables
) -> Growth:
    """Returns a first state of a network with the weights of another that it begins like; pure.

    Args:
      variables: of the trained network: params and batch_stats.
      old: its config.
      new: config of the network to be.
      fresh: variables of the network to be, as it was initialised.

    Raises:
      UserError: when not even the first layers are the same.
    """
    there, here = bundle_zip.flatten(variables), bundle_zip.flatten(fresh)
    layers = _layers(new)
    trained = iter(_layers(old))
    theirs, their_kind = next(trained)
    kept, identities = [], []
    result = {path: value for path, value in here.items() if AUXILIARY not in path.split("/")}
    for name, kind in layers:
        weights = _weights(there, theirs)
        if kind == their_kind and _shapes(weights, name) == _shapes(_weights(here, name), name):
            result |= {path.format(name): value for path, value in weights.items()}
            kept.append(name)
            theirs, their_kind = next(trained, (_CLASSIFIER, None))
        elif _can_be_identity(kind, name, here):
            scale = f"params/{name}_conv_2_norm/scale"
            result[scale] = np.zeros_like(here[scale])
            identities.append(name)
        else:
            break
    if not kept:
        raise UserError(
            "nothing of the model in config.init_from fits this network: give config.model.encoder="
            f"{old.model.encoder} or one that begins like it, or leave config.init_from out"
        )
    begun = len(kept) + len(identities)
    return Growth(
        variables=bundle_zip.unflatten(result),
        kept=tuple(kept),
        identities=tuple(identities),
        new=tuple(name for name, _ in layers[begun:]),
    )


def _layers(config: ConfigDict) -> list[tuple[str, Hashable]]:
    """Returns names of a network's layers, in their order, and what tells them apart."""
    model = config.model
    found: list[tuple[str, Hashable]] = [
        (f"encoder/{name}", layer) for name, layer in named(get_encoder(model.encoder))
    ]
    depth = 0 if model.recurrence == "none" else model.layers
    for number in range(1, depth + 1):
        cell = (model.recurrence, model.hidden, model.bidirectional)
        found.append((f"recurrent_{number}", cell))
        if model.projection and number < depth:
            found.append((f"projection_{number}", "projection"))
    return [*found, (_CLASSIFIER, _CLASSIFIER)]


def _weights(flat: dict[str, Any], layer: str) -> dict[str, Any]:
    """Returns a layer's arrays by path, in which {} is for its name."""
    starts = tuple(f"{part}/{layer}{end}" for part in ("params", "batch_stats") for end in "/_")
    return {
        path.replace(layer, "{}", 1): value
        for path, value in flat.items()
        if path.startswith(starts)
    }


def _shapes(weights: dict[str, Any], layer: str) -> dict[str, tuple[int, ...]]:
    """Returns shapes by path, apart from how many classes there are."""
    axes = slice(-1) if layer == _CLASSIFIER else slice(None)
    return {path: np.shape(value)[axes] for path, value in weights.items()}


def _can_be_identity(kind: Hashable, name: str, flat: dict[str, Any]) -> bool:
    """A residual block is, with its last scale at 0, where its shortcut has no weights."""
    weights = _weights(flat, name)
    return isinstance(kind, Residual) and not any("shortcut" in path for path in weights)
