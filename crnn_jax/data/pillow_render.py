"""Draws one word with Pillow: a grey image 32 pixels high, mildly distorted, its ink inside.

The text is drawn in the size of the font that the generator picks, then rotated, sheared, stretched
and scaled in one transform. Small sizes so come out soft, like letters photographed from afar, and
large ones crisp.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from crnn_jax.errors import UserError, unknown_name

HEIGHT = 32  # pixels of every image
SIZES = (15, 17, 20, 24, 28, 32, 38, 44, 52)  # pixels per em
# The text faces that matplotlib ships. Its other files are no text faces: LastResort draws one box
# for everything, and the cm* faces map some characters to other glyphs.
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
)

_MAX_ANGLE = math.radians(5)
_MAX_RISE = 0.35  # a long word is rotated less: its ends rise by this share of its height at most


def font_path(face: str) -> pathlib.Path:
    """Returns the file of one of FACES; UserError for another name."""
    import matplotlib

    if face not in FACES:
        raise unknown_name("face", face, FACES)
    return pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"


@functools.cache
def load_font(face: str, size: int) -> ImageFont.FreeTypeFont:
    """Returns a face at a size in pixels per em; loaded once per process.

    The basic layout engine is always there and knows no ligatures; raqm may be missing.
    """
    return ImageFont.truetype(font_path(face), size, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def has_glyph(face: str, char: str) -> bool:
    """Returns whether the face draws the character otherwise than as its sign for missing ones.

    That sign is empty in some faces, as a space is, which all of them have.
    """
    if char == " ":
        return True
    font = load_font(face, 32)
    glyph, missing = font.getmask(char), font.getmask("\uffff")  # U+FFFF is never a character
    return (glyph.size, bytes(glyph)) != (missing.size, bytes(missing))


@dataclasses.dataclass(frozen=True)
class Ink:
    """A text drawn upright in white on black; `box` is the ink's left, top, right, bottom."""

    image: Image.Image
    box: tuple[int, int, int, int]
    line: tuple[int, int]  # top and bottom of the font's line: the highest and lowest letter


def draw_ink(text: str, face: str, size: int) -> Ink:
    """Draws the text on a canvas wide and high enough for every glyph of the faces.

    Raises:
      UserError: if the face lacks a character, or nothing is drawn.
    """
    font = load_font(face, size)
    for char in text:
        if not has_glyph(face, char):
            raise UserError(f"the face {face} has no {char!r} (of {text!r}): use another face")
    baseline = 2 * size
    canvas = Image.new("L", (int(font.getlength(text)) + 2 * size, 3 * size))
    ImageDraw.Draw(canvas).text((size, baseline), text, fill=255, font=font, anchor="ls")
    box = canvas.getbbox()
    if box is None:
        raise UserError(f"the face {face} draws nothing for the text {text!r}: give letters")
    # The part of the em that letters and digits use in most of the faces.
    return Ink(canvas, box, (baseline - round(0.76 * size), baseline + round(0.24 * size)))


def place_ink(ink: Ink, rng: np.random.Generator) -> Image.Image:
    """Returns the ink warped onto a canvas HEIGHT pixels high, margins drawn at random.

    All of the ink stays inside with at least a pixel around it: what is fitted is the box around
    the four corners of the ink's box.
    """
    # Half a pixel more all around, over which the enlarged ink fades.
    left, top = ink.box[0] - 0.5, ink.box[1] - 0.5
    right, bottom = ink.box[2] + 0.5, ink.box[3] + 0.5
    # Some crops are tight; others leave room for the ascenders and descenders that a word lacks.
    looseness = (0.0, 0.0, 0.5, 1.0)[rng.integers(4)] * rng.random()
    top -= looseness * max(0, top - ink.line[0])
    bottom += looseness * max(0, ink.line[1] - bottom)
    width, height = right - left, bottom - top

    limit = min(_MAX_ANGLE, math.atan(_MAX_RISE * height / width))
    angle = limit * rng.uniform(-1, 1) if rng.random() < 0.7 else 0.0
    shear = rng.uniform(-0.25, 0.25) if rng.random() < 0.5 else 0.0
    stretch = math.exp(rng.uniform(-0.25, 0.2))
    cos, sin = math.cos(angle), math.sin(angle)
    a, b = stretch * cos, shear * cos - sin  # [[a, b], [c, d]] maps text to picture
    c, d = stretch * sin, shear * sin + cos

    above, below, before, after = rng.uniform((1, 1, 1.5, 1.5), (4, 4, 7, 7)).tolist()
    scale = (HEIGHT - above - below) / (abs(c) * width + abs(d) * height)
    extent = scale * (abs(a) * width + abs(b) * height)
    columns = max(math.ceil(before + extent + after), HEIGHT // 4)

    # Bilinear sampling skips pixels where it shrinks: large text goes to a canvas of twice the
    # size first, which is then averaged.
    zoom = 2 if scale * min(stretch, 1) < 0.75 else 1
    # Pillow wants the map from picture to text.
    det = zoom * scale * (a * d - b * c)
    inverse = (d / det, -b / det, -c / det, a / det)
    x = zoom * (before + extent / 2)
    y = zoom * (above + HEIGHT - below) / 2
    x0 = (left + right) / 2 - inverse[0] * x - inverse[1] * y
    y0 = (top + bottom) / 2 - inverse[2] * x - inverse[3] * y
    canvas = ink.image.transform(
        (zoom * columns, zoom * HEIGHT),
        Image.Transform.AFFINE,
        (inverse[0], inverse[1], x0, inverse[2], inverse[3], y0),
        Image.Resampling.BILINEAR,
    )
    return canvas.reduce(zoom)


def colour(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Returns the grey picture of a mask: dark on light or light on dark, on uneven ground."""
    coverage = np.asarray(mask, np.float32) * np.float32(1 / 255)
    height, width = coverage.shape
    contrast = rng.uniform(70, 230)
    dark = rng.uniform(0, 255 - contrast)
    text, ground = (dark, dark + contrast) if rng.random() < 0.65 else (dark + contrast, dark)

    picture = np.full((height, width), ground, np.float32)
    if rng.random() < 0.5:  # light and dirt: a coarse random field, smoothly enlarged
        coarse = rng.uniform(-1, 1, (2, 2 + width // 32)).astype(np.float32)
        field = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture += np.asarray(field) * np.float32(rng.uniform(0, 0.25) * contrast)
    if rng.random() < 0.12:  # a shadow of the letters, one pixel right and down
        shade = coverage[:-1, :-1] * np.float32(rng.uniform(0.3, 0.8))
        picture[1:, 1:] += (rng.uniform(0, 255) - picture[1:, 1:]) * shade
    picture += (np.float32(text) - picture) * coverage
    if rng.random() < 0.7:
        noise = rng.standard_normal((height, width), np.float32)
        picture += noise * np.float32(rng.uniform(1, 0.06 * contrast))
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def render_word(
    text: str, rng: np.random.Generator, face: str | None = None, size: int | None = None
) -> np.ndarray:
    """Returns a grey image uint8[32, W] of the text, W as its shape asks.

    Args:
      text: not empty, of characters that the faces know.
      rng: the only source of randomness.
      face: one of FACES; drawn when None.
      size: pixels per em at which the glyphs are drawn, not their size in the image; drawn from
        SIZES when None.

    Raises:
      UserError: for an empty text, an unknown face, or a character that the face lacks.
    """
    drawn_face, drawn_size = FACES[rng.integers(len(FACES))], SIZES[rng.integers(len(SIZES))]
    ink = draw_ink(text, face or drawn_face, size or drawn_size)
    picture = colour(place_ink(ink, rng), rng)
    if rng.random() < 0.35:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    return np.array(picture)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Returns the JPEG file of a grey image uint8[H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
