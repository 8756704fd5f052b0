"""The options of commands that choose a decoder."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli
from crnn_jax.errors import UserError, unknown_name

if TYPE_CHECKING:
    from crnn_jax.charset import Charset
    from crnn_jax.data.sources import Source
    from crnn_jax.decode import Decoder
    from crnn_jax.decode.language import Weighted

OWN_WORDS = "each image's own"
_LEXICON, _BEAM, _GREEDY = "lexicon", "beam", "greedy"
_OWN, _NONE = "own", "none"  # lexicons that are no files
_PUNCTUATION = ".,;:!?)"  # that may follow a word in a line
_SEARCHED = ("lm", "pattern")  # options that ask for the beam search
_OF_BEAM = (*_SEARCHED, "lm_bonus", "beam_width")  # that it alone knows
_OPTIONS = (
    "decoder", "lexicon", "escape", "lines", "lm", "lm_order", "lm_weight", "lm_bonus", "lm_tuned",
    "pattern", "allow", "block", "beam_width",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Adds the options.

    Args:
      parser: of the command.
      several: whether `--lexicon` may be given more than once; see `variants`.
    """

    def add(name: str, text: str, **kwargs: Any) -> None:
        parser.add_argument(name, help=text, **kwargs)

    filled = {"default": "", "action": cli.Filled}
    decoders = "greedy, beam (search), or lexicon: the likeliest of some words"
    add("--decoder", decoders, **filled)
    words = "words, one per line: the only ones that are read"
    if several:
        words += "; given several times, each in turn: own are those of each image, none is without"
        add("--lexicon", words, action="append", metavar="FILE|own|none", default=[])
    else:
        add("--lexicon", words, metavar="FILE", **filled)
    add(
        "--escape",
        "nats that a text outside the lexicon costs, in a beam search; default: it is not read",
        metavar="NATS",
        type=cli.positive_float,
    )
    lines = (
        "texts are words of the lexicon, single spaces between, punctuation behind them (not in "
        "right-to-left scripts)"
    )
    add("--lines", lines, action="store_true")
    add_lm_options(parser)
    add(
        "--pattern",
        "only texts that match: a regular expression, or a name such as date_iso",
        metavar="REGEX",
        **filled,
    )
    add("--allow", "only these characters are read", metavar="CHARS", **filled)
    add("--block", "these characters are not read", metavar="CHARS", **filled)
    kept = "texts kept from frame to frame; default: 16, with --lexicon or --pattern 64"
    add("--beam_width", kept, type=cli.positive_int)


def add_lm_options(
    parser: argparse.ArgumentParser, about: str = "language model for the beam search"
) -> None:
    """Adds those of a language model."""
    add = parser.add_argument
    model = (
        f"{about}: english, german, french, spanish, portuguese, italian, dutch, or some of them "
        "joined by |; an ARPA file; a text to count"
    )
    add("--lm", help=model, metavar="LANGUAGE|FILE", default="", action=cli.Filled)
    order = "at most so many characters go together; default: all of ARPA files, else 6"
    add("--lm_order", help=order, type=cli.positive_int)
    weight = "of the language model; default: 1, of a language 0.5"
    add("--lm_weight", help=weight, type=float, metavar="W")
    add("--lm_bonus", help="nats for every character; default: 0", type=float, metavar="NATS")
    tuned = "takes both from what crnn_jax.decode.tune wrote"
    add("--lm_tuned", help=tuned, metavar="FILE", default="", action=cli.Filled)


def given(args: argparse.Namespace) -> bool:
    """Returns whether any of the options is given."""
    return any(getattr(args, name) for name in _OPTIONS)


def variants(args: argparse.Namespace) -> list[tuple[str, argparse.Namespace]]:
    """Returns what is asked for once per lexicon: what to add to a model's name, and arguments.

    Options of a lexicon that is a file are of no other. Files of one name are told by their paths.

    Raises:
      UserError: the same words twice, none for a decoder that needs some, or own ones for another.
    """
    if not all(args.lexicon):
        raise UserError("--lexicon is empty: give a file, own or none, or leave the option out")
    if len(set(args.lexicon)) < len(args.lexicon):
        raise UserError("--lexicon is given twice with the same words: give each once")
    if _NONE in args.lexicon and args.decoder == _LEXICON:
        raise UserError("--lexicon=none is without words, and --decoder=lexicon: leave one out")
    lexicons = args.lexicon or [_NONE]
    has_file = not set(lexicons) <= {_OWN, _NONE}
    ways = []
    for lexicon in lexicons:
        own = argparse.Namespace(**vars(args))
        own.lexicon = "" if lexicon in (_OWN, _NONE) else lexicon
        if lexicon == _OWN:
            if args.decoder not in ("", _LEXICON):
                raise UserError(f"--lexicon=own is read by --decoder=lexicon, not {args.decoder}")
            for option in _OF_BEAM:
                if getattr(args, option):
                    raise UserError(
                        f"--lexicon=own takes no --{option}: it scores all words of an image, "
                        "without a beam search; leave one of them out"
                    )
            own.decoder = _LEXICON
        if not own.lexicon and has_file:
            own.escape, own.lines = None, False
        ways.append(own)
    if len(ways) == 1:
        return [("", ways[0])]
    names = [describe_lexicon(own) for own in ways]
    found = []
    for name, own in zip(names, ways, strict=True):
        words = own.lexicon or name if names.count(name) > 1 else name
        found.append((f", {words} words" if words else "", own))
    return found


def decoder_name(args: argparse.Namespace) -> str:
    """Returns the name of the decoder that is asked for."""
    if args.decoder:
        return args.decoder
    if any(getattr(args, name) for name in _SEARCHED) or args.escape or args.lines:
        return _BEAM
    return _LEXICON if args.lexicon else _GREEDY


def check_options(args: argparse.Namespace) -> None:
    """Checks the options, once, before anything is read.

    Raises:
      UserError: an unknown one, some that do not go together, a file that is not there.
    """
    from crnn_jax.decode import DECODERS

    name = decoder_name(args)
    if name not in DECODERS:
        raise unknown_name("decoder", name, DECODERS)
    if args.lexicon and name == _GREEDY:
        raise UserError(f"--decoder={name} uses no lexicon: leave --decoder or --lexicon out")
    for option in _OF_BEAM:
        if getattr(args, option) and name != _BEAM:
            raise UserError(
                f"--{option} is for the beam search, and --decoder is {name}: write --decoder=beam"
            )
    if args.escape and not (args.lexicon and name == _BEAM):
        raise UserError("--escape leads out of a lexicon in a beam search: add --lexicon=FILE")
    if args.lines and not (args.lexicon and name == _BEAM):
        raise UserError("--lines are of the words of a lexicon: add --lexicon=FILE")
    check_lm_options(args)
    _check_file("lexicon", args.lexicon)


def check_lm_options(args: argparse.Namespace) -> None:
    """Checks the options of a language model; raises a UserError as `check_options` does."""
    from crnn_jax.decode import lm

    if not args.lm and (args.lm_order or args.lm_tuned or args.lm_weight is not None):
        raise UserError(
            "--lm_order, --lm_weight and --lm_tuned are of a language model: add --lm=FILE or "
            "--lm=english"
        )
    weight, bonus = args.lm_weight or 0.0, args.lm_bonus or 0.0
    if not (0 <= weight < math.inf and math.isfinite(bonus)):
        raise UserError(
            f"--lm_weight={weight:g}, --lm_bonus={bonus:g}: give numbers, the weight 0 or more"
        )
    if args.lm_tuned and not (args.lm_weight is None and args.lm_bonus is None):
        raise UserError("--lm_tuned brings the weight and the bonus: leave the other options out")
    if args.lm:
        lm.check_exists(args.lm)
    _check_file("lm_tuned", args.lm_tuned)


def _check_file(option: str, path: str) -> None:
    if path and not os.path.isfile(path):  # pathlib raises for a path that is too long
        raise UserError(f"--{option}={path} is no file; check the path")


def build_decoder(args: argparse.Namespace, charset: Charset) -> Decoder:
    """Returns the decoder that checked options ask for, for a model of a charset.

    Raises:
      UserError: a file that cannot be read, or a pattern or characters that the model cannot read.
    """
    from crnn_jax.decode import make_decoder, restricted
    from crnn_jax.decode.lexicon import Lexicon, LexiconDecoder

    name = decoder_name(args)
    if name == _BEAM:
        decoder = _beam(args, charset)
    elif args.lexicon:
        decoder = LexiconDecoder(Lexicon.load(args.lexicon, charset))
    else:
        decoder = make_decoder(name)
    if args.allow or args.block:
        allowed = restricted.allowed_classes(charset, args.allow, args.block)
        decoder = restricted.Restricted(decoder, allowed)
    return decoder


def _beam(args: argparse.Namespace, charset: Charset) -> Decoder:
    """Returns the beam search with all that is to be added to a text's probability."""
    from crnn_jax.decode.automaton import CONSTRAINED
    from crnn_jax.decode.beam import Beam, BeamOptions
    from crnn_jax.decode.language import Bonus, Both, LanguageModel
    from crnn_jax.decode.pattern import compile_pattern
    from crnn_jax.decode.trie import Trie

    parts: list[LanguageModel] = []
    if args.lm:
        parts.append(build_lm(args, charset))
    elif args.lm_bonus:
        parts.append(Bonus(args.lm_bonus))
    if args.pattern:
        parts.append(compile_pattern(args.pattern, charset))
    if args.lexicon:
        marks = _PUNCTUATION if args.lines and not charset.right_to_left else ""
        trie = Trie.load(args.lexicon, charset, args.lines, marks)
        parts.append(trie.model(args.escape or math.inf))
    model: LanguageModel | None = None
    for part in parts:
        model = part if model is None else Both(model, part)
    options = CONSTRAINED if args.pattern or args.lexicon else BeamOptions()
    if args.beam_width:
        few = min(options.nbest, args.beam_width)
        options = dataclasses.replace(options, width=args.beam_width, nbest=few)
    return Beam(options, model)


def build_lm(args: argparse.Namespace, charset: Charset) -> Weighted:
    """Returns the language model that checked options ask for; raises a UserError as `lm.load`."""
    from crnn_jax.decode import lm, tune
    from crnn_jax.decode.language import Weighted

    model = lm.load(args.lm, charset, args.lm_order)
    if args.lm_tuned:
        tune.warn_of_other(args.lm_tuned, args.lm, model.order)
    return Weighted(model.tables(charset), *_weights(args))


def _weights(args: argparse.Namespace) -> tuple[float, float]:
    """Returns the weight of the language model and the bonus per character."""
    if args.lm_tuned:
        from crnn_jax.decode import tune

        return tune.load_weights(args.lm_tuned)
    from crnn_jax.decode import lm

    weight = lm.default_weight(args.lm) if args.lm_weight is None else args.lm_weight
    return weight, args.lm_bonus or 0.0


def describe_decoder(args: argparse.Namespace) -> str:
    """Returns the decoder and what goes with it, for tables; words of a lexicon apart."""
    parts, bonus = [decoder_name(args)], args.lm_bonus
    if args.lm:
        weight, bonus = _weights(args)
        parts.append(f"language model {pathlib.Path(args.lm).name} x {weight:g}")
    if args.lm or bonus:
        parts.append(f"bonus {bonus:g}")
    parts += [
        f"{option} {getattr(args, option)}"
        for option in ("pattern", "allow", "block", "escape", "beam_width")
        if getattr(args, option)
    ]
    if args.lines:
        parts.append("lines")
    return ", ".join(parts)


def describe_lexicon(args: argparse.Namespace) -> str | None:
    """Returns whose words readings are chosen from, for tables; None where they are not."""
    if args.lexicon:
        return pathlib.Path(args.lexicon).name
    return OWN_WORDS if decoder_name(args) == _LEXICON else None


def check_own_words(args: argparse.Namespace, sources: Sequence[Source]) -> None:
    """Raises a UserError where images need words of their own and have none."""
    if describe_lexicon(args) != OWN_WORDS:
        return
    for source in sources:
        for row in range(len(source)):
            if not any(map(str.strip, source.lexicon(row))):
                raise UserError(
                    f"images are read by their own words: {source.where(row)} of {source.name} "
                    "has no words of its own: give --lexicon=FILE, a word per line"
                )
