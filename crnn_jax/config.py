"""Every knob of a run, with its default and what it means.

An experiment starts from `default_config`, changes some knobs and returns the config; the command
line may override any of them (`--config.KEY=VALUE`). The trailing comments below are what
`--print_config` shows, so each knob has one.
"""

from __future__ import annotations

import ast
import inspect
import math
import pathlib
import re
import types
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from crnn_jax import files
from crnn_jax.durations import DURATIONS, units_of
from crnn_jax.errors import UserError, unknown_name
from crnn_jax.synth import knobs, presets


def default_config() -> ConfigDict:
    """Returns the config from which every experiment starts; all knobs there are."""
    config = ConfigDict()
    config.seed = 0  # of the initial weights, the order of the data and dropout
    config.replicas = 1  # runs of the seeds seed, seed + 1, ... in one program; rendered text
    config.replica_axis = "auto"  # how: unrolled | vmap | map | auto: the quickest
    config.batch_size = 64  # images per step, over all devices
    config.parallel = "jit"  # how devices share a batch: jit over a mesh of them | pmap
    config.devices = 0  # that share it; 0: all
    config.steps_per_dispatch = 1  # steps in one program call; above 1 for rendered text alone

    # What a run begins with, and what becomes of it.
    config.init_from = ""  # a trained model (run, bundle, shipped name) that it begins with
    config.init_weights = "all"  # of it: all | alike: of its layers up to the first that differs
    config.init_charset = "union"  # its characters: union: kept, too | replace: the data's alone
    config.licence = ""  # of the model that comes out, as in CC0-1.0; goes into its bundle

    # What is read.
    config.charset = "alnum36"  # preset (+space), characters, chars:STRING, file:PATH or from_data
    config.case = "auto"  # keep | fold labels to lower case | auto: fold for alnum36, else keep
    # What becomes of labels with characters outside the charset, and of those that do not fit the
    # frames of their images or are empty.
    config.unknown = "error"  # error | drop the characters | skip the row | widen the charset
    config.infeasible = "skip"  # error | skip the row | widen the image, where its aspect is kept

    config.data = ConfigDict()
    config.data.train = ""  # SPECs joined by ' + ', each optionally weighted: 0.7*SPEC + 0.3*SPEC
    config.data.eval = ""  # SPECs of the validation sets, joined by ' + '; the first picks the best
    config.data.train_on_test = False  # public test sets may be trained on, which is refused else
    config.data.audit = False  # every image is looked at before training, see WORKDIR/audit.html
    config.data.height = 32  # pixels; every image is resized to it
    config.data.channels = 1  # 1 grey, 3 colour
    config.data.fit = "squash"  # squash to data.width | keep the aspect (real widths, in buckets)
    config.data.width = 100  # pixels of every image when squashed
    config.data.min_width = 16  # pixels; narrower images are stretched to it when aspect is kept
    config.data.max_width = 512  # pixels; wider images are squeezed to it when aspect is kept
    config.data.buckets = 6  # at most so many padded widths when aspect is kept
    config.data.batch_by = "rows"  # batch_size rows each | columns: as many as cost the same
    config.data.workers = 0  # worker processes that load batches; 0 uses threads
    config.data.augment = ""  # preset whose effects change loaded images on the device; empty: none

    config.synth = presets.get_preset("scene")

    config.model = ConfigDict()
    config.model.name = "crnn"  # see crnn_jax.models.MODELS
    config.model.encoder = "vgg"  # the paper's | vgg_port resnet resnet29 medium small tiny
    config.model.recurrence = "lstm"  # lstm | gru | none
    config.model.layers = 2  # recurrent layers, 0 to 3
    config.model.hidden = 256  # units per direction
    config.model.bidirectional = True  # read every row from both ends
    config.model.projection = 256  # linear layer between recurrent layers; 0 leaves it out
    config.model.standardize = False  # every image to mean 0, variance 1; else pixels to -1..1
    config.model.dropout = 0.0  # before every recurrent layer and the classifier
    config.model.auxiliary = 0.0  # weight of a second CTC loss, on the frames before the recurrence
    config.model.dtype = "auto"  # of the computation: float32 | bfloat16 | auto: as the device can

    config.loss = "mean_per_sample"  # how CTC nats are averaged, see ctc.loss.loss_and_weight
    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"  # see crnn_jax.optim.OPTIMIZERS
    config.optimizer.learning_rate = 1e-3  # peak
    config.optimizer.weight_decay = 0.0  # decoupled, on kernels alone; adamw and lion
    config.optimizer.momentum = 0.9  # sgd, rmsprop
    config.optimizer.beta1 = 0.9  # adam, adamw, lion
    config.optimizer.beta2 = 0.999  # adam, adamw, lion
    config.optimizer.rho = 0.9  # decay of the squares: adadelta, rmsprop
    config.optimizer.epsilon = 1e-8  # adam, adamw, rmsprop; adadelta hardly learns below 1e-6
    config.clip_norm = 5.0  # gradients are scaled down to this global norm; 0 turns it off
    config.most_skipped = 20  # updates in a row left out as not finite, before a roll-back
    config.ema = 0.0  # decay of the average of weights and statistics that is evaluated; 0: none
    config.optimizer.groups = ""  # REGEX=FACTOR ...: rates of parameters by path; 0 freezes them
    config.accumulate = 1  # parts of a batch computed one after another, to save memory

    config.schedule = "cosine"  # after the warm-up: cosine | one_cycle | step | plateau | constant
    config.step_percent = 30.0  # schedule step: after so much of the rest of the run ...
    config.step_factor = 0.1  # ... the rate is multiplied by this, again and again
    config.plateau_patience = 3  # schedule plateau: evaluations without a better score, until ...
    config.plateau_factor = 0.5  # ... the rate is multiplied by this
    config.stop_patience = 0  # evaluations without a better score, until the run ends; 0: never

    # Durations: each in one unit of steps, epochs or examples (percent of the total, too, for all
    # but the total itself). Setting one on the command line clears its other units.
    config.total_steps = placeholder(int)  # length of the run
    config.total_epochs = placeholder(float)  # length in passes over the training data
    config.total_examples = placeholder(int)  # length in images
    config.warmup_steps = placeholder(int)  # linear warm-up of the learning rate
    config.warmup_epochs = placeholder(float)  # warm-up in passes over the training data
    config.warmup_examples = placeholder(int)  # warm-up in images
    config.warmup_percent = 5.0  # warm-up in percent of the run
    config.eval_every_steps = placeholder(int)  # evaluation on every validation set
    config.eval_every_epochs = placeholder(float)  # evaluation, in passes over the training data
    config.eval_every_examples = placeholder(int)  # evaluation, in images
    config.eval_every_percent = 10.0  # evaluation, in percent of the run
    config.checkpoint_every_steps = placeholder(int)  # checkpoints between evaluations
    config.checkpoint_every_epochs = placeholder(float)  # checkpoints, in passes over the data
    config.checkpoint_every_examples = placeholder(int)  # checkpoints, in images
    config.checkpoint_every_percent = 5.0  # checkpoints, in percent of the run
    config.keep_checkpoints = 2  # newest ones that stay, beside the best; more can be averaged
    config.log_every_steps = 50  # a line in metrics.jsonl and TensorBoard

    config.profile = 0  # steps recorded into WORKDIR/profile, after the tenth; 0: none
    config.deterministic = False  # the same bits in every run on an accelerator, too; slower

    config.eval_batch_size = config.get_oneway_ref("batch_size")  # images per evaluation step
    config.protocol = ""  # of the evaluation: 36 | 62 | 94 | exact | fold; empty: the model's
    config.grid_images = 24  # validation images in the picture of every evaluation; 0 for none
    config.lock()
    return config


def comments() -> dict[str, str]:
    """Returns what every knob means, by its key."""
    found = {}
    for line in inspect.getsource(default_config).splitlines():
        match = re.match(r"\s*config\.([\w.]+) = (?!ConfigDict).*?  # (.*)$", line)
        if match:
            found[match[1]] = match[2]
        elif "config.synth = " in line:
            found |= {f"synth.{name}": text for name, text in knobs.comments().items()}
    return found


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns all knobs as {"data.height": 32, ...}."""
    flat: dict[str, Any] = {}
    for key in config:
        value = config[key]
        if isinstance(value, ConfigDict):
            flat |= {f"{key}.{inner}": v for inner, v in flatten(value).items()}
        else:
            flat[key] = value
    return flat


def set_knob(config: ConfigDict, key: str, value: Any) -> None:
    """Sets a knob by its key in `flatten`, in place."""
    owner, _, leaf = key.rpartition(".")
    (config[owner] if owner else config)[leaf] = value


def parse_arg(arg: str, **defaults: Any) -> types.SimpleNamespace:
    """Parses the string after `NAME:` into typed options.

    `parse_arg("smoke,width=96", smoke=False, width=100)` gives smoke=True, width=96. A SPEC may
    have options of its own, but for those of the config's names: `data=tsv:a::limit=5,name=b`.

    Raises:
      UserError: for an unknown option or a value of the wrong type.
    """
    options = dict(defaults)
    last = ""  # the option before
    for item in filter(None, arg.split(",")):
        key, has_value, text = item.partition("=")
        if key not in defaults:
            if "::" not in str(options.get(last)):
                raise unknown_name("option of this config", key, defaults)
            options[last] += f",{item}"
            continue
        last = key
        kind = type(defaults[key])
        options[key] = _parse(f"option {key}", text if has_value else "true", kind)
    return types.SimpleNamespace(**options)


def _parse(what: str, text: str, kind: type) -> Any:
    """Parses a command line value into the knob's type."""
    if kind is str:
        return text
    try:
        value = ast.literal_eval(text.strip().capitalize() if kind is bool else text.strip())
    except (ValueError, SyntaxError):
        value = text
    if kind is float and type(value) is int:
        value = float(value)
    finite = not isinstance(value, float) or math.isfinite(value)
    if type(value) is not kind or not finite:
        expected = {bool: "true or false", int: "a whole number", float: "a number"}
        raise UserError(f"{what} is {text!r}: give {expected.get(kind, kind.__name__)}")
    return value


def apply_overrides(config: ConfigDict, overrides: list[tuple[str, str]]) -> None:
    """Sets knobs from the command line, in place.

    Args:
      config: the experiment's config.
      overrides: pairs of key and text, as in ("data.height", "48").

    Raises:
      UserError: for a key that does not exist (naming the nearest) or a value of the wrong type.
    """
    pristine = default_config()  # has the type of a knob that is None just now
    known = flatten(pristine)
    given: dict[str, str] = {}  # durations, to the key that set them
    for key, text in overrides:  # a preset sets the knobs that others may then change
        if key == "synth.preset":
            config.synth = presets.get_preset(text)
    for key, text in overrides:
        if key not in known:
            raise unknown_name("config key", key, known)
        owner, _, leaf = key.rpartition(".")
        kind = (pristine[owner] if owner else pristine).get_type(leaf)
        what = f"--config.{key}"
        if kind is tuple:
            value = knobs.parse_range(what, text, type(known[key][0]))
        else:
            value = _parse(what, text, kind)
        set_knob(config, key, value)
        name, _, _ = key.rpartition("_")
        if name in DURATIONS:
            if given.setdefault(name, key) != key:
                raise UserError(f"--config.{given[name]} and --config.{key} are given: give one")
            for other in units_of(known, name):
                if other != key:
                    config[other] = None


def set_duration(config: ConfigDict, **duration: Any) -> None:
    """Sets one unit of a duration and clears the others: `set_duration(c, total_steps=100)`."""
    apply_overrides(config, [(key, str(value)) for key, value in duration.items()])


def to_json(config: ConfigDict) -> str:
    """Returns a config as JSON that `load` reads."""
    return config.to_json_best_effort(indent=2) + "\n"


def load(path: pathlib.Path) -> ConfigDict:
    """Reads a config that `to_json` made; knobs that it lacks keep their defaults.

    Raises:
      UserError: when the file is missing, is not a config or has a knob that this version lacks.
    """
    return from_values(files.read_json(path), str(path))


def from_values(content: dict[str, Any], what: str) -> ConfigDict:
    """Returns the config of the values that `load` reads.

    Args:
      content: by section, as in the file.
      what: where they come from, for messages.

    Raises:
      UserError: as `load` does.
    """
    try:
        values = flatten(ConfigDict(content))
    except (ValueError, TypeError, RecursionError) as error:  # it takes no dots in names
        raise UserError(f"{what}: not a config ({error!s:.160}); restore it") from None
    config = default_config()
    known = flatten(config)
    optional = [key for name in DURATIONS for key in units_of(known, name)]
    for key, value in values.items():
        if key not in known:
            raise unknown_name(f"config key in {what}", key, known)
        if isinstance(value, list | tuple) and isinstance(known[key], tuple):
            value = tuple(value)
        try:
            # True is an int to Python, and so to a config.
            if (value is None and key not in optional) or (
                isinstance(value, bool) and not isinstance(known[key], bool)
            ):
                raise TypeError
            set_knob(config, key, value)
        except (TypeError, OverflowError):  # a whole number may be too large for a float
            raise UserError(f"{what}: {key} is {value!r:.80}, which is of another type") from None
    return config


def shrink_to_smoke(config: ConfigDict) -> None:
    """Shrinks an experiment to a few steps on tiny data: seconds on a CPU, the same code."""
    if "synth:" in config.data.train:
        config.data.train = "synth:plain"
        atlas, config.synth = config.synth.atlas, presets.get_preset("plain")
        config.synth.atlas = atlas
        config.data.eval = "synth:plain::limit=16,charset=alnum62"
    else:
        config.data.train = "tfds:rendered_words/tiny/train"
        config.data.eval = "tfds:rendered_words/tiny/test::limit=16"
    config.charset = "alnum62"
    config.batch_size = 4
    config.devices = 1
    config.data.buckets = 1
    if not config.init_from:  # else the network and its input are those of that model
        config.data.width = 64
        config.data.max_width = 64
        config.model.hidden = 16
        config.model.layers = min(config.model.layers, 1)
    config.log_every_steps = 2
    config.grid_images = 4
    set_duration(config, total_steps=4)
    set_duration(config, warmup_steps=1)
    set_duration(config, eval_every_steps=4)
    set_duration(config, checkpoint_every_steps=2)


def describe(config: ConfigDict) -> str:
    """Returns all knobs with values and comments, one per line, in the order of definition."""
    meanings, flat = comments(), flatten(config)
    lines = {key: f"config.{key} = {flat[key]!r}" for key in meanings}
    width = min(max(map(len, lines.values())), 48)
    return "\n".join(f"{line:<{width}}  # {meanings[key]}" for key, line in lines.items())
