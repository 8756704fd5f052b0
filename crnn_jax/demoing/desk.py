"""Reads one image at a time, with all that is to be shown of it, within limits."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from PIL import Image

from crnn_jax import types
from crnn_jax.careful import in_image
from crnn_jax.charset import Charset
from crnn_jax.data.images import decode_image
from crnn_jax.data.pixels import Pixels, flatten, from_array
from crnn_jax.decode import Decoder
from crnn_jax.decode.automaton import CONSTRAINED, Automaton
from crnn_jax.decode.beam import Beam
from crnn_jax.decode.candidates import Candidate
from crnn_jax.decode.lexicon import Lexicon, LexiconDecoder
from crnn_jax.decode.pattern import compile_pattern
from crnn_jax.errors import ImageError, UserError
from crnn_jax.models.windows import Windowed
from crnn_jax.reading import Reading, score_candidates
from crnn_jax.recognizer import Recognizer
from crnn_jax.reporting import alignment
from crnn_jax.runtime import AS_IT_IS, SURE, View, other_views, surest

MOST_BYTES = 12 * 2**20  # of an image
MOST_PIXELS = 30_000_000  # of an image, whatever its bytes
MOST_WORDS, LONGEST_WORD = 1_000, 64  # of a lexicon
LONGEST_PATTERN = 500  # characters
ALTERNATIVES = 3
_WINDOWS = 4  # most windows that a line is read in; longer ones are squeezed to that
_STATES = (64, 1_024, 32_768)  # of automata: few shapes, for each is compiled


class Seen(NamedTuple):
    """What there is to show of an image.

    Attributes:
      pixels: (H, W, 3) uint8, upright, turned where it was read so.
      reading: with characters, whose places are shares of the width.
      look: what the network says frame by frame, and where the text is in it.
      view: of the image, that was read.
      plain: what is read in the image as it is.
    """

    pixels: Pixels
    reading: Reading
    look: alignment.Look
    view: View
    plain: str


class Desk:
    """Reads images with a lexicon or a pattern or neither; one at a time, for any thread.

    What it is not sure of it reads again in other views, see `crnn_jax.careful`.

    Args:
      recognizer: one network, or several that read as one.
      plain: reads where neither a lexicon nor a pattern is given; None: the beam search.
    """

    def __init__(self, recognizer: Recognizer, plain: Beam | None = None):
        recognizer = recognizer.in_windows()
        self._plain = plain or Beam()
        self.charset, self.name = recognizer.charset, recognizer.name
        self._preprocess, self._models = recognizer.preprocess, [recognizer]
        if isinstance(recognizer.model, Windowed):
            widths = recognizer.model.width, _WINDOWS * recognizer.model.width
            self._preprocess = dataclasses.replace(self._preprocess, max_width=widths[-1])
            self._models = [_padding_to(recognizer, width) for width in widths]
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Compiles what readings need, so that the first one is quick."""
        # A pattern that only a user may give is refused where letters run from right to left.
        ways = [("", ""), (self.charset.classes[0], "")]
        ways += [] if self.charset.right_to_left else [("", ".+")]
        for model in self._models:
            image = np.full((model.preprocess.height, model.preprocess.widest, 3), 255, np.uint8)
            for lexicon, pattern in ways:
                search = _Search(self._decoder(lexicon, pattern))
                self._look(image, Image.fromarray(image), search, AS_IT_IS)
            logits, frames = map(jnp.asarray, search.seen)
            for length in (1, logits.shape[1] // 4 + 1, logits.shape[1] // 2 + 1):
                ids = (1,) * length
                for count, score in ((1, 0.0), (1, np.nan), (ALTERNATIVES + 1, np.nan)):
                    texts = [[Candidate("", ids, score)] * count]
                    score_candidates(logits, frames, texts, model.temperature, True)
                alignment.paths(logits, frames, [list(ids)])

    def read(self, content: bytes, lexicon: str = "", pattern: str = "") -> Seen:
        """Reads an encoded image.

        Args:
          content: PNG, JPEG, WebP, BMP, TIFF or GIF.
          lexicon: words, one a line or with commas between; empty for any text.
          pattern: regular expression or name of one, see `decode.pattern`; empty for any text.

        Raises:
          UserError: the image, the lexicon or the pattern cannot be used; one line.
        """
        if len(content) > MOST_BYTES:
            raise ImageError(
                f"the image is too large: {len(content) / 2**20:,.1f} MiB, at most "
                f"{MOST_BYTES // 2**20} MiB are read; make it smaller"
            )
        pixels = decode_image(content, 3, MOST_PIXELS)
        with self._lock:
            return self._read(pixels, _Search(self._decoder(lexicon, pattern)))

    def _read(self, pixels: Pixels, search: _Search) -> Seen:
        image = flatten(from_array(pixels), self._preprocess.channels)  # once for all views
        plain = self._look(pixels, image, search, AS_IT_IS)
        if plain.reading.confidence >= SURE:
            return plain
        views = other_views(*image.size)
        looks = [plain, *(self._look(pixels, image, search, view) for view in views)]
        best = surest(plain.reading, [look.reading for look in looks[1:]])
        seen = next(look for look in looks if look.reading is best)
        return seen._replace(plain=plain.reading.text)

    def _look(self, pixels: Pixels, image: Image.Image, search: _Search, view: View) -> Seen:
        """Reads an image, given as it is shown and as it is prepared from, in one view."""
        prepared = self._preprocess(image, view=view)
        model = next(m for m in self._models if m.preprocess.widest >= prepared.shape[1])
        [(_, reading)] = model.stream([prepared], lambda given: given, 1, search, characters=True)
        assert isinstance(reading, Reading)  # what is no image has been told by now
        turned = np.rot90(pixels, view.rotation // 90)
        reading = in_image(reading, view, turned.shape[1], turned.shape[0])
        [path] = alignment.paths(*search.seen, [search.ids])
        logits, frames = jax.device_get(search.seen)
        posteriors = scipy.special.softmax(logits[0].astype(np.float32), axis=-1)
        look = alignment.Look(prepared, posteriors[: frames[0]], path, None)
        return Seen(turned, reading, look, view, reading.text)

    def _decoder(self, lexicon: str, pattern: str) -> Decoder:
        words, pattern = parse_words(lexicon), pattern.strip()
        if len(pattern) > LONGEST_PATTERN:
            raise UserError(
                f"the pattern has {len(pattern):,} characters, and {LONGEST_PATTERN} are the most: "
                "shorten it"
            )
        if words:
            return _lexicon_decoder(words, pattern, self.charset)
        return _pattern_decoder(pattern, self.charset) if pattern else self._plain


def _padding_to(recognizer: Recognizer, width: int) -> Recognizer:
    """Returns a recogniser that pads all of its input to one width: one shape is compiled."""
    one = dataclasses.replace(recognizer.preprocess, min_width=width, max_width=width)
    return dataclasses.replace(recognizer, preprocess=one)


def parse_words(text: str) -> tuple[str, ...]:
    """Returns the words of a field, which stand on lines or have commas between them.

    Raises:
      UserError: too many, or too long a word.
    """
    words = [word.strip() for line in text.splitlines() for word in line.split(",")]
    words = list(dict.fromkeys(filter(None, words)))
    if len(words) > MOST_WORDS:
        raise UserError(
            f"the lexicon has {len(words):,} words, and {MOST_WORDS:,} are the most here: give "
            "fewer, or read with python -m crnn_jax.predict --lexicon=FILE"
        )
    for word in words:
        if len(word) > LONGEST_WORD:
            raise UserError(
                f"the lexicon has a word of {len(word):,} characters, {word[:20]!r}..., and "
                f"{LONGEST_WORD} are the most: put words on lines, or commas between them"
            )
    return tuple(words)


@functools.lru_cache(maxsize=16)
def _lexicon_decoder(words: tuple[str, ...], pattern: str, charset: Charset) -> Decoder:
    """Returns the decoder of words, of those alone that match a pattern where there is one."""
    if pattern:
        automaton = _automaton(pattern, charset)
        following, accepting = jax.device_get((automaton.following, automaton.accepting))

        def matches(word: str) -> bool:  # as it is written and shown, however an image spells it
            ids = charset.encode_known(word)
            return bool(accepting[functools.reduce(lambda at, id_: following[at, id_], ids, 1)])

        words = tuple(filter(matches, words))
        if not words:
            raise UserError(
                f"no word of the lexicon matches the pattern {pattern!r}: change one of them, or "
                "leave one out"
            )
    return LexiconDecoder(Lexicon(words, charset), ALTERNATIVES + 1)


def _pattern_decoder(pattern: str, charset: Charset) -> Decoder:
    """Returns the search that follows a pattern, its tables in one of few shapes."""
    automaton = _automaton(pattern, charset)
    states = len(automaton.accepting)
    more = next(size for size in _STATES if size >= states) - states
    padded = Automaton(
        jnp.pad(automaton.following, ((0, more), (0, 0))),
        jnp.pad(automaton.accepting, (0, more)),
        automaton.first,
    )
    return Beam(CONSTRAINED, padded)


_automaton = functools.lru_cache(maxsize=4)(compile_pattern)


def _kept(logits: types.Logits, frames: types.FrameCounts, _: tuple) -> tuple[Any, Any]:
    return logits, frames


class _Search:
    """Lets another decoder search in a program of its own, and keeps what it was given.

    The network is then compiled once for all decoders, and what it says can be shown.

    Args:
      decoder: which searches.
    """

    on_device = staticmethod(_kept)
    tables = ()

    def __init__(self, decoder: Decoder):
        self._decoder = decoder
        # Logits and frames of the last row, (1, T, K) and (1,).
        self.seen: tuple[Any, Any] = None, None
        self.ids: list[int] = []  # that were read in it; a lexicon's word may be spelled otherwise

    def read(self, found: Any, row: int, charset: Charset, words: Sequence[str]) -> list[Candidate]:
        """Returns the other decoder's readings; see `crnn_jax.decode.Decoder`."""
        self.seen = found[0][row : row + 1], found[1][row : row + 1]
        outcome = _run(self._decoder.on_device, *self.seen, self._decoder.tables)
        readings = self._decoder.read(jax.device_get(outcome), 0, charset, words)
        self.ids = list(readings[0].ids) if readings else []
        return readings


@functools.partial(jax.jit, static_argnames="search")
def _run(
    search: Callable[..., Any], logits: types.Logits, frames: types.FrameCounts, tables: Any
) -> Any:
    """Searches in the frames of an image; compiled per search and shapes."""
    return search(logits, frames, tables)
