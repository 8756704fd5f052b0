"""Mistakes that the user can mend, told in one line.

Library code raises these; `crnn_jax.cli.run` prints the message without a traceback and exits 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_MOST_NAMES = 24  # a longer list would hide the hint


class UserError(ValueError):
    """What was given, what is allowed, what to do: one line."""


class DataError(UserError):
    """A data set, a row of it or its description cannot be used."""


class ImageError(DataError):
    """An image cannot be read."""


def one_of(kind: str, given: str | None, allowed: Sequence[str]) -> str:
    """Returns a name that is given, the first one when none is.

    Raises:
      UserError: as `unknown_name`, when it is not among those that are allowed.
    """
    if given is not None and given not in allowed:
        raise unknown_name(kind, given, allowed)
    return allowed[0] if given is None else given


def unknown_name(kind: str, given: str, allowed: Iterable[str]) -> UserError:
    """Returns the error for a name that is not in a registry, nearest valid name first.

    Args:
      kind: what the name is for, as in "encoder" or "config key".
      given: the name that was not found.
      allowed: all valid names.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = names if len(names) <= _MOST_NAMES else [*(near or names[:3]), "..."]
    return UserError(f"unknown {kind} {given!r}: {hint}valid: {', '.join(shown)}")
