"""Scripts beyond Latin: right-to-left labels, grapheme clusters, large charsets."""

from __future__ import annotations

import logging
import pathlib
import pickle

import matplotlib
import pytest
from PIL import Image, ImageDraw, ImageFont
from small import small_config, write_words

from crnn_jax import bidi, cli, runtime, train
from crnn_jax.charset import Charset, UnknownCharacterError, build_charset
from crnn_jax.data.sources import open_source
from crnn_jax.data.training_set import open_training_set
from crnn_jax.errors import UserError
from crnn_jax.recognizer import Recognizer, preprocess_of

LINES = [
    "שלום",
    "שָׁלוֹם עולם",
    "שלום [abc] (123) עולם!",
    "السعر: ٢٥٫٥٠ ريال (جديد)",
    "مرحبا, world! 12/3",
    "abc שלום",
    "15% הנחה",
    "only latin (1)",
    "می\u200cخواهم ۱۲",  # a joiner
    "אב\u00adר\u200dָב\u200c (1)",
    "",
]


@pytest.mark.parametrize("text", LINES)
def test_reordering_twice_gives_the_text(text):
    assert bidi.reorder(bidi.reorder(text)) == text


def test_the_order_of_the_picture():
    assert bidi.reorder("אבג") == "גבא"
    assert bidi.reorder("אב 12 ג") == "ג 12 בא"  # numbers are written from left to right
    assert bidi.reorder("(אב)") == "(בא)"  # the bracket on the left looks like an opening one
    assert bidi.reorder("אָב") == "באָ"  # the mark stays behind its letter
    assert bidi.reorder("אב\u200cג") == "גב\u200cא"  # and what is not seen
    assert bidi.reorder("ab (1)!") == "ab (1)!"


def test_what_does_not_come_back_is_found():
    odd = ["0 :-aث1", "א\u202bב\u202c", "א\u2067ב\u2069"]
    assert bidi.changed([*LINES, *odd]) == odd
    assert list(map(bidi.sets_direction, odd)) == [False, True, True]
    assert bidi.reorder(odd[2]) == "בא"


def test_lines_that_begin_from_left_to_right():
    assert list(filter(bidi.begins_left_to_right, LINES)) == ["abc שלום"]


def test_a_charset_encodes_what_is_seen_and_decodes_what_is_read():
    charset = build_charset("from_data", labels=LINES)
    assert charset.right_to_left
    assert not build_charset("latin").right_to_left
    for text in LINES:
        assert charset.decode(charset.encode(text)) == charset.normalise(text)
        assert runtime.Charset(charset.classes, "keep").encode_known(text) == tuple(
            charset.encode(text)
        )
    ids = charset.encode("שלום")
    assert [charset.classes[i - 1] for i in ids] == ["ם", "ו", "ל", "ש"]
    assert charset.unknown("שxל") == ["x"]
    assert charset.encode_known("שxל") == charset.encode("של")
    assert Charset.from_json(charset.to_json()).encode("שלום") == ids
    with pytest.raises(UnknownCharacterError, match=r"'ג' .* of 'לג' is not in the charset"):
        charset.encode("לג")


def test_grapheme_clusters_of_the_data():
    charset = build_charset("from_data:clusters", labels=["किताब", "का", "שָׁל"])
    assert set(charset.classes) == {"कि", "ता", "ब", "का", "שָׁ", "ל"}
    assert [charset.classes[i - 1] for i in charset.encode("किताब")] == ["कि", "ता", "ब"]
    assert charset.decode(charset.encode("किताब")) == "किताब"
    assert [charset.classes[i - 1] for i in charset.encode("שָׁל")] == ["ל", "שָׁ"]
    assert charset.decode(charset.encode("שָׁל")) == "שָׁל"
    with pytest.raises(UserError, match="charset 'from_data:clusters' needs labels"):
        build_charset("from_data:clusters")


def test_a_large_charset_comes_from_the_data_alone(tmp_path):
    characters = [chr(0x4E00 + i) for i in range(150)]
    write_words(tmp_path, ["".join(characters[i : i + 5]) for i in range(0, 150, 5)])
    spec = f"tsv:{tmp_path}"
    config = small_config(**{"data.train": spec, "data.eval": spec, "charset": "from_data"})
    data = open_training_set(config, preprocess_of(config))
    assert data.charset.classes == tuple(characters)
    assert len(data.index) == 30


def test_a_run_warns_of_labels_that_do_not_come_back(tmp_path, caplog):
    write_words(tmp_path, ["אבג", "0 :-aث1", "א\u202bב\u202cג", "ab אב"])
    spec = f"tsv:{tmp_path}"
    config = small_config(**{"data.train": spec, "data.eval": spec, "charset": "from_data"})
    caplog.set_level(logging.WARNING, logger="crnn_jax")
    open_training_set(config, preprocess_of(config))
    assert "1 different label(s) come back in another order" in caplog.text
    assert "1 different label(s) lose characters that set the direction" in caplog.text
    assert (
        "2 different label(s) have right-to-left letters and begin with one of the other"
        in caplog.text
    )


@pytest.mark.parametrize("charset", ["chars:abcب", "chars:abcकि"])
def test_scripts_that_need_shaping_are_not_rendered(charset):
    config = small_config(**{"data.train": "synth:plain", "data.eval": "", "charset": charset})
    with pytest.raises(UserError, match="joins its neighbours: train on images of this script"):
        open_training_set(config, preprocess_of(config))


ARABIC = ["سلام ١٢", "كتاب (٣)", "مدرسة", "شمس وقمر", "باب 45", "نور", "قلم جديد", "بيت"]
HINDI = ["किताब", "नमस्ते", "दिल्ली ५", "पानी", "क्षमा", "विद्या", "स्त्री", "हिन्दी"]
FACES = {
    "arabic": pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf",
    "hindi": pathlib.Path("/usr/share/fonts/truetype/noto/NotoSansDevanagari-Regular.ttf"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "lines", "charset"),
    [("arabic", ARABIC, "from_data"), ("hindi", HINDI, "from_data:clusters")],
)
def test_lines_train_and_read_back_in_the_order_of_reading(tmp_path, script, lines, charset):
    if not FACES[script].exists():
        pytest.skip(f"no font for {script}: {FACES[script]}")
    font = ImageFont.truetype(FACES[script], 28, layout_engine=ImageFont.Layout.RAQM)
    rows = []
    for i, text in enumerate(lines):
        left, top, right, bottom = font.getbbox(text)
        picture = Image.new("L", (right - left + 12, bottom - top + 10), 255)
        ImageDraw.Draw(picture).text((6 - left, 5 - top), text, 0, font=font)
        picture.save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png\t{text}\n")
    (tmp_path / "labels.tsv").write_text("".join(rows), encoding="utf-8")
    pairs = {
        "data.train": f"tsv:{tmp_path}", "data.eval": f"tsv:{tmp_path}", "charset": charset,
        "total_steps": 250, "batch_size": 8, "model.hidden": 64, "model.standardize": True,
        "optimizer.learning_rate": 4e-3, "devices": 1, "data.buckets": 1,
    }  # fmt: skip
    config = cli.load_experiment("words", [(key, str(value)) for key, value in pairs.items()])
    train.train_and_evaluate(config, tmp_path / "run")
    read = Recognizer.load(tmp_path / "run").read([tmp_path / f"{i}.png" for i in range(8)])
    assert [reading.text for reading in read] == lines


def test_labels_in_the_order_of_the_picture_are_turned(tmp_path):
    texts = ["שלום 12", "abc"]
    write_words(tmp_path, [bidi.reorder(text) for text in texts])
    stored = open_source(f"tsv:{tmp_path}")
    source = open_source(f"tsv:{tmp_path}::limit=2,order=picture,name=turned")
    assert [source.label(i) for i in range(2)] == texts
    assert stored.label(0) != texts[0]
    assert source.name == "turned"
    assert source.fingerprint() != stored.fingerprint()
    again = pickle.loads(pickle.dumps(source))
    assert again.label(0) == texts[0]
    assert again.fingerprint() == source.fingerprint()
    with pytest.raises(UserError, match=r"order of labels \(order=\) 'visual'.*picture, reading"):
        open_source(f"tsv:{tmp_path}::order=visual")
