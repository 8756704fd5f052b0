"""Several seeds in one run: replica r is the run that `config.seed + r` would be.

Replicas share the program and nothing else; each has a folder of its own, which is a run like any
other. How a program goes through them is chosen by what was measured, see
`benchmarks/replica_cost.py`.
"""

from __future__ import annotations

import copy
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from crnn_jax import files
from crnn_jax.checkpoint import restore_newest
from crnn_jax.errors import UserError
from crnn_jax.member import Member
from crnn_jax.models.ensemble import stack, unstack
from crnn_jax.parallel import Layout
from crnn_jax.progress import Pace
from crnn_jax.recognizer import Recognizer
from crnn_jax.step import TrainState
from crnn_jax.workdir import SUMMARY_FILE, Workdir, replica_folders

METHODS = ("auto", "unrolled", "vmap", "map")
_MOST_UNROLLED = 4


def check(config: ConfigDict, data: Any, devices: int) -> None:
    """Raises a UserError for what replicas cannot do."""
    count = config.replicas
    if count == 1:
        return
    if data.index is not None:
        raise UserError(
            f"config.replicas is {count}: replicas train on rendered text or a bank alone, and "
            "config.data.train has a set that the host loads; give one run per seed instead"
        )
    if config.stop_patience:
        raise UserError(
            f"config.replicas is {count} and config.stop_patience {config.stop_patience}: replicas "
            "end together; give config.stop_patience=0"
        )
    if jax.process_count() > 1:
        raise UserError(f"config.replicas is {count}: replicas train in one process")
    if count % devices:
        raise UserError(
            f"config.replicas is {count}, and {devices} devices share them: give a multiple of "
            f"{devices}, or fewer devices (config.devices)"
        )


def place(states: Sequence[TrainState], layout: Layout) -> TrainState:
    """Returns the states of all replicas as one, split among the devices; a single one on all."""
    if len(states) == 1:
        return layout.replicate(states[0])
    return jax.device_put(stack(states), layout.rows)


def over(function: Callable[[Any], Any], method: str) -> Callable[[Any], Any]:
    """Returns a function of stacked states from one of a single state.

    Args:
      function: pure.
      method: `unrolled` computes one replica after another in one program, `map` in a loop, `vmap`
        all at once (convolutions become grouped ones). `auto` unrolls a few, which is quickest, and
        loops over more, which is compiled as fast as one.
    """

    def unrolled(states: Any) -> Any:
        count = len(jax.tree.leaves(states)[0])
        return stack([function(one) for one in unstack(states, count)])

    def loop(states: Any) -> Any:
        return jax.lax.map(function, states)

    def auto(states: Any) -> Any:
        return (
            unrolled(states) if len(jax.tree.leaves(states)[0]) <= _MOST_UNROLLED else loop(states)
        )

    return {"unrolled": unrolled, "map": loop, "vmap": jax.vmap(function), "auto": auto}[method]


def _open_members(
    config: ConfigDict, workdir: pathlib.Path, data: Any, lineage: Sequence[dict[str, Any]] | None
) -> list[Member]:
    folders = replica_folders(workdir, config.replicas)
    if len(folders) == 1:
        return [Member(workdir, config, data, lineage)]
    Workdir(workdir).prepare(config, data, lineage)
    members = []
    for r, folder in enumerate(folders):
        own = copy.deepcopy(config)
        own.seed, own.replicas = config.seed + r, 1
        members.append(Member(folder, own, data, lineage, f"replica {r}"))
    return members


class Group:
    """The replicas of a run, which train together; of a run without, its only one.

    Several have stacked states, split among the devices, and folders in the workdir.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: pathlib.Path,
        data: Any,
        layout: Layout,
        lineage: Sequence[dict[str, Any]] | None = (),
    ):
        """Opens the folders, see `workdir.Workdir.prepare`.

        Raises:
          UserError: when one of them holds another run.
        """
        self._config, self._workdir, self._layout = config, workdir, layout
        self._members = _open_members(config, workdir, data, lineage)

    def __len__(self) -> int:
        return len(self._members)

    def split(self, state: Any) -> list[Any]:
        """Returns the state, or whatever else has an axis of replicas, of each of them."""
        return unstack(state, len(self)) if len(self) > 1 else [state]

    def place(self, states: Sequence[TrainState]) -> TrainState:
        """Returns the replicas' states as one, on the devices."""
        return place(states, self._layout)

    def newest(
        self, create: Callable[[int], TrainState], shapes: TrainState
    ) -> tuple[int, list[TrainState]]:
        """Returns the last step that all have saved, else the first, and the states there.

        Args:
          create: of a first state, from its seed.
          shapes: of a state.
        """
        found = restore_newest([member.checkpoints for member in self._members], shapes)
        if found is None:
            return 0, [create(self._config.seed + r) for r in range(len(self))]
        return found

    def start(self, step: int) -> None:
        """Begins to write, from a step on; lines beyond it are cut off."""
        for member in self._members:
            member.start(step)

    def forget_end(self) -> None:
        """Removes the summaries of a run that has ended and goes on."""
        for run in (Workdir(self._workdir), *(member.run for member in self._members)):
            run.forget_end()

    def log(
        self, step: int, sums: Any, learning_rate: float, pace: Pace
    ) -> tuple[float, list[int]]:
        """Writes log lines; returns the mean loss, and who has left out too many updates."""
        found = self.split(sums)
        own_pace = pace._replace(images_per_second=pace.images_per_second / len(self))
        for member, own in zip(self._members, found, strict=True):
            member.log(step, own, learning_rate * float(own["rate"]), own_pace)
        losses = [float(own["loss"]) / max(float(own["loss_weight"]), 1.0) for own in found]
        most = self._config.most_skipped
        return statistics.fmean(losses), [r for r, x in enumerate(found) if x["streak"] >= most]

    def has_evaluation(self, step: int) -> bool:
        """Returns whether the checkpoints of a step are those of after its evaluation."""
        return all(member.has_evaluation(step) for member in self._members)

    def evaluate(
        self,
        recognizer: Callable[[TrainState], Recognizer],
        states: Sequence[TrainState],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Evaluates all on every validation set; returns False when interrupted."""
        return all(
            member.evaluate(recognizer(own), interrupted)
            for member, own in zip(self._members, states, strict=True)
        )

    def forget_evaluation(self) -> None:
        """Drops the last results, which are of another state from now on."""
        for member in self._members:
            member.results = None

    @property
    def is_evaluated(self) -> bool:
        """Whether all have results of the state that was saved last."""
        return all(member.results for member in self._members)

    def judge(
        self, step: int, states: Sequence[TrainState]
    ) -> tuple[list[TrainState], list[float | None]]:
        """Writes the last evaluations; returns the states that they lead to, and the scores.

        States that are not saved are not judged: their scores would be of no checkpoint.
        """
        judged = [m.judge(step, own) for m, own in zip(self._members, states, strict=True)]
        if not _are_good(states):
            return list(states), [None] * len(self)
        return [state for state, _ in judged], [score for _, score in judged]

    def save(
        self,
        step: int,
        states: Sequence[TrainState],
        scores: Sequence[float | None] | None,
        replace: bool,
    ) -> None:
        """Saves all states, see `Checkpointer.save`.

        None while a gradient of the last steps was not finite: the checkpoint before is then the
        last good one.
        """
        if not _are_good(states):
            return
        scores = scores or [None] * len(self)
        for member, own, score in zip(self._members, states, scores, strict=True):
            member.checkpoints.save(step, own, score, replace)

    def finish(self, step: int, states: Sequence[TrainState]) -> dict[str, Any]:
        """Waits for checkpoints; writes and returns the summary, of several with their spread."""
        summaries = []
        for member, own in zip(self._members, states, strict=True):
            member.checkpoints.wait()
            summaries.append(member.summarise(step, own))
        return summaries[0] if len(self) == 1 else _summarise(self._workdir, summaries)

    def close(self) -> None:
        """Finishes writing."""
        for member in self._members:
            member.close()


def _are_good(states: Sequence[TrainState]) -> bool:
    """Returns whether the last update of every replica was taken."""
    return not any(int(own.streak) for own in states)


def _summarise(workdir: pathlib.Path, summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Writes and returns the `summary.json` of all replicas: mean and standard deviation."""
    sets = {}
    for name, first in summaries[0]["eval"].items():
        found = {key: [s["eval"][name][key] for s in summaries] for key in first}
        count = found.pop("count")[0]
        sets[name] = {"count": count} | {key: _spread(values) for key, values in found.items()}
    first = summaries[0]
    summary = {
        "step": first["step"],
        "seconds": first["seconds"],
        "images_per_second": round(sum(s["images_per_second"] for s in summaries), 1),
        "parameters": first["parameters"],
        "replicas": len(summaries),
        "eval": sets,
    }
    files.write_json(workdir / SUMMARY_FILE, summary)
    return summary


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):  # no row could be scored
        return {"mean": None, "std": None}
    return {"mean": statistics.fmean(known), "std": statistics.stdev(known)}
