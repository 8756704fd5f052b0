"""Texts drawn on the device: words by frequency, strings that match patterns, lines of both.

Row i depends on keys[i] alone. `crnn_jax.synth.text_bank.build_texts` makes the tables.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from crnn_jax.ctc.loss import frames_needed
from crnn_jax.synth import patterns
from crnn_jax.synth.alias import at, pick
from crnn_jax.synth.draws import Draws, mix
from crnn_jax.synth.sides import absorb, on_side, start_hash
from crnn_jax.synth.text_tables import Bank, Characters, TextPlan, Texts


class TextBatch(NamedTuple):
    """Texts, right-padded with 0.

    Attributes:
      glyphs: indices of the characters to draw.
      lengths: characters per row, at least 1.
      labels: class ids.
      label_lengths: labels per row.
    """

    glyphs: Int[Any, "B L"]
    lengths: Int[Any, " B"]
    labels: Int[Any, "B L"]
    label_lengths: Int[Any, " B"]


def sample_texts(texts: Texts, plan: TextPlan, keys: Any) -> TextBatch:
    """Draws one text per typed PRNG key, shape (B,)."""
    texts = jax.tree.map(jnp.asarray, texts)
    draws = Draws.from_keys(keys)
    most = plan.line_words[1]
    bits = draws.bits("text kind", most, 2).reshape(-1, 2)
    kinds = texts.kinds.odds.shape[0]
    kind = pick(*texts.kinds, jnp.int32(0), jnp.int32(kinds), bits[:, 0], bits[:, 1])
    glyphs, lengths = _from_bank(texts.bank, kind, draws, most, plan.longest)
    if plan.pattern_length:
        drawn, drawn_lengths, accepted = _from_patterns(texts, plan, kind, draws)
        glyphs = jnp.where(accepted[:, None], drawn, glyphs)
        lengths = jnp.where(accepted, drawn_lengths, lengths)
    if plan.words:
        is_word = kind == 0
        glyphs = _in_case(texts.characters, plan, is_word, glyphs, draws)
        if plan.punctuation > 0:
            glyphs, lengths = _with_marks(texts, plan, is_word, glyphs, lengths, draws)
    if most > 1:
        glyphs, lengths = _join(texts.characters, plan, glyphs, lengths, draws)
    inside = _columns(plan.longest) < lengths[:, None]
    glyphs = jnp.where(inside, glyphs, 0)
    labels = jnp.where(inside, at(texts.characters.label, glyphs), 0)
    return TextBatch(glyphs, lengths, labels, lengths)


def texts_to_strings(batch: TextBatch, characters: str) -> list[str]:
    """Returns the texts of a batch, fetched to the host."""
    glyphs, lengths = np.asarray(batch.glyphs), np.asarray(batch.lengths)
    return [
        "".join(characters[i] for i in row[:length])
        for row, length in zip(glyphs, lengths, strict=True)
    ]


def _columns(count: int) -> Int[Array, "1 L"]:
    return jnp.arange(count, dtype=jnp.int32)[None, :]


def _along(values: Int[Array, "B n"], index: Int[Array, "B L"]) -> Int[Array, "B L"]:
    return jnp.take_along_axis(values, index, axis=1, mode="promise_in_bounds")


def _from_bank(
    bank: Bank, kind: Int[Array, " N"], draws: Draws, most: int, longest: int
) -> tuple[Int[Array, "N L"], Int[Array, " N"]]:
    bits = draws.bits("bank", most, 2).reshape(-1, 2)
    first, size = at(bank.parts.first, kind), at(bank.parts.size, kind)
    entry = pick(*bank.choice, first, size, bits[:, 0], bits[:, 1])
    length = at(bank.length, entry)
    column = jnp.minimum(_columns(longest), length[:, None] - 1)
    place = at(bank.offset, entry)[:, None] + column
    return at(bank.glyphs, place).astype(jnp.int32), length


def _from_patterns(
    texts: Texts, plan: TextPlan, kind: Int[Array, " N"], draws: Draws
) -> tuple[Int[Array, "N L"], Int[Array, " N"], Bool[Array, " N"]]:
    """Returns for each text the first candidate that may be used, and whether there is one."""
    tokens, tries = kind.shape[0], plan.candidates
    bits = draws.bits("pattern", plan.line_words[1] * tries, 2).reshape(-1, 2)
    kind = jnp.repeat(kind, tries)
    parts, whole_at = texts.starts.parts, texts.starts.whole
    size = at(parts.size, kind)
    start = pick(*texts.starts.choice, at(parts.first, kind), size, bits[:, 0], bits[:, 1])
    whole, characters = at(whole_at, start), texts.characters
    seed = draws.bits("pattern characters", plan.line_words[1] * tries).reshape(-1)

    def advance(state: tuple, position: Array) -> tuple[tuple, Array]:
        node, side = state
        bits = [mix(seed + mix(3 * position + i)) for i in range(3)]
        following, glyph = patterns.step(texts.graph, node, *bits)
        live = node > 0
        core, ends = at(characters.core, glyph) & live, (glyph == plan.space) & ~whole & live
        side = absorb(side, at(characters.code, glyph), core, ends, plan.test, jnp)
        return (following, side), jnp.where(live, glyph, -1)

    begin = (at(texts.starts.node, start), start_hash(start.shape[0], jnp))
    positions = jnp.arange(1, plan.pattern_length + 1, dtype=jnp.uint32)
    (_, side), glyphs = jax.lax.scan(advance, begin, positions)
    glyphs = glyphs.T
    lengths = jnp.sum(glyphs >= 0, axis=1, dtype=jnp.int32)
    glyphs = jnp.maximum(glyphs, 0)
    accepted = on_side(side, plan.test) & (size > 0)
    if plan.frame_budget is not None:
        accepted &= frames_needed(at(characters.label, glyphs), lengths) <= plan.frame_budget
    accepted = accepted.reshape(tokens, tries)
    chosen = jnp.arange(tokens) * tries + jnp.argmax(accepted, axis=1)
    glyphs = jnp.pad(at(glyphs, chosen), ((0, 0), (0, plan.longest - plan.pattern_length)))
    return glyphs, at(lengths, chosen), jnp.any(accepted, axis=1)


def _in_case(
    characters: Characters,
    plan: TextPlan,
    is_word: Bool[Array, " N"],
    glyphs: Int[Array, "N L"],
    draws: Draws,
) -> Int[Array, "N L"]:
    """Returns the words in their case; all words of a line in the same."""
    if not any(plan.styles[1:]):
        return glyphs
    most = plan.line_words[1]
    style = jnp.repeat(draws.uniform("case"), most)
    result, below = glyphs, plan.styles[0]
    lower, upper = at(characters.lower, glyphs), at(characters.upper, glyphs)
    before = jnp.pad(at(characters.letter, glyphs)[:, :-1], ((0, 0), (1, 0)))
    coin = draws.bits("mixed case", most, plan.longest).reshape(-1, plan.longest) >> 31
    for share, shape in zip(
        plan.styles[1:],
        (jnp.where(before, lower, upper), upper, jnp.where(coin > 0, lower, upper)),
        strict=True,
    ):
        if share > 0:
            chosen = (style >= below) & is_word
            result = jnp.where(chosen[:, None], shape, result)
        below += share
    return result


def _with_marks(
    texts: Texts,
    plan: TextPlan,
    is_word: Bool[Array, " N"],
    glyphs: Int[Array, "N L"],
    lengths: Int[Array, " N"],
    draws: Draws,
) -> tuple[Int[Array, "N L"], Int[Array, " N"]]:
    """Returns texts with punctuation around a share of the words, where there is room."""
    bits = draws.bits("punctuation", plan.line_words[1], 3).reshape(-1, 3)
    marks, count = texts.marks, texts.marks.before.shape[0]
    mark = pick(*marks.choice, jnp.int32(0), jnp.int32(count), bits[:, 0], bits[:, 1])
    before, after = at(marks.before, mark), at(marks.after, mark)
    prefixed = (before >= 0).astype(jnp.int32)
    longer = lengths + prefixed + (after >= 0).astype(jnp.int32)
    wanted = is_word & (bits[:, 2] < np.uint32(min(plan.punctuation * 2**32, 2**32 - 1)))
    column = _columns(plan.longest)
    shifted = jnp.pad(glyphs[:, :-1], ((0, 0), (1, 0)))
    marked = jnp.where(prefixed[:, None] > 0, shifted, glyphs)
    marked = jnp.where((column == 0) & (before >= 0)[:, None], before[:, None], marked)
    last = (column == lengths[:, None] + prefixed[:, None]) & (after >= 0)[:, None]
    marked = jnp.where(last, after[:, None], marked)
    wanted &= longer <= plan.longest
    if plan.frame_budget is not None:
        wanted &= frames_needed(at(texts.characters.label, marked), longer) <= plan.frame_budget
    return jnp.where(wanted[:, None], marked, glyphs), jnp.where(wanted, longer, lengths)


def _join(
    characters: Characters,
    plan: TextPlan,
    glyphs: Int[Array, "N L"],
    lengths: Int[Array, " N"],
    draws: Draws,
) -> tuple[Int[Array, "B L"], Int[Array, " B"]]:
    """Returns lines: the first tokens that fit, joined by single spaces."""
    fewest, most = plan.line_words
    count = fewest + draws.integers("line", most - fewest + 1)
    lengths = lengths.reshape(-1, most)
    end = jnp.cumsum(lengths + 1, axis=1) - 1  # where the space after each token stands
    fits = (end <= plan.longest) & (jnp.arange(most)[None, :] < count[:, None])
    if plan.frame_budget is not None:
        needed = frames_needed(at(characters.label, glyphs), lengths.reshape(-1)).reshape(-1, most)
        fits &= jnp.cumsum(needed + 1, axis=1) - 1 <= plan.frame_budget
    column = _columns(plan.longest)
    token = jnp.sum(column[:, :, None] > end[:, None, :], axis=2, dtype=jnp.int32)
    token = jnp.minimum(token, most - 1)
    begin = jnp.pad(end[:, :-1] + 1, ((0, 0), (1, 0)))
    within = column - _along(begin, token)
    flat = glyphs.reshape(-1, most * plan.longest)
    place = token * plan.longest + jnp.clip(within, 0, plan.longest - 1)
    line = _along(flat, place)
    line = jnp.where(within == _along(lengths, token), plan.space, line)
    return line, jnp.max(jnp.where(fits, end, 0), axis=1)
