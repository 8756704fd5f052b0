"""Texts for tests: built and drawn, each set of tables and each program once."""

from __future__ import annotations

import functools
from typing import Any

import jax

from crnn_jax.charset import build_charset
from crnn_jax.synth import sides
from crnn_jax.synth.presets import plain
from crnn_jax.synth.text import TextBatch, TextPlan, Texts, sample_texts, texts_to_strings
from crnn_jax.synth.text_bank import build_texts

CHARACTERS = "".join(map(chr, range(32, 127))) + "£€¥“”‘’éÉß"
ALL_KINDS = {
    "words": 0.4,
    "random": 0.2,
    "numbers": 0.1,
    "prices": 0.1,
    "dates": 0.1,
    "codes": 0.1,
}
ALL_STYLES = {"lower": 0.3, "title": 0.3, "upper": 0.3, "mixed": 0.1}
# Integers alone: the results are the optimised program's, which takes twice the time to compile.
sample = jax.jit(
    sample_texts, static_argnums=1, compiler_options={"xla_backend_optimization_level": 0}
)


@functools.cache
def _build(
    charset: str, case: str, side: str, longest: int, budget: int | None, knobs: tuple
) -> tuple[Texts, TextPlan]:
    settings = plain()
    for name, value in knobs:
        settings[name] = value
    charset = build_charset(charset, case)
    return build_texts(settings, charset, CHARACTERS, side, longest, budget)


def build(
    charset: str = "latin94",
    case: str = "auto",
    side: str = "train",
    longest: int = 24,
    budget: int | None = 25,
    **knobs: Any,
) -> tuple[Texts, TextPlan]:
    return _build(charset, case, side, longest, budget, tuple(knobs.items()))


def batch_of(built: tuple[Texts, TextPlan], count: int, seed: int = 0) -> TextBatch:
    texts, plan = built
    return jax.device_get(sample(texts, plan, jax.random.split(jax.random.key(seed), count)))


def strings(built: tuple[Texts, TextPlan], count: int, seed: int = 0) -> list[str]:
    return texts_to_strings(batch_of(built, count, seed), CHARACTERS)


def tokens(texts: list[str]) -> set[str]:
    stripped = (token.strip(sides.PUNCTUATION) or token for line in texts for token in line.split())
    return {token.lower() for token in stripped}


SIDES = ("train", "test")
SCENES = [  # charset, case, tokens of a line, longest text, frames
    ("latin94+space", "keep", (1, 3), 24, 25),
    ("alnum36", "auto", (1, 1), 7, 7),
]


def scene(side: str, charset: str, case: str, line_words: tuple, *limits: Any) -> tuple:
    """Returns texts of all kinds; shared by tests, as a program takes a second to compile."""
    knobs = dict(ALL_KINDS, **ALL_STYLES, punctuation=0.3, line_words=line_words)
    return build(charset, case, side, *limits, **knobs)
