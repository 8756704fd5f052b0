"""Rendered text as an image set of fixed rows: the same seed is the same set, on any machine.

Texts are held out: none of them is ever drawn for training. Rows are rendered when they are asked
for, a block at a time.
"""

from __future__ import annotations

import collections
import functools
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from crnn_jax.charset import build_charset
from crnn_jax.data.pixels import encode_png
from crnn_jax.data.spec import Spec
from crnn_jax.data.words import ENGLISH
from crnn_jax.keys import digest
from crnn_jax.synth import presets, renderer
from crnn_jax.synth.knobs import check_knobs
from crnn_jax.synth.warp import Canvas

DEFAULT_ROWS = 1_000
HEIGHT, MAX_WIDTH = 32, 512  # pixels; the aspect of the text is kept
CHARSET = "latin94+space"
_BLOCK = 64  # rows rendered at once
_CACHED_BLOCKS = 64
_FRAME = 4  # pixels that a character of a label needs at least


class _Row(NamedTuple):
    png: bytes
    width: int
    label: str


class SynthSource:
    """`limit` rows of a preset (DEFAULT_ROWS when the SPEC has no limit)."""

    def __init__(self, spec: Spec):
        self._spec = spec
        check_knobs(_knobs(*self._texts))  # an unknown preset or language is told at once
        self.name = spec.location
        self._charset = build_charset(spec.charset or CHARSET, "keep")
        self._count = max(spec.limit or DEFAULT_ROWS, spec.rows[1] if spec.rows else 0)
        self._lock = threading.Lock()
        self._blocks: collections.OrderedDict[int, list[_Row]] = collections.OrderedDict()

    def __len__(self) -> int:
        return self._count

    def key(self, i: int) -> str:
        """Returns the row's number."""
        return f"{self.name}-{self._seed}-{i:06d}"

    def label(self, i: int) -> str:
        """Returns what the picture says."""
        return self._row(i).label

    def lexicon(self, i: int) -> tuple[str, ...]:
        """Returns no words."""
        return ()

    def image_bytes(self, i: int) -> bytes:
        """Returns the picture as a PNG file."""
        return self._row(i).png

    def image_size(self, i: int) -> tuple[int, int]:
        """Returns (width, height)."""
        return self._row(i).width, HEIGHT

    def where(self, i: int) -> str:
        """Returns which picture of which preset it is."""
        return f"synth:{self._spec.location} row {i}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        """Returns a hash of all that the rows depend on."""
        text = repr((str(self._spec), list(rows) if rows is not None else self._count))
        knobs = _knobs(*self._texts)
        arrays = _digest(*self._texts, self._charset)
        return digest(text, knobs.to_json(sort_keys=True), arrays)

    @property
    def _texts(self) -> tuple[str, str]:
        """The preset, and the languages of its words."""
        return self._spec.location, self._spec.languages or ENGLISH

    @property
    def _seed(self) -> int:
        return self._spec.seed or 0

    def _row(self, i: int) -> _Row:
        if not 0 <= i < self._count:
            raise IndexError(f"row {i} of {self._count}")
        number, place = divmod(i, _BLOCK)
        with self._lock:
            if number not in self._blocks:
                while len(self._blocks) >= _CACHED_BLOCKS:
                    self._blocks.popitem(last=False)
                self._blocks[number] = self._render(number)
            self._blocks.move_to_end(number)
            return self._blocks[number][place]

    def _render(self, block: int) -> list[_Row]:
        program, assets = _program(*self._texts, self._charset)
        rows = np.arange(block * _BLOCK, (block + 1) * _BLOCK, dtype=np.uint32)
        batch = jax.device_get(program(assets, np.uint32(self._seed), rows))
        return [
            _Row(encode_png(image[:, :width]), int(width), self._charset.decode(ids[:length]))
            for image, width, ids, length in zip(*batch, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self._spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        SynthSource.__init__(self, state["spec"])


def _knobs(preset: str, languages: str) -> ConfigDict:
    """Returns the knobs of a preset with words of other languages."""
    knobs = presets.get_preset(preset)
    knobs.languages = languages
    return knobs


@functools.lru_cache(maxsize=8)
def _program(preset: str, languages: str, charset: Any) -> tuple[Any, Any]:
    """Returns the compiled renderer of held-out rows and its arrays, on the device."""
    canvas = Canvas(HEIGHT, MAX_WIDTH, channels=1, keep=True)
    render, assets = renderer.build_renderer(
        _knobs(preset, languages), charset, canvas, lambda width: width // _FRAME, side="test"
    )

    @jax.jit
    def program(assets: Any, seed: Any, rows: Any) -> Any:
        return render(assets, renderer.row_keys(seed, f"held-out {preset}", rows))

    return program, jax.device_put(assets)


@functools.lru_cache(maxsize=8)
def _digest(preset: str, languages: str, charset: Any) -> str:
    """Returns a hash of the faces, texts and textures of a preset."""
    return digest(_program(preset, languages, charset)[1])
