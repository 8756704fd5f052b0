"""Trains a character n-gram model for the beam search, and says how well it predicts.

The text is a file with a text per line, each optionally followed by TAB and its count, as
config.synth.text_file takes it; texts are spelled in the charset of the recogniser that the model
is for. Where the charset has no blank, the words of a line are texts of their own. A twentieth of
the texts, chosen by a hash, is held out to measure perplexities on; the model that is written is
trained on all of them.
"""

from __future__ import annotations

import argparse
import logging
import os
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crnn_jax import cli
from crnn_jax.decode.ngram_model import MAX_ORDER, UNKNOWN, NgramModel
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.charset import Charset
    from crnn_jax.decode.kneser_ney import Estimate
    from crnn_jax.decode.language import Weighted
    from crnn_jax.decode.ngram_counts import Counts

__all__ = ["NgramModel", "load", "main", "spelled"]

# Perplexity of held-out words and size of the table (`--text=words_90k.txt --charset=alnum36`, the
# 90,000 words of the paper's authors), and what the quickstart model reads of one half of IIIT5K's
# training images (`::group=^[^_]+,split=50:100`) with weights that `tune` chose on the other:
#
#     order         2      3      4      5      6      7      8   without
#     perplexity    12.30  9.13   7.17   5.78   5.17   5.04   5.05  37.00
#     MB            0.0    0.2    2.5    13     38     73     109
#     accuracy (%)  71.9   74.0   75.7   78.8   80.1   78.9   79.2   69.4
ORDER = 6  # of models whose order is not said
DICTIONARY_WEIGHT = 0.5  # chosen by `tune` for english on photographed words, see docs/reading.md
_LOG = logging.getLogger("crnn_jax")
_BINARY = b"mmap lm http://kheafield.com/code"  # KenLM's own format
_EXAMPLE = """example:
  python -m crnn_jax.decode.lm --text=words.txt --charset=alnum36 --order=6 --out=words.arpa.gz
  python -m crnn_jax.decode.lm --text=lines.txt --model=runs/receipts --order=8 --min_count=2"""


def load(path: str | pathlib.Path, charset: Charset, order: int | None = None) -> NgramModel:
    """Loads a model: an ARPA file, packed or not, or a text file, on which it is trained.

    Which of both it is, its first lines say. Languages, as `english` or `english|german`, are those
    of the dictionaries that come with the package (`crnn_jax.data.words`).

    Args:
      path: of the file; one that has the name of a language is `./english`.
      charset: of the recogniser.
      order: at most so many characters go together; None: all of an ARPA file, ORDER of a text.

    Raises:
      UserError: the file cannot be read or used, or the order is out of range.
    """
    from crnn_jax.decode import arpa, kneser_ney
    from crnn_jax.synth.text_files import read_texts

    if order is not None and not 1 <= order <= MAX_ORDER:
        raise UserError(f"order {order} of a language model: 1 to {MAX_ORDER} characters")
    if languages := languages_of(path):
        from crnn_jax.decode import dictionaries

        return dictionaries.train(languages, order or ORDER)
    if not arpa.is_arpa(path):
        _refuse_packed(path)
        texts = spelled(read_texts(str(path)), charset)
        return kneser_ney.train(texts.items(), charset, order or ORDER).model
    model = arpa.read(path, charset.classes)
    symbols = model.symbols_of(charset)[1:].tolist()
    lacking = [c for c, s in zip(charset.classes, symbols, strict=True) if s == UNKNOWN]
    if len(lacking) == len(symbols):
        raise UserError(f"{path}: has none of the charset's {len(symbols)} characters")
    if lacking:
        _LOG.warning(
            "%s lacks %d of %d characters, %s: they are read where the image is clear",
            path,
            len(lacking),
            len(symbols),
            "".join(lacking[:20]),
        )
    return model.truncated(order or model.order)


def weighted(
    path: str | pathlib.Path,
    charset: Charset,
    weight: float | None = None,
    bonus: float = 0.0,
    order: int | None = None,
) -> Weighted:
    """Returns a model as the beam search adds it: `Beam(model=weighted("english", charset))`.

    Args:
      path: as for `load`.
      charset: of the recogniser.
      weight: of its log-probabilities; None: 1, of languages DICTIONARY_WEIGHT.
      bonus: nats for every character.
      order: as for `load`.

    Raises:
      UserError: as `load`, or its table would be too large.
    """
    from crnn_jax.decode.language import Weighted

    weight = default_weight(path) if weight is None else weight
    return Weighted(load(path, charset, order).tables(charset), weight, bonus)


def languages_of(path: str | pathlib.Path) -> dict[str, float]:
    """Returns the languages, with their shares, where dictionaries are meant; none for a file."""
    from crnn_jax.data import words

    names = (part.rpartition("*")[2].strip() for part in str(path).split("|"))
    if not all(name in words.LANGUAGES for name in names):
        return {}
    return words.parse_languages(str(path), "--lm")


def files_of(path: str | pathlib.Path) -> list[pathlib.Path]:
    """Returns the files that a model depends on: itself, or the dictionaries of languages."""
    from crnn_jax.data import words

    return [words.dictionary_file(name) for name in languages_of(path)] or [pathlib.Path(path)]


def default_weight(path: str | pathlib.Path) -> float:
    """Returns the weight of a model where none is asked for."""
    return DICTIONARY_WEIGHT if languages_of(path) else 1.0


def check_exists(path: str | pathlib.Path) -> None:
    """Raises a UserError where neither a file nor languages are meant."""
    from crnn_jax.data import words

    if not languages_of(path) and not os.path.isfile(path):  # pathlib raises for one too long
        raise UserError(
            f"--lm={path} is no file and no language; check the path, take one or some "
            f"(joined by |) of {', '.join(words.LANGUAGES)}, or make a model with "
            "python -m crnn_jax.decode.lm"
        )


def _refuse_packed(path: str | pathlib.Path) -> None:
    """Raises a UserError for what is neither an ARPA file nor a text."""
    with open(path, "rb") as file:
        head = file.read(len(_BINARY))
    if head == _BINARY:
        raise UserError(f"{path}: KenLM's binary format; give the ARPA file that it was made of")
    if head.startswith(b"\x1f\x8b"):
        raise UserError(f"{path}: a packed file, and no ARPA file; unpack it with gunzip")


def spelled(counts: Mapping[str, int | float], charset: Charset) -> dict[str, int | float]:
    """Returns texts in a charset's normal form, with the counts of all that become the same.

    Where the charset has no blank, the words of a text become texts. Those that have none of its
    characters, as a comma by itself, are left out: the model would have to expect nothing at all.
    """
    split = " " not in charset.classes
    found: dict[str, int | float] = {}
    for text, count in counts.items():
        text = charset.normalise(text)
        for part in text.split() if split else (text,):
            if charset.encode_known(part):
                found[part] = found.get(part, 0) + count
    return found


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    args = _parse(argv)

    from crnn_jax.data.words import split_of
    from crnn_jax.decode import arpa, kneser_ney
    from crnn_jax.synth.text_files import read_texts

    charset = _charset(args)
    texts = spelled(read_texts(args.text), charset)
    sides: dict[str, dict[str, int | float]] = {"train": {}, "test": {}}
    for text, count in texts.items():
        sides[split_of(text)][text] = count
    unknown = Counter(c for text in texts for c in charset.unknown(text))
    print(f"{args.text}: {len(texts):,} different texts, {len(sides['test']):,} of them held out")
    if unknown:
        few = ", ".join(repr(c) for c, _ in unknown.most_common(10))
        print(f"{unknown.total():,} characters outside the charset are left out: {few}")
    counts = kneser_ney.count(texts.items(), charset, args.order)
    if all(sides.values()):
        part = kneser_ney.count(sides["train"].items(), charset, args.order)
        _show_perplexities(part, sides["test"], charset, args.min_count)
    else:
        print("too few texts to hold some out: no perplexities")
    found = kneser_ney.estimate(counts, charset, args.min_count)
    _show_model(found, charset)
    if args.out:
        arpa.write(args.out, found.model)
    return cli.DONE


def _show_perplexities(
    counts: Counts, texts: dict[str, int | float], charset: Charset, min_count: int
) -> None:
    """Prints the perplexities of models of each order on texts that they were not trained on."""
    from crnn_jax.decode import kneser_ney

    print(f"{'order':<8}{'n-grams':>11}  perplexity per character, held-out texts")
    print(f"{'uniform':<8}{'':>11}{len(charset.classes) + 1:>12.2f}")
    for order in range(1, counts.windows.shape[1] + 1):
        model = kneser_ney.estimate(counts.shortened(order), charset, min_count).model
        perplexity = model.perplexity(texts, charset)
        print(f"{order:<8}{sum(model.counts):>11,}{perplexity:>12.2f}", flush=True)


def _show_model(found: Estimate, charset: Charset) -> None:
    """Prints what the model of all texts consists of."""
    print(f"{'length':<8}{'n-grams':>11}  discounts of counts of 1, 2, 3 or more")
    lines = zip(found.model.counts, found.discounts, found.fallen_back, strict=True)
    for n, (count, discounts, fallen_back) in enumerate(lines, start=1):
        remark = "  too few counts: usual ones" if fallen_back else ""
        print(f"{n:<8}{count:>11,}  " + " ".join(f"{d:.3f}" for d in discounts) + remark)
    try:
        table = found.model.tables(charset)
    except UserError as error:
        print(f"not for the beam search as it is: {error}")
        return
    states, columns = table.log_probs.shape
    size = (table.log_probs.nbytes + table.following.nbytes) / 2**20
    print(f"table of the beam search: {states:,} histories x {columns} characters, {size:.0f} MB")


def _charset(args: argparse.Namespace) -> Charset:
    """Returns the charset that is asked for, or that of a model."""
    if args.model:
        from crnn_jax.recognizer import Recognizer

        return Recognizer.load(args.model).charset

    from crnn_jax.charset import build_charset
    from crnn_jax.synth.text_files import read_texts

    labels = read_texts(args.text) if args.charset.startswith("from_data") else None
    return build_charset(args.charset, args.case, labels)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m crnn_jax.decode.lm", description=__doc__, epilog=_EXAMPLE)
    add = parser.add_argument
    add("--text", required=True, metavar="FILE", help="a text per line, perhaps TAB and its count")
    add("--charset", help="a charset, as config.charset takes it")
    add("--case", default="auto", help="of the charset: auto, keep or fold")
    add("--model", help="a run or a bundle, whose charset it is, instead of --charset")
    add("--order", type=cli.positive_int, default=ORDER, help="characters that go together")
    few = "leaves out n-grams of three or more that occur less often; makes the model smaller"
    add("--min_count", type=cli.positive_int, default=1, metavar="N", help=few)
    add("--out", metavar="FILE.arpa[.gz]", help="writes the model")
    args = parser.parse_args(argv)
    cli.check_output(args.out)
    if args.out and not args.out.endswith((".arpa", ".arpa.gz")):
        raise UserError(f"--out={args.out}: the model is an ARPA file; name it FILE.arpa[.gz]")
    if bool(args.charset) == bool(args.model):
        raise UserError(
            "give the charset of the recogniser: --charset=CHARSET, as in --charset=alnum36, or "
            "--model=MODEL"
        )
    if args.order > MAX_ORDER:
        raise UserError(f"--order={args.order}: 1 to {MAX_ORDER} characters")
    return args


if __name__ == "__main__":
    cli.run(main)
