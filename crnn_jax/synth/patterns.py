"""Regular expressions as tables, from which texts that match are drawn a character at a time.

A pattern becomes a deterministic automaton (one path per text, so counting paths counts texts) and
that a graph of nodes, each a state with the number of characters still to come. A node's arcs are
drawn in proportion to the texts behind them, hence every text of one length is equally likely.
The graphs of several patterns share their nodes. Draws take integers alone: the same everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from crnn_jax.automata.regex import too_intricate
from crnn_jax.synth.alias import alias_table, at, pick, scaled
from crnn_jax.synth.automaton import automaton

_MAX_NODES = 100_000


class PatternTables(NamedTuple):
    """Graphs of N nodes and E arcs; node 0 ends a text and leads to itself by glyph 0.

    Attributes:
      first, arcs: the arcs of node n are first[n] to first[n] + arcs[n] - 1.
      odds, alias: of the arcs, see `pick`.
      target: node that the arc leads to.
      glyph_first, glyph_count: part of `glyphs` whose members the arc draws equally often.
    """

    first: Any
    arcs: Any
    odds: Any
    alias: Any
    target: Any
    glyph_first: Any
    glyph_count: Any
    glyphs: Any


def step(tables: PatternTables, node: Any, column: Any, coin: Any, which: Any) -> tuple[Any, Any]:
    """Draws the next node and the glyph in between, from three uint32 random numbers per text."""
    first, size = at(tables.first, node), at(tables.arcs, node)
    arc = pick(tables.odds, tables.alias, first, size, column, coin)
    glyph = at(tables.glyph_first, arc) + scaled(which, at(tables.glyph_count, arc))
    return at(tables.target, arc), at(tables.glyphs, glyph)


class PatternCompiler:
    """Collects patterns into one graph.

    Attributes:
      characters: the only characters that texts may hold, with their glyph numbers.
      longest: the most characters of a text.
    """

    def __init__(self, characters: dict[str, int], longest: int) -> None:
        self.characters = characters
        self.longest = longest
        self._ids: dict[tuple, int] = {}  # arcs -> node
        self._counts = [1]  # node -> number of texts

    def add(self, pattern: str) -> dict[int, int]:
        """Returns length -> start node, for the lengths of the texts that match as a whole.

        A text neither begins nor ends with a space nor holds two in a row. The dict is empty when
        nothing that matches fits.
        """
        moves, accepting, depth, classes = automaton(pattern, self.characters, self.longest)
        previous = dict.fromkeys(accepting, 0)
        starts = {}
        for left in range(1, self.longest + 1):
            row = {}
            for state, targets in enumerate(moves):
                if depth[state] + left > self.longest:
                    continue
                arcs: dict[int, list[int]] = {}
                for index, target in targets.items():
                    if target in previous:
                        arcs.setdefault(previous[target], []).extend(classes[index])
                if arcs:
                    row[state] = self._node(arcs)
            if len(self._counts) > _MAX_NODES:
                raise too_intricate(pattern)
            if 0 in row:
                starts[left] = row[0]
            previous = row
        return starts

    def count(self, node: int) -> int:
        """Returns the number of texts that begin at a node."""
        return self._counts[node]

    def tables(self) -> PatternTables:
        """Returns the graph of all patterns added."""
        lists: dict[tuple[int, ...], int] = {(0,): 0}
        glyphs = [0]
        nodes, arcs = [(0, 1)], [(2**32 - 1, 0, 0, 0, 1)]
        for node in self._ids:
            weights = [len(members) * self._counts[target] for target, members in node]
            total = sum(weights)
            table = zip(*alias_table([weight / total for weight in weights]), node, strict=True)
            nodes.append((len(arcs), len(node)))
            for chance, other, (target, members) in table:
                if members not in lists:
                    lists[members] = len(glyphs)
                    glyphs.extend(members)
                arcs.append((int(chance), int(other), target, lists[members], len(members)))
        odds = np.array([arc[0] for arc in arcs], np.uint32)
        alias, targets, glyph_first, glyph_count = np.array([arc[1:] for arc in arcs], np.int32).T
        first, count = np.array(nodes, np.int32).T
        return PatternTables(
            first,
            count,
            odds,
            alias,
            targets,
            glyph_first,
            glyph_count,
            np.array(glyphs, np.int32),
        )

    def _node(self, arcs: dict[int, list[int]]) -> int:
        key = tuple(sorted((target, tuple(sorted(glyphs))) for target, glyphs in arcs.items()))
        if key not in self._ids:
            self._ids[key] = len(self._counts)
            self._counts.append(sum(len(glyphs) * self._counts[target] for target, glyphs in key))
        return self._ids[key]
