"""What people see of time."""

from __future__ import annotations

import pytest

from crnn_jax.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (904.0, "15:04"), (8104.0, "2:15:04")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
