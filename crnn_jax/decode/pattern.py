"""Regular expressions as automata over the classes of a charset: beam search reads what matches.

A reading is allowed when the whole of it matches (`re.fullmatch`). The syntax is Python's, as far
as automata go: characters, classes, `.`, groups, `|` and repeats, which may be unbounded; no
references, no look-around, no flags; `^` at the beginning and `$` at the end say nothing new.

- A pattern is taken in Unicode's normal form C, as labels are.
- A model that folds letter case reads "AB 12" as "ab 12". Its reading is allowed when some way to
  write it in capitals and small letters matches, so that `[A-Z]{2}` reads two letters.
- A class of the charset that is several characters long (as grapheme clusters are) is matched
  character by character: `.` is not a cluster, `.+` is any number of them.
- Characters that are written from right to left are refused: a model writes them from left to
  right, and where digits or signs stand among them depends on the whole text.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping

from crnn_jax import bidi
from crnn_jax.automata.dfa import Dfa, Moves, explore, minimised
from crnn_jax.automata.nfa import Nfa, alphabet, matching
from crnn_jax.automata.regex import too_intricate
from crnn_jax.charset import Charset
from crnn_jax.decode.automaton import Automaton
from crnn_jax.decode.named_patterns import PATTERNS
from crnn_jax.errors import UserError

__all__ = ["PATTERNS", "compile_pattern"]

_MOST_STATES = 30_000
_MOST_WORK = 1_000_000  # states of the expression that states of the automaton stand for
_SHOWN = 5  # characters that a message names


def compile_pattern(pattern: str, charset: Charset) -> Automaton:
    """Returns the automaton of the readings that match a pattern as a whole.

    Args:
      pattern: a name in PATTERNS, or else a regular expression.
      charset: of the model.

    Raises:
      UserError: no regular expression, or one that asks for what automata cannot do; one that the
        charset cannot spell; right-to-left characters; too many states.
    """
    expression = unicodedata.normalize("NFC", _expression(pattern))
    _refuse_right_to_left(pattern, expression, bidi.is_right_to_left(expression))
    nfa = Nfa(expression)
    characters = {char for name in charset.classes for char in name}
    writings = _either_case if charset.case == "fold" else _as_it_is
    held = {atom: matching(atom, characters, writings) for atom in nfa.atoms()}
    for atom, chars in held.items():
        _refuse_right_to_left(pattern, atom, any(map(bidi.is_right_to_left, chars)))
    groups, fits = alphabet(characters, held)
    group_of = {char: number for number, group in enumerate(groups) for char in group}
    classes: dict[tuple[int, ...], list[int]] = {}  # classes that no expression tells apart
    for id_, name in enumerate(charset.classes, start=1):
        classes.setdefault(tuple(group_of[char] for char in name), []).append(id_)

    dfa = _deterministic(nfa, fits, pattern)
    dfa = minimised(Dfa(_over_classes(dfa.moves, list(classes)), dfa.accepting))
    if not (dfa.moves[0] or dfa.accepting[0]):
        raise _nothing(pattern, nfa.lacking([a for a in held if not held[a]]))
    return Automaton.of(dfa, list(classes.values()), charset.num_classes, f"pattern {pattern!r}")


def _expression(pattern: str) -> str:
    """Returns the regular expression of a name, or the pattern itself."""
    if pattern in PATTERNS:
        return PATTERNS[pattern]
    # A name misspelled, or spelled as IBAN or date-iso, would be a pattern of one text.
    name = pattern.lower().replace("-", "_")
    near = difflib.get_close_matches(name, PATTERNS, n=1, cutoff=0.75)
    if near and re.fullmatch("[a-z0-9_]+", name):
        raise UserError(
            f"unknown pattern {pattern!r}: did you mean {near[0]!r}? valid: "
            f"{', '.join(sorted(PATTERNS))}; the text itself is '(?:{pattern})'"
        )
    return pattern


def _as_it_is(char: str) -> tuple[str, ...]:
    return (char,)


def _either_case(char: str) -> set[str]:
    return {char, *(other for other in (char.upper(), char.title()) if len(other) == 1)}


def _refuse_right_to_left(pattern: str, part: str, found: bool) -> None:
    if found:
        raise UserError(
            f"pattern {pattern!r}: {part!r} matches letters that are written from right to left, "
            "and patterns go from left to right: name other characters, as in [0-9A-Z]"
        )


def _deterministic(nfa: Nfa, fits: Mapping, pattern: str) -> Dfa:
    """Returns the automaton whose states are sets of the expression's (subset construction)."""
    work = 0

    def moves_of(states: frozenset[int], _: int) -> dict[int, frozenset[int]]:
        nonlocal work
        after = {group: nfa.closure(to) for group, to in sorted(nfa.after(states, fits).items())}
        work += sum(map(len, after.values()))
        if work > _MOST_WORK:
            raise too_intricate(pattern)
        return after

    found = explore(nfa.closure({0}), moves_of, _MOST_STATES)
    if found is None:
        raise too_intricate(pattern)
    return Dfa(found.moves, [nfa.end in states for states in found.keys])


def _over_classes(moves: Moves, classes: list[tuple[int, ...]]) -> Moves:
    """Returns the moves by labels that are several groups of characters, one after another."""
    if all(groups == (number,) for number, groups in enumerate(classes)):
        return moves
    over: Moves = []
    for state in range(len(moves)):
        over.append({})
        for label, groups in enumerate(classes):
            target = state
            for group in groups:
                following = moves[target].get(group)
                if following is None:
                    break
                target = following
            else:
                over[-1][label] = target
    return over


def _nothing(pattern: str, lacking: list[str]) -> UserError:
    """Returns the error of a pattern that no text matches, with what the charset lacks."""
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    why = f": they lack {', '.join(map(_shown, lacking[:_SHOWN]))}{more}" if lacking else ""
    return UserError(
        f"pattern {pattern!r} matches nothing that the model's characters can spell{why}; change "
        "the pattern, or use a model that reads what it asks for"
    )


def _shown(atom: str) -> str:
    """Returns an expression of one character as people write it."""
    literal = len(atom) == 2 and atom[0] == "\\" and not atom[1].isalnum()
    return repr(atom[1] if literal else atom)
