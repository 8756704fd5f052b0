"""Options of commands that choose a decoder: what goes together, and what each does."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import cli
from crnn_jax import decoder_options as options
from crnn_jax.charset import build_charset
from crnn_jax.decode.restricted import allowed_classes
from crnn_jax.errors import UserError

CHARSET = build_charset("alnum36", "fold")


def parse(*arguments):
    parser = cli.Parser(prog="test")
    options.add_options(parser)
    args = parser.parse_args(list(arguments))
    options.check_options(args)
    return args


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("ab\nabc\ncab\n", encoding="utf-8")
    return path


def texts(args, *likely, charset=CHARSET):
    """What the decoder reads in frames that show so many characters, blanks between them."""
    decoder = options.build_decoder(args, charset)
    steps = 2 * len(likely)
    logits = np.zeros((1, steps, charset.num_classes), np.float32)
    for t, ranked in enumerate(likely):
        logits[:, 2 * t + 1, 0] = 6.0
        for rank, char in enumerate(ranked):
            logits[:, 2 * t, charset.encode(char)[0]] = 6.0 - rank
    found = jax.jit(decoder.on_device)(
        jnp.asarray(logits), jnp.full(1, steps, jnp.int32), decoder.tables
    )
    return [c.text for c in decoder.read(jax.device_get(found), 0, charset, ())]


def test_names_follow_from_what_is_given(words):
    assert options.decoder_name(parse()) == "greedy"
    assert options.decoder_name(parse(f"--lexicon={words}")) == "lexicon"
    assert options.decoder_name(parse(f"--lexicon={words}", "--escape=3")) == "beam"
    assert options.decoder_name(parse(f"--lm={words}")) == "beam"
    assert options.decoder_name(parse("--pattern=a+")) == "beam"
    assert options.decoder_name(parse("--decoder=beam", f"--lexicon={words}")) == "beam"
    assert not options.given(parse())
    assert options.given(parse("--block=x"))
    told = options.describe_decoder(parse(f"--lm={words}", "--lm_weight=0.5", "--allow=abc"))
    assert told == "beam, language model words.txt x 0.5, bonus 0, allow abc"
    assert options.describe_decoder(parse("--decoder=beam", "--lm_bonus=3")) == "beam, bonus 3"
    assert options.describe_lexicon(parse(f"--lexicon={words}")) == "words.txt"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decoder=grady"], "greedy"),
        (["--decoder=greedy", "--lexicon=WORDS"], "uses no lexicon"),
        (["--decoder=greedy", "--lm=WORDS"], "beam search"),
        (["--decoder=lexicon", "--pattern=a"], "--pattern is for the beam search"),
        (["--escape=3"], "--lexicon=FILE"),
        (["--lines"], "--lexicon=FILE"),
        (["--escape=-1", "--lexicon=WORDS"], "positive number"),
        (["--lm_weight=1"], "--lm=FILE"),
        (["--lm_order=3"], "--lm=FILE"),
        (["--lm=WORDS", "--lm_weight=nan"], "give numbers"),
        (["--lm=WORDS", "--lm_weight=-1"], "the weight 0 or more"),
        (["--lm_bonus=1"], "--decoder=beam"),
        (["--beam_width=4"], "--decoder=beam"),
        (["--lm=WORDS", "--lm_weight=1", "--lm_tuned=WORDS"], "leave the other"),
        (["--lm=none.arpa"], "--lm=none.arpa is no file"),
        (["--lm=" + 5000 * "a"], "is no file"),
        (["--lexicon=none.txt"], "--lexicon=none.txt is no file"),
        (["--lexicon="], "--lexicon is empty: give a value, or leave the option out"),
        (["--lm="], "--lm is empty"),
        (["--pattern", ""], "--pattern is empty"),
        (["--allow="], "--allow is empty"),
    ],
)
def test_what_does_not_go_together_is_refused(words, arguments, message):
    with pytest.raises(UserError, match=message) as error:
        parse(*(argument.replace("WORDS", str(words)) for argument in arguments))
    assert "\n" not in str(error.value)


def test_greedy_and_lists_of_characters():
    assert texts(parse(), "ab", "b1") == ["ab"]
    assert texts(parse("--block=A"), "ab", "b1") == ["bb"]
    assert texts(parse("--allow=0123456789b"), "ab", "1b") == ["b1"]


def test_lists_of_characters_hold_for_the_words_of_a_lexicon(words):
    assert texts(parse(f"--lexicon={words}"), "ab", "bc")[0] == "ab"
    assert texts(parse(f"--lexicon={words}", "--block=c"), "ab", "bc") == ["ab"]
    assert texts(parse(f"--lexicon={words}", "--allow=xyz"), "ab", "bc") == []


@pytest.mark.slow
def test_lexicon_pattern_and_language_model_in_a_beam(words, tmp_path):
    beam = parse("--decoder=beam", f"--lexicon={words}")
    assert texts(beam, "ax", "bx", "dc")[0] == "abc"
    assert set(texts(beam, "ax", "bx", "dc")) <= {"ab", "abc", "cab"}
    outside = parse(f"--lexicon={words}", "--escape=0.1")
    assert texts(outside, "ax", "bx", "dc")[0] == "abd"
    dear = parse(f"--lexicon={words}", "--escape=50")
    assert texts(dear, "ax", "bx", "dc")[0] == "abc"
    assert texts(parse("--pattern=[0-9][A-Z]"), "a1", "bx")[0] == "1b"
    (tmp_path / "many.txt").write_text("qz\n" * 50, encoding="utf-8")
    model = f"--lm={tmp_path / 'many.txt'}"
    assert texts(parse(model, "--lm_weight=0"), "qa", "xz")[0] == "qx"
    assert texts(parse(model, "--lm_weight=2"), "qa", "xz")[0] == "qz"
    both = parse(model, "--lm_weight=2", "--pattern=q[x-y]")
    assert texts(both, "qa", "xz")[0] == "qx"


def test_the_language_model_of_the_package():
    """It reads the letter that words have, at a weight of its own, in the case that is shown."""
    charset = build_charset("alnum62")
    shown = "h", "0o", "t", "e", "l"
    assert texts(parse(), *shown, charset=charset) == ["h0tel"]
    assert texts(parse("--lm=english"), *shown, charset=charset)[0] == "hotel"
    shown = "H", "0O", "T", "E", "L"
    assert texts(parse("--lm=english", "--lm_order=4"), *shown, charset=charset)[0] == "HOTEL"
    assert texts(parse("--lm=english", "--lm_weight=0"), *shown, charset=charset)[0] == "H0TEL"
    told = options.describe_decoder(parse("--lm=english"))
    assert told == "beam, language model english x 0.5, bonus 0"


def test_lines_of_words(words):
    charset = build_charset("chars:abcx,", "keep")
    spaced = build_charset("chars:abcx, ", "keep")
    shown = "ax", "bc", " x", "cx", "ax", "bx", ",x"
    lines = parse(f"--lexicon={words}", "--lines")
    assert texts(lines, *shown, charset=spaced)[0] == "ab cab,"
    assert (
        " " not in texts(parse("--decoder=beam", f"--lexicon={words}"), *shown, charset=spaced)[0]
    )
    with pytest.raises(UserError, match="need a model that reads spaces"):
        texts(lines, "ab", charset=charset)


def test_weights_come_from_a_file(words, tmp_path, caplog):
    path = tmp_path / "tuned.json"
    path.write_text(json.dumps({"alpha": 0.7, "bonus": -0.25}), encoding="utf-8")
    args = parse(f"--lm={words}", f"--lm_tuned={path}")
    model = options.build_decoder(args, CHARSET).tables
    assert (float(model.weight), float(model.bonus)) == pytest.approx((0.7, -0.25))
    assert "x 0.7, bonus -0.25" in options.describe_decoder(args)
    assert not caplog.records
    told = {"alpha": 0.7, "bonus": 0, "lm": "other.txt", "order": 3}
    path.write_text(json.dumps(told), encoding="utf-8")
    options.build_decoder(args, CHARSET)
    of_name, of_order = (record.getMessage() for record in caplog.records)
    assert "tuned for a language model of lm other.txt, and this one has words.txt" in of_name
    assert "of order 3, and this one has 5" in of_order
    path.write_text(json.dumps({"alpha": 0.7}), encoding="utf-8")
    with pytest.raises(UserError):
        options.build_decoder(args, CHARSET)


def test_a_pattern_that_nothing_in_sight_matches_reads_nothing():
    assert texts(parse("--pattern=z{30}"), "ab", "bc") == []
    assert texts(parse("--pattern=[xb]{2}"), "ab", "bc")[0] == "bb"


@pytest.mark.parametrize(
    ("allow", "block", "message"),
    [("?", "", "not among"), ("", "é", "not among"), ("ab", "ba", "no character is left")],
)
def test_lists_of_characters_that_leave_nothing(allow, block, message):
    with pytest.raises(UserError, match=message):
        allowed_classes(CHARSET, allow, block)


def test_allowed_classes():
    found = allowed_classes(CHARSET, "AB1", "b")
    assert found[0]
    assert [CHARSET.classes[i - 1] for i in np.flatnonzero(found)[1:]] == ["1", "a"]
    assert allowed_classes(CHARSET).all()


def test_several_lexicons_are_ways_of_one_evaluation(words):
    parser = cli.Parser(prog="test")
    options.add_options(parser, several=True)

    def ways(*arguments):
        return options.variants(parser.parse_args(list(arguments)))

    found = ways("--lexicon=none", "--lexicon=own", f"--lexicon={words}")
    assert [suffix for suffix, _ in found] == ["", ", each image's own words", ", words.txt words"]
    assert [options.decoder_name(way) for _, way in found] == ["greedy", "lexicon", "lexicon"]
    assert [suffix for suffix, _ in ways()] == [""]
    assert [suffix for suffix, _ in ways(f"--lexicon={words}")] == [""]
    with pytest.raises(UserError, match="twice"):
        ways("--lexicon=own", "--lexicon=own")
    with pytest.raises(UserError, match="not beam"):
        ways("--lexicon=own", "--decoder=beam")
    for option in ("--lm=x", "--pattern=a", "--lm_bonus=1", "--beam_width=8"):
        name = option.partition("=")[0]
        with pytest.raises(UserError, match=f"--lexicon=own takes no {name}: .* leave one of"):
            ways("--lexicon=own", f"--lexicon={words}", option)
    found = ways("--lexicon=none", "--lexicon=own", f"--lexicon={words}", "--escape=6", "--lines")
    for _, way in found:
        options.check_options(way)
    assert [options.decoder_name(way) for _, way in found] == ["greedy", "lexicon", "beam"]
    for alone in ("none", "own"):
        with pytest.raises(UserError, match="add --lexicon=FILE"):
            options.check_options(ways(f"--lexicon={alone}", "--escape=6")[0][1])
    (words.parent / "b").mkdir()
    other = words.parent / "b" / words.name
    found = ways("--lexicon=own", f"--lexicon={words}", f"--lexicon={other}")
    assert [suffix for suffix, _ in found] == [
        ", each image's own words", f", {words} words", f", {other} words"
    ]  # fmt: skip
    with pytest.raises(UserError, match="without words"):
        ways("--decoder=lexicon", "--lexicon=none")
