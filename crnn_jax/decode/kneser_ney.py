"""Character n-gram models by interpolated modified Kneser-Ney smoothing.

Chen and Goodman, An Empirical Study of Smoothing Techniques for Language Modeling (1998), section
3; with counts, discounts and interpolated unigrams as in Heafield et al., ACL 2013, section 3. The
probability of w after h is

    p(w | h) = max(a(hw) - D(a(hw)), 0) / sum_v a(hv) + gamma(h) p(w | h'),

where h' is h without its first symbol. The longest n-grams have a(g) = the times that g occurs; the
others the number of different symbols that occur before g (its continuation count), unless g begins
with the start of a text, before which there is nothing. What the discounts take away is gamma(h).
The recursion ends in the uniform distribution over all classes of the charset and the end of the
text: every one of them is possible after every history. Nothing is left for <unk>.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from crnn_jax.charset import Charset
from crnn_jax.decode.ngram_counts import NOTHING, Counts, count, differs
from crnn_jax.decode.ngram_model import (
    SPECIAL,
    START,
    UNKNOWN,
    Level,
    NgramModel,
    find,
    keys_of,
)

Discounts = tuple[float, float, float]  # of counts of 1, of 2, and of 3 or more

# Where the counts of counts give no discount: those that Heafield's lmplz falls back to.
FALLBACK: Discounts = (0.5, 1.0, 1.5)


class Estimate(NamedTuple):
    """A model, and how it was smoothed."""

    model: NgramModel
    discounts: list[Discounts]  # of n-grams of 1, 2, ... symbols
    fallen_back: list[bool]  # whether they are FALLBACK


def train(
    texts: Iterable[tuple[str, int | float]], charset: Charset, order: int, min_count: int = 1
) -> Estimate:
    """Trains a model on texts and their counts.

    Characters outside the charset are left out of the texts, as they are of a lexicon's words, and
    texts of which nothing is left are no texts. Symbols follow each other as in the picture (see
    `Charset.encode`), which is how they are decoded.

    Args:
      texts: with their counts, see `whole_counts`.
      charset: of the model that is to be decoded.
      order: length of the longest n-grams, 1 to MAX_ORDER.
      min_count: n-grams of three or more symbols that occur less often are not listed; their
        probability is backed off to.

    Raises:
      UserError: an order out of range, or no text has a character of the charset.
    """
    return estimate(count(texts, charset, order), charset, min_count)


class _Grams(NamedTuple):
    """The n-grams of one length that occur."""

    parent: np.ndarray
    symbol: np.ndarray
    suffix: np.ndarray  # place of all but the first symbol in the level above
    raw: np.ndarray  # how often it occurs
    begins: np.ndarray  # whether it begins with the start of a text


def estimate(counts: Counts, charset: Charset, min_count: int = 1) -> Estimate:
    """Returns the model of the n-grams that were counted; arguments as in `train`."""
    vocabulary = len(charset.classes) + len(SPECIAL)
    grams = _levels(counts, vocabulary)
    order = len(grams)
    adjusted = [
        grams[n].raw
        if n == order - 1
        else np.where(
            grams[n].begins,
            grams[n].raw,
            np.bincount(grams[n + 1].suffix, minlength=len(grams[n].raw)),
        )
        for n in range(order)
    ]
    adjusted[0][START] = 0  # it is given, not predicted
    found = [_discounts(a) for a in adjusted]

    lower = np.full(1, 1 / (len(charset.classes) + 1))  # the uniform distribution
    gammas: list[np.ndarray] = []
    probabilities: list[np.ndarray] = []
    keeps: list[np.ndarray] = []
    for n, (gram, a) in enumerate(zip(grams, adjusted, strict=True)):
        taken = np.minimum(np.array([0, *found[n][0]])[np.minimum(a, 3)], a)
        keep = np.full(len(a), True) if n < 2 else gram.raw >= min_count
        above = len(lower)
        total = np.bincount(gram.parent, a, above)
        gamma = np.bincount(gram.parent, np.where(keep, taken, a), above)
        gamma = np.divide(gamma, total, out=np.ones(above), where=total > 0)
        share = np.divide(a - taken, total[gram.parent])
        lower = share + gamma[gram.parent] * lower[gram.suffix]
        gammas.append(gamma)
        probabilities.append(lower)
        keeps.append(keep)
    probabilities[0][[START, UNKNOWN]] = 0.0
    gammas.append(np.ones(len(lower)))
    levels, renumbered = [], np.zeros(1, np.int64)
    for n, (gram, keep) in enumerate(zip(grams, keeps, strict=True)):
        with np.errstate(divide="ignore"):  # of the start and <unk>, which have none
            values = np.log(probabilities[n][keep]), np.log(gammas[n + 1][keep])
        levels.append(Level(renumbered[gram.parent[keep]], gram.symbol[keep], *values))
        renumbered = np.cumsum(keep) - 1
    while not len(levels[-1].symbol):
        levels.pop()
    model = NgramModel((*SPECIAL, *charset.classes), tuple(levels))
    del found[model.order :]
    return Estimate(model, [d for d, _ in found], [fallen for _, fallen in found])


def _levels(counts: Counts, vocabulary: int) -> list[_Grams]:
    """Returns the n-grams of each length; of single symbols all, in their order."""
    everything = np.arange(vocabulary, dtype=np.int32)
    raw = np.zeros(vocabulary, np.int64)
    np.add.at(raw, counts.windows[:, 0], counts.counts)
    zeros = np.zeros(vocabulary, np.int64)
    grams = [_Grams(zeros, everything, zeros, raw, everything == START)]
    node = counts.windows[:, 0].astype(np.int64)  # of each window's first n symbols
    changes = np.logical_or.accumulate(differs(counts.windows), axis=1)
    for n in range(1, counts.windows.shape[1]):
        real = counts.windows[:, n] != NOTHING
        new = np.flatnonzero(changes[:, n] & real)
        parent, symbol = node[new], counts.windows[new, n]
        node = np.cumsum(changes[:, n] & real) - 1
        raw = np.bincount(node[real], counts.counts[real], len(new)).astype(np.int64)
        last = grams[-1]
        keys = keys_of(last.parent, last.symbol, vocabulary)
        suffix = find(keys, last.suffix[parent], symbol, vocabulary) if n > 1 else symbol
        grams.append(_Grams(parent, symbol, suffix.astype(np.int64), raw, last.begins[parent]))
    return grams


def _discounts(counts: np.ndarray) -> tuple[Discounts, bool]:
    """Returns the discounts of n-grams with these counts, and whether they are FALLBACK.

    Chen and Goodman's estimates, D_k = k - (k + 1) Y n_(k+1) / n_k and Y = n_1 / (n_1 + 2 n_2),
    where n_k n-grams have a count of k. Where one of n_1 to n_4 is 0, or a discount is not between
    0 and k, there is too little to estimate from, and all three are FALLBACK.
    """
    n = np.bincount(np.minimum(counts, 5).astype(np.int64), minlength=6)[:5].astype(np.float64)
    if not n[1:].all():
        return FALLBACK, True
    y = n[1] / (n[1] + 2 * n[2])
    one, two, three = (k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
    if not (0 < one <= 1 and 0 < two <= 2 and 0 < three <= 3):
        return FALLBACK, True
    return (float(one), float(two), float(three)), False
