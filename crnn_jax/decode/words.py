"""Words of a lexicon as class ids: the same ones for every decoder that reads with a lexicon."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterable

from crnn_jax.charset import Charset
from crnn_jax.errors import UserError
from crnn_jax.runtime import listed_words, spellings

_LOG = logging.getLogger("crnn_jax")
_LONGEST = 1_000  # characters of a word: more than frames of any image, and a row of a table each


def encoded_words(
    words: Iterable[str], charset: Charset, name: str = "the lexicon"
) -> dict[tuple[int, ...], str]:
    """Returns class ids -> word, in the order in which they come.

    Letters that the charset lacks do not count: with 36 characters "it's" is looked for as "its".
    Where it tells capitals from small letters, an image may show a word in either (see
    `runtime.spellings`). Words that are the same by this are kept once, as the first is written.

    Args:
      words: in any order; blank ones are left out.
      charset: of the model.
      name: for messages.

    Raises:
      UserError: no word is left.
    """
    found: dict[tuple[int, ...], str] = {}
    others: list[tuple[tuple[int, ...], str]] = []  # spellings of words
    lost = long = 0
    for word in words:
        text = charset.normalise(word.strip())
        if len(text) > _LONGEST:
            long += 1
            continue
        ids = spellings(text, charset)
        lost += bool(text) and not ids
        if ids:
            found.setdefault(ids[0], text)
            others += [(own, text) for own in ids[1:]]
    for own, text in others:
        found.setdefault(own, text)
    if not found:
        raise UserError(
            f"{name} has no word that the model can read"
            + (f" ({lost} have none of its characters)" if lost else "")
            + ": give words in its characters, one per line"
        )
    if long:
        _LOG.warning("%s: %d word(s) of over %d characters are left out", name, long, _LONGEST)
    if lost:
        _LOG.warning(
            "%s: %d word(s) have none of the model's characters and are left out", name, lost
        )
    return found


def load_words(path: str | pathlib.Path) -> list[str]:
    """Reads a UTF-8 text file with a word per line, perhaps TAB and its count.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return listed_words(pathlib.Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"lexicon {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"lexicon {path} is not UTF-8 (byte {error.start}): convert it once"
        ) from None
