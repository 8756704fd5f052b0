"""What texts there are besides words: named patterns, and punctuation around words."""

from __future__ import annotations

from collections.abc import Callable

# In the order of the tables: words, if any, come first.
KINDS = ("words", "random", "numbers", "prices", "dates", "codes", "patterns")
LONGEST_RANDOM = 12

_YEAR = r"(?:19\d\d|20[0-3]\d)"
_MONTHS = (
    ("January", "March", "May", "July", "August", "October", "December"),  # of 31 days
    ("April", "June", "September", "November"),
    ("February",),
)


def _days_and_months(day: str, separator: str, month: Callable[[int], str], day_first: bool) -> str:
    """Returns a pattern of the days that exist in every year.

    Args:
      day: pattern of what precedes single digits, "0" or nothing.
      month: pattern of the months of 31 (0), 30 (1) or 28 days (2).
    """
    spans = (
        rf"(?:{day}[1-9]|[12]\d|3[01])",
        rf"(?:{day}[1-9]|[12]\d|30)",
        rf"(?:{day}[1-9]|1\d|2[0-8])",
    )
    pairs = [(span, month(i)) if day_first else (month(i), span) for i, span in enumerate(spans)]
    return "(?:" + "|".join(f"{first}{separator}{second}" for first, second in pairs) + ")"


def _numeric(separator: str, day_first: bool = True, zero: str = "0") -> str:
    months = (f"(?:{zero}[13578]|1[02])", f"(?:{zero}[469]|11)", f"{zero}2")
    return _days_and_months(zero, separator, months.__getitem__, day_first)


def _named(separator: str, change: Callable[[str], str], day_first: bool = True) -> str:
    def months(i: int) -> str:
        return "(?:" + "|".join(change(name) for name in _MONTHS[i]) + ")"

    return _days_and_months("", separator, months, day_first)


def _short(name: str) -> str:
    return name[:3]


_ANY_MONTH = "(?:" + "|".join(sorted({n for names in _MONTHS for n in names})) + ")"
_SHORT_MONTH = "(?:" + "|".join(sorted({n[:3] for names in _MONTHS for n in names})) + ")"
_GROUPED = r"[1-9]\d{0,2}(?:,\d{3}){1,2}"
_GROUPED_DOTS = r"[1-9]\d{0,2}(?:\.\d{3}){1,2}"
_AMOUNT = r"(?:0|[1-9]\d{0,3})"
_SYLLABLE = "[bcdfghjklmnprstvwz][aeiou]"
_DOMAIN = rf"(?:{_SYLLABLE}){{2,4}}[lmnrst]?\.(?:com|org|net|info|eu|co\.uk|de|io)"

# Kind -> patterns, equally likely; those that no allowed character can write fall out.
NAMED: dict[str, tuple[str, ...]] = {
    "numbers": (
        r"0|[1-9]\d{0,7}",
        r"[1-9]\d{0,2}",
        _GROUPED,
        r"[-+]?(?:0|[1-9]\d{0,3})\.\d{1,3}",
        r"-[1-9]\d{0,3}(?:\.\d)?",
        r"(?:100|[1-9]?\d)(?:\.\d)? ?%",
        r"(?:[2-9]?1st|[2-9]?2nd|[2-9]?3rd|[1-9]?[04-9]th|1[1-3]th)",
        r"#[1-9]\d{0,4}",
        r"[1-9]\d?/[1-9]\d?",
        r"[1-9]\d{0,3} ?(?:km|kg|mm|cm|m|g|ml|mg|lb|oz|ft|mph|kW|GB|MB)",
    ),
    "prices": (
        rf"[$£€¥]{_AMOUNT}\.\d\d",
        rf"[$£€¥]{_GROUPED}(?:\.\d\d)?",
        r"[$£€¥][1-9]\d{0,3}",
        rf"{_AMOUNT}\.\d\d",
        rf"{_GROUPED}\.\d\d",
        rf"{_AMOUNT},\d\d ?€",
        rf"{_GROUPED_DOTS},\d\d ?€",
        rf"(?:USD|EUR|GBP|CHF) ?{_AMOUNT}(?:\.\d\d)?",
        r"[1-9]\d?[¢p]",
        r"[1-9]\d{0,2}\.-",
    ),
    "dates": (
        rf"{_numeric('/')}/{_YEAR}",
        rf"{_numeric('/', day_first=False)}/{_YEAR}",
        rf"{_numeric('/', zero='')}/\d\d",
        rf"{_YEAR}-{_numeric('-', day_first=False)}",
        rf"{_numeric('[.]')}\.{_YEAR}",
        rf"{_numeric('[.]', zero='')}\.\d\d",
        rf"{_named(' ', _short)} {_YEAR}",
        rf"{_named(' ', str)} {_YEAR}",
        rf"{_named(' ', _short, day_first=False)}, {_YEAR}",
        rf"{_named(' ', str, day_first=False)}, {_YEAR}",
        _named("-", lambda name: name[:3].upper()) + rf"-{_YEAR}",
        _named("", lambda name: name[:3].upper()) + r"\d\d",
        rf"{_named(' ', _short)}",
        rf"(?:{_ANY_MONTH}|{_SHORT_MONTH}) {_YEAR}",
        _YEAR,
        rf"{_YEAR}{_numeric('', day_first=False)}",
        rf"(?:0[1-9]|1[0-2])/(?:{_YEAR}|[0-3]\d)",
    ),
    "codes": (
        r"[A-Z]{2}\d{2} ?[A-Z]{3}",  # plates
        r"[A-Z]{3}[- ]?\d{3,4}",
        r"\d[A-Z]{3}\d{3}",
        r"[A-Z]{1,3}[- ][A-Z]{1,2} ?[1-9]\d{0,3}",
        r"[A-Z]{2,4}-\d{3,6}",  # part and order numbers
        r"[A-Z]{1,2}\d{2,5}[A-Z]?",
        r"\d{2,4}-\d{3,4}-\d{2,4}",
        r"[A-Z\d]{4}(?:-[A-Z\d]{4}){1,3}",
        r"[A-Z]\d{3}[A-Z\d]{2,6}",
        r"\d{5,13}",
        r"[A-HJ-NPR-Z\d]{17}",
        r"v?\d{1,2}\.\d{1,2}(?:\.\d{1,2})?",
        r"[\da-f]{6,12}",
        r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?",  # times
        r"(?:1[0-2]|[1-9])(?::[0-5]\d)? ?(?:am|pm|AM|PM)",
        r"\(\d{3}\) \d{3}-\d{4}",  # telephones
        r"\d{3}[-.]\d{3}[-.]\d{4}",
        r"\+[1-9]\d? \d{2,3} \d{3} \d{4}",
        r"0\d{2,4}[ /-]\d{5,7}",
        r"1-800-\d{3}-\d{4}",
        r"[A-Z]{1,2}\d{1,2} \d[A-Z]{2}",  # post codes, flights, rooms, sizes
        r"\d{5}(?:-\d{4})?",
        r"[A-Z]{2} ?[1-9]\d{2,3}",
        r"[A-Z]?[1-9]\d{0,2}[A-Za-z]?",
        r"[1-9]\d{1,2} ?x ?[1-9]\d{1,2}",
        rf"(?:www\.)?{_DOMAIN}",
        rf"[a-z]\.(?:{_SYLLABLE}){{2,3}}@{_DOMAIN}|(?:{_SYLLABLE}){{2,4}}\d{{0,2}}@{_DOMAIN}",
    ),
}

# Before and after a word, and how often relative to one another.
MARKS = (
    ("", ",", 6),
    ("", ".", 6),
    ("", "!", 3),
    ("", "?", 2),
    ("", ":", 3),
    ("", ";", 1),
    ('"', '"', 3),
    ("'", "'", 2),
    ("(", ")", 3),
    ("[", "]", 1),
    ("“", "”", 2),
    ("‘", "’", 1),
    ("„", "“", 1),
    ("«", "»", 1),
    ("", '"', 1),
    ('"', "", 1),
    ("", ")", 1),
    ("(", "", 1),
)
ENDINGS = (",", ".", "!", "?", ":", ";")  # at the left of words that run from right to left
