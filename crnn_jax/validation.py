"""What can be checked of a config before any data is opened."""

from __future__ import annotations

from ml_collections import ConfigDict

from crnn_jax import growth, models, parallel, replicas, surgery
from crnn_jax.config import flatten
from crnn_jax.ctc.loss import NORMALISATIONS
from crnn_jax.data.index import INFEASIBLE_POLICIES, UNKNOWN_POLICIES, WIDEN
from crnn_jax.data.plan import BATCH_BY
from crnn_jax.durations import DURATIONS, given_duration
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.metrics import PROTOCOLS
from crnn_jax.models.recurrent import CELLS
from crnn_jax.optim import OPTIMIZERS, SCHEDULES, parse_groups
from crnn_jax.synth import knobs, presets

CHOICES = {
    "case": ("auto", "keep", "fold"),
    "unknown": (*UNKNOWN_POLICIES, WIDEN),
    "infeasible": INFEASIBLE_POLICIES,
    "data.fit": ("squash", "keep"),
    "data.batch_by": BATCH_BY,
    "model.name": tuple(models.MODELS),
    "model.encoder": tuple(models.ENCODERS),
    "model.recurrence": CELLS,
    "model.dtype": models.DTYPES,
    "loss": NORMALISATIONS,
    "optimizer.name": tuple(OPTIMIZERS),
    "init_charset": surgery.HOWS,
    "init_weights": growth.WHICH,
    "parallel": parallel.MODES,
    "replica_axis": replicas.METHODS,
    "schedule": tuple(SCHEDULES),
}
_POSITIVE = (
    "batch_size", "eval_batch_size", "log_every_steps", "data.height", "data.width",
    "data.min_width", "data.max_width", "data.buckets", "model.hidden", "optimizer.learning_rate",
    "optimizer.epsilon",
    "accumulate", "most_skipped", "step_percent", "step_factor", "plateau_patience",
    "plateau_factor", "steps_per_dispatch", "replicas",
    "keep_checkpoints",
)  # fmt: skip
_NOT_NEGATIVE = (
    "seed", "data.workers", "model.projection", "model.auxiliary",
    "optimizer.weight_decay", "clip_norm",
    "grid_images", "stop_patience", "devices", "profile",
)  # fmt: skip
_BELOW_ONE = (
    "model.dropout", "ema", "optimizer.momentum", "optimizer.beta1", "optimizer.beta2",
    "optimizer.rho",
)  # fmt: skip


def validate(config: ConfigDict) -> None:
    """Checks what can be checked without data; raises a UserError that names the key."""
    flat = flatten(config)
    for key, allowed in CHOICES.items():
        if flat[key] not in allowed:
            raise unknown_name(f"value of config.{key}", str(flat[key]), allowed)
    if config.protocol and config.protocol not in PROTOCOLS:
        raise unknown_name("value of config.protocol", config.protocol, PROTOCOLS)
    for key in _POSITIVE:
        if not flat[key] > 0:
            raise UserError(f"config.{key} is {flat[key]}: give a positive number")
    for key in _NOT_NEGATIVE:
        if not flat[key] >= 0:
            raise UserError(f"config.{key} is {flat[key]}: give 0 or a positive number")
    for key in _BELOW_ONE:
        if not 0 <= flat[key] < 1:
            raise UserError(f"config.{key} is {flat[key]}: give a number from 0 to below 1")
    if flat["seed"] > 2**32 - flat["replicas"]:  # JAX would take it modulo 2**32
        most = 2**32 - flat["replicas"]
        raise UserError(f"config.seed is {flat['seed']}: give a number of at most {most}")
    if config.batch_size % config.accumulate:
        raise UserError(
            f"config.accumulate is {config.accumulate}: give a divisor of config.batch_size, "
            f"{config.batch_size}"
        )
    if config.infeasible == WIDEN and config.data.fit != "keep":
        raise UserError(
            "config.infeasible is widen, which stretches images of their own widths: set "
            "config.data.fit to keep, or widen all of them with config.data.width"
        )
    for name in DURATIONS:
        given_duration(config, name)
    parse_groups(config.optimizer.groups)
    knobs.check_knobs(config.synth)
    if config.data.augment:
        presets.get_preset(config.data.augment)
    if not config.data.train:
        raise UserError(
            "config.data.train is empty: say what to train on, as in "
            "--config.data.train=tsv:DIR/labels.tsv"
        )
