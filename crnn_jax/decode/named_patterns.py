"""Patterns by name: what meters, forms, receipts and plates are full of.

They say what is well-formed, not what is true: no check digits, no leap years. ASCII digits only,
since those of other scripts would not be mixed with them. Spaces and hyphens that people leave out
may be missing.
"""

from __future__ import annotations

_GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+"  # 1,234,567
_GROUPED_DOTS = r"[0-9]{1,3}(?:\.[0-9]{3})+"
_GROUPED_SPACES = r"[0-9]{1,3}(?: [0-9]{3})+"
_AMOUNT = (
    rf"(?:(?:{_GROUPED}|[0-9]+)\.[0-9]{{2}}"
    rf"|(?:{_GROUPED_DOTS}|{_GROUPED_SPACES}|[0-9]+),[0-9]{{2}})"
)
_DAY, _MONTH = r"(?:0?[1-9]|[12][0-9]|3[01])", r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:[0-9]{2}|[12][0-9]{3})"
# Months of 31, of 30 and of 29 days.
_MONTH_AND_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|[12][0-9]))"
)
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_DATE_ISO = rf"[0-9]{{4}}-{_MONTH_AND_DAY}"


def _dates(first: str, second: str) -> str:
    """Returns dates with one kind of separator; dots may be followed by a space."""
    return "|".join(
        rf"{first}{separator}{second}{separator}{_YEAR}" for separator in ("/", "-", r"\. ?")
    )


PATTERNS: dict[str, str] = {
    # Whole numbers, with a sign or without: meters, counters.
    "integer": r"[-+]?[0-9]+",
    # The same with a fraction, behind a point or a comma.
    "decimal": r"[-+]?[0-9]+(?:[.,][0-9]+)?",
    # Money with two decimals, thousands grouped or not, in either style; one sign of a currency.
    "amount": rf"-?(?:[$£€¥] ?)?{_AMOUNT}(?: ?[$£€¥])?",
    "percent": r"[-+]?[0-9]+(?:[.,][0-9]+)? ?%",
    # Year, month and day of ISO 8601 with its hyphens.
    "date_iso": _DATE_ISO,
    # Day first, as in most of the world; year of two or four digits.
    "date_dmy": _dates(_DAY, _MONTH),
    # Month first, as in the United States.
    "date_mdy": _dates(_MONTH, _DAY),
    # Any of the three above.
    "date": f"{_DATE_ISO}|{_dates(_DAY, _MONTH)}|{_dates(_MONTH, _DAY)}",
    # Of 24 hours, or of 12 with AM or PM; seconds or none.
    "time": (
        r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?"
        r"|(?:0?[1-9]|1[0-2]):[0-5][0-9](?::[0-5][0-9])? ?[AaPp][Mm]"
    ),
    # Germany: district, one or two letters, a number without leading zeros, E (electric) or
    # H (historic). That all this has at most eight characters is not asked for.
    "plate_de": r"[A-ZÄÖÜ]{1,3}[- ]?[A-Z]{1,2}[- ]?[1-9][0-9]{0,3}[EH]?",
    # Great Britain since 2001: no I, Q, Z in the area, no I, Q in the last three letters.
    "plate_gb": r"[A-HJ-PR-Y]{2}[0-9]{2} ?[A-HJ-PR-Z]{3}",
    # International telephone number of ITU-T E.164: at most 15 digits, here without grouping.
    "phone_e164": r"\+[1-9][0-9]{1,14}",
    # International bank account number of ISO 13616, in groups of four or in one piece.
    "iban": r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?",
    # Vehicle identification number of ISO 3779: no I, O, Q.
    "vin": r"[A-HJ-NPR-Z0-9]{17}",
    # Freight container of ISO 6346: owner, U, J or Z, serial number, check digit.
    "container": r"[A-Z]{3}[UJZ] ?[0-9]{6}[- ]?[0-9]",
    # Four decimal bytes.
    "ipv4": rf"(?:{_BYTE}\.){{3}}{_BYTE}",
}
