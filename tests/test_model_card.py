"""Figures of a model: from the files of commands, into bundle and card."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import pytest
from small import write_words

from crnn_jax import bundle, evaluate, model_card
from crnn_jax.errors import UserError
from crnn_jax.model_card import Score, Speed

SCORE = Score("words", 1234, 0.5, 0.46, 0.54, 0.2, "36", "greedy")


def test_a_bundle_holds_what_evaluate_wrote_about_it(
    smoke_run: pathlib.Path,
    tmp_path: pathlib.Path,
    run_command: Callable,
    mistake: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_words(tmp_path, ["one", "two"])
    (tmp_path / "speed.json").write_text('{"ms": 3.14, "device": "one core"}')
    (tmp_path / "card.md").write_text("# mine\n\n{results}\n\nTakes {speed}.\n")
    assert run_command(bundle.main, f"--run={smoke_run}", "--out=mine.crnn").code == 0
    done = run_command(
        evaluate.main, "--model=mine.crnn", "--data=tsv:labels.tsv::name=two", "--out=results.json"
    )
    assert done.code == 0
    argv = ("--results=results.json", "--speed=speed.json", "--card=card.md")
    assert run_command(bundle.main, f"--run={smoke_run}", "--out=mine.crnn", *argv).code == 0
    found = bundle.open_model("mine.crnn")
    [score] = model_card.scores_of(found.metrics)
    assert (score.set, score.count, score.protocol, score.decoder) == ("two", 2, "exact", "greedy")
    assert 0 <= score.low <= score.word_accuracy <= score.high <= 1
    assert model_card.speed_of(found.metrics) == Speed(3.14, "one core")
    assert "| two | 2 | " in found.card
    assert "Takes 3.1 ms (one core)." in found.card
    wrong = (f"--run={smoke_run}", "--out=o.crnn", "--name=other", argv[0])
    assert "results of 'smoke', and the bundle is of 'other'" in mistake(bundle.main, *wrong)
    _, shown, _ = run_command(bundle.main, "--show=mine.crnn")
    assert any(line.startswith("tested    two ") for line in shown)
    assert "speed     3.1 ms a word, one core" in shown


def test_a_table_has_a_line_for_every_set() -> None:
    lines = model_card.table([SCORE, SCORE]).splitlines()
    assert lines[2:] == ["| words | 1,234 | 50.0 % [46.0, 54.0] | 20.0 % |"] * 2


@pytest.mark.parametrize(("line", "option"), [("{results}", "--results"), ("{speed}", "--speed")])
def test_a_card_without_its_figures_is_refused(line: str, option: str) -> None:
    with pytest.raises(UserError, match=f"give the figures with {option}=FILE.json"):
        model_card.fill(f"# mine\n\n{line}\n", [], None)


def test_a_score_comes_back() -> None:
    assert Score.from_json(json.loads(json.dumps(SCORE.to_json())), "x") == SCORE


@pytest.mark.parametrize("value", [None, {}, {**SCORE.to_json(), "count": "many"}, {"set": "a"}])
def test_other_values_are_no_score(value: object) -> None:
    with pytest.raises(UserError, match="file: not a score"):
        Score.from_json(value, "file")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"sets": []}',
        '{"sets": [{"name": "a"}], "protocol": "36", "decoder": "greedy"}',
        "[]",
    ],
)
def test_other_files_are_no_results(text: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"results\.json: (not the results|damaged)"):
        model_card.read_scores(str(path), "mine")


@pytest.mark.parametrize("text", ["{}", '{"ms": 0, "device": "x"}', '{"ms": "3", "device": "x"}'])
def test_other_files_are_no_speed(text: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "speed.json"
    path.write_text(text)
    with pytest.raises(UserError, match="not a speed"):
        model_card.read_speed(str(path))
