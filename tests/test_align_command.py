"""The command that finds the characters of a known text."""

from __future__ import annotations

import json

from PIL import Image
from small import write_words

from crnn_jax import align


def test_texts_of_a_set_are_found_and_others_are_told(run_command, smoke_run, tmp_path):
    write_words(tmp_path, ["one", "Two2", "né", "x" * 60, "four"])
    code, lines, _ = run_command(
        align.main, f"--model={smoke_run}", f"--data=tsv:{tmp_path / 'labels.tsv'}"
    )
    found = [json.loads(line) for line in lines]
    assert code == 1
    assert [entry["path"] for entry in found] == [f"{i}.png" for i in range(5)]
    for entry, text, width in zip(
        found, ("one", "Two2", "", "", "four"), range(40, 55, 3), strict=True
    ):
        if not text:
            continue
        assert entry["text"] == "".join(c["char"] for c in entry["chars"]) == text
        assert 0 <= entry["confidence"] <= 1
        edges = [c["x0"] for c in entry["chars"]] + [entry["chars"][-1]["x1"]]
        assert edges == sorted(edges)
        assert edges[0] >= 0
        assert edges[-1] <= width
    assert "'é', which the model does not read" in found[2]["error"]
    assert "does not fit the image" in found[3]["error"]


def test_an_image_that_is_gone_costs_no_other(run_command, smoke_run, tmp_path):
    write_words(tmp_path, ["one", "two"])
    (tmp_path / "0.png").unlink()
    code, lines, _ = run_command(
        align.main, f"--model={smoke_run}", f"--data=tsv:{tmp_path / 'labels.tsv'}"
    )
    first, second = map(json.loads, lines)
    assert code == 1
    assert "0.png" in first["error"]
    assert second["text"] == "two"


def test_one_image_and_its_picture(run_command, smoke_run, tmp_path):
    write_words(tmp_path, ["one"])
    picture = tmp_path / "boxes.png"
    code, (line,), _ = run_command(
        align.main, f"--model={smoke_run}", "--text=one", tmp_path / "0.png",
        f"--picture={picture}",
    )  # fmt: skip
    assert code == 0
    assert [c["char"] for c in json.loads(line)["chars"]] == list("one")
    with Image.open(picture) as drawn:
        assert drawn.width >= 200
        assert len(drawn.convert("RGB").getcolors(100_000)) > 20


def test_mistakes_end_in_one_line(run_command, smoke_run, tmp_path):
    write_words(tmp_path, ["one"])
    image = tmp_path / "0.png"
    for arguments, message in (
        ([image], "--text"),
        (["--text=one"], "give images"),
        (["--text=one", f"--data=tsv:{tmp_path}", image], "give images"),
        (["--text=né", image], "does not read"),
        (["--text=one", image, image, f"--picture={tmp_path / 'x.png'}"], "one image"),
        (["--text=one", image, f"--picture={tmp_path / 'x.jpg'}"], "PNG"),
    ):
        code, _, err = run_command(align.main, f"--model={smoke_run}", *arguments)
        assert (code, len(err)) == (2, 1)
        assert message in err[0]
    code, out, _ = run_command(
        align.main, f"--model={smoke_run}", "--text=one", tmp_path / "no.png"
    )
    assert code == 1
    assert "no.png" in json.loads(out[0])["error"]
