"""Grounds for text: photographs of a folder, or materials computed from random numbers.

A bank is an array of square tiles. The same arguments give the same bits. Nothing here needs JAX.
"""

from __future__ import annotations

import logging
import os
import pathlib

import numpy as np

from crnn_jax.errors import DataError, ImageError, UserError

_LOG = logging.getLogger("crnn_jax")

Tile = np.ndarray  # float32 (S, S), of any range; `_finished` mends that
_MOST_NAMED = 3  # unreadable files in the warning


def build_textures(
    folder: str = "", count: int = 64, size: int = 160, seed: int = 0, channels: int = 1
) -> np.ndarray:
    """Returns a bank of grounds, uint8 (count, size, size, channels).

    Args:
      folder: of photographs (subfolders are not searched); empty: computed materials. Files
        that cannot be read are counted and named in a warning.
      count: number of tiles.
      size: of a tile, pixels.
      seed: of everything random.
      channels: 1 (grey) or 3 (RGB).

    Raises:
      UserError: no such folder, or no image in it can be read.
    """
    if channels not in (1, 3):
        raise UserError(f"channels={channels}: write 1 (grey) or 3 (RGB)")
    if count < 1 or size < 8:
        raise UserError(f"{count} textures of {size} pixels: write at least 1, and 8 pixels")
    if folder:
        tiles = _from_photographs(
            pathlib.Path(os.path.expanduser(folder)), count, size, seed, channels
        )
    else:
        rngs = [_generator(seed, index) for index in range(count)]
        tiles = [MATERIALS[index % len(MATERIALS)](rng, size) for index, rng in enumerate(rngs)]
        tiles = [_finished(tile, rng, channels) for tile, rng in zip(tiles, rngs, strict=True)]
    return np.stack(tiles)


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index))))


def _from_photographs(
    folder: pathlib.Path, count: int, size: int, seed: int, channels: int
) -> list[np.ndarray]:
    from crnn_jax.data.images import decode_image

    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UserError(f"textures {folder}: cannot be read ({error.strerror})") from None
    paths = [path for path in paths if not path.name.startswith(".")]
    pictures: list[np.ndarray] = []
    skipped: list[tuple[str, ImageError]] = []
    for index in _generator(seed, count).permutation(len(paths)):
        if len(pictures) == count:
            break
        try:
            pictures.append(_shrunk(decode_image(paths[index], channels), 4 * size))
        except ImageError as error:
            skipped.append((paths[index].name, error))
    if not pictures:
        why = f"; {skipped[0][1]}" if skipped else ""
        raise DataError(
            f"textures {folder}: none of its {len(paths)} files is an image that can be read: "
            f"name a folder of photographs, or '' for computed materials{why}"
        )
    if skipped:
        names = ", ".join(name for name, _ in skipped[:_MOST_NAMED])
        more = f" and {len(skipped) - _MOST_NAMED} more" if len(skipped) > _MOST_NAMED else ""
        _LOG.warning(
            "textures %s: %d of %d files skipped, not images that can be read: %s%s",
            *(folder, len(skipped), len(paths), names, more),
        )
    return [
        _crop(pictures[index % len(pictures)], size, _generator(seed, index))
        for index in range(count)
    ]


def _shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    """Returns a picture whose shorter side is `longest` at most: a folder must fit in memory."""
    height, width, _ = picture.shape
    scale = min(1.0, longest / min(height, width))
    if scale == 1:
        return picture
    extent = (max(1, round(width * scale)), max(1, round(height * scale)))
    return _resized(picture, extent, (0.0, 0.0, float(width), float(height)))


def _crop(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random square of a picture, zoomed to the size, half of them mirrored."""
    height, width, _ = picture.shape
    largest = min(height, width)
    side = np.exp(rng.uniform(np.log(min(largest, size // 2)), np.log(largest)))
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    box = (left, top, min(left + side, float(width)), min(top + side, float(height)))
    tile = _resized(picture, (size, size), box)
    return tile[:, ::-1] if rng.random() < 0.5 else tile


def _resized(
    picture: np.ndarray, extent: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    """Returns the box (left, top, right, bottom) of a picture as (width, height) pixels."""
    from PIL import Image

    image = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])
    image = image.resize(extent, Image.Resampling.BILINEAR, box=box)
    return np.asarray(image).reshape(extent[1], extent[0], picture.shape[2])


def _finished(tile: Tile, rng: np.random.Generator, channels: int) -> np.ndarray:
    """Returns uint8 (S, S, C) of random mean and contrast; colour runs between two near hues."""
    tile = (tile - np.mean(tile)) / (np.std(tile) + 1e-6)
    contrast = np.exp(rng.uniform(np.log(0.04), np.log(0.22)))
    tile = rng.uniform(0.3, 0.75) + contrast * np.clip(tile, -3, 3)
    tile = np.clip(tile, 0, 1)[..., None]
    if channels == 3:  # strong colours are rare among materials
        tint = rng.uniform(0.0, 0.45) * rng.uniform(-1, 1, (2, 3))
        tile = tile * (1 + tint[0] * (1 - tile) + tint[1] * tile * (1 - tile))
    return np.round(np.clip(tile, 0, 1) * 255).astype(np.uint8)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns y and x of the pixels, 0..1."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    return axis[:, None], axis[None, :]


def _turned(rng: np.random.Generator, size: int, upright: bool = False) -> tuple[Tile, Tile]:
    """Returns y and x turned by any angle, or by a few degrees and perhaps a right angle."""
    y, x = _grid(size)
    angle = rng.normal(0, 0.03) + np.pi / 2 * rng.integers(2) if upright else rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * y - sin * x, cos * x + sin * y


def _fractal(rng: np.random.Generator, size: int, slope: float, flat: float = 1.0) -> Tile:
    """Returns noise whose spectrum falls as frequency**-slope; flat > 1 draws it out along x."""
    frequency_y = np.fft.fftfreq(size)[:, None]
    frequency_x = np.fft.rfftfreq(size)[None, :] * flat
    frequency = np.hypot(frequency_y, frequency_x)
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-slope
    spectrum[0, 0] = 0
    tile = np.fft.irfft2(spectrum, (size, size))
    return (tile / (tile.std() + 1e-12)).astype(np.float32)


def _smooth(tile: Tile, times: int = 1) -> Tile:
    """Returns the tile blurred by [1 2 1] / 4 along both axes; it wraps around."""
    for _ in range(times):
        for axis in (0, 1):
            tile = (2 * tile + np.roll(tile, 1, axis) + np.roll(tile, -1, axis)) / 4
    return tile


def _clouds(rng: np.random.Generator, size: int) -> Tile:
    return _fractal(rng, size, rng.uniform(1.0, 2.2))


def _paper(rng: np.random.Generator, size: int) -> Tile:
    grain = _smooth(_fractal(rng, size, rng.uniform(0.0, 0.6)), int(rng.integers(3)))
    return grain + rng.uniform(0.3, 1.2) * _fractal(rng, size, 1.8)


def _plaster(rng: np.random.Generator, size: int) -> Tile:
    height = _fractal(rng, size, rng.uniform(0.9, 1.4))
    if rng.random() < 0.5:
        height = np.abs(height)  # trowelled: ridges
    lit = np.roll(height, rng.choice([-1, 1]), 0) + np.roll(height, rng.choice([-1, 1]), 1)
    return height * 2 - lit + 0.2 * _fractal(rng, size, 1.5)


def _brick(rng: np.random.Generator, size: int) -> Tile:
    y, x = _turned(rng, size, upright=True)
    rows = rng.uniform(3, 14)
    y = y * rows
    x = x * rows * rng.uniform(0.25, 1.0) + (np.floor(y) % 2) * rng.choice([0.0, 0.5])
    tone = rng.standard_normal((64, 64))[np.floor(y).astype(int) % 64, np.floor(x).astype(int) % 64]
    joint = rng.uniform(0.03, 0.12)
    edge = np.minimum(
        np.minimum(y % 1, 1 - y % 1), np.minimum(x % 1, 1 - x % 1) / rng.uniform(0.3, 1.0)
    )
    mortar = np.clip((joint - edge) / (0.5 * joint) + 0.5, 0, 1)
    face = rng.uniform(0.2, 0.8) * tone + rng.uniform(0.1, 0.5) * _fractal(rng, size, 0.8)
    return face * (1 - mortar) + rng.choice([-2.0, 2.0]) * mortar


def _wood(rng: np.random.Generator, size: int) -> Tile:
    y, x = _turned(rng, size, upright=True)
    bend = _fractal(rng, size, 2.2) * rng.uniform(0.02, 0.12)
    rings = np.hypot(y + bend + rng.uniform(0.5, 2), (x + rng.uniform(-1, 1)) * 0.15)
    rings = (rings * rng.uniform(8, 30)) % 1
    fibre = _fractal(rng, size, 0.9, flat=12.0)
    if np.ptp(y[:, 0]) < np.ptp(y[0]):
        fibre = fibre.T
    return rings * rng.uniform(0.5, 2) + rng.uniform(0.3, 0.9) * fibre


def _metal(rng: np.random.Generator, size: int) -> Tile:
    brushed = _fractal(rng, size, 0.4, flat=rng.uniform(20, 60))
    y, _ = _turned(rng, size)
    sheen = np.exp(-(((y - y.mean()) / rng.uniform(0.1, 0.5)) ** 2)) * rng.uniform(0, 4)
    return (brushed.T if rng.random() < 0.5 else brushed) + sheen


def _gradient(rng: np.random.Generator, size: int) -> Tile:
    y, x = _turned(rng, size)
    if rng.random() < 0.4:
        y = np.hypot(y - rng.uniform(-0.5, 1.5), x - rng.uniform(-0.5, 1.5))
    return y / (y.std() + 1e-6) + rng.uniform(0, 0.15) * _fractal(rng, size, 0.3)


def _profile(rng: np.random.Generator, phase: np.ndarray) -> np.ndarray:
    """Returns bars whose edges are more or less soft."""
    wave = np.sin(2 * np.pi * phase) + rng.uniform(-0.6, 0.6)
    return np.tanh(wave * rng.choice([1.0, 3.0, 12.0]))


def _stripes(rng: np.random.Generator, size: int) -> Tile:
    y, _ = _turned(rng, size)
    bent = y + rng.choice([0.0, 0.01, 0.04]) * _fractal(rng, size, 2.0)
    lines = _profile(rng, bent * np.exp(rng.uniform(np.log(3), np.log(30))))
    return lines + rng.uniform(0, 0.4) * _fractal(rng, size, 1.0)


def _checks(rng: np.random.Generator, size: int) -> Tile:
    y, x = _turned(rng, size, upright=rng.random() < 0.6)
    often = np.exp(rng.uniform(np.log(2), np.log(45)))
    first, second = _profile(rng, y * often), _profile(rng, x * often * rng.uniform(0.6, 1.6))
    woven = first * second if rng.random() < 0.5 else first + rng.uniform(0.5, 1.5) * second
    return woven + rng.uniform(0, 0.6) * _fractal(rng, size, rng.uniform(0.4, 1.5))


def _cells(
    rng: np.random.Generator, size: int, counts: tuple[float, float], bend: float
) -> tuple[Tile, Tile, np.ndarray]:
    """Returns the distances to the nearest and second nearest of random points, and which it is."""
    count = int(np.exp(rng.uniform(*np.log(counts))))
    points = rng.uniform(-0.1, 1.1, (2, count)).astype(np.float32)
    y, x = (axis + bend * _fractal(rng, size, 1.8) for axis in _grid(size))
    squares = (y[..., None] - points[0]) ** 2 + (x[..., None] - points[1]) ** 2
    nearest = squares.argmin(axis=2)
    two = np.sqrt(np.partition(squares, 1, axis=2)[..., :2])
    return two[..., 0], two[..., 1], nearest


def _stones(rng: np.random.Generator, size: int) -> Tile:
    first, second, nearest = _cells(rng, size, (12.0, 70.0), 0.01)
    tone = rng.standard_normal(int(nearest.max()) + 1)[nearest]
    gap = np.clip((second - first) / rng.uniform(0.01, 0.05), 0, 1)
    face = rng.uniform(0.2, 0.8) * tone + rng.uniform(0.2, 0.6) * _fractal(rng, size, 1.0)
    return face * gap + rng.choice([-1.5, 1.5]) * (1 - gap)


def _foliage(rng: np.random.Generator, size: int) -> Tile:
    tile = np.zeros((size, size), np.float32)
    for _ in range(3):  # layers of leaves, the upper ones lighter
        _, _, nearest = _cells(rng, size, (60.0, 200.0), 0.02)
        shown = (rng.random(int(nearest.max()) + 1) < 0.6)[nearest]
        tone = rng.normal(0.5, 0.6, int(nearest.max()) + 1)[nearest]
        tile = np.where(shown, tone + 0.3 * tile, tile - 0.3)
    return _smooth(tile + 0.3 * _fractal(rng, size, 0.8), 1)


def _specks(rng: np.random.Generator, size: int) -> Tile:
    """Returns granite, terrazzo or concrete: spots of a few sizes."""
    tile = rng.uniform(0.2, 1) * _fractal(rng, size, 1.5)
    for times in (1, 4, 10):
        spots = _smooth(rng.standard_normal((size, size)).astype(np.float32), times)
        spots = spots / spots.std()
        tile = tile + rng.uniform(0, 1.5) * np.sign(spots) * (np.abs(spots) > rng.uniform(1, 2.5))
    return tile


def _paint(rng: np.random.Generator, size: int) -> Tile:
    """Returns peeling paint: patches with a rim on another material."""
    shape = _fractal(rng, size, rng.uniform(1.2, 1.8)) - rng.uniform(-1, 1)
    patch = np.clip(shape / 0.08, -1, 1)
    rim = np.exp(-((shape / 0.15) ** 2))
    grain = _fractal(rng, size, 0.6)
    return patch + rng.uniform(-1, 1) * rim + rng.uniform(0.1, 0.6) * grain * (patch > 0)


MATERIALS = (
    *(_clouds, _paper, _plaster, _brick, _wood, _metal, _gradient),
    *(_stripes, _checks, _stones, _foliage, _specks, _paint),
)
