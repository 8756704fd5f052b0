"""The demo: its limits, its endpoint, and the page in a browser."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from browser import Browser
from PIL import Image
from slopes import EXAMPLES, on_a_slope

from crnn_jax import demo, shipped
from crnn_jax.careful import Careful
from crnn_jax.charset import Charset, build_charset
from crnn_jax.decode import lm
from crnn_jax.decode.beam import Beam
from crnn_jax.demoing import desk as desks
from crnn_jax.demoing import shown
from crnn_jax.demoing.gate import Gate, Room
from crnn_jax.errors import UserError
from crnn_jax.recognizer import Recognizer
from crnn_jax.runtime import AS_IT_IS, View


def skip_without_gradio() -> None:
    """Skips the test; importing Gradio to find out would take seconds."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("Gradio is not installed: pip install 'crnn_jax[demo]'")


# Without a server.


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        (["--port=70000"], ["'70000' is not a port", "0 to 65535"]),
        (["--port={taken}"], ["Address already in use", "--port=0 finds one"]),
        (["--host=none.invalid", "--port=0"], ["cannot be listened on"]),
        (["--host=", "--port=0"], ["--host is empty", "as in 127.0.0.1"]),
        (["--model=none", "--port=0"], ["unknown model 'none'"]),
        (["--lm=none.txt", "--port=0"], ["--lm=none.txt is no file", "of english, german, "]),
        (["--modle=none"], ["did you mean '--model'"]),
    ],
)
def test_mistakes(mistake: Callable, argv: list[str], messages: list[str]) -> None:
    skip_without_gradio()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = mistake(demo.main, *(part.format(taken=port) for part in argv))
    for message in messages:
        assert message in line


def test_words_of_a_field() -> None:
    assert desks.parse_words(" red, green\nblue\n\n,red") == ("red", "green", "blue")
    with pytest.raises(UserError, match="1,001 words, and 1,000 are the most"):
        desks.parse_words("\n".join(map(str, range(1001))))
    with pytest.raises(UserError, match="a word of 65 characters"):
        desks.parse_words("a" * 65)


def test_words_match_the_pattern_as_they_are_shown() -> None:
    charset = build_charset("latin94")
    decoder = desks._lexicon_decoder(("Room", "ROOM", "Hall"), "[A-Z]+", charset)
    assert set(decoder._lexicon.words) == {"ROOM"}
    with pytest.raises(UserError, match="no word of the lexicon matches"):
        desks._lexicon_decoder(("Room",), "[A-Z]+", charset)
    folded = desks._lexicon_decoder(("Room", "Rooms"), "[A-Z]{4}", build_charset("alnum36"))
    assert folded._lexicon.words == ["room"]


@pytest.mark.slow
def test_what_is_marked_in_the_frames_is_what_was_read() -> None:
    desk = desks.Desk(Recognizer.load("tiny-latin"))
    seen = desk.read((EXAMPLES / "uniform.png").read_bytes(), lexicon="UNIFORM, unicorn")
    marked = [desk.charset.classes[id_ - 1] for id_, *_ in seen.look.label]
    assert seen.reading.text == "UNIFORM"
    assert marked == [c.char for c in seen.reading.characters] == list("uniform")


@pytest.mark.slow
def test_what_is_unsure_is_read_again_and_shown_as_it_was_read() -> None:
    desk = desks.Desk(Recognizer.load("tiny-latin"))
    sloping, word = on_a_slope("uniform", 19), Image.open(EXAMPLES / "uniform.png")
    seen = desk.read(png(sloping))
    assert (seen.reading.text, seen.view) == ("uniform", View(slope=19))
    assert seen.plain != "uniform"
    assert seen.pixels.shape[:2] == (sloping.height, sloping.width)
    assert shown.as_json(seen)["slope"] == 19
    html = shown.as_html(seen, desk.charset)
    assert "straightened, as a text that falls by 19 degrees" in html
    assert f"<b>{seen.plain}</b>" in html

    seen = desk.read(png(word.transpose(Image.Transpose.ROTATE_90)))
    assert (seen.reading.text, seen.view) == ("uniform", View(rotation=270))
    assert seen.pixels.shape[:2] == (word.height, word.width)
    assert "turned by 270 degrees" in shown.as_html(seen, desk.charset)
    for view, how in (
        (View(margin=0.2), "with a margin of 20% of its height"),
        (View(stretch=1.3), "stretched"),
        (View(stretch=1.3, equalized=True), "stretched, its greys spread evenly"),
    ):
        html = shown.as_html(seen._replace(view=view), desk.charset)
        assert f"Read again {how}, since" in html
    places = [(c["x0"], c["x1"]) for c in shown.as_json(seen)["chars"]]
    plain = desk.read(png(word))
    assert plain.view == AS_IT_IS
    assert "Read again" not in shown.as_html(plain, desk.charset)
    wanted = [(c["x0"], c["x1"]) for c in shown.as_json(plain)["chars"]]
    np.testing.assert_allclose(places, wanted, atol=0.1)


def test_a_model_of_letters_from_right_to_left_can_be_shown(recognizer, monkeypatch) -> None:
    letters = "אבגדהוזחטיכלמנסעפצקרשת"
    charset = Charset((*letters, *recognizer.charset.classes[len(letters) :]), "keep")
    desk = desks.Desk(dataclasses.replace(recognizer, charset=charset))
    tried = []
    monkeypatch.setattr(desk, "_decoder", lambda *way: tried.append(way) or Beam())
    desk.warm_up()
    assert tried[0] == ("", "")
    assert not any(pattern for _, pattern in tried)


@pytest.mark.slow
def test_a_language_model_reads_where_nothing_else_is_given() -> None:
    model = Recognizer.load("tiny-latin")
    desk = desks.Desk(model, Beam(model=lm.weighted("english", model.charset)))
    image = (EXAMPLES / "uniform.png").read_bytes()
    assert desk.read(image).reading.text.lower() == "uniform"
    weighted = desk._decoder("", "").tables
    assert float(weighted.weight) == lm.DICTIONARY_WEIGHT
    assert not isinstance(desk._decoder("", "[0-9]+").tables, type(weighted))


@pytest.mark.parametrize(
    ("method", "path", "length", "status"),
    [
        ("GET", "/", None, 200),
        ("GET", "/gradio_api/file=/tmp/x.png", None, 200),
        ("GET", "/gradio_api/file=http://elsewhere.invalid/x.png", None, 404),
        ("GET", "/gradio_api/proxy=http://elsewhere.invalid/", None, 404),
        ("POST", "/gradio_api/process_recording", 10, 404),
        ("POST", "/gradio_api/call/read", 100, 200),
        ("POST", "/gradio_api/call/other", 100, 404),
        ("POST", "/gradio_api/upload", 101, 413),
        ("POST", "/gradio_api/upload", None, 411),
        ("POST", "/gradio_api/upload", "chunked", 411),
    ],
)
def test_the_gate(
    tmp_path: pathlib.Path, method: str, path: str, length: int | str | None, status: int
) -> None:
    async def behind(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    if length == "chunked":  # servers believe this, and not the length beside it
        headers = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(Gate(behind, 100, Room(tmp_path, 1000))(scope, receive, send))
    assert sent[0]["status"] == status
    assert (b"content-security-policy" in dict(sent[0]["headers"])) == (status == 200)
    assert status == 200 or len(json.loads(sent[1]["body"])["detail"].splitlines()) == 1


def test_uploads_stay_below_a_size_and_the_oldest_go(tmp_path: pathlib.Path) -> None:
    (tmp_path / "example.jpg").touch()
    os.utime(tmp_path / "example.jpg", (0, 0))
    room, largest = Room(tmp_path, 1000), 0
    for number in range(40):
        room.take(90)
        path = tmp_path / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(90))
        os.utime(path, (number, number))
        left = sorted(int(path.stem) for path in tmp_path.rglob("*.png"))
        assert left == list(range(left[0], number + 1)), "the newest are here"
        largest = max(largest, 90 * len(left))
    assert 500 < largest <= 1000
    assert (tmp_path / "example.jpg").exists()


# The server, in its own process.


@contextlib.contextmanager
def serving(*argv: str) -> Iterator[tuple[str, subprocess.Popen]]:
    command = [sys.executable, "-m", "crnn_jax.demo", "--port=0", *argv]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), process.stderr.read()
            yield url, process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    skip_without_gradio()
    with serving() as (url, _):
        yield url


def png(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def data_uri(content: bytes) -> dict:
    return {"url": f"data:image/png;base64,{base64.b64encode(content).decode()}"}


def ask(url: str, *inputs: object) -> tuple[str, object]:
    """Returns the last event of a reading by the HTTP API, and its data."""
    call = f"{url}/gradio_api/call/read"
    with httpx.Client(timeout=60) as client:
        number = client.post(call, json={"data": inputs}).raise_for_status().json()["event_id"]
        lines = client.get(f"{call}/{number}").text.splitlines()
    event, data = [line for line in lines if line][-2:]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def refused(url: str, *inputs: object) -> str:
    event, data = ask(url, *inputs)
    assert event == "error", data
    line = data["error"]
    assert line.count("\n") == 0
    assert "Traceback" not in line
    return line


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_endpoint_reads_as_the_library_does(url: str) -> None:
    client_library = pytest.importorskip("gradio_client")

    client = client_library.Client(url, verbose=False, analytics_enabled=False)
    recognizer = Careful(Recognizer.load(shipped.DEFAULT).in_windows())  # one example is wide
    for path in sorted(EXAMPLES.glob("*.png")):
        [wanted] = recognizer.read([path], decoder="beam")
        text, html, values = client.predict(
            client_library.handle_file(path), "", "", api_name="/read"
        )
        assert text == values["text"] == wanted.text
        assert values["confidence"] == pytest.approx(wanted.confidence, abs=1e-4)
        assert [c["char"] for c in values["chars"]] == [c.char for c in wanted.characters]
        assert [c["x0"] for c in values["chars"]] == pytest.approx(
            [c.x0 for c in wanted.characters], abs=0.02
        )
        assert [a["text"] for a in values["alternatives"]] == [a.text for a in wanted.alternatives]
        assert html.count("<svg") == html.count('class="boxes"') == 1


@pytest.mark.slow
def test_lexicon_and_pattern(url: str) -> None:
    image = data_uri((EXAMPLES / "uniform.png").read_bytes())
    for lexicon, pattern, wanted in (
        ("", "", "uniform"),
        ("unicorn, uniforms\nquick", "", "uniforms"),
        ("unicorn, uniforms\nquick", "[a-z]{7}", "unicorn"),
        ("", "[A-Z][a-z]+", "Uniform"),
    ):
        event, (text, _, values) = ask(url, image, lexicon, pattern)
        assert (event, text, values["text"]) == ("complete", wanted, wanted)
    for lexicon, pattern, told in (
        ("uniform", "[0-9]+", "no word of the lexicon matches the pattern"),
        ("", "(", "is no regular expression"),
        ("", "(a+)+$" * 90, "500 are the most"),
        ("", "(.*a){40}.{40}", "too intricate"),
        ("", "date_ios", "did you mean 'date_iso'"),
        (",".join(map(str, range(2000))), "", "1,000 are the most"),
    ):
        assert told in refused(url, image, lexicon, pattern)


@pytest.mark.slow
def test_what_cannot_be_read_is_refused_in_a_line(url: str) -> None:
    whole = (EXAMPLES / "uniform.png").read_bytes()
    large = png(Image.new("1", (desks.MOST_PIXELS // 1000 + 1, 1000)))
    for image, told in (
        (None, "there is no image"),
        (data_uri(b""), "0 bytes"),
        (data_uri(b"text"), "not an image"),
        (data_uri(whole[: len(whole) // 2]), "damaged or truncated"),
        (data_uri(large), "30,001 x 1,000 pixels"),
        (data_uri(bytes(desks.MOST_BYTES + 1)), "at most 12 MiB"),
        ({"url": "data:image/png;base64,?"}, "neither an upload nor a data URI"),
        ({"url": "http://elsewhere.invalid/x.png"}, "neither an upload nor a data URI"),
        ("text", "neither an upload"),
        (7, "neither an upload"),
    ):
        assert told in refused(url, image, "", "")
    assert "three inputs" in refused(url, image)
    body = {"data": [data_uri(bytes(2 * desks.MOST_BYTES)), "", ""]}
    answer = httpx.post(f"{url}/gradio_api/call/read", json=body, timeout=60)
    assert answer.status_code == 413
    assert "too large" in answer.json()["detail"]


@pytest.mark.slow
def test_no_file_but_uploads_is_read_or_served(url: str, tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret.png"
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(secret)
    meta = {"_type": "gradio.FileData"}
    for path in (str(secret), secret.as_uri(), "http://elsewhere.invalid/x.png", "relative.png"):
        for image in ({"path": path}, {"path": path, "meta": meta}):
            assert "only uploaded files" in refused(url, image, "", "")
        event, data = ask(url, None, {"path": path, "meta": meta}, "")
        assert event == "error", data
        assert httpx.get(f"{url}/gradio_api/file={path}").status_code in (403, 404)


@pytest.mark.slow
def test_it_ends_when_told_to_and_leaves_nothing(tmp_path: pathlib.Path, monkeypatch) -> None:
    skip_without_gradio()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving() as (url, process):
        files = {"files": ("x.png", (EXAMPLES / "uniform.png").read_bytes())}
        [path] = httpx.post(f"{url}/gradio_api/upload", files=files).json()
        assert pathlib.Path(path).is_relative_to(tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not pathlib.Path(path).exists()


# In a browser.


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (1280, True)])
def test_a_browser_reads(url: str, tmp_path: pathlib.Path, width: int, dark: bool) -> None:
    with Browser(tmp_path / "profile") as browser:
        browser.look(width, 900, dark)
        browser.open(url)
        browser.wait("document.querySelector('input[type=file]') !== null")
        browser.give("input[type=file]", EXAMPLES / "uniform.png")
        browser.wait("document.querySelector('#text textarea').value === 'uniform'")
        browser.wait("document.querySelector('.seen svg.frames') !== null")
        assert browser.run("document.querySelectorAll('.seen img.boxes').length") == 1
        wide = browser.run("document.documentElement.scrollWidth")
        assert wide <= width, "the page does not scroll sideways"
        shot = tmp_path / "shot.png"
        browser.shot(shot)
        pixels = np.asarray(Image.open(shot).convert("L"), np.float32)
        assert (pixels.mean() < 100) == dark
        assert browser.problems == []
        hosts = {urlsplit(asked).netloc for asked in browser.requests}
    assert hosts - {""} == {urlsplit(url).netloc}, "data and blobs aside, nothing from elsewhere"


@pytest.mark.slow
def test_a_browser_shows_a_refusal(url: str, tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((EXAMPLES / "uniform.png").read_bytes()[:200])
    with Browser(tmp_path / "profile") as browser:
        browser.look(1280, 900)
        browser.open(url)
        browser.wait("document.querySelector('input[type=file]') !== null")
        browser.give("input[type=file]", broken)
        shown = browser.wait("document.querySelector('.refusal')?.textContent")
    assert "replace the file" in shown
