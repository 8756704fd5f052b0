"""The language models that come with the package: words, numbers, and what is between them.

Words are those of the dictionaries that text is rendered with, by the same tempered frequency
(`crnn_jax.data.words`); a tenth of all texts are numbers of up to four digits, equally often. They
are counted where they are needed, in a second or a few, and know nothing of case. Every other
character, as the blank and punctuation, ends a word, after which the next begins or the text ends.
So they go with any charset that has Latin letters, and with lines as with words.
"""

from __future__ import annotations

import collections
import math
import string
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax.numpy as jnp

from crnn_jax.charset import Charset, build_charset
from crnn_jax.data import words
from crnn_jax.decode.ngram_model import NgramModel

if TYPE_CHECKING:
    from crnn_jax.decode.language import Ngrams

_DIGITS = 4
_NUMBERS = 0.1  # share of the texts
_APART = math.log(0.1)  # of each character that is none of a word, where a word may end
_ON = math.log(0.5)  # of another word behind it, and of the text's end there


class WordModel(NgramModel):
    """A model of words, which other characters stand between."""

    def tables(self, charset: Charset) -> Ngrams:
        """Returns the model as the beam search asks it, with a state more: that between words.

        Raises:
          UserError: the charset has no letter of the words.
        """
        found = super().tables(charset)
        apart, first, between = found.columns[Charset.BLANK], found.first, len(found.ends)

        def with_between(rows):
            return jnp.append(rows, rows[first][None], axis=0)

        log_probs = with_between(found.log_probs).at[between].add(_ON)
        ends = with_between(found.ends).at[between].set(_ON)
        # A text may begin with what is between words.
        log_probs = log_probs.at[:, apart].set(_APART + ends.at[first].set(_ON))
        following = with_between(found.following).at[:, apart].set(between)
        return found._replace(log_probs=log_probs, following=following, ends=ends)


def train(languages: Mapping[str, float], order: int) -> WordModel:
    """Returns the model of words of languages.

    Args:
      languages: the share of each, as `words.parse_languages` returns it.
      order: at most so many characters go together.
    """
    from crnn_jax.decode import kneser_ney

    weights = {
        language: {word: n**words.TEMPER for word, n in words.word_counts(language).items()}
        for language in languages
    }
    totals = {language: sum(own.values()) for language, own in weights.items()}
    most = max(totals.values())  # so that the words of one alone weigh what they weigh
    texts: dict[str, float] = collections.defaultdict(float)
    for language, own in weights.items():
        scale = languages[language] * most / totals[language]
        for word, weight in own.items():
            texts[word] += scale * weight
    letters = "".join(sorted(set().union(*texts)))
    numbers = [f"{i:0{n}d}" for n in range(1, _DIGITS + 1) for i in range(10**n)]
    share = _NUMBERS / (1 - _NUMBERS) * sum(texts.values()) / len(numbers)
    texts |= dict.fromkeys(numbers, share)
    charset = build_charset("chars:" + string.digits + letters)
    model = kneser_ney.train(texts.items(), charset, order).model
    return WordModel(model.tokens, model.levels)
