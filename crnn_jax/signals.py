"""SIGINT and SIGTERM as a request to stop at the next step."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class StopSignal:
    """While entered, remembers a stop signal instead of dying of it; a second one dies at once.

    `requested` is the name of the signal, or "" while none has come. Outside the main thread, where
    Python allows no handlers, it does nothing.
    """

    def __init__(self):
        self.requested = ""
        self._previous: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()
