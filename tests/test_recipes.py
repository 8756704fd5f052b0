"""Recipes: knobs that exist, tiers that lead one way."""

from __future__ import annotations

import itertools

import pytest

from crnn_jax import config as config_lib
from crnn_jax import recipes
from crnn_jax.errors import UserError
from crnn_jax.optim import parse_groups
from crnn_jax.validation import validate

ROWS = (1, 299, 300, 2_999, 3_000, 29_999, 30_000, 10_000_000)


@pytest.mark.parametrize("rows", ROWS)
def test_a_recipe_is_a_valid_config(rows):
    config = config_lib.default_config()
    config.data.train = "tsv:words/labels.tsv"
    chosen = recipes.apply_recipe(config, rows)
    validate(config)
    flat = config_lib.flatten(config)
    assert {key: flat[key] for key in chosen} == chosen == recipes.recipe(rows)
    assert flat["total_steps"] is flat["total_epochs"] is None
    assert 0 < recipes.replay_share(rows) < 1


def test_thousands_of_rows_look_otherwise_each_time():
    presets = [recipes.recipe(rows)["data.augment"] for rows in ROWS]
    assert presets == ["", "", "", "", "document", "document", "", ""]


def test_more_rows_free_more_and_replay_less():
    def freedom(rows: int) -> tuple[float, ...]:
        groups = parse_groups(recipes.recipe(rows)["optimizer.groups"])
        encoder = groups[0][1] if groups else 1.0
        return encoder, -recipes.replay_share(rows), recipes.recipe(rows)["total_examples"]

    tiers = [freedom(rows) for rows in ROWS]
    for fewer, more in itertools.pairwise(tiers):
        assert fewer[:2] <= more[:2]
    assert len({tier[:2] for tier in tiers}) == 4
    assert tiers[0][0] == 0.1
    assert tiers[-1][0] == 1


def test_rows_are_seen_as_often_as_promised():
    """The replay comes on top of the passes over the labelled rows."""
    for rows, passes in ((200, 40), (2_000, 20), (20_000, 10), (200_000, 5)):
        labelled = recipes.recipe(rows)["total_examples"] * (1 - recipes.replay_share(rows))
        assert labelled == pytest.approx(rows * passes, rel=1e-3)
    assert recipes.recipe(1)["total_examples"] == 3_000
    assert recipes.recipe(2_000, replay=0.0)["total_examples"] == 40_000
    assert recipes.recipe(2_000, replay=0.9)["total_examples"] == 400_000


def test_the_line_says_every_knob():
    line = recipes.describe(200)
    assert line.startswith("recipe for 200 rows, where nothing else is given: ")
    assert "optimizer.groups='encoder=0.1'" in line
    assert line.endswith("replay=0.5")
    given = recipes.describe(200, replay=0.0)
    assert "total_examples=8000" in given
    assert given.endswith("replay=0")


def test_no_rows_are_refused():
    with pytest.raises(UserError, match="at least one labelled row"):
        recipes.recipe(0)
    with pytest.raises(UserError, match="from 0 to below 1"):
        recipes.recipe(9, replay=1.0)
