"""The config: every knob is explained, typed and survives its file; durations in every unit."""

from __future__ import annotations

import json
import pathlib

import pytest
from ml_collections import ConfigDict

from crnn_jax import config as config_lib
from crnn_jax import durations
from crnn_jax.errors import UserError
from crnn_jax.validation import validate


def configured(*overrides: tuple[str, str]) -> ConfigDict:
    """A valid config with command line overrides."""
    config = config_lib.default_config()
    config.data.train = "tsv:words/labels.tsv"
    config_lib.set_duration(config, total_steps=100)
    config_lib.apply_overrides(config, list(overrides))
    return config


def knob(config: ConfigDict, key: str) -> object:
    return config_lib.flatten(config)[key]


def test_every_knob_has_a_comment() -> None:
    comments = config_lib.comments()
    assert set(comments) == set(config_lib.flatten(config_lib.default_config()))
    assert all(len(comment) > 3 for comment in comments.values())


def test_describe_shows_every_knob_once_with_its_value_and_comment() -> None:
    config = configured(("data.height", "48"))
    lines = config_lib.describe(config).splitlines()
    assert [line.split(" = ")[0] for line in lines] == [
        f"config.{key}" for key in config_lib.comments()
    ]
    (height,) = (line for line in lines if line.startswith("config.data.height "))
    assert height.startswith("config.data.height = 48 ")
    assert height.endswith(f"# {config_lib.comments()['data.height']}")


def test_config_is_locked_with_all_its_sections() -> None:
    config = config_lib.default_config()
    with pytest.raises(AttributeError, match="batchsize"):
        config.batchsize = 3
    with pytest.raises(AttributeError, match="heigth"):
        config.data.heigth = 3


# Options after the experiment's name.


def test_parse_arg_gives_options_the_type_of_their_default() -> None:
    defaults = {"smoke": False, "width": 100, "rate": 0.5, "data": "here"}
    options = config_lib.parse_arg("smoke,width=96,rate=2,data=a=b", **defaults)
    assert vars(options) == {"smoke": True, "width": 96, "rate": 2.0, "data": "a=b"}
    assert type(options.rate) is float
    assert vars(config_lib.parse_arg("", **defaults)) == defaults
    assert vars(config_lib.parse_arg("smoke=false", **defaults)) == defaults
    spec = config_lib.parse_arg("data=tsv:a::limit=5,name=b,width=7", **defaults)
    assert (spec.data, spec.width) == ("tsv:a::limit=5,name=b", 7)


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("smok", "did you mean 'smoke'"),
        ("width=wide", "option width is 'wide': give a whole number"),
        ("width=1.5", "option width is '1.5': give a whole number"),
        ("smoke=3", "option smoke is '3': give true or false"),
        ("width", "option width is 'true': give a whole number"),
    ],
)
def test_parse_arg_refuses_in_one_line(arg: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        config_lib.parse_arg(arg, smoke=False, width=100)
    assert "\n" not in str(caught.value)


# Overrides from the command line.


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("data.height", "48", 48),
        ("data.height", " 48 ", 48),
        ("seed", "1_000", 1000),
        ("optimizer.learning_rate", "3e-4", 3e-4),
        ("optimizer.learning_rate", "1", 1.0),
        ("clip_norm", "-1", -1.0),
        ("model.bidirectional", "false", False),
        ("model.bidirectional", "TRUE", True),
        ("charset", "0123", "0123"),
        ("charset", "true", "true"),
        ("data.train", "", ""),
        (
            "data.train",
            "0.7*tsv:C:/my words/labels.tsv::group=^[^_,]+,limit=3 + 0.3*names:x",
            "0.7*tsv:C:/my words/labels.tsv::group=^[^_,]+,limit=3 + 0.3*names:x",
        ),
        ("total_steps", "7", 7),
        ("total_epochs", "2", 2.0),
        ("warmup_percent", "2", 2.0),
    ],
)
def test_override_has_the_type_of_its_knob(key: str, text: str, value: object) -> None:
    found = knob(configured((key, text)), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("data.heigth", "48", "unknown config key 'data.heigth': did you mean 'data.height'"),
        ("batchsize", "48", "unknown config key 'batchsize': did you mean 'batch_size'"),
        ("data", "48", "unknown config key 'data'"),
        ("", "48", "unknown config key ''"),
        ("data.height", "tall", "--config.data.height is 'tall': give a whole number"),
        ("data.height", "48.0", "give a whole number"),
        ("data.height", "", "give a whole number"),
        ("optimizer.learning_rate", "fast", "give a number"),
        ("optimizer.learning_rate", "nan", "give a number"),
        ("optimizer.learning_rate", "1e999", "give a number"),
        ("model.bidirectional", "1", "give true or false"),
        ("total_steps", "2.5", "--config.total_steps is '2.5': give a whole number"),
        ("total_epochs", "None", "give a number"),
        ("warmup_percent", "some", "give a number"),
    ],
)
def test_wrong_override_is_refused_in_one_line(key: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        configured((key, text))
    assert "\n" not in str(caught.value)


def test_a_knob_that_an_experiment_cleared_still_has_its_type() -> None:
    config = configured(("eval_every_steps", "4"))
    assert config.eval_every_percent is None
    config_lib.apply_overrides(config, [("eval_every_percent", "50")])
    assert (config.eval_every_steps, config.eval_every_percent) == (None, 50.0)


def test_evaluation_batch_follows_the_batch_until_it_is_set() -> None:
    assert knob(configured(), "eval_batch_size") == 64
    assert knob(configured(("batch_size", "7")), "eval_batch_size") == 7
    own = configured(("eval_batch_size", "9"))
    assert (own.batch_size, own.eval_batch_size) == (64, 9)
    own = configured(("batch_size", "7"), ("eval_batch_size", "9"))
    assert (own.batch_size, own.eval_batch_size) == (7, 9)
    own = configured(("eval_batch_size", "9"), ("batch_size", "7"))
    assert (own.batch_size, own.eval_batch_size) == (7, 9)


# Durations.


@pytest.mark.parametrize(
    ("key", "text", "steps"),
    [
        ("total_steps", "7", 7),
        ("total_epochs", "3", 30),
        ("total_epochs", "0.25", 2),  # 2.5, to the even number
        ("total_epochs", "0.26", 3),
        ("total_examples", "700", 11),  # 10.94 batches of 64
        ("total_examples", "1", 1),  # never no step at all
        ("eval_every_steps", "7", 7),
        ("eval_every_epochs", "0.5", 5),
        ("eval_every_examples", "640", 10),
        ("eval_every_percent", "25", 50),
        ("eval_every_percent", "0.1", 1),
        ("warmup_percent", "0.1", 0),
        ("warmup_steps", "0", 0),
    ],
)
def test_durations_in_every_unit(key: str, text: str, steps: int) -> None:
    config = configured((key, text))
    name = key.rpartition("_")[0]
    assert durations.steps(config, name, steps_per_epoch=10, total=200) == steps


def test_a_warm_up_beyond_the_run_is_told(caplog) -> None:
    config = configured(("total_steps", "10"), ("warmup_steps", "10"))
    durations.lengths(config, None)
    assert not caplog.records
    config = configured(("total_steps", "10"), ("warmup_steps", "11"))
    assert durations.lengths(config, None).warmup == 11
    assert "warm-up of 11 steps is longer than the run of 10" in caplog.text


def test_one_unit_clears_the_others_of_its_duration_alone() -> None:
    config = configured(("total_epochs", "3"))
    assert (config.total_steps, config.total_epochs, config.total_examples) == (None, 3.0, None)
    assert config.warmup_percent == 5.0
    config = configured(("warmup_steps", "3"))
    assert config.warmup_percent is None
    assert config.total_steps == 100
    assert config.eval_every_percent == 10.0


def test_two_units_of_a_duration_are_refused() -> None:
    with pytest.raises(UserError, match=r"total_steps and --config\.total_epochs are given"):
        configured(("total_steps", "3"), ("total_epochs", "3"))
    assert configured(("total_steps", "3"), ("total_steps", "4")).total_steps == 4
    config = configured()
    config.total_epochs = 3.0  # as an experiment may do by mistake
    for check in (lambda: durations.steps(config, "total", 10), lambda: validated(config)):
        with pytest.raises(UserError, match="gives total_steps and total_epochs for total"):
            check()


def test_a_duration_that_is_not_given_is_refused() -> None:
    config = configured()
    config.total_steps = None
    message = "nothing for total: give exactly one of total_steps, total_epochs, total_examples"
    with pytest.raises(UserError, match=message):
        durations.steps(config, "total", 10)
    with pytest.raises(UserError, match=message):
        validate(config)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("total_steps", "0"),
        ("total_epochs", "-1"),
        ("eval_every_steps", "0"),
        ("warmup_steps", "-1"),
    ],
)
def test_durations_are_positive(key: str, text: str) -> None:
    config = configured((key, text))
    with pytest.raises(UserError, match=rf"config\.{key} is .*: give a positive number"):
        validate(config)


# Validation.


def validated(config: ConfigDict) -> ConfigDict:
    validate(config)
    return config


def test_valid_configs_pass_unchanged() -> None:
    for knobs in ((), (("protocol", "36"), ("ema", "0.999"), ("clip_norm", "0"))):
        config = configured(*knobs)
        before = config_lib.to_json(config)
        assert config_lib.to_json(validated(config)) == before


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("data.fit", "squeeze", r"unknown value of config\.data\.fit 'squeeze': .*squash"),
        ("loss", "mean_per_char", "did you mean 'mean_per_character'"),
        ("schedule", "cosin", "did you mean 'cosine'"),
        ("case", "lower", "auto, fold, keep"),
        ("unknown", "ignore", "drop, error, skip"),
        ("infeasible", "drop", "error, skip"),
        ("protocol", "37", "36, 62, 94, exact"),
        ("batch_size", "0", "give a positive number"),
        ("eval_batch_size", "0", r"config\.eval_batch_size is 0: give a positive number"),
        ("data.buckets", "0", "give a positive number"),
        ("optimizer.learning_rate", "0", "give a positive number"),
        ("clip_norm", "-1", "give 0 or a positive number"),
        ("data.workers", "-1", "give 0 or a positive number"),
        ("seed", "-1", "give 0 or a positive number"),
        ("seed", "4294967296", "give a number of at most 4294967295"),
        ("optimizer.name", "adamwx", "did you mean 'adamw'"),
        ("model.dtype", "float16", "auto, bfloat16, float32"),
        ("ema", "1", "from 0 to below 1"),
        ("model.dropout", "1.5", "from 0 to below 1"),
        ("data.train", "", r"config\.data\.train is empty: say what to train on"),
    ],
)
def test_validation_names_the_key_and_what_is_allowed(key: str, text: str, message: str) -> None:
    config = configured((key, text))
    with pytest.raises(UserError, match=message) as caught:
        validate(config)
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


def test_seeds_of_all_replicas_are_seeds() -> None:
    most = configured(("seed", str(2**32 - 2)), ("replicas", "2"))
    validate(most)
    most.seed += 1
    with pytest.raises(UserError, match=r"config\.seed is 4294967295: .* at most 4294967294"):
        validate(most)


# The file of a run.


def write(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / "config.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_config_comes_back_from_its_file(tmp_path: pathlib.Path) -> None:
    config = configured(("eval_batch_size", "9"), ("warmup_epochs", "0.5"), ("charset", "aé'\"b"))
    loaded = config_lib.load(write(tmp_path, config_lib.to_json(config)))
    assert config_lib.flatten(loaded) == config_lib.flatten(config)
    assert loaded.is_locked
    config_lib.apply_overrides(loaded, [("warmup_percent", "3")])  # types are there, too
    assert (loaded.warmup_epochs, loaded.warmup_percent) == (None, 3.0)


def test_knobs_missing_in_the_file_keep_their_defaults(tmp_path: pathlib.Path) -> None:
    loaded = config_lib.load(write(tmp_path, '{"batch_size": 8, "data": {"height": 48}, "ema": 0}'))
    assert loaded.data.height == 48
    assert loaded.batch_size == loaded.eval_batch_size == 8
    assert loaded.charset == config_lib.default_config().charset


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"bath_size": 8}', "unknown config key in .*config.json 'bath_size': .*'batch_size'"),
        ('{"data": {"heigth": 8}}', "did you mean 'data.height'"),
        ('{"data": 8}', "unknown config key .* 'data'"),
        ('{"data.height": 8}', "not a config"),
        ('{"batch_size": "8"}', "batch_size is '8', which is of another type"),
        ('{"batch_size": 8.5}', "which is of another type"),
        ('{"batch_size": null}', "which is of another type"),
        ('{"batch_size": 8', "damaged, not JSON"),
        ("", "damaged, not JSON"),
        ("[]", "damaged, not a JSON object"),
        ("null", "damaged, not a JSON object"),
    ],
)
def test_damaged_file_is_named_in_one_line(tmp_path: pathlib.Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        config_lib.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_bytes_that_are_no_text_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot be read"):
        config_lib.load(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match=r"binary\.json: damaged, not JSON"):
        config_lib.load(tmp_path / "binary.json")


def test_file_is_plain_json() -> None:
    values = json.loads(config_lib.to_json(configured(("batch_size", "7"))))
    assert values["eval_batch_size"] == values["batch_size"] == 7
    assert values["total_epochs"] is None
