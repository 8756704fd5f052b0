"""CTC by definition: every path of a tiny case, written out."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable

import numpy as np


def collapse(path: Iterable[int], blank: int = 0) -> tuple[int, ...]:
    """The string of a path: repeats merged, then blanks removed."""
    return tuple(int(k) for k, _ in itertools.groupby(path) if k != blank)


def string_probabilities(logits: np.ndarray, blank: int = 0) -> dict[tuple[int, ...], float]:
    """p of every string that frames with these logits (T, K) can spell, in float64."""
    scores = np.exp(logits.astype(np.float64))
    p = (scores / scores.sum(axis=1, keepdims=True)).tolist()
    total: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(logits.shape[1]), repeat=len(p)):
        total[collapse(path, blank)] += math.prod(p[t][k] for t, k in enumerate(path))
    return dict(total)
