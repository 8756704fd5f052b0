"""Builds what texts are drawn from: the words, files and patterns that knobs ask for."""

from __future__ import annotations

import functools
import logging
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from crnn_jax import bidi
from crnn_jax.charset import Charset
from crnn_jax.data.words import SPLITS, parse_languages, word_counts
from crnn_jax.errors import UserError, printable, unknown_name
from crnn_jax.synth import patterns
from crnn_jax.synth.alias import Alias, alias_table
from crnn_jax.synth.knobs import check_knobs
from crnn_jax.synth.sides import belongs, code_points
from crnn_jax.synth.text_files import read_texts
from crnn_jax.synth.text_kinds import ENDINGS, KINDS, LONGEST_RANDOM, MARKS, NAMED
from crnn_jax.synth.text_tables import (
    STYLES,
    TextPlan,
    Texts,
    bank_table,
    character_table,
    mark_table,
    start_table,
)

_LOG = logging.getLogger("crnn_jax")
_RESERVE = 1024  # strings per kind in the bank, for texts whose candidates are on the wrong side
_RESERVE_DRAWS = 100_000
_MOST_CANDIDATES, _LEFT = 24, 0.07
_VARIETY = 200  # texts of one length that a named pattern needs for its whole share
_MOST_SHOWN = 20  # characters in a warning
_CHUNK = 65_536  # texts hashed at once


def build_texts(
    knobs: ConfigDict,
    charset: Charset,
    characters: str,
    side: str,
    longest: int,
    frame_budget: int | None,
) -> tuple[Texts, TextPlan]:
    """Returns the tables and the plan of `sample_texts`.

    Args:
      knobs: of `crnn_jax.synth.presets`.
      characters: what can be drawn; glyph i is characters[i].
      side: "train" or "test": no token of one occurs on the other, in any case. Texts of a user's
        file or pattern that hold spaces are kept apart as a whole.
      longest: most characters of a text.
      frame_budget: most labels, where adjacent equal ones count twice; None: no limit.

    Raises:
      UserError: for knobs that cannot be, a text file that cannot be read, or nothing to draw.
    """
    check_knobs(knobs)
    if side not in SPLITS:
        raise unknown_name("side", side, SPLITS)
    if longest < 1 or (frame_budget is not None and frame_budget < 1):
        raise UserError(f"texts of {longest} characters in {frame_budget} frames: nothing fits")
    return _Builder(knobs, charset, characters, side, longest, frame_budget).build()


def allowed_characters(charset: Charset, characters: str) -> dict[str, int]:
    """Returns the characters that can be drawn and read one by one, with their glyph numbers.

    Left out are combining marks and what else changes with its neighbours (Σ is σ or ς in lower
    case): a text of the others is encoded as its characters are.
    """
    joined = [name for name in charset.classes if len(name) > 1]
    if joined:
        raise UserError(
            f"rendered text needs classes of one character each, the charset has {joined[0]!r}: "
            "leave such classes out"
        )
    return {
        char: glyph
        for glyph, char in enumerate(characters)
        if unicodedata.category(char)[0] != "M"
        and not "\u1100" <= char <= "\u11ff"  # parts of Korean syllables
        and char not in ("Σ" if charset.case == "fold" else "")
        and unicodedata.normalize("NFC", char) == char
        and (char == " " or not char.isspace())
        and len(charset.normalise(char)) == 1
        and not charset.unknown(char)
    }


def _frames(texts: Sequence[str]) -> np.ndarray:
    """Returns the frames that texts need in the case that needs most: int[N]."""
    codes = code_points(texts)
    repeats = (codes[:, 1:] == codes[:, :-1]) & (codes[:, 1:] > 0)
    return np.sum(codes > 0, axis=1) + np.sum(repeats, axis=1)


@functools.cache  # of the presets of a run each would say so
def _warn_of_undrawn(characters: tuple[str, ...], total: int) -> None:
    """Warns of characters of the charset that cannot be drawn."""
    if characters:
        shown = printable("".join(characters[:_MOST_SHOWN]))
        more = f" and {len(characters) - _MOST_SHOWN} more" if len(characters) > _MOST_SHOWN else ""
        _LOG.warning(
            "%d of %d characters of the charset are never in rendered text, since no face has them "
            "or they change beside others: %s%s; draw with other faces (config.synth.atlas, "
            "config.synth.faces), have them in other images, or leave them out of config.charset",
            len(characters), total, shown, more,
        )  # fmt: skip


class _Builder:
    """Collects the kinds that can be drawn; see build_texts."""

    def __init__(
        self,
        knobs: ConfigDict,
        charset: Charset,
        characters: str,
        side: str,
        longest: int,
        frame_budget: int | None,
    ) -> None:
        self._knobs, self._charset, self._characters = knobs, charset, characters
        self._side, self._longest, self._budget = side, longest, frame_budget
        self._allowed = allowed_characters(charset, characters)
        most = longest if frame_budget is None else min(longest, frame_budget)
        self._compiler = patterns.PatternCompiler(self._allowed, most)
        self._length: dict[int, int] = {}  # start node -> length of its texts

    def build(self) -> tuple[Texts, TextPlan]:
        """Returns what build_texts returns."""
        knobs, allowed = self._knobs, self._allowed
        drawn = set(map(self._charset.normalise, allowed))
        classes = self._charset.classes
        _warn_of_undrawn(tuple(c for c in classes if c not in drawn), len(classes))
        shares = {kind: float(knobs[kind]) for kind in KINDS}
        if not any(shares.values()):
            raise UserError(f"config.synth.{', '.join(KINDS)} are all 0: one must be above 0")
        wanted = [kind for kind in KINDS if shares[kind] > 0]
        entries = {"words": self._all_words()} if "words" in wanted else {}
        written = entries["words"][0] if entries else []
        starts = {kind: self._starts(kind) for kind in wanted if kind != "words"}
        graph = self._compiler.tables()
        accepted = 1.0
        for kind, (nodes, weights) in starts.items():
            found, share = self._reserve(kind, graph, nodes, weights) if nodes else ([], 0.0)
            entries[kind] = (found, [1.0] * len(found))
            if found:
                accepted = min(accepted, share)
        kinds = [kind for kind in wanted if entries[kind][0]]
        self._report([kind for kind in wanted if kind not in kinds], kinds)
        starts = {kind: starts.get(kind, ([], [])) for kind in kinds}
        lengths = max((self._length[n] for nodes, _ in starts.values() for n in nodes), default=0)
        marks = [mark for mark in MARKS if allowed.keys() >= set(mark[0] + mark[1])]
        if self._charset.right_to_left and any(map(bidi.is_right_to_left, written)):
            marks = [(b, a, n) if b in ENDINGS else (a, b, n) for a, b, n in marks]
        styles = [float(knobs[style]) for style in STYLES]
        texts = Texts(
            kinds=Alias(*alias_table([shares[kind] for kind in kinds])),
            bank=bank_table([entries[kind] for kind in kinds], allowed),
            starts=start_table(list(starts.values()), [kind == "patterns" for kind in kinds]),
            graph=graph,
            characters=character_table(self._charset, self._characters, allowed),
            marks=mark_table(marks or [("", "", 1)], allowed),
        )
        plan = TextPlan(
            longest=self._longest,
            frame_budget=self._budget,
            words="words" in kinds,
            pattern_length=lengths,
            candidates=_tries(accepted),
            test=self._side == "test",
            line_words=self._line_words(),
            space=allowed.get(" ", -1),
            styles=tuple(share / (sum(styles) or 1.0) for share in styles),
            punctuation=float(knobs.punctuation) if marks else 0.0,
        )
        return texts, plan

    def _report(self, dropped: list[str], kinds: list[str]) -> None:
        """Says which kinds have no text; raises a UserError if that is all of them."""
        if not kinds:
            raise UserError(
                f"no text can be drawn: {', '.join(dropped)} have none on the side {self._side!r} "
                f"of at most {self._compiler.longest} characters that charset and fonts share "
                f"({len(self._allowed)}); give another kind of text a share, or a wider charset"
            )
        if dropped:
            _LOG.info(
                "texts (%s): the charset, the length or the side leaves nothing of %s; its share "
                "goes to %s",
                self._side,
                ", ".join(dropped),
                ", ".join(kinds),
            )

    def _all_words(self) -> tuple[list[str], list[float]]:
        """Returns the file's texts or the languages' words, and their weights."""
        if path := self._knobs.text_file:
            texts = read_texts(path)
            return self._words(texts, {text: text for text in texts}, path)
        words: list[str] = []
        weights: list[float] = []
        for language, share in parse_languages(self._knobs.languages, "languages").items():
            counts = word_counts(language)
            found, its = self._words(counts, self._in_allowed_case(counts))
            total = sum(its)
            words += found
            weights += [share * weight / total for weight in its]
        return words, weights

    def _words(
        self, counts: Mapping[str, int | float], texts: dict[str, str], path: str = ""
    ) -> tuple[list[str], list[float]]:
        """Returns the texts of the side that fit, and their weights.

        Args:
          counts: of each text.
          texts: each as it is written.
          path: of the file that they are of, if any.
        """
        if self._charset.right_to_left:  # they are drawn from left to right
            texts = {text: bidi.reorder(drawn) for text, drawn in texts.items()}
        usable = [text for text in texts if self._allowed.keys() >= set(texts[text])]
        short = [text for text in usable if len(text) <= self._longest]
        chosen, fitting = [], 0
        for start in range(0, len(short), _CHUNK):
            part = short[start : start + _CHUNK]
            fits = self._fits(part)
            fitting += int(fits.sum())
            right = fits & belongs(part, self._side, whole=True)
            chosen += [text for text, ok in zip(part, right.tolist(), strict=True) if ok]
        if path and fitting < len(counts):
            _LOG.info(
                "%s: %d of %d texts left out: %d hold characters that charset and fonts do not "
                "share, %d are longer than %d characters or than the frames allow",
                path,
                len(counts) - fitting,
                len(counts),
                len(counts) - len(usable),
                len(usable) - fitting,
                self._longest,
            )
        weights = np.array([counts[text] for text in chosen], np.float64) ** self._knobs.temper
        return [texts[text] for text in chosen], weights.tolist()

    def _in_allowed_case(self, words: Iterable[str]) -> dict[str, str]:
        """Returns words of small letters in the case that the charset has."""
        upper = str.maketrans({c: c.upper() for c in set().union(*words) if c not in self._allowed})
        return {word: word.translate(upper) for word in words}

    def _fits(self, texts: Sequence[str]) -> np.ndarray:
        """Whether texts, short enough, need no more frames than there are: bool[N]."""
        if self._budget is None:
            return np.ones(len(texts), bool)
        return _frames(texts) <= self._budget

    def _starts(self, kind: str) -> tuple[list[int], list[float]]:
        """Returns the start nodes of a kind; its patterns, and the lengths of each, equal.

        Named patterns give few texts of some lengths ("0" to "9"); those come less often, or the
        test side would repeat the few that it has.
        """
        nodes, weights = [], []
        for lengths in map(self._compiler.add, self._patterns(kind)):
            for length, node in lengths.items():
                self._length[node] = length
                variety = min(self._compiler.count(node) / _VARIETY, 1) if kind in NAMED else 1
                nodes.append(node)
                weights.append(variety / len(lengths))
        return nodes, weights

    def _patterns(self, kind: str) -> Sequence[str]:
        if kind == "random":
            return [rf"\S{{1,{LONGEST_RANDOM}}}"]
        return [self._knobs.pattern] if kind == "patterns" else NAMED[kind]

    def _reserve(
        self, kind: str, graph: patterns.PatternTables, nodes: list[int], weights: list[float]
    ) -> tuple[list[str], float]:
        """Returns texts of the side that match, and the share of all texts that may be used."""
        rng = np.random.default_rng(0)
        characters = np.array(list(self._characters))
        share = np.array(weights) / sum(weights)
        found: list[str] = []
        drawn = 0
        while len(found) < _RESERVE and drawn < _RESERVE_DRAWS:
            node = np.array(nodes, np.int32)[rng.choice(len(nodes), 2048, p=share)]
            drawn += len(node)
            columns = []
            for _ in range(max(self._length[n] for n in nodes)):
                bits = rng.integers(2**32, size=(3, len(node)), dtype=np.uint32)
                following, glyph = patterns.step(graph, node, *bits)
                columns.append(np.where(node > 0, characters[glyph], ""))
                node = following
            texts = ["".join(row) for row in np.stack(columns, axis=1).tolist()]
            usable = belongs(texts, self._side, whole=kind == "patterns") & self._fits(texts)
            found += [text for text, ok in zip(texts, usable.tolist(), strict=True) if ok]
        return found[:_RESERVE], len(found) / drawn

    def _line_words(self) -> tuple[int, int]:
        fewest, most = self._knobs.line_words
        if most > 1 and " " not in self._allowed:
            _LOG.info("texts (%s): no space in the charset: one word per line", self._side)
            return 1, 1
        most = min(most, (self._longest + 1) // 2)
        return min(fewest, most), most


def _tries(accepted: float) -> int:
    """Returns how many candidates leave at most _LEFT of the texts to the bank, within reason."""
    if accepted >= 1 - _LEFT:
        return 1
    return min(_MOST_CANDIDATES, math.ceil(math.log(_LEFT) / math.log1p(-accepted)))
