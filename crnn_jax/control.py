"""What a run decides from its own course: slower on a plateau, an early end, a roll-back.

All that a decision depends on is in the state, so that a resumed run decides the same.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax.step import TrainState

ROLL_BACK_FACTOR = 0.5  # of the learning rate, after a roll-back


def judge(state: TrainState, score: float | None, config: Any) -> TrainState:
    """Returns the state after an evaluation: best score, evaluations since, perhaps a lower rate.

    Args:
      state: before it.
      score: on the first validation set, higher is better; None when no row could be scored.
      config: of the run (`schedule`, `plateau_patience`, `plateau_factor`).
    """
    if score is None:
        return state
    score = float(jnp.float32(score))  # as the best one is kept: the same again is not better
    best, stale, rate = map(float, jax.device_get((state.best, state.stale, state.rate)))
    better = score > best
    stale = 0 if better else stale + 1
    if config.schedule == "plateau" and stale and stale % config.plateau_patience == 0:
        rate *= config.plateau_factor
    return state.replace(
        best=jnp.float32(max(score, best)), stale=jnp.int32(stale), rate=jnp.float32(rate)
    )


def exhausted(state: TrainState, config: Any) -> bool:
    """Returns whether the run ends early: `stop_patience` evaluations brought nothing better."""
    return 0 < config.stop_patience <= int(state.stale)


def early_end(step: int, config: Any) -> str:
    """Says why a run ended before its last step."""
    return (
        f"ended at step {step}: the score has not risen in {config.stop_patience} evaluations "
        "(config.stop_patience)"
    )


def warning(step: int, good: int, config: Any) -> str:
    """Says that the run goes back to its last good checkpoint."""
    return (
        f"step {step}: the gradients of {config.most_skipped} steps in a row or more were not "
        f"finite; going on from step {good} with {ROLL_BACK_FACTOR:g} times the learning rate"
    )


def report(step: int, good: int, config: Any) -> str:
    """Says why a run was given up, and what to do."""
    kept = f"the checkpoint of step {good} is good" if good else "there is no checkpoint yet"
    return (
        f"stopped at step {step}: the gradients of {config.most_skipped} steps in a row or more "
        f"were not finite, again, after a roll-back; {kept}. Start in another "
        "--workdir with a lower config.optimizer.learning_rate, a longer warm-up or a lower "
        "config.clip_norm"
    )


def remember(state: TrainState, before: TrainState) -> TrainState:
    """Returns a restored state with the roll-backs since it was saved, and their learning rate."""
    if int(before.rollbacks) <= int(state.rollbacks):
        return state
    rate = jnp.minimum(state.rate, before.rate)
    return state.replace(rate=rate, rollbacks=jnp.asarray(before.rollbacks))


def roll_back(state: TrainState) -> TrainState:
    """Returns a restored state that goes on with a lower learning rate."""
    return state.replace(
        rate=state.rate * ROLL_BACK_FACTOR, rollbacks=state.rollbacks + 1, streak=jnp.int32(0)
    )
