"""A process under watch: its time per input, its memory, and how it ends."""

from __future__ import annotations

import json
import os
import pathlib
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_CHILD = pathlib.Path(__file__).parent / "fuzz_child.py"
_GLANCE = 0.1  # seconds between two looks at the process
_IDLE = 20  # seconds without any work after which a process is taken to wait for ever
_START = 600  # seconds of work to load and compile
_COMPILING = 60  # seconds of work on one input that may be compiling


class Limits(NamedTuple):
    """What an input may cost.

    Attributes:
      seconds: of the processor's time, which other programs do not lengthen, without what is
        compiled once; waiting for nothing is found by itself.
      megabytes: that the process may hold, all that it loaded included.
    """

    seconds: float = 5.0
    megabytes: float = 2048.0


class Event(NamedTuple):
    """What became of an input: "read", "refused" or "failed", and what was told."""

    number: int
    kind: str
    outcome: str
    told: str
    seconds: float
    megabytes: float


class Process:
    """A process whose lines are waited for no longer than a time."""

    def __init__(self, argv: Sequence[str], errors: pathlib.Path):
        self._errors = open(errors, "ab")  # noqa: SIM115  closed below
        self._process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=self._errors, stdin=subprocess.DEVNULL
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._rest, self._lines = b"", []
        self.most = 0.0  # megabytes, since the last `forget_peak`

    def line(self, seconds: float, megabytes: float) -> bytes | None:
        """Returns the next line; None at the end.

        Raises:
          TimeoutError: no line came in that time of work, or the process waits for something.
          MemoryError: the process holds too much.
        """
        start = worked = self.work()
        since = time.monotonic()
        while not self._lines:
            self.look()
            if self.most > megabytes:
                raise MemoryError
            now, work = time.monotonic(), self.work()
            if work > worked:
                worked, since = work, now
            if work - start > seconds or now - since > _IDLE:
                raise TimeoutError
            if self._selector.select(_GLANCE):
                data = os.read(self._process.stdout.fileno(), 1 << 16)
                if not data:
                    return None
                *self._lines, self._rest = (self._rest + data).split(b"\n")
        return self._lines.pop(0)

    def work(self) -> float:
        """Returns the processor's seconds that the process has had."""
        try:
            text = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:  # it has ended
            return 0.0
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def look(self) -> None:
        """Sees how much memory the process has held at most."""
        try:
            text = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:  # it has ended
            return
        found = [line.split()[1] for line in text.splitlines() if line.startswith("VmHWM")]
        self.most = max(self.most, *(int(kilobytes) / 1024 for kilobytes in found), 0.0)

    def forget_peak(self) -> None:
        """Lets the peak begin anew, which the system keeps since the last time."""
        self.most = 0.0
        try:
            pathlib.Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        except OSError:  # it has ended
            return

    def end(self) -> int:
        """Kills the process where it still runs; returns its exit code."""
        if self._process.poll() is None:
            try:
                self._process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                self._process.kill()
        code = self._process.wait()
        self._process.stdout.close()
        self._selector.close()
        self._errors.close()
        return code


def watched(
    target: str, folder: pathlib.Path, seed: int, numbers: range, limits: Limits
) -> Iterator[Event]:
    """Yields what becomes of each input; a process that hangs or dies is followed by another."""
    number = numbers.start
    while number < numbers.stop:
        argv = [sys.executable, "-X", "faulthandler", str(_CHILD), target, str(folder), str(seed)]
        process = Process([*argv, str(number), str(numbers.stop)], folder / "stderr.txt")
        try:
            yield from _inputs(process, number, numbers.stop, limits)
            return
        except _EndedError as ended:
            if not ended.begun:  # before an input, so it is not the input's fault
                notes = (folder / "stderr.txt").read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"{target}: {ended.event.told}\n{notes}") from None
            number = ended.event.number + 1
            yield ended.event
        finally:
            process.end()


class _EndedError(Exception):
    """The process has ended, or had to be ended, with an input."""

    def __init__(self, event: Event, begun: bool = True):
        super().__init__(event)
        self.event, self.begun = event, begun


def _inputs(process: Process, first: int, stop: int, limits: Limits) -> Iterator[Event]:
    number, kind, begun = first - 1, "start", False

    def line(seconds: float) -> dict[str, Any]:
        # Twice as much as is allowed is no longer waited for; compiling takes its own time.
        try:
            text = process.line(seconds, 2 * limits.megabytes)
        except (TimeoutError, MemoryError) as error:
            told = "hangs" if isinstance(error, TimeoutError) else "takes too much memory"
        else:
            if text is not None:
                return json.loads(text)
            told = f"ends the process with code {process.end()}"
        raise _EndedError(Event(number, kind, "failed", told, seconds, process.most), begun)

    line(_START)
    while number < stop - 1:
        begun, told = False, line(_COMPILING)
        number, kind, begun = told["begin"], told["kind"], True
        process.forget_peak()
        done = line(limits.seconds + _COMPILING)
        process.look()
        event = Event(number, kind, done["outcome"], done["told"], done["seconds"], process.most)
        if event.outcome != "failed" and event.seconds > limits.seconds:
            event = event._replace(outcome="failed", told=f"takes {event.seconds} s")
        if event.outcome != "failed" and event.megabytes > limits.megabytes:
            # A process keeps what it had: all that follow would seem to take as much.
            told = f"takes {event.megabytes:.0f} MB"
            raise _EndedError(event._replace(outcome="failed", told=told))
        yield event
