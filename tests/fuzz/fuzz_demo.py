"""The endpoint of the demo: images, lexica and patterns that go wrong, by HTTP."""

from __future__ import annotations

import base64
import json
import pathlib
import random
import socket
import threading
import time
from typing import Any

from fuzz_images import Case, image_case, seeds
from fuzz_targets import MODEL, Wrong, one_line

_WORDS = ("", "", "", "fuzz, buzz", ",,\n", "a" * 65, "\0", "\ud7ff, \u202e", "x\n" * 2000, "ünï")
_PATTERNS = (
    "",
    "",
    "",
    "[a-z]+",
    "(",
    "[",
    "a{9999}",
    "(a+)+$",
    "a" * 501,
    ".*" * 200,
    "\\",
    "\0",
    "(?P<x>a)(?P=x)",
    "(?<=a)b",
    "[^a]",
    "integer",
    "date_ios",
    "\\p{L}",
    "|" * 99,
)
_CHUNKED = "in chunks"
_OTHER = (
    None,
    "",
    7,
    [],
    {},
    {"path": "/etc/passwd"},
    {"url": "file:///etc/passwd"},
    {"url": "data:image/png;base64,?"},
    {"url": "data:,"},
    {"url": ""},
    {"path": None},
    {"path": "\0"},
    {"url": "data:image/png;base64," + "A" * 5},
)


def request_case(rng: random.Random) -> Case:
    """Returns what a request holds: an image, a lexicon, a pattern."""
    case = image_case(rng, in_memory=False)
    image: Any = rng.choice(_OTHER)
    if isinstance(case.content, bytes) and rng.random() < 0.9:
        kind = rng.choice(("image/png", "image/jpeg", "text/html", "", "image/svg+xml", "x" * 999))
        image = {"url": f"data:{kind};base64,{base64.b64encode(case.content).decode()}"}
    texts = ["", ""]
    if rng.random() < 0.05:
        return Case(_CHUNKED, [image, *texts])
    if rng.random() < 0.15:
        image = {"url": f"data:image/png;base64,{base64.b64encode(seeds()['PNG L']).decode()}"}
        texts = [rng.choice((*_WORDS, None, 7, [])), rng.choice((*_PATTERNS, None, 7, {}))]
        return Case("lexicon and pattern", [image, *texts])
    return Case(case.kind if isinstance(image, dict) else "no image", [image, *texts])


class Demo:
    """The demo's server in a thread of this process, whose memory and time are watched."""

    def __init__(self, folder: pathlib.Path):
        import uvicorn

        from crnn_jax.demoing import page
        from crnn_jax.demoing.desk import Desk
        from crnn_jax.recognizer import Recognizer

        self._desk = Desk(Recognizer.load(MODEL))
        self._desk.warm_up()
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}/gradio_api/call/read"
        made = page.application(self._desk, "127.0.0.1", port)
        self._server = uvicorn.Server(uvicorn.Config(made, log_level="warning"))
        threading.Thread(target=self._server.run, args=([listener],), daemon=True).start()

    def warm_up(self) -> None:
        while not self._server.started:
            time.sleep(0.1)
        image = {"url": f"data:image/png;base64,{base64.b64encode(seeds()['PNG L']).decode()}"}
        if told := self.run(Case("good", [image, "", ""]), random.Random(0)):
            raise Wrong(told)

    def case(self, rng: random.Random) -> Case:
        return request_case(rng)

    def run(self, case: Case, rng: random.Random) -> str | None:
        """Asks, and waits for the answer as its client does."""
        import httpx

        if case.kind == _CHUNKED:
            # The beginning: what is refused is not read, and who sends more sees no answer.
            return self._in_chunks(json.dumps({"data": case.content}).encode()[:1000])
        with httpx.Client(timeout=120) as client:
            answer = client.post(self._url, json={"data": case.content})
            if answer.status_code != 200:
                if answer.status_code >= 500:
                    raise Wrong(f"status {answer.status_code}: {answer.text[:300]}")
                return one_line(ValueError(str(answer.json()["detail"])))
            text = client.get(f"{self._url}/{answer.json()['event_id']}").text
        event, data = [line for line in text.splitlines() if line][-2:]
        found = json.loads(data.removeprefix("data: "))
        if event == "event: complete":
            if not 0 <= found[2]["confidence"] <= 1:
                raise Wrong(f"a confidence that is none: {found[2]}")
            return None
        if not isinstance(found, dict) or not isinstance(found.get("error"), str):
            raise Wrong(f"an error without a line: {event} {found}")
        return one_line(ValueError(found["error"]))

    def _in_chunks(self, body: bytes) -> str:
        """Sends a body in chunks, beside a length that is within the limit."""
        host = self._url.split("/")[2]
        head = f"POST /gradio_api/call/read HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n"
        head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        name, port = host.split(":")
        with socket.create_connection((name, int(port)), timeout=120) as server:
            server.sendall(head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            answer = server.makefile("rb").readline().decode()
        if answer.split()[1] not in ("400", "411"):
            raise Wrong(f"a request in chunks is answered by {answer!r}")
        return one_line(ValueError(answer.strip()))
