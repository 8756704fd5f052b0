"""Lexicons as automata, for beam search: words, lines of words, and a way out of the lexicon.

`decode.lexicon` scores words of a lexicon one by one and always returns one of them. Here the
search itself follows the lexicon, on the device, may leave it at a price, and reads lines.

A string that is in the lexicon costs nothing. Any other costs `escape` nats once, and
`escape_per_char` for each of its characters beyond its longest prefix that some word begins with:

    lexicon {cat, cats, dog}:  cat 0   cats 0   ca  escape   catx  escape + per_char
                               xyz  escape + 3 per_char      (empty)  escape

This is the same however the string was found, and adds up from left to right: the price is paid at
the first character that no word has there, or at the end where a word is begun and not complete.
Of a line it is the sum over what stands between its spaces.

The 88,172 words of the paper's authors are 34,418 states, 5.1 MB over 37 classes, in a second.
Measured with `benchmarks/constrained_speed.py --lexicon=words_90k.txt --escape 3 4 5 6 8` and the
quickstart model on one core of an EPYC that others used, too; words read right and ms a word:

                                        IIIT5K (train)     SVT (train)
    labels that are in the lexicon           79.5 %           92.2 %
    greedy                                   68.6             42.0
    words one by one (decode.lexicon)        70.5   6.2 ms    62.6   4.6 ms
    16 strings, usual pruning                69.9   0.06      60.3   0.06
    64 strings, `automaton.CONSTRAINED`      70.5   0.39      62.3   0.60
    the same, escape 3                       77.0             58.0
    escape 6                                 77.6             61.1
    escape 8                                 76.8             62.6

With the usual options 54 of 2,000 images of IIIT5K had no reading, with those none. Over all 36
characters, unpruned, 64 strings are no better than that.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from crnn_jax.automata.words import acyclic, then_any
from crnn_jax.charset import Charset
from crnn_jax.decode.automaton import Automaton
from crnn_jax.decode.words import encoded_words, load_words
from crnn_jax.errors import UserError


class TrieModel(NamedTuple):
    """A language model of a lexicon and of strings outside it; see the module.

    Attributes:
      words: allows the words; its dead state stands for all strings that no word begins with.
      escape: nats that a string outside costs; inf forbids it.
      escape_per_char: nats for each character that no word has there.
      space: class between words; -1 where a string is one word.
    """

    words: Automaton
    escape: Float[Array, ""]
    escape_per_char: Float[Array, ""]
    space: Int[Array, ""]

    def start(self) -> Int[Array, ""]:
        """Returns the state of the empty string."""
        return self.words.first

    def score(
        self, states: Int[Array, "..."], ids: Int[Array, "..."]
    ) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
        """Returns minus what a class costs, and the state after it."""
        after = self.words.following[states, ids]
        leaving = jnp.where(states == 0, 0.0, self.escape) + self.escape_per_char
        between = ids == self.space
        cost = jnp.where(between, -self.end(states), jnp.where(after == 0, leaving, 0.0))
        return -cost, jnp.where(between, self.words.first, after)

    def end(self, states: Int[Array, "..."]) -> Float[Array, "..."]:
        """Returns minus what it costs to end here: a word that is not complete is outside."""
        complete = self.words.accepting[states] | (states == 0)
        return jnp.where(complete, 0.0, -self.escape)


@dataclasses.dataclass(frozen=True)
class Trie:
    """A lexicon as a minimal automaton over the classes of a charset.

    Attributes:
      automaton: of its words.
      size: words.
      space: class between words; -1 where a string is one word.
    """

    automaton: Automaton
    size: int
    space: int

    @classmethod
    def of(
        cls,
        words: Iterable[str],
        charset: Charset,
        sequence: bool = False,
        punctuation: str = "",
        name: str = "the lexicon",
    ) -> Trie:
        """Builds the automaton of some words, encoded as in `decode.words.encoded_words`.

        Args:
          words: in any order.
          charset: of the model.
          sequence: whether texts are words with a space between each two. Entries that hold spaces
            are then so many words.
          punctuation: characters that may follow a word, any number of them in any order; those
            that the charset lacks do not count.
          name: for messages.

        Raises:
          UserError: no word is left, a sequence without a space in the charset, punctuation that
            would stand in front, or a table that would be too large.
        """
        space = charset.encode_known(" ")
        if sequence and not space:
            raise UserError(
                f"{name}: words in sequence need a model that reads spaces, and its charset has "
                "none: read single words, or train with spaces, as in config.charset=latin94+space"
            )
        if punctuation and charset.right_to_left:
            raise UserError(
                f"{name}: punctuation {punctuation!r} after a word stands to its left in texts "
                "with right-to-left letters, where it cannot be told: leave it out"
            )
        if sequence:
            words = (part for word in words for part in word.split())
        found = encoded_words(words, charset, name)
        dfa = acyclic(found)
        marks = {id_ for char in punctuation for id_ in charset.encode_known(char)} - set(space)
        if marks:
            dfa = then_any(dfa, marks)
        classes = [[id_] for id_ in range(charset.num_classes)]
        automaton = Automaton.of(dfa, classes, charset.num_classes, name)
        return cls(automaton, len(found), space[0] if sequence else -1)

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path,
        charset: Charset,
        sequence: bool = False,
        punctuation: str = "",
    ) -> Trie:
        """Builds the automaton of a UTF-8 text file with a word per line; see `of`.

        Raises:
          UserError: it cannot be read, or as `of`.
        """
        return cls.of(load_words(path), charset, sequence, punctuation, str(path))

    def model(self, escape: float = math.inf, escape_per_char: float = 0.0) -> TrieModel:
        """Returns the language model of the lexicon.

        Args:
          escape: nats that a string outside the lexicon costs; inf reads words of it alone.
          escape_per_char: nats for each of its characters beyond what a word begins with.

        Raises:
          UserError: a price below 0.
        """
        if not (escape >= 0 and 0 <= escape_per_char < math.inf):
            raise UserError(
                f"escape {escape} and escape_per_char {escape_per_char}: both are nats, 0 or more; "
                "escape may be inf"
            )
        return TrieModel(
            self.automaton,
            jnp.float32(escape),
            jnp.float32(escape_per_char),
            jnp.int32(self.space),
        )
