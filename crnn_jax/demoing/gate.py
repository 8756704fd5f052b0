"""What stands in front of the page: few paths, small requests, and nothing from elsewhere."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_LOG = logging.getLogger("crnn_jax")

# Gradio answers on many more: it fetches from other hosts, records video, edits code.
_PATHS = re.compile(
    r"/|/(?:config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?|/(?:assets|static|svelte)/.*"
    r"|/gradio_api/(?:info|openapi\.json|config|app_id|upload|upload_progress|startup-events|cancel"
    r"|reset|theme\.css|queue/join|queue/data|heartbeat/[\w-]+|call/(?:v2/)?read(?:/\w+)?)/?"
    r"|/gradio_api/file=(?!https?:).*"
)
_UPLOAD = "/gradio_api/upload"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# Bytes of a refused request that are read: who is still sending would not see the answer.
_TAKEN = 256 * 2**20
_UNKNOWN = b'event: error\ndata: {"error": "there is no such reading"}\n\n'
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Room:
    """Keeps a folder of uploads below a size: the oldest go first, as they are read at once.

    Args:
      folder: of the uploads; what is in it already stays.
      most_bytes: that they may take.
    """

    def __init__(self, folder: pathlib.Path, most_bytes: int):
        self._folder, self._half, self._since = folder, most_bytes // 2, 0
        self._kept = set(folder.rglob("*"))

    def take(self, size: int) -> None:
        """Makes room for an upload of so many bytes."""
        self._since += size  # since the folder was looked through, which is not done every time
        if self._since <= self._half:
            return
        self._since = size
        left = 0
        for stat, path in sorted(self._files(), key=lambda found: -found[0].st_mtime_ns):
            left += stat.st_size
            if left > self._half:
                path.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[os.stat_result, pathlib.Path]]:
        for path in self._folder.rglob("*"):
            with contextlib.suppress(OSError):  # it may have gone
                if path not in self._kept and path.is_file():
                    yield path.stat(), path


class Gate:
    """ASGI middleware that refuses what the page does not need.

    Args:
      app: behind it.
      most_bytes: of the body of a request, whose length has to be told.
      room: for what is uploaded.
    """

    def __init__(self, app: App, most_bytes: int, room: Room):
        self._app, self._most_bytes, self._room = app, most_bytes, room

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with one line."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http" or not _PATHS.fullmatch(scope["path"]):
            await _answer(send, 404, "there is nothing here")
            return
        headers = dict(scope["headers"])
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            length = headers.get(b"content-length", b"")
            # A body in chunks ends where it says itself, whatever length is told beside it.
            if not length.isdigit() or b"transfer-encoding" in headers:
                await _answer(send, 411, "say how long the request is: Content-Length")
                return
            if int(length) > self._most_bytes:
                if int(length) <= _TAKEN:
                    await _take(receive)
                line = f"the request is too large: at most {self._most_bytes:,} bytes"
                await _answer(send, 413, line)
                return
            if scope["path"].startswith(_UPLOAD):
                self._room.take(int(length))

        complete = False

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal complete
            complete = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # Gradio's way to say that it knows no such reading or file
            _LOG.warning("%s: %s", scope["path"], " ".join(str(error).split()))
            if not complete:
                await send({"type": "http.response.body", "body": _UNKNOWN})


async def _take(receive: Receive) -> None:
    """Reads the rest of a request and forgets it."""
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return


async def _answer(send: Send, status: int, line: str) -> None:
    body = json.dumps({"detail": line}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the request is not read
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
