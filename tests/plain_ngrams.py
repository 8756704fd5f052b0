"""Modified Kneser-Ney smoothing and backing off as their formulas read, over tuples in dicts.

Texts are strings; "^" is their start and "$" their end.
"""

from __future__ import annotations

from collections import Counter

from crnn_jax.decode.ngram_model import NgramModel

NAMES = {"</s>": "$", "<s>": "^", "<unk>": "?"}


class PlainKneserNey:
    """Interpolated probabilities by recursion; `alphabet` without the end."""

    def __init__(self, texts, alphabet, order, fallback=(0.5, 1.0, 1.5)):
        self.order, self.symbols = order, [*alphabet, "$"]
        self.raw = Counter()
        for text, count in texts:
            line = ("^", *text, "$")
            for i in range(len(line)):
                for j in range(i + 1, min(i + order, len(line)) + 1):
                    self.raw[line[i:j]] += count
        self.adjusted = {g: self.adjust(g) for g in self.raw}
        self.discounts = {}
        for n in range(1, order + 1):
            t = Counter(a for g, a in self.adjusted.items() if len(g) == n and g != ("^",))
            self.discounts[n] = fallback
            if all(t[k] for k in (1, 2, 3, 4)):
                y = t[1] / (t[1] + 2 * t[2])
                found = tuple(k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3))
                if all(0 < d <= k for k, d in enumerate(found, start=1)):
                    self.discounts[n] = found

    def adjust(self, gram):
        if len(gram) == self.order or gram[0] == "^":
            return self.raw[gram]
        return len({g[0] for g in self.raw if len(g) == len(gram) + 1 and g[1:] == gram})

    def discount(self, gram):
        a = self.adjusted.get(gram, 0)
        return 0 if not a else self.discounts[len(gram)][min(a, 3) - 1]

    def p(self, symbol, history):
        """p(symbol | history); what is too long of the history is not looked at."""
        history = history[max(len(history) - self.order + 1, 0) :]
        followers = [(*history, v) for v in self.symbols]
        total = sum(self.adjusted.get(g, 0) for g in followers)
        lower = self.p(symbol, history[1:]) if history else 1 / len(self.symbols)
        if not total:
            return lower
        gram = (*history, symbol)
        own = max(self.adjusted.get(gram, 0) - self.discount(gram), 0) / total
        return own + sum(map(self.discount, followers)) / total * lower


def listed(model: NgramModel) -> dict[tuple[str, ...], tuple[float, float]]:
    """Every n-gram of a model with its log-probability and log back-off weight, in nats."""
    names = [NAMES.get(token, token) for token in model.tokens]
    found, above = {}, [()]
    for level in model.levels:
        columns = (column.tolist() for column in level)
        rows = [
            ((*(above[p] if above != [()] else ()), names[s]), log_p, weight)
            for p, s, log_p, weight in zip(*columns, strict=True)
        ]
        above = [gram for gram, _, _ in rows]
        found |= {gram: (log_p, weight) for gram, log_p, weight in rows}
    return {g: v for g, v in found.items() if len(g) > 1 or v[0] > -1e9 or g == ("^",)}


def backed_off(grams, symbol, history, order):
    """log p(symbol | history) by the definition of ARPA files."""
    history = history[max(len(history) - order + 1, 0) :]
    gram = (*history, symbol)
    if gram in grams:
        return grams[gram][0]
    if not history:
        return grams[("?",)][0] if ("?",) in grams else FLOOR
    weight = grams[history][1] if history in grams else 0.0
    return weight + backed_off(grams, symbol, history[1:], order)


def text_score(grams, text, order):
    """log p(text) with its end."""
    line = ("^", *text, "$")
    return sum(backed_off(grams, line[i], line[:i], order) for i in range(1, len(line)))


FLOOR = -16.11809565095832  # log 1e-7
