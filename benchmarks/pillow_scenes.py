"""Words in scenes drawn by Pillow, NumPy and SciPy: the peer of `synth_speed.py`.

The effects, shares and ranges are those of the preset `scene` of crnn_jax.synth.presets.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

HEIGHT, WIDTH = 32, 128
_SIZE = 48  # pixels per em of the drawing, which the warp brings to the size of the picture
_BILINEAR = Image.Resampling.BILINEAR


@functools.cache
def tools() -> tuple:
    from crnn_jax.data import pillow_render
    from crnn_jax.data.words import TextSampler
    from crnn_jax.synth import presets
    from crnn_jax.synth.textures import build_textures

    fonts = [
        ImageFont.truetype(str(pillow_render.font_path(face)), _SIZE)
        for face in pillow_render.FACES
    ]
    textures = [Image.fromarray(t[..., 0]) for t in build_textures("", 64, 160, 0, 1)]
    return fonts, textures, TextSampler("train"), presets.get_preset("scene")


class Chance:
    """Draws by the names of knobs."""

    def __init__(self, rng: np.random.Generator, knobs) -> None:
        self.rng, self.knobs = rng, knobs

    def on(self, name: str) -> bool:
        return self.rng.random() < self.knobs[f"{name}_share"]

    def value(self, name: str) -> float:
        return self.rng.uniform(*self.knobs[name])


def draw_ink(text: str, font: ImageFont.FreeTypeFont, draw: Chance) -> Image.Image:
    """Returns the text, character by character with jitter, in the bounds of its ink."""
    rng, knobs = draw.rng, draw.knobs
    stroke = int(draw.value("weight") > 0.015)
    canvas = Image.new("L", (_SIZE * (len(text) + 2), 2 * _SIZE))
    pen, tracking = float(_SIZE // 2), draw.value("tracking") * _SIZE
    drawing = ImageDraw.Draw(canvas)
    for char in text:
        up = rng.normal(0, knobs.baseline_jitter) * _SIZE
        at = (pen, 1.4 * _SIZE + up)
        drawing.text(at, char, fill=255, font=font, anchor="ls", stroke_width=stroke)
        pen += font.getlength(char) + tracking + rng.normal(0, knobs.spacing_jitter) * _SIZE
    return canvas.crop(canvas.getbbox() or (0, 0, _SIZE, _SIZE))


def quad(draw: Chance, width: int, height: int) -> tuple[float, ...]:
    """Returns where the corners of the picture lie in the drawing: rotation, slant, perspective."""
    angle = draw.value("rotation") if draw.on("rotation") else 0.0
    angle = math.radians(angle) * min(1.0, 4 * height / width)
    slant = draw.value("slant") if draw.on("slant") else 0.0
    depth = draw.value("perspective") if draw.on("perspective") else 0.0
    half_w = width / 2 + draw.value("margin_x") * height
    half_h = height / 2 + draw.value("margin_y") * height
    left, right = (1 - depth, 1.0) if draw.rng.random() < 0.5 else (1.0, 1 - depth)
    corners = []
    for x, y, shrink in ((-1, -1, left), (-1, 1, left), (1, 1, right), (1, -1, right)):
        px, py = x * half_w, y * half_h / shrink
        px += math.tan(math.radians(slant)) * py
        corners += [
            width / 2 + math.cos(angle) * px - math.sin(angle) * py,
            height / 2 + math.sin(angle) * px + math.cos(angle) * py,
        ]
    return tuple(corners)


def bend(mask: Image.Image, draw: Chance) -> Image.Image:
    """Returns the mask on an arc or a wave, or smoothly displaced."""
    arc, wave, elastic = draw.on("arc"), draw.on("wave"), draw.on("elastic")
    if not (arc or wave or elastic):
        return mask
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x = (columns - WIDTH / 2) / WIDTH
    if arc:
        rows = rows + math.radians(draw.value("arc")) * WIDTH / 2 * (x**2 - 0.08) * 0.5
    if wave:
        rows = rows + draw.value("wave") * 24 * np.sin(2 * np.pi * x + draw.rng.uniform(0, 6))
    if elastic:
        coarse = draw.rng.normal(0, draw.value("elastic") * HEIGHT, (2, 4, 12)).astype(np.float32)
        for field, target in zip(coarse, (rows, columns), strict=True):
            target += np.asarray(
                Image.fromarray(field).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            )
    moved = ndimage.map_coordinates(np.asarray(mask), [rows, columns], order=1)
    return Image.fromarray(moved)


def texture(draw: Chance, textures: list[Image.Image]) -> np.ndarray:
    """Returns a random crop of a texture, -1 to 1."""
    rng = draw.rng
    zoom = math.exp(rng.uniform(math.log(0.35), math.log(1.0)))
    x, y = rng.uniform(0, 160 - WIDTH * zoom), rng.uniform(0, 160 - HEIGHT * zoom)
    box = (x, y, x + WIDTH * zoom, y + HEIGHT * zoom)
    crop = textures[rng.integers(len(textures))].resize((WIDTH, HEIGHT), _BILINEAR, box)
    return np.asarray(crop, np.float32) * (2 / 255) - 1


def paint(mask: Image.Image, draw: Chance, textures: list[Image.Image]) -> np.ndarray:
    """Returns ink on ground, 0..1."""
    rng, knobs = draw.rng, draw.knobs
    coverage = np.asarray(mask, np.float32) / 255
    contrast = draw.value("contrast")
    dark = rng.random() * (1 - contrast)
    pair = (dark, dark + contrast)
    text_tone, ground_tone = pair if rng.random() < knobs.dark_share else pair[::-1]
    picture = np.full((HEIGHT, WIDTH), ground_tone, np.float32)
    tone = np.full((HEIGHT, WIDTH), text_tone, np.float32)
    if draw.on("texture"):
        picture += draw.value("texture") * contrast * 0.5 * texture(draw, textures)
    if draw.on("gradient"):
        ramp = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :]
        tone = tone + draw.value("gradient") * 0.5 * contrast * ramp
    if draw.on("ink_texture"):
        tone = tone + draw.value("ink_texture") * 0.5 * contrast * texture(draw, textures)
    if draw.on("bevel"):
        soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(1)), np.float32) / 255
        slope_y, slope_x = np.gradient(soft)
        tone = tone + draw.value("bevel") * contrast * (slope_x + slope_y)
    if draw.on("shadow"):
        dx, dy = rng.integers(-2, 3, 2)
        picture *= 1 - np.roll(coverage, (dy, dx), (0, 1)) * draw.value("shadow")
    if draw.on("glow"):
        halo = np.asarray(mask.filter(ImageFilter.GaussianBlur(3)), np.float32) / 255
        picture += (1 - 2 * text_tone) * 0.7 * halo
    if draw.on("outline"):
        edge = np.asarray(mask.filter(ImageFilter.MaxFilter(3)), np.float32) / 255
        picture += (1 - 2 * text_tone) * 0.5 * (edge - coverage)
    return picture + (tone - picture) * coverage


def add_things(picture: np.ndarray, draw: Chance) -> np.ndarray:
    """Returns the picture with stains, rules and what stands in front."""
    rng = draw.rng
    for name in ("stains", "rules", "occlusion"):
        if not draw.on(name):
            continue
        layer = Image.new("L", (WIDTH, HEIGHT))
        drawing = ImageDraw.Draw(layer)
        x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        if name == "rules":
            drawing.line((0, HEIGHT - 3, WIDTH, HEIGHT - 2), fill=200, width=1)
            opacity = 0.8
        else:
            radius = 12 if name == "stains" else 3
            drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
            layer = layer.filter(ImageFilter.GaussianBlur(radius / 3))
            opacity = draw.value("stains") if name == "stains" else 1.0
        cover = np.asarray(layer, np.float32) * (opacity / 255)
        picture = picture + (rng.random() - picture) * cover
    if draw.on("light"):
        coarse = rng.normal(0, 1, (3, 5)).astype(np.float32)
        field = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        picture = picture * (1 - draw.value("light") * np.clip(np.asarray(field), 0, 1))
    if draw.on("shade"):
        layer = Image.new("L", (WIDTH, HEIGHT))
        x = rng.uniform(0, WIDTH)
        ImageDraw.Draw(layer).polygon([(x, 0), (WIDTH, 0), (WIDTH, HEIGHT), (x - 20, HEIGHT)], 255)
        layer = layer.filter(ImageFilter.GaussianBlur(1.5))
        picture = picture * (1 - draw.value("shade") * np.asarray(layer, np.float32) / 255)
    return picture


def photograph(picture: np.ndarray, draw: Chance) -> np.ndarray:
    """Returns the picture, 0..1, as a camera and a file leave it, uint8."""
    rng = draw.rng
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    if draw.on("blur"):
        image = image.filter(ImageFilter.GaussianBlur(draw.value("blur")))
    for name in ("motion", "defocus"):
        if draw.on(name):
            kernel = np.zeros((5, 5))
            kernel[(2, slice(1, 4)) if name == "motion" else slice(1, 4)] = 1
            image = image.filter(ImageFilter.Kernel((5, 5), kernel.ravel().tolist()))
    if draw.on("lowres"):
        factor = draw.value("lowres")
        small = (max(int(WIDTH * factor), 1), max(int(HEIGHT * factor), 1))
        image = image.resize(small, Image.Resampling.BOX).resize((WIDTH, HEIGHT), _BILINEAR)
    values = np.asarray(image, np.float32)
    for name in ("shot", "noise", "speckle"):
        if draw.on(name):
            noise = rng.standard_normal((HEIGHT, WIDTH), np.float32) * draw.value(name)
            weight = {"shot": np.sqrt(np.maximum(values, 0) / 255) * 255, "speckle": values}
            values = values + noise * weight.get(name, 255)
    if draw.on("salt"):
        hit = rng.random((HEIGHT, WIDTH)) < draw.value("salt")
        values = np.where(hit, 255 * (rng.random((HEIGHT, WIDTH)) < 0.5), values)
    if draw.on("tone"):
        values = values.mean() + (values - values.mean()) * draw.value("tone")
    image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if draw.on("gamma"):
        curve = (np.linspace(0, 1, 256) ** draw.value("gamma") * 255).astype(np.uint8)
        image = image.point(curve.tolist())
    if draw.on("jpeg"):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(draw.value("jpeg")))
        image = Image.open(file)
    return np.asarray(image)


def peer_image(seed: int) -> np.ndarray:
    """Returns one picture uint8 (HEIGHT, WIDTH), a function of the seed."""
    fonts, textures, sampler, knobs = tools()
    rng = np.random.default_rng(seed)
    draw = Chance(rng, knobs)
    ink = draw_ink(sampler(rng), fonts[rng.integers(len(fonts))], draw)
    mask = ink.transform(
        (WIDTH, HEIGHT), Image.Transform.QUAD, quad(draw, *ink.size), Image.Resampling.BILINEAR
    )
    picture = add_things(paint(bend(mask, draw), draw, textures), draw)
    return photograph(picture, draw)


def peer_chunk(seeds: Sequence[int]) -> np.ndarray:
    """Returns the pictures of several seeds."""
    return np.stack([peer_image(seed) for seed in seeds])
