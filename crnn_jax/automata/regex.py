"""A parser of regular expressions: Python's syntax, as far as finite automata go."""

from __future__ import annotations

import re
import warnings

from crnn_jax.errors import UserError

# The parser is this module's own: interegular knows only ASCII \w and \d, refuses ^ and $, says
# nothing of what is wrong with a pattern, and cannot be stopped where the automaton explodes. Here
# `re` itself checks the syntax and says which characters a class holds; what is left is small.
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|N\{[^}]*\}|0[0-7]{0,2}|[1-3][0-7]{2}|.)",
    re.DOTALL,
)
_GROUP = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))")
_REPEAT = re.compile(r"(?:[*+?]|\{(?:(?P<exact>\d+)|(?P<low>\d*),(?P<high>\d*))\})(?P<mode>[?+]?)")
_BOUNDS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_NOT_CHARACTERS = frozenset("AbBZz123456789")  # escapes that stand for places or groups


def too_intricate(pattern: str) -> UserError:
    """Returns the error for patterns whose tables would not fit."""
    shown = pattern if len(pattern) <= 60 else pattern[:57] + "..."
    return UserError(
        f"pattern {shown!r} is too intricate for tables: shorten its repeats, and let neighbouring "
        "parts share no characters ([^-]+-.+ rather than .+-.+)"
    )


class Parser:
    """Parses what `re` has found to be well-formed, into nested tuples.

    ("atom", expression of one character), ("all", *trees), ("any", *trees),
    ("repeat", tree, low, high or None).
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        if named := re.search(r"\[:\^?[a-z]+:\]", pattern):  # which `re` takes for these letters
            raise UserError(
                f"pattern {pattern!r}: {named[0]} is of another syntax: write A-Za-z for "
                "[:alpha:], 0-9 for [:digit:] and so on"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about syntax that may change one day
                re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise UserError(
                f"pattern {pattern!r} is no regular expression: {error}; use the syntax of re"
            ) from error

    def tree(self) -> tuple:
        """Returns the whole pattern."""
        try:
            tree = self._alternatives()
        except RecursionError:
            raise too_intricate(self._pattern) from None
        assert self._at == len(self._pattern), self._pattern
        return tree

    def _alternatives(self) -> tuple:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return ("any", *branches)

    def _sequence(self) -> tuple:
        parts = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            part = self._item()
            while match := _REPEAT.match(self._pattern, self._at):
                if match["mode"] == "+":
                    raise self._unsupported("possessive repeats")
                self._at = match.end()
                part = ("repeat", part, *_bounds(match))
            parts.append(part)
        return ("all", *parts)

    def _item(self) -> tuple:
        pattern, at = self._pattern, self._at
        if match := _GROUP.match(pattern, at):
            self._at = match.end()
            inner = self._alternatives()
            self._take(")")
            return inner
        if pattern[at] == "(":
            raise self._unsupported("look-around, flags and other (?...)")
        # The pattern is of whole texts anyway.
        if (pattern[at] == "^" and at == 0) or (pattern[at] == "$" and at == len(pattern) - 1):
            self._at += 1
            return ("all",)
        if pattern[at] in "^$":
            raise self._unsupported("^ and $ inside")
        match = _CLASS.match(pattern, at) or _ESCAPE.match(pattern, at)
        if match and match[0][0] == "\\" and len(match[0]) == 2 and match[0][1] in _NOT_CHARACTERS:
            raise self._unsupported(f"{match[0]}")
        atom = match[0] if match else pattern[at]
        self._at += len(atom)
        return ("atom", atom if match or atom == "." else re.escape(atom))

    def _take(self, char: str) -> bool:
        taken = self._pattern.startswith(char, self._at)
        self._at += taken
        return taken

    def _unsupported(self, what: str) -> UserError:
        return UserError(
            f"pattern {self._pattern!r}, position {self._at}: {what} cannot be used here; use "
            "characters, classes, groups, | and repeats"
        )


def _bounds(match: re.Match) -> tuple[int, int | None]:
    if match[0][0] in _BOUNDS:
        return _BOUNDS[match[0][0]]
    if match["exact"]:
        return int(match["exact"]), int(match["exact"])
    return int(match["low"] or 0), int(match["high"]) if match["high"] else None
