"""What decoders find."""

from __future__ import annotations

from typing import NamedTuple


class Candidate(NamedTuple):
    """A reading of an image and log p(text | image) by the CTC forward score."""

    text: str
    log_probability: float
