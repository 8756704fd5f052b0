"""Mistakes that the user can mend, told in one line.

Library code raises these; `crnn_jax.cli.run` prints the message without a traceback and exits 2.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST = 1200  # characters of a message; what was given may have millions
_MOST_NAMES = 24  # a longer list would hide the hint


class UserError(ValueError):
    """What was given, what is allowed, what to do: one line."""

    def __str__(self) -> str:
        text = printable(super().__str__())
        if len(text) <= _LONGEST:
            return text
        return f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 3 :]}"


class DataError(UserError):
    """A data set, a row of it or its description cannot be used."""


class ImageError(DataError):
    """An image cannot be read."""


class UnavailableError(UserError):
    """Something may be whole and cannot be had now: no memory, a disk or a network that fails."""


def printable(text: str) -> str:
    """Returns a text as one line that a terminal shows and does not obey.

    Names of files and texts in them may hold line breaks and other control characters.
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


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


def without_place(error: Exception, where: str) -> str:
    """Returns an error's message without the row that it may begin with, for who names the row."""
    return str(error).removeprefix(f"{where}: ")
