"""Prefix beam search as it is written down: strings are the keys of a dictionary."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np


def reference_beam(
    logits: np.ndarray,
    width: int,
    top: int,
    prune: float,
    model: np.ndarray | None = None,
    alpha: float = 1.0,
    bonus: float = 0.0,
) -> tuple[set[tuple[int, ...]], int]:
    """Strings kept after the last frame, and how often one came back after it had been dropped.

    In float64, with probabilities. The model is a table of bigrams: log p [last, next], 0 first.
    """
    beams, dropped, back = {(): (1.0, 0.0)}, set(), 0
    for frame in logits.astype(np.float64):
        usual = sorted(range(1, len(frame)), key=lambda k: -frame[k])[: top or None]
        p = {k: math.exp(frame[k]) for k in [0, *usual] if frame[k] >= frame.max() - prune}
        new = defaultdict(lambda: [0.0, 0.0])
        for string, (blank, char) in beams.items():
            for k, value in p.items():
                if k == 0:
                    new[string][0] += (blank + char) * value
                    continue
                last = string[-1] if string else 0
                if k == last:
                    new[string][1] += char * value
                grown = blank if k == last else blank + char
                if model is not None:
                    grown *= math.exp(alpha * model[last, k])
                new[(*string, k)][1] += grown * value * math.exp(bonus)
        new = {s: v for s, v in new.items() if sum(v) > 0}
        kept = sorted(new, key=lambda s: -sum(new[s]))[:width]
        dropped |= set(beams) - set(kept)
        back += len(dropped & set(kept) - set(beams))
        scale = sum(new[kept[0]])
        beams = {s: (new[s][0] / scale, new[s][1] / scale) for s in kept}
    return set(beams), back
