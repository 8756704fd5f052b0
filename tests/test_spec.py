"""SPECs parse, write themselves back, and say what is wrong with them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from crnn_jax.data.spec import KINDS, OPTIONS, OWNERS, Spec, parse_mixture, parse_sets, parse_spec
from crnn_jax.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tsv:words/labels.tsv", Spec("tsv", "words/labels.tsv")),
        ("names:captcha::rows=0:640", Spec("names", "captcha", rows=(0, 640))),
        ("names:c::split=2.5:90", Spec("names", "c", split=(2.5, 90.0))),
        ("tsv:d::limit=5,name=my set", Spec("tsv", "d", limit=5, name="my set")),
        ("tfds:rendered_words/train[:10%]", Spec("tfds", "rendered_words/train[:10%]")),
        ("tsv:folder with blanks/a,b=c", Spec("tsv", "folder with blanks/a,b=c")),
        # Drive letters have a colon of their own; a regex may hold commas, colons and '='.
        (r"tsv:C:\data\labels.tsv::limit=3", Spec("tsv", r"C:\data\labels.tsv", limit=3)),
        (
            "tsv:d::group=^(?:a{1,3}|b=),rows=1:2",
            Spec("tsv", "d", rows=(1, 2), group="^(?:a{1,3}|b=)"),
        ),
        (r"tsv:d::group=\w+::x*, y", Spec("tsv", "d", group=r"\w+::x*, y")),
    ],
)
def test_parse_and_write_back(text, expected):
    assert parse_spec(text) == expected
    assert parse_spec(str(expected)) == expected


def test_the_written_form():
    spec = Spec("tsv", "d", rows=(0, 9), split=(0.0, 90.0), group="^x", limit=4, name="n")
    assert str(spec) == "tsv:d::rows=0:9,split=0:90,group=^x,limit=4,name=n"
    assert str(Spec("tsv", "d", split=(0.1, 33.333333333333336))) == (
        "tsv:d::split=0.1:33.333333333333336"
    )
    assert str(parse_spec("  names:d  ")) == "names:d"
    assert hash(spec) == hash(parse_spec(str(spec)))


def test_examples_in_messages_are_valid():
    for kind, example in KINDS.items():
        assert parse_spec(example).kind == kind
    for option, example in OPTIONS.items():
        kind = OWNERS.get(option, ("synth",))[0]
        spec = parse_spec(f"{kind}:scene::{example}")
        assert getattr(spec, option) is not None
        assert str(spec).endswith(f"::{example}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words/labels.tsv", "'words/labels.tsv' is not the SPEC of an image set: write kind:loc"),
        ("", "'' is not the SPEC"),
        ("tvs:words", "unknown kind of image set 'tvs': did you mean 'tsv'.*given 'tvs:words'"),
        (r"C:\data", "unknown kind of image set 'C'.*for example tsv:words/labels.tsv"),
        ("tsv:", "tsv: needs a location without '::', given ''"),
        ("tsv:::rows=0:1", "tsv: needs a location"),
        ("tsv:d::", "'' in 'tsv:d::' is not an option: write NAME=VALUE, NAME one of rows, split"),
        ("tsv:d::rows", "'rows' in 'tsv:d::rows' is not an option"),
        ("tsv:d::row=0:1", "unknown option 'row': did you mean 'rows'.*for example ::split=0:90"),
        ("tsv:d::limit=1,limit=2", "option limit= is given twice in 'tsv:d::limit=1,limit=2'"),
        ("tsv:d::rows=5", "rows=5 is not two whole numbers joined by ':': for example rows=0:640"),
        ("tsv:d::rows=a:b", "rows=a:b is not two whole numbers"),
        ("tsv:d::rows=0:1.5", "rows=0:1.5 is not two whole numbers"),
        ("tsv:d::rows=5:5", "rows=5:5 is not FIRST:STOP with 0 <= FIRST < STOP"),
        ("tsv:d::rows=-2:5", "rows=-2:5 is not FIRST:STOP"),
        ("tsv:d::split=0", "split=0 is not two numbers joined by ':': for example split=0:90"),
        ("tsv:d::split=90:0", "split=90:0 is not LOW:HIGH percent, 0 <= LOW < HIGH <= 100"),
        ("tsv:d::split=0:101", "split=0:101 is not LOW:HIGH"),
        ("tsv:d::split=nan:50", "split=nan:50 is not LOW:HIGH"),
        ("tsv:d::limit=0", "limit=0 is not a count of at least 1"),
        ("tsv:d::limit=many", "limit=many is not a whole number: for example limit=100"),
        ("tsv:d::group=(a", r"group=\(a is not a regular expression \(missing \).*group=\^\[\^_\]"),
        ("tsv:d::group=", "group= is not some printable text"),
        ("tsv:d::name=a\nb", r"name='a\\nb' is not some printable text"),
        ("tsv:d+tsv:e", r"write blanks around the '\+' before 'tsv:'"),
    ],
)
def test_mistakes_are_told_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as error:
        parse_spec(text)
    assert "\n" not in str(error.value)


def test_a_spec_made_in_code_is_checked_too():
    with pytest.raises(UserError, match="unknown kind of image set 'xlsx'"):
        Spec("xlsx", "d")
    with pytest.raises(UserError, match="limit=-1 is not a count"):
        Spec("tsv", "d", limit=-1)
    # It would not read the same when it is written and parsed again.
    with pytest.raises(UserError, match="write the comma"):
        Spec("tsv", "d", group="a,b=c")
    assert parse_spec("tsv:d::group=a[,]b=c").group == "a[,]b=c"
    with pytest.raises(UserError, match="location without '::'"):
        Spec("tsv", "d::e")


def test_mixtures():
    assert parse_mixture("tsv:a") == [(None, Spec("tsv", "a"))]
    assert parse_sets("tsv:a + names:b", "--data") == [Spec("tsv", "a"), Spec("names", "b")]
    assert parse_sets(" ", "--data") == []
    with pytest.raises(UserError, match=r"config.data.eval=0.5\*tsv:a: every row is taken once"):
        parse_sets("0.5*tsv:a", "config.data.eval")
    assert parse_mixture("0.7*tfds:rendered_words/train + 3 * tsv:b::split=0:90,group=a*") == [
        (0.7, Spec("tfds", "rendered_words/train")),
        (3.0, Spec("tsv", "b", split=(0.0, 90.0), group="a*")),
    ]
    assert parse_mixture("tsv:a +\n    names:b::limit=2 + tsv:c") == [
        (None, Spec("tsv", "a")),
        (None, Spec("names", "b", limit=2)),
        (None, Spec("tsv", "c")),
    ]
    # A '+' that no SPEC follows belongs to the location or the regex; so does a later star.
    assert parse_mixture("tsv:R + D/labels.tsv::group=^a+ + tsv:x*y") == [
        (None, Spec("tsv", "R + D/labels.tsv", group="^a+")),
        (None, Spec("tsv", "x*y")),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "no image set given: write kind:location"),
        ("0.5*tsv:a + tsv:b", r"'tsv:b' has no weight but others have: .*as in '0.5\*tsv:b'"),
        ("tsv:a + 0.5*tsv:b", "'tsv:a' has no weight"),
        ("0*tsv:a", "'0' in '0[*]tsv:a' is not a weight: write a number above 0"),
        ("-1*tsv:a + 1*tsv:b", "'-1' in .* is not a weight"),
        ("inf*tsv:a", "'inf' in .* is not a weight"),
        ("half*tsv:a", "'half' in .* is not a weight"),
        ("tsv:a + tvs:b", "unknown kind of image set 'tvs': did you mean 'tsv'"),
        ("tsv:a + ", "a SPEC is missing beside a '[+]'"),
        ("+ tsv:a", "a SPEC is missing beside a '[+]'"),
        ("tsv:a + + tsv:b", "a SPEC is missing beside a '[+]'"),
        ("tsv:a+0.5*names:b", "write blanks around the '[+]' before '0.5[*]names:'"),
    ],
)
def test_mistakes_in_mixtures(text, message):
    with pytest.raises(UserError, match=message) as error:
        parse_mixture(text)
    assert "\n" not in str(error.value)


def test_parsing_needs_no_heavy_import():
    code = (
        "import sys, crnn_jax.data.spec, crnn_jax.data.images, crnn_jax.data.sources;"
        "heavy = {'jax', 'tensorflow_datasets', 'grain', 'matplotlib'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
