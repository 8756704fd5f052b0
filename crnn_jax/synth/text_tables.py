"""The tables that texts are drawn from, and how they are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from crnn_jax.charset import Charset
from crnn_jax.synth.alias import Alias, alias_table
from crnn_jax.synth.patterns import PatternTables
from crnn_jax.synth.sides import PUNCTUATION, lower_case

STYLES = ("lower", "title", "upper", "mixed")


class Range(NamedTuple):
    """Parts of a table, one per kind of text."""

    first: Any
    size: Any


class Bank(NamedTuple):
    """Texts one after the other in `glyphs`; of kind k those in `parts` k."""

    parts: Range
    choice: Alias
    offset: Any
    length: Any
    glyphs: Any


class Starts(NamedTuple):
    """Nodes of the pattern graph where texts begin; of kind k those in `parts` k.

    Attributes:
      whole: the side is decided by the whole text, spaces included, not by each token.
    """

    parts: Range
    choice: Alias
    node: Any
    whole: Any


class Characters(NamedTuple):
    """What is known of each glyph.

    Attributes:
      label: class id; 0 for glyphs that the charset lacks.
      lower, upper: glyph in the other case, or the same.
      code: code point in lower case.
      letter: part of a word: what follows it is no first letter.
      core: counts for the side wherever it stands (no space, no punctuation).
    """

    label: Any
    lower: Any
    upper: Any
    code: Any
    letter: Any
    core: Any


class Marks(NamedTuple):
    """Punctuation: glyphs before and after a word, -1 for none."""

    choice: Alias
    before: Any
    after: Any


class Texts(NamedTuple):
    """All that sampling reads; a pytree of arrays."""

    kinds: Alias
    bank: Bank
    starts: Starts
    graph: PatternTables
    characters: Characters
    marks: Marks


@dataclasses.dataclass(frozen=True)
class TextPlan:
    """What is fixed when sampling is compiled.

    Attributes:
      longest: columns of the results.
      frame_budget: most labels, adjacent equal ones counted twice; None: no limit.
      words: kind 0 is words (case and punctuation are theirs alone).
      pattern_length: longest text of the patterns; 0: no patterns.
      candidates: strings drawn from patterns for one text, until one is on the right side.
      test: the side.
      line_words: fewest and most tokens of a line.
      space: glyph of the space, -1 where there is none.
      styles: shares of STYLES, of sum 1; all 0: words stay as they are written.
      punctuation: share of words.
    """

    longest: int
    frame_budget: int | None
    words: bool
    pattern_length: int
    candidates: int
    test: bool
    line_words: tuple[int, int]
    space: int
    styles: tuple[float, ...]
    punctuation: float


def bank_table(
    kinds: Sequence[tuple[Sequence[str], Sequence[float]]], glyph_of: dict[str, int]
) -> Bank:
    """Returns the table of texts; of every kind its texts and their weights."""
    texts = [text for texts, _ in kinds for text in texts]
    tables = [alias_table(weights) for _, weights in kinds]
    sizes = np.array([len(texts) for texts, _ in kinds], np.int32)
    length = np.array([len(text) for text in texts], np.int32)
    glyphs = np.array([glyph_of[char] for char in "".join(texts)], np.int32)
    return Bank(
        Range(np.cumsum(sizes, dtype=np.int32) - sizes, sizes),
        Alias(*(np.concatenate(column) for column in zip(*tables, strict=True))),
        np.cumsum(length, dtype=np.int32) - length,
        length,
        glyphs.astype(np.uint16),
    )


def start_table(
    kinds: Sequence[tuple[Sequence[int], Sequence[float]]], whole: Sequence[bool]
) -> Starts:
    """Returns the table of start nodes; of every kind its nodes, their weights, and `whole`."""
    tables = [alias_table(weights) for _, weights in kinds if weights]
    tables = tables or [alias_table([1.0])]
    sizes = np.array([len(nodes) for nodes, _ in kinds], np.int32)
    first = np.cumsum(sizes, dtype=np.int32) - sizes
    nodes = [node for nodes, _ in kinds for node in nodes] or [0]
    is_whole = np.repeat(np.array(whole), sizes) if sizes.any() else np.array([False])
    return Starts(
        Range(np.where(sizes > 0, first, 0).astype(np.int32), sizes),
        Alias(*(np.concatenate(column) for column in zip(*tables, strict=True))),
        np.array(nodes, np.int32),
        is_whole,
    )


def character_table(charset: Charset, characters: str, allowed: dict[str, int]) -> Characters:
    """Returns the table of all characters that the fonts have; `allowed` are those of texts."""
    outside = set(f" {PUNCTUATION}")

    def in_case(change: Callable[[str], str]) -> np.ndarray:
        others = [_other_case(char, change) for char in characters]
        return np.array([allowed.get(o, i) for i, o in enumerate(others)], np.int32)

    labels = [charset.encode(c)[0] if c in allowed else 0 for c in characters]
    return Characters(
        label=np.array(labels, np.int32),
        lower=in_case(str.lower),
        upper=in_case(str.upper),
        code=np.array([ord(lower_case(char)) for char in characters], np.uint32),
        letter=np.array([char.isalnum() or char in "'’" for char in characters]),
        core=np.array([char not in outside for char in characters]),
    )


def mark_table(marks: Sequence[tuple[str, str, int]], glyph_of: dict[str, int]) -> Marks:
    """Returns the table of punctuation: before and after a word, and how often."""
    before = np.array([glyph_of.get(mark, -1) for mark, _, _ in marks], np.int32)
    after = np.array([glyph_of.get(mark, -1) for _, mark, _ in marks], np.int32)
    return Marks(Alias(*alias_table([count for _, _, count in marks])), before, after)


def _other_case(char: str, change: Callable[[str], str]) -> str:
    """Returns the character in another case, or itself if the way back leads elsewhere."""
    other = change(char)
    return other if len(other) == 1 and lower_case(other) == lower_case(char) else char
