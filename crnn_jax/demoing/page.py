"""The page of the demo, and what answers it."""

from __future__ import annotations

import base64
import binascii
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import fastapi
import gradio as gr
import pydantic
from gradio import utils as gradio_utils
from gradio.data_classes import ImageData

from crnn_jax.decode.pattern import PATTERNS
from crnn_jax.demoing import shown
from crnn_jax.demoing.desk import MOST_BYTES, Desk
from crnn_jax.demoing.gate import Gate, Room
from crnn_jax.errors import UserError

MOST_WAITING = 32  # readings; more are told to come back
_EXAMPLES = pathlib.Path(__file__).parent / "examples"
_KEPT, _SWEPT = 1800, 300  # seconds that uploads are kept, and between looking for old ones
_MOST_KEPT = 2**29  # bytes of uploads in all
_NOTHING = '<div class="seen"><p>Give an image on the left, or take one of the examples.</p></div>'
_STYLE = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important }
#text textarea { font-size: 22px; font-weight: 600 }
#examples .container { width: auto; height: auto; border: 0; border-radius: 3px }
#examples img { width: auto; height: 32px; max-width: 180px; object-fit: contain }
#examples .table-wrap { overflow-x: auto; contain: inline-size }
#examples td { padding: 4px 10px }
@media (max-width: 600px) {
  #examples img { max-width: 110px } #examples td, #examples th { padding: 4px 6px }
  #examples th { font-size: 12px; white-space: normal }
}
"""


class Example(NamedTuple):
    """A file of `examples`, and what goes with it."""

    file: str
    lexicon: str = ""
    pattern: str = ""


# Rendered by `python -m crnn_jax.synth.preview`, presets scene and meter, 64 pixels high.
EXAMPLES = (
    Example("pharynxes.png"),
    Example("uniform.png"),
    Example("leanings.png"),
    Example("cloaked.png", lexicon="clocked, cloaked, croaked, soaked"),
    Example("display.png", pattern="integer"),
    Example("counter.png", pattern="[0-9]{5}"),
)


def build(desk: Desk) -> gr.Blocks:
    """Returns the page, whose endpoint for programs is called `read`."""

    def show(content: bytes | None, lexicon: str | None, pattern: str | None) -> tuple:
        if content is None:
            return "", _NOTHING, None
        try:
            return _results(desk, content, lexicon, pattern)
        except UserError as error:
            return "", shown.refusal(_line(error)), None

    def read(image: bytes | None, lexicon: str | None = "", pattern: str | None = "") -> tuple:
        """Reads the image of a word or a line."""
        try:
            if image is None:
                raise UserError("there is no image: give one")
            return _results(desk, image, lexicon, pattern)
        except UserError as error:
            raise _refused(_line(error)) from None

    with gr.Blocks(
        title="crnn_jax", analytics_enabled=False, delete_cache=(_SWEPT, _KEPT)
    ) as blocks:
        gr.Markdown(_heading(desk))
        with gr.Row():
            with gr.Column(min_width=300):
                image = gr.Image(
                    label="A word or a line, cropped",
                    sources=["upload", "webcam", "clipboard"],
                    type="filepath",
                    height=220,
                    buttons=[],
                    webcam_options=gr.WebcamOptions(
                        mirror=False, constraints={"video": {"facingMode": "environment"}}
                    ),
                )
                lexicon = gr.Textbox(
                    label="Lexicon",
                    info="The only words that are read: one a line, or commas between.",
                    lines=2,
                    max_lines=6,
                )
                pattern = gr.Textbox(
                    label="Pattern",
                    info="Only texts that match: a regular expression, or a name such as "
                    f"{', '.join(list(PATTERNS)[:3])}.",
                    max_lines=1,
                )
                button = gr.Button("Read", variant="primary")
            with gr.Column(min_width=300):
                text = gr.Textbox(label="Text", elem_id="text", buttons=["copy"], lines=1)
                html = gr.HTML(_NOTHING)
                with gr.Accordion("As JSON", open=False):
                    values = gr.JSON(show_label=False)
        gr.Examples(
            [[str(_EXAMPLES / e.file), e.lexicon, e.pattern] for e in EXAMPLES],
            [image, lexicon, pattern],
            elem_id="examples",
            cache_examples=False,
            preload=False,
        )
        fields, results = [image, lexicon, pattern], [text, html, values]
        gr.on(
            [image.change, button.click, pattern.submit],
            show,
            fields,
            results,
            api_visibility="private",
            concurrency_limit=1,
            concurrency_id="desk",
            show_progress="minimal",
        )
        # Programs get an error where people are shown a message.
        gr.Button(visible=False).click(
            read, fields, results, api_name="read", concurrency_limit=1, concurrency_id="desk"
        )
    _keep_to_uploads([image, lexicon, pattern])
    image.preprocess, image.data_model = _content, _Image
    blocks.validate_inputs = _three_inputs
    blocks.queue(max_size=MOST_WAITING, api_open=False)
    return blocks


def _heading(desk: Desk) -> str:
    return (
        f"# crnn_jax\nReads the image of a word or a line with **{desk.name}**, a model of "
        f"{len(desk.charset.classes)} characters. Images stay on the machine that runs this page."
    )


def _results(desk: Desk, content: bytes, lexicon: str | None, pattern: str | None) -> tuple:
    seen = desk.read(content, lexicon or "", pattern or "")
    return seen.reading.text, shown.as_html(seen, desk.charset), shown.as_json(seen)


def _line(error: UserError) -> str:
    return " ".join(str(error).split())


class _Image(ImageData):
    """What stands for an image in a request; one line tells what does not."""

    model_config = pydantic.ConfigDict(title="ImageData")

    @classmethod
    def model_validate(cls, value: Any, **options: Any) -> Any:
        """Returns the values, checked; anything else is an error of one line."""
        try:
            return super().model_validate(value, **options)
        except pydantic.ValidationError:
            raise _refused("the image is neither an upload nor a data URI in base64") from None


def _three_inputs(_: Any, inputs: Sequence[Any]) -> None:
    if len(inputs) < 3:
        raise _refused("a request has three inputs: image, lexicon, pattern; the last may be empty")


def _refused(line: str) -> gr.Error:
    return gr.Error(line, print_exception=False)


def _keep_to_uploads(components: Sequence[Any]) -> None:
    """Makes components refuse links, and files that were not uploaded.

    Gradio would download the one and copy the other where anybody can fetch it.
    """

    async def uploaded(path: Any) -> str:
        if not _is_upload(path):
            raise _refused("only uploaded files are read: upload the image first")
        return str(path)

    for component in components:
        component.async_move_resource_to_block_cache = uploaded


def _is_upload(path: Any) -> bool:
    folder = pathlib.Path(gradio_utils.get_upload_folder()).resolve()
    return pathlib.Path(str(path)).resolve().is_relative_to(folder)


def _content(payload: Any) -> bytes | None:
    """Returns the bytes of an image that was uploaded or is a data URI, not decoded yet."""
    if payload is None:
        return None
    if payload.path is None:
        head, _, data = (payload.url or "").partition(";base64,")
        try:
            if not head.startswith("data:"):
                raise ValueError
            return base64.b64decode(data, validate=True)
        except (ValueError, binascii.Error):
            raise _refused("the image is neither an upload nor a data URI in base64") from None
    if not _is_upload(payload.path):
        raise _refused("only uploaded files are read: upload the image first")
    try:
        return pathlib.Path(payload.path).read_bytes()
    except OSError:
        raise _refused("the image is not here any more: upload it again") from None


def application(desk: Desk, host: str, port: int) -> Gate:
    """Returns the web application of the page."""
    theme = gr.themes.Default(
        primary_hue="blue",
        font=["system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"],
        font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    ).set(body_text_color_subdued="*neutral_600", block_info_text_color="*neutral_600")
    app = gr.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        build(desk),
        path="/",
        server_name=host,
        server_port=port,
        footer_links=["api"],
        run_history=False,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=theme,
        css=_STYLE + shown.STYLE,
    )
    _results(desk, (_EXAMPLES / EXAMPLES[0].file).read_bytes(), "", "")  # fonts are loaded now
    room = Room(pathlib.Path(gradio_utils.get_upload_folder()), _MOST_KEPT)
    return Gate(app, MOST_BYTES * 4 // 3 + 2**16, room)  # as a data URI, with all that is around it
