"""A trained network for another charset: rows of the classifier are kept, borrowed, new or dropped.

Everything before the classifier is copied. Of the classifier, a character's "row" is its column of
the kernel and its bias.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from crnn_jax import bundle_zip, types
from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.models.crnn import AUXILIARY

HOWS = ("union", "replace")

# Knobs that decide which parameters there are; the others of a run may differ from its ancestor's.
NETWORK_KNOBS = (
    "model.name", "model.encoder", "model.recurrence", "model.layers", "model.hidden",
    "model.bidirectional", "model.projection", "data.height", "data.channels",
)  # fmt: skip
# Knobs that decide what the weights are shown: with others they fit, and read badly.
INPUT_KNOBS = ("model.standardize", "data.fit", "data.width", "data.min_width", "data.max_width")

# Nats by which a capital begins below its small letter, so that it does not win a tie. On words of
# scenes, 3 instead of 1 delayed the capitals by tens of steps.
_TWIN_MARGIN = 1.0

_HEAD = "params/classifier/"
_MOST_NAMED = 3  # parameters or knobs in a message
_MOST_CHARACTERS = 8


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the classifier's rows, by character; the blank is always kept.

    Attributes:
      kept: characters known to both charsets.
      twinned: capitals that begin with the row of their small letter.
      new: characters that begin with fresh weights.
      dropped: characters that the new charset lacks.
    """

    kept: tuple[str, ...]
    twinned: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        parts = [
            f"{len(chars)} {what}" + (f" ({_some(chars)})" if shown and chars else "")
            for chars, what, shown in (
                (self.kept, "kept", False),
                (self.twinned, "begun from their small letters", False),
                (self.new, "new", True),
                (self.dropped, "dropped", True),
            )
        ]
        return "characters: " + ", ".join(parts)


def combine(old: Charset, new: Charset, how: str) -> Charset:
    """Returns the charset of a network that goes on from `old` with data of `new`.

    Args:
      old: of the trained network; its characters come first in a union, so ids stay.
      new: of the data; its case decides, since it is what the labels are brought to.
      how: "union" keeps the old characters, "replace" has those of `new` alone.

    Raises:
      UserError: for another `how`, or a union that folds the case of old capitals.
    """
    if how not in HOWS:
        raise unknown_name("value of config.init_charset", how, HOWS)
    if how == "replace":
        return new
    lost = [char for char in old.classes if new.normalise(char) != char]
    if lost:
        raise UserError(
            f"config.case folds the labels to lower case, and the model reads {_some(lost)}, which "
            "could never be read again: set config.case=keep, or config.init_charset=replace"
        )
    known = set(old.classes)
    return Charset((*old.classes, *(c for c in new.classes if c not in known)), new.case)


def adapt(
    variables: types.Variables,
    old: Charset,
    new: Charset,
    fresh: types.Variables,
    case_twins: bool = True,
) -> tuple[types.Variables, Report]:
    """Returns the variables of a trained network with another charset; pure.

    Args:
      variables: of the trained network: params and batch_stats.
      old: its charset.
      new: the charset to read from now on.
      fresh: variables of the new network as it was initialised; gives the shapes, and the rows of
        characters that are new.
      case_twins: where `old` has folded the case and `new` keeps it, capitals begin with the row of
        their small letter, as which the network has read them.

    Returns:
      The variables (the classifier's as NumPy arrays), and what was done.

    Raises:
      UserError: when the networks differ in more than their classes, naming parameters and knobs.
    """
    before = bundle_zip.flatten(variables)
    fresh_params = dict(fresh["params"])
    auxiliary = fresh_params.pop(AUXILIARY, None)  # learns anew: no model is kept with one
    after = bundle_zip.flatten({**fresh, "params": fresh_params})
    _check_shapes(before, after, old, new)
    ids = {char: i for i, char in enumerate(old.classes, start=1)}
    source = np.full(new.num_classes, -1)  # the old row of every new class
    source[Charset.BLANK] = Charset.BLANK
    twin = np.zeros(new.num_classes, bool)
    for row, char in enumerate(new.classes, start=1):
        small = old.normalise(char)
        if char in ids:
            source[row] = ids[char]
        elif case_twins and small in ids:
            source[row], twin[row] = ids[small], True
    added = source < 0

    kernel, bias = (np.asarray(before[_HEAD + name]) for name in ("kernel", "bias"))
    fresh_kernel = np.asarray(after[_HEAD + "kernel"])
    # A new character begins as the mean of the known ones and differs by its fresh weights. So it
    # is below the best of them whatever level the logits have (a constant on all of them changes no
    # reading), and frames at which the network sees any character raise it. A bias lower than the
    # mean was tried on a real run: no reading changes less, and the new ones are learnt later.
    typical = kernel[:, 1:].mean(axis=1, keepdims=True)
    kernel = np.where(added[None, :], typical + fresh_kernel, kernel[:, source])
    bias = np.where(added, bias[1:].mean(), bias[source] - twin * _TWIN_MARGIN)

    params = dict(variables["params"])
    params["classifier"] = {
        "kernel": kernel.astype(fresh_kernel.dtype),
        "bias": bias.astype(fresh_kernel.dtype),
    }
    if auxiliary is not None:
        params[AUXILIARY] = auxiliary
    here = set(new.classes)
    marks = list(zip(new.classes, added[1:], twin[1:], strict=True))
    report = Report(
        kept=tuple(char for char, is_new, is_twin in marks if not is_new and not is_twin),
        twinned=tuple(char for char, _, is_twin in marks if is_twin),
        new=tuple(char for char, is_new, _ in marks if is_new),
        dropped=tuple(char for char in old.classes if char not in here),
    )
    return {**variables, "params": params}, report


def differing_knobs(old: ConfigDict, new: ConfigDict, keys: Sequence[str]) -> list[str]:
    """Says of each knob in which two configs differ what to set, as `config.model.hidden=96`.

    Args:
      old: config of the trained network, whose values are told.
      new: config of the run to be.
      keys: NETWORK_KNOBS, INPUT_KNOBS or both.
    """
    there, here = config_lib.flatten(old), config_lib.flatten(new)
    return [f"config.{key}={there[key]}" for key in keys if there[key] != here[key]]


def input_knobs(fit: str) -> list[str]:
    """Returns those of INPUT_KNOBS that play a part where `config.data.fit` is `fit`."""
    unused = ("data.min_width", "data.max_width") if fit == "squash" else ("data.width",)
    return [key for key in INPUT_KNOBS if key not in unused]


def take_knobs(config: ConfigDict, old: ConfigDict) -> None:
    """Sets the knobs of network and input in a config, in place, to those of a trained network."""
    there = config_lib.flatten(old)
    for key in (*NETWORK_KNOBS, *INPUT_KNOBS):
        config_lib.set_knob(config, key, there[key])


def check_same_network(old: ConfigDict, new: ConfigDict) -> None:
    """Raises a UserError that names what to set where a run's network is not its ancestor's."""
    if wrong := differing_knobs(old, new, NETWORK_KNOBS):
        raise UserError(
            "the run's network is not that of the model in config.init_from: set "
            + ", ".join(wrong)
        )


def _check_shapes(
    before: dict[str, Any], after: dict[str, Any], old: Charset, new: Charset
) -> None:
    """Raises a UserError that names the first parameters that differ and the knobs behind them."""
    classes = {_HEAD + "kernel": 1, _HEAD + "bias": 0}  # the axis that may differ
    for found, charset, whose in ((before, old, "model"), (after, new, "new network")):
        count = charset.num_classes
        bias = np.shape(found.get(_HEAD + "bias", np.zeros(0)))
        if bias != (count,):
            raise UserError(
                f"the {whose} has a classifier of {bias} and not ({count},), which its charset of "
                f"{len(charset.classes)} characters and the blank needs: give the charset that "
                "belongs to it"
            )

    def shape(values: dict[str, Any], path: str) -> str:
        if path not in values:
            return "missing"
        sizes = list(np.shape(values[path]))
        if path in classes:
            sizes[classes[path]] = "classes"
        return f"({', '.join(map(str, sizes))})"

    paths = sorted({**before, **after}, key=lambda path: not path.startswith("params/"))
    wrong = [path for path in paths if shape(before, path) != shape(after, path)]
    if wrong:
        told = [
            f"{path} {shape(before, path)} and {shape(after, path)}" for path in wrong[:_MOST_NAMED]
        ]
        more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise UserError(
            f"the networks differ, in the model and in the new one: {'; '.join(told)}{more}; set "
            f"{', '.join(f'config.{knob}' for knob in _knobs_behind(wrong))} as in the model's "
            "config"
        )


def _knobs_behind(paths: Sequence[str]) -> list[str]:
    """Returns the knobs that decide the shapes of the first parameter that differs."""
    of_part = {
        "encoder": ("model.encoder", "data.channels"),
        "recurrent": ("model.recurrence", "model.hidden", "model.bidirectional", "model.layers",
                      "model.projection", "model.encoder", "data.height"),
        "projection": ("model.projection", "model.layers", "model.hidden", "model.bidirectional"),
        "classifier": ("model.hidden", "model.bidirectional", "model.layers"),
    }  # fmt: skip
    part = paths[0].split("/")[1].partition("_")[0]
    return list(of_part.get(part, ("model.name",)))


def _some(chars: Sequence[str]) -> str:
    more = f" and {len(chars) - _MOST_CHARACTERS} more" if len(chars) > _MOST_CHARACTERS else ""
    return " ".join(map(repr, chars[:_MOST_CHARACTERS])) + more
