"""What the audit says about two sets, and with a model."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from audited_sets import Rows, examples, kinds, only, run_audit
from drawn_words import clean_rows, draw, write_set

from crnn_jax import audit
from crnn_jax.auditing import report
from crnn_jax.auditing.report import Audit
from crnn_jax.models.ensemble import Ensemble
from crnn_jax.recognizer import Reading, Recognizer

# Between sets.


@pytest.fixture
def two(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, Rows, Rows]:
    """Folders and rows of two clean sets with nothing in common."""
    first, second = clean_rows(seed=1), clean_rows(seed=2)
    return tmp_path / "first", tmp_path / "second", first, second


def audit_two(first, second, ours: Rows, theirs: Rows) -> Audit:
    write_set(first, ours)
    write_set(second, theirs)
    return run_audit(f"tsv:{first}", against=(f"tsv:{second}",))


def test_sets_with_nothing_in_common_have_no_findings(two) -> None:
    found = audit_two(*two)
    assert kinds(found) == {}
    assert [near.sets for near in found.near] == [(0,), (0, 1)]
    assert len(found.near[1].pairs) > 10


def test_a_shared_image_is_found(two) -> None:
    first, second, ours, theirs = two
    theirs[7] = ("copy.png", ours[3][1], "another")
    found = audit_two(first, second, ours, theirs)
    assert kinds(found) == {"shared_image": 1}
    assert examples(found, "shared_image") == [[ours[3][0], "copy.png"]]


def test_a_near_duplicate_between_sets_is_found(two) -> None:
    first, second, ours, theirs = two
    image = ours[3][1]
    theirs[7] = ("copy.png", image.crop((2, 1, image.width - 1, image.height)), "another")
    found = audit_two(first, second, ours, theirs)
    assert kinds(found) == {"near_duplicate_between_sets": 1}
    assert examples(found, "near_duplicate_between_sets") == [[ours[3][0], "copy.png"]]
    assert found.near[1].pairs[0][2] <= found.threshold


def test_the_set_compared_with_is_not_audited_itself(two) -> None:
    first, second, ours, theirs = two
    theirs[0] = (theirs[0][0], b"no image", "")
    theirs[1] = (theirs[2][0], theirs[2][1], "!")
    assert kinds(audit_two(first, second, ours, theirs)) == {}


def test_two_parts_of_one_folder(tmp_path) -> None:
    folder = write_set(tmp_path / "words", clean_rows())
    apart = run_audit(f"tsv:{folder}::rows=0:20", f"tsv:{folder}/labels.tsv::rows=20:40")
    assert kinds(apart) == {}
    assert [audited.name for audited in apart.sets] == ["words::rows=0:20", "words::rows=20:40"]

    overlapping = run_audit(f"tsv:{folder}::rows=0:22", f"tsv:{folder}/labels.tsv::rows=20:40")
    assert kinds(overlapping) == {"shared_row": 2}
    assert examples(overlapping, "shared_row") == [["0005_0.png"] * 2, ["0005_1.png"] * 2]


def test_one_set_twice_is_told_apart(tmp_path) -> None:
    folder = write_set(tmp_path / "words", clean_rows(8))
    twice = run_audit(f"tsv:{folder}", against=(f"tsv:{folder}",))
    assert kinds(twice) == {"shared_row": 8}
    assert [audited.name for audited in twice.sets] == ["words (1)", "words (2)"]


def test_groups_that_straddle_a_split(tmp_path) -> None:
    folder = write_set(tmp_path / "words", clean_rows())  # four words of each photo
    group = "group=^[^_]+"
    cut = run_audit(f"tsv:{folder}::rows=0:18,{group}", f"tsv:{folder}::rows=18:40,{group}")
    assert kinds(cut) == {"straddling_group": 1}
    (example,) = only(cut, "straddling_group").examples
    assert example.values["group"] == "0004"
    between = run_audit(f"tsv:{folder}::rows=0:20,{group}", f"tsv:{folder}::rows=20:40")
    assert kinds(between) == {}
    split = run_audit(f"tsv:{folder}::split=0:60,{group}", f"tsv:{folder}::split=60:100,{group}")
    assert kinds(split) == {}


def test_real_words_are_audited_in_seconds(real_data: pathlib.Path) -> None:
    """ICDAR 2003 has labels with replacement characters, and no training word in its test set."""
    found = run_audit(
        f"tsv:{real_data / 'ic03_train'}", against=(f"tsv:{real_data / 'ic03_test'}",), charset=None
    )
    assert kinds(found)["mojibake"] == 6
    assert "shared_image" not in kinds(found)
    assert "unreadable_image" not in kinds(found)
    nearest = [found.label(a) for a, _, bits in found.near[1].pairs if bits <= found.threshold]
    assert nearest == ["Essex", "County", "XML"], "the same lettering in other photographs"


# With a model.


class Certain(Recognizer):
    """Reads what it was told, by the label."""

    def stream(self, items, load, batch_size=32, decoder="greedy", label=None):
        items = list(items)
        for position in reversed(range(len(items))):  # batches come in any order
            assert load(items[position]).ndim == 3
            yield position, self.told(label(items[position]))

    def told(self, label: str) -> Reading:
        return READINGS.get(label, Reading(label, 0.99, loss=0.01))


READINGS = {
    "worst": Reading("other", 0.95, loss=60.0),
    "slipp": Reading("slip", 0.98, loss=12.0),
    "likly": Reading("likely", 0.72, loss=9.0),
    "unsure": Reading("quite", 0.5, loss=40.0),
    "second": Reading("sceond", 0.75, loss=1.7),
    "nofit": Reading("fits", 0.9),
}


def test_suspicious_labels_are_ranked_by_how_sure_the_model_is(tmp_path, recognizer) -> None:
    drawn = clean_rows()
    for i, label in enumerate(READINGS):
        drawn[i] = (drawn[i][0], draw(label, i), label)
    model = Certain(**{f.name: getattr(recognizer, f.name) for f in dataclasses.fields(recognizer)})
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}", model=model)
    ranked = [found.label(example.rows[0]) for example in only(found, "suspicious_label").examples]
    assert ranked == ["worst", "slipp", "likly", "nofit"]
    assert "read 'other' with confidence 0.95" in report.to_text(found)

    without = clean_rows()
    clean = run_audit(f"tsv:{write_set(tmp_path / 'clean', without)}", model=model)
    assert "suspicious_label" not in kinds(clean)


def test_a_model_brings_its_charset_and_its_frames(tmp_path, recognizer) -> None:
    drawn = clean_rows()
    drawn[0] = (*drawn[0][:2], "naïve")
    drawn[1] = (*drawn[1][:2], "a" * 50)
    found = run_audit(f"tsv:{write_set(tmp_path, drawn)}", charset=None, model=recognizer)
    assert only(found, "unknown_character").values["characters"]["ï"]["labels"] == 1
    (example,) = only(found, "too_long_label").examples
    assert example.values["needed"] == 99
    assert example.values["width"] == recognizer.preprocess.target_width(*drawn[1][1].size)
    assert found.model == recognizer.name
    assert not found.not_checked


def test_replicas_have_the_frames_of_one(recognizer) -> None:
    both = dataclasses.replace(recognizer, model=Ensemble((recognizer.model,) * 2, (1.0, 1.0)))
    widths = [40, 100, 101]
    frames = [audit._frames(model).count for model in (recognizer, both)]
    assert [frames[1](width) for width in widths] == [frames[0](width) for width in widths]
    assert frames[0](100) > frames[0](40) > 0
