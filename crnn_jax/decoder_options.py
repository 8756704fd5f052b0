"""The options of commands that choose a decoder."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crnn_jax.errors import UserError, unknown_name

if TYPE_CHECKING:
    from crnn_jax.charset import Charset
    from crnn_jax.data.sources import Source
    from crnn_jax.decode import Decoder

OWN_WORDS = "each image's own"
_LEXICON = "lexicon"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--decoder` and `--lexicon`."""
    parser.add_argument(
        "--decoder",
        default="",
        help="greedy, beam (search), or lexicon: the likeliest of some words",
    )
    parser.add_argument(
        "--lexicon", metavar="FILE", help="the words, one per line; needs no --decoder"
    )


def decoder_name(args: argparse.Namespace) -> str:
    """Returns the name of the decoder that is asked for."""
    return args.decoder or (_LEXICON if args.lexicon else "greedy")


def check_options(args: argparse.Namespace) -> None:
    """Checks the options, once, before anything is read.

    Raises:
      UserError: an unknown one, one that does not use a lexicon beside a lexicon, no such file.
    """
    from crnn_jax.decode import DECODERS

    name = decoder_name(args)
    if name not in DECODERS:
        raise unknown_name("decoder", name, DECODERS)
    if args.lexicon and name != _LEXICON:
        raise UserError(f"--decoder={name} uses no lexicon: leave --decoder or --lexicon out")
    if args.lexicon and not pathlib.Path(args.lexicon).is_file():
        raise UserError(
            f"--lexicon={args.lexicon} is no file: give a text file with a word per line"
        )


def build_decoder(args: argparse.Namespace, charset: Charset) -> Decoder:
    """Returns the decoder that checked options ask for, for a model of a charset.

    Raises:
      UserError: a lexicon that cannot be read.
    """
    from crnn_jax.decode import make_decoder
    from crnn_jax.decode.lexicon import Lexicon, LexiconDecoder

    if args.lexicon:
        return LexiconDecoder(Lexicon.load(args.lexicon, charset))
    return make_decoder(decoder_name(args))


def describe_lexicon(args: argparse.Namespace) -> str | None:
    """Returns whose words readings are chosen from, for tables; None where they are not."""
    if decoder_name(args) != _LEXICON:
        return None
    return pathlib.Path(args.lexicon).name if args.lexicon else OWN_WORDS


def check_own_words(args: argparse.Namespace, sources: Sequence[Source]) -> None:
    """Raises a UserError where images need words of their own and have none."""
    if describe_lexicon(args) != OWN_WORDS:
        return
    for source in sources:
        for row in range(len(source)):
            if not source.lexicon(row):
                raise UserError(
                    f"--decoder=lexicon: {source.where(row)} of {source.name} has no words of its "
                    "own: give --lexicon=FILE, a word per line"
                )
