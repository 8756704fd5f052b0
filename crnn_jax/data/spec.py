"""SPEC, the one way to name an image set on the command line and in a config.

    kind:location[::option=value,option=value]        tsv:words/labels.tsv::split=0:90,group=^[^_]+
    [weight*]SPEC + [weight*]SPEC ...                 0.7*tfds:rendered_words/train + 0.3*tsv:words

Options: `rows=0:640` (contiguous, in order), `split=0:90` (percent by a hash of the row's group),
`group=REGEX` (searched in the row's key: its first capture group, or else the whole match, names
the row's group, and a group never straddles a split), `limit=N`, `name=NAME`, `order=picture`
(labels of right-to-left text that are written from left to right). They apply in this order: rows,
split, limit; of `synth:` the limit is what there is at all. Options of some kinds alone: `OWNERS`.
A location of files may hold the wildcards `*`, `?` and `**` (folders of any depth): what matches is
read as one set.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from crnn_jax.errors import UserError, unknown_name

# Kinds of image sets, each with an example; `sources.SOURCES` holds what opens them.
KINDS: dict[str, str] = {
    "tsv": "tsv:words/labels.tsv",
    "csv": "csv:words.csv::image=file,text=label",
    "jsonl": "jsonl:words.jsonl::image=file,text=label",
    "doctr": "doctr:words/labels.json",
    "paddle": "paddle:rec_gt_train.txt::root=train_data",
    "pairs": "pairs:lines/**",
    "names": "names:captcha::rows=0:640",
    "icdar": "icdar:Challenge2_Test_Task3_GT.txt::root=Challenge2_Test_Task3_Images",
    "lmdb": "lmdb:training/MJ",
    "iiit5k": "iiit5k:IIIT5K::part=test",
    "svt": "svt:svt1::part=test",
    "icdar03": "icdar03:SceneTrialTest",
    "mjsynth": "mjsynth:mnt/ramdisk/max/90kDICT32px::part=train",
    "parquet": "parquet:data/train-*.parquet::image=image,text=text",
    "tfds": "tfds:rendered_words/train",
    "synth": "synth:scene::seed=1,limit=1000",
    "bank": "bank:words.npz",
}

# Kinds whose rows are put on, or drawn by, the device when they are trained on.
ON_DEVICE = ("synth", "bank")

# Options, each with an example; this is also the order in which `str(spec)` writes them.
OPTIONS: dict[str, str] = {
    "rows": "rows=0:640",
    "split": "split=0:90",
    "group": "group=^[^_]+",
    "limit": "limit=100",
    "name": "name=captcha",
    "order": "order=picture",
    "seed": "seed=1",
    "charset": "charset=alnum62",
    "languages": "languages=german|french",
    "image": "image=file",
    "text": "text=label",
    "root": "root=photos",
    "strip": "strip=_[0-9]+$",
    "part": "part=train",
    "lexicon": "lexicon=small",
}
# How labels are written: as they are read, or as right-to-left text stands in the picture.
ORDERS = ("reading", "picture")
# Options that belong to some kinds alone, with what they say.
OWNERS: dict[str, tuple[str, ...]] = {
    "seed": ("synth",),
    "charset": ("synth",),
    "languages": ("synth",),  # of the words, as config.synth.languages
    "image": ("csv", "jsonl", "parquet"),  # column or field of the image
    "text": ("csv", "jsonl", "parquet"),  # column or field of the label
    "root": ("csv", "jsonl", "doctr", "paddle", "icdar"),  # folder that image paths begin at
    "strip": ("names",),  # regular expression; what it finds in a name is no part of the label
    "part": ("mjsynth", "iiit5k", "svt"),  # train or test; val of mjsynth
    "lexicon": ("iiit5k",),  # small (50 words a row) or medium (1,000)
}

_OPTION = re.compile(r"(\w+)=")
_NEXT_OPTION = re.compile(r",(?=\w+=)")  # a comma within a regex or a name is not followed by this
_JOIN = re.compile(r"\s+\+\s+(?=(?:[^\s:*]+\s*\*\s*)?[A-Za-z]\w*:)")
_UNSPACED_JOIN = re.compile(r"\+\s*(?:[\d.]+\*)?(?:" + "|".join(KINDS) + "):")


@dataclass(frozen=True)
class Spec:
    """One parsed SPEC; `str(spec)` writes it back.

    Attributes:
      kind: a key of `KINDS`.
      location: path or name, in the form that the kind asks for.
      rows: first row and the row after the last one, counted from 0; all rows when None.
      split: percent of the hash range of the rows' groups, [low, high).
      group: regular expression that finds a row's group in its key; the key itself when None.
      limit: at most that many rows, the first ones.
      name: the set's name in tables; the folder that holds the data when None.
      order: that labels stand in, see `ORDERS`; that of reading when None.
      seed, charset, languages, image, text, root, strip, part, lexicon: see `OWNERS`.
    """

    kind: str
    location: str
    rows: tuple[int, int] | None = None
    split: tuple[float, float] | None = None
    group: str | None = None
    limit: int | None = None
    name: str | None = None
    order: str | None = None
    seed: int | None = None
    charset: str | None = None
    languages: str | None = None
    image: str | None = None
    text: str | None = None
    root: str | None = None
    strip: str | None = None
    part: str | None = None
    lexicon: str | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"{unknown_name('kind of image set', self.kind, KINDS)}; {_form()}")
        if not self.location or self.location != self.location.strip() or "::" in self.location:
            raise UserError(
                f"{self.kind}: needs a location without '::', given {self.location!r}; "
                f"for example {KINDS[self.kind]}"
            )
        if self.rows is not None and not 0 <= self.rows[0] < self.rows[1]:
            raise _bad_option("rows", _range_text(self.rows), "FIRST:STOP with 0 <= FIRST < STOP")
        if self.split is not None and not 0 <= self.split[0] < self.split[1] <= 100:
            raise _bad_option(
                "split", _range_text(self.split), "LOW:HIGH percent, 0 <= LOW < HIGH <= 100"
            )
        if self.limit is not None and self.limit < 1:
            raise _bad_option("limit", str(self.limit), "a count of at least 1")
        for option in ("group", "strip"):
            if (value := getattr(self, option)) is not None:
                _check_text(option, value)
                try:
                    re.compile(value)
                except re.error as error:
                    raise _bad_option(
                        option, value, f"a regular expression ({error} in this one)"
                    ) from None
        for option in ("name", "charset", "languages", "image", "text", "root", "part", "lexicon"):
            if (value := getattr(self, option)) is not None:
                _check_text(option, value)
        if self.order is not None and self.order not in ORDERS:
            raise unknown_name("order of labels (order=)", self.order, ORDERS)
        for option, kinds in OWNERS.items():
            if self.kind not in kinds and getattr(self, option) is not None:
                raise UserError(
                    f"{option}= in a SPEC of {self.kind}: belongs to {', '.join(kinds)}, as in "
                    f"{KINDS[kinds[0]].partition('::')[0]}::{OPTIONS[option]}: leave it out"
                )
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise _bad_option("seed", str(self.seed), f"a number from 0 to below {2**32}")

    def __str__(self) -> str:
        values = {option: getattr(self, option) for option in OPTIONS}
        for option in ("rows", "split"):
            if values[option] is not None:
                values[option] = _range_text(values[option])
        options = ",".join(f"{key}={v}" for key, v in values.items() if v is not None)
        return f"{self.kind}:{self.location}" + (f"::{options}" if options else "")


def parse_spec(text: str) -> Spec:
    """Parses one SPEC, `kind:location[::option=value,...]`.

    Raises:
      UserError: unknown kind or option (nearest name first), a value that does not parse.
    """
    kind, colon, rest = text.strip().partition(":")
    if not colon:
        raise UserError(f"{text!r} is not the SPEC of an image set: {_form()}")
    # The kind is checked first, here: a mistyped one should not hide behind another complaint.
    if kind not in KINDS:
        raise UserError(
            f"{unknown_name('kind of image set', kind, KINDS)}; given {text!r}; {_form()}"
        )
    location, mark, option_text = rest.partition("::")
    if joined := _UNSPACED_JOIN.search(location):
        raise UserError(
            f"in {text!r}, write blanks around the '+' before {joined.group()[1:]!r}: "
            "SPECs are joined by ' + '"
        )
    options: dict[str, str | None] = dict.fromkeys(OPTIONS)
    if mark:
        options |= _parse_options(option_text, text)
    values: dict[str, Any] = options | {
        "rows": _parse_range("rows", options["rows"], int),
        "split": _parse_range("split", options["split"], float),
        "limit": _parse_count("limit", options["limit"]),
        "seed": _parse_count("seed", options["seed"]),
    }
    return Spec(kind=kind, location=location.strip(), **values)


def parse_mixture(text: str) -> list[tuple[float | None, Spec]]:
    """Parses SPECs joined by ` + `, either all with a weight (`0.7*SPEC`) or none.

    Returns:
      (weight, spec) pairs in the order given; the weight is None where none is written. Weights
      are relative and need not sum to one.

    Raises:
      UserError: as `parse_spec`; weights on some SPECs only; a weight that is not above 0.
    """
    if not text.strip():
        raise UserError(f"no image set given: {_form()}")
    parts = [part.strip() for part in _JOIN.split(text)]
    for part in parts:
        if part.startswith("+") or part.endswith(" +") or part == "+":
            raise UserError(f"in {text!r} a SPEC is missing beside a '+'; {_form()}")
    pairs = [_parse_weighted(part) for part in parts]
    bare = [spec for weight, spec in pairs if weight is None]
    if bare and len(bare) < len(pairs):
        raise UserError(
            f"in {text!r}, '{bare[0]}' has no weight but others have: "
            f"weight all SPECs or none, as in '0.5*{bare[0]}'"
        )
    return pairs


def loaded_specs(text: str) -> list[Spec]:
    """Returns those SPECs of a mixture that files are read for; none of an empty text."""
    pairs = parse_mixture(text) if text else []
    return [spec for _, spec in pairs if spec.kind not in ON_DEVICE]


def parse_sets(text: str, where: str) -> list[Spec]:
    """Parses SPECs joined by ` + ` that are taken one after the other; none for an empty text.

    Args:
      text: of the SPECs.
      where: the option or key that it is of, for the message.

    Raises:
      UserError: as `parse_mixture`; weights, which only what is drawn from can have.
    """
    if not text.strip():
        return []
    pairs = parse_mixture(text)
    if any(weight is not None for weight, _ in pairs):
        raise UserError(
            f"{where}={text}: every row is taken once; leave the weights out, which are for "
            "config.data.train"
        )
    return [spec for _, spec in pairs]


def tfds_splits(split: str) -> list[str]:
    """Returns the names in a TFDS split, without their slices: `train[:80%]+test` has two."""
    return re.findall(r"\w+", re.sub(r"\[.*?\]", "", split))


def _parse_weighted(part: str) -> tuple[float | None, Spec]:
    prefix, star, rest = part.partition("*")
    if not star or ":" in prefix:  # a star after the kind belongs to the location or a regex
        return None, parse_spec(part)
    try:
        weight = float(prefix)
    except ValueError:
        weight = math.nan
    if not (0 < weight < math.inf):
        raise UserError(
            f"{prefix.strip()!r} in {part!r} is not a weight: write a number above 0, "
            f"as in '0.7*{KINDS['tsv']}'"
        )
    return weight, parse_spec(rest)


def _parse_options(option_text: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in _NEXT_OPTION.split(option_text):
        match = _OPTION.match(item)
        if match is None:
            raise UserError(
                f"{item!r} in {text!r} is not an option: write NAME=VALUE, "
                f"NAME one of {', '.join(OPTIONS)}, for example ::{OPTIONS['rows']}"
            )
        key = match.group(1)
        if key not in OPTIONS:
            error = unknown_name("option", key, OPTIONS)
            raise UserError(f"{error}; given {text!r}; for example ::{OPTIONS['split']}")
        if key in options:
            raise UserError(f"option {key}= is given twice in {text!r}: keep one")
        options[key] = item[match.end() :]
    return options


def _parse_range(option: str, value: str | None, number: type) -> tuple | None:
    if value is None:
        return None
    low, colon, high = value.partition(":")
    try:
        if not colon:
            raise ValueError
        return number(low), number(high)
    except ValueError:
        numbers = "two whole numbers" if number is int else "two numbers"
        raise _bad_option(option, value, f"{numbers} joined by ':'") from None


def _parse_count(option: str, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise _bad_option(option, value, "a whole number") from None


def _check_text(option: str, value: str) -> None:
    if not value or not value.isprintable() or value != value.strip():
        raise _bad_option(option, value, "some printable text without blanks around it")
    if _NEXT_OPTION.search(value):
        raise _bad_option(option, value, "text without ',word=' (in a regex, write the comma [,])")


def _bad_option(option: str, value: str, allowed: str) -> UserError:
    shown = value if value.isprintable() else repr(value)
    return UserError(f"{option}={shown} is not {allowed}: for example {OPTIONS[option]}")


def _range_text(bounds: tuple) -> str:
    return ":".join(str(int(x)) if math.isfinite(x) and x == int(x) else repr(x) for x in bounds)


def _form() -> str:
    return f"write kind:location[::option=value,...], for example {KINDS['tsv']}"
