"""Opens a page in which to try a model: drop, paste or photograph a word or a line."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli, shipped
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.demoing.desk import Desk

_EXAMPLE = """example:
  python -m crnn_jax.demo --model=runs/quickstart
  python -m crnn_jax.demo
Ends with Ctrl-C. Other machines can reach it with --host=0.0.0.0: there is no password then, and
no encryption."""
_PORT = 7860
_LOCAL = "127.0.0.1"


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.demo", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument(
        "--model", action="append", default=[],
        help="a run's workdir, a bundle or a shipped model; several read together; default: "
        f"{shipped.DEFAULT}",
    )  # fmt: skip
    parser.add_argument(
        "--lm", default="", metavar="LANGUAGE|FILE",
        help="language model where neither a lexicon nor a pattern is given, as for predict",
    )  # fmt: skip
    parser.add_argument(
        "--host", default=_LOCAL,
        help=f"address to listen on; default: {_LOCAL}, this machine alone",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=_port, default=_PORT, metavar="N",
        help=f"default: {_PORT}; 0 takes a free one",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if args.lm:
        from crnn_jax.decode import lm

        lm.check_exists(args.lm)
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the demo needs Gradio: pip install 'crnn_jax[demo]'")
    with _listen(args.host, args.port) as listener, tempfile.TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # for uploads
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(cli.DONE))  # else they would stay
        port = listener.getsockname()[1]
        server = _server(_desk(args.model or [shipped.DEFAULT], args.lm), args.host, port)
        shown = f"[{args.host}]" if ":" in args.host else args.host
        print(f"http://{shown}:{port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    return cli.DONE


def _port(text: str) -> int:
    import argparse

    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write 0 to 65535")
    return int(text)


def _listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens, before anything is loaded.

    Raises:
      UserError: the port is taken, or the address is empty or none of this machine.
    """
    if not host:  # which would be every machine
        raise UserError(
            f"--host is empty: give an address, as in {_LOCAL}; --host=0.0.0.0 lets others in"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"--host={host} --port={port} cannot be listened on ({error.strerror}): give an "
            "address of this machine and a port that is free; --port=0 finds one"
        ) from None


def _desk(names: Sequence[str], language_model: str) -> Desk:
    """Loads the models, and compiles what the first reading needs.

    Args:
      names: of the models.
      language_model: as for `lm.load`; empty for none.

    Raises:
      UserError: one cannot be loaded, or they cannot read as one.
    """
    from crnn_jax import ensembles
    from crnn_jax.decode import lm
    from crnn_jax.decode.beam import Beam
    from crnn_jax.demoing.desk import Desk
    from crnn_jax.recognizer import Recognizer

    recognizer = ensembles.combine([Recognizer.load(name) for name in names])
    if not isinstance(recognizer, Recognizer):
        raise UserError(
            f"--model: {recognizer.name} have different characters or sizes, and frames that "
            "cannot be shown as one; give models that share them"
        )
    model = lm.weighted(language_model, recognizer.charset) if language_model else None
    desk = Desk(recognizer, Beam(model=model))
    desk.warm_up()
    return desk


def _server(desk: Desk, host: str, port: int) -> Any:
    """Returns the web server of the page."""
    import uvicorn

    from crnn_jax.demoing import page

    config = uvicorn.Config(
        page.application(desk, host, port), log_level="warning", timeout_graceful_shutdown=2
    )
    return uvicorn.Server(config)


if __name__ == "__main__":
    cli.run(main)
