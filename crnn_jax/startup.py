"""What has to be settled before the first program is compiled, and what compiling costs."""

from __future__ import annotations

import os
from typing import Any

from crnn_jax import files
from crnn_jax.errors import UserError

_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
_COMPILED = "/jax/core/compile/backend_compile_duration"  # an event of `jax.monitoring`
_totals = {"programs": 0, "seconds": 0.0}


def keep_programs() -> None:
    """Keeps compiled programs on disk, for every later process; call it before jax is imported.

    They lie in `compiled` of the cache folder, or where $JAX_COMPILATION_CACHE_DIR says.
    """
    folder = files.default_cache_dir() / "compiled"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))


def settle(config: Any) -> None:
    """Sets what a config asks of the compiler; call it before anything is compiled."""
    flags = os.environ.get("XLA_FLAGS", "")
    if config.deterministic and _DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}".strip()


def check(config: Any) -> None:
    """Raises a UserError on a GPU for a config whose wish `settle` was not told in time."""
    import jax

    asked = _DETERMINISTIC in os.environ.get("XLA_FLAGS", "")
    if config.deterministic and not asked and jax.default_backend() == "gpu":
        raise UserError(
            "config.deterministic is True, and the compiler was not told: python -m crnn_jax.main "
            f"does so; from Python, set XLA_FLAGS={_DETERMINISTIC} before jax is first used"
        )


class Compilations:
    """Counts the programs that are compiled, or read from the cache, from now on."""

    def __init__(self):
        _listen()
        self._programs, self._seconds = _totals["programs"], _totals["seconds"]

    @property
    def programs(self) -> int:
        """How many."""
        return int(_totals["programs"] - self._programs)

    @property
    def seconds(self) -> float:
        """The time that took."""
        return _totals["seconds"] - self._seconds


def _listen() -> None:
    import jax

    if "listening" not in _totals:
        _totals["listening"] = True
        jax.monitoring.register_event_duration_secs_listener(_heard)


def _heard(event: str, duration_secs: float, **_: Any) -> None:
    if event == _COMPILED:
        _totals["programs"] += 1
        _totals["seconds"] += duration_secs


class Trace:
    """Records what devices and host do in some steps, for a viewer of profiles."""

    def __init__(self, folder: Any, first: int, steps: int):
        """Args:
        folder: to write into.
        first: step after which the recording begins.
        steps: how many are recorded; 0 for none.
        """
        self._folder, self._first, self._last = folder, first, first + steps
        self._running = False

    def after(self, step: int, sums: Any) -> None:
        """Begins or ends the recording, after a step whose sums are given."""
        import jax

        if self._running and step >= self._last:
            jax.block_until_ready(sums)
            self.close()
        elif self._first <= step < self._last and not self._running:
            jax.block_until_ready(sums)
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def close(self) -> None:
        """Ends a recording that runs, and writes it."""
        if self._running:
            import jax

            jax.profiler.stop_trace()
            self._running = False
