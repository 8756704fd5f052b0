"""How fast is scene text rendered, against Pillow and NumPy with comparable effects?

    python benchmarks/synth_speed.py [--quick]

Both sides draw grey 32 x 128 pictures of the same kinds of texts, with the effects of the preset
`scene` at its shares and ranges: faces, weight, slant, rotation, perspective, textured ground,
contrast, gradient, outline, shadow, light, blur, motion, low resolution, noise and JPEG. Bends,
bevels, glows, neighbouring lines, stains and occlusions are on our side alone. The peer runs in
one process per core, fed with nothing but seeds. Rounds alternate; medians; the last line is JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import io
import json
import math
import multiprocessing
import os
import statistics
import time

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HEIGHT, WIDTH = 32, 128
SCALE = 2  # the peer draws at twice the size and lets the warp shrink it
CHUNK = 32


@functools.cache
def tools() -> tuple:
    from crnn_jax.data import pillow_render
    from crnn_jax.data.words import TextSampler
    from crnn_jax.synth import presets
    from crnn_jax.synth.textures import build_textures

    fonts = [
        ImageFont.truetype(str(pillow_render.font_path(face)), 24 * SCALE)
        for face in pillow_render.FACES
    ]
    textures = [Image.fromarray(t[..., 0]) for t in build_textures("", 64, 160, 0, 1)]
    return fonts, textures, TextSampler("train"), presets.get_preset("scene")


def quad(rng: np.random.Generator, knobs, width: int, height: int) -> tuple[float, ...]:
    """Returns where the corners of the picture lie in the drawing: rotation, slant, perspective."""
    angle = rng.uniform(*knobs.rotation) if rng.random() < knobs.rotation_share else 0.0
    angle = math.radians(angle) * min(1.0, 4 * height / width)
    slant = rng.uniform(*knobs.slant) if rng.random() < knobs.slant_share else 0.0
    depth = rng.uniform(*knobs.perspective) if rng.random() < knobs.perspective_share else 0.0
    margin_x, margin_y = (rng.uniform(*m) * height for m in (knobs.margin_x, knobs.margin_y))
    half_w, half_h = width / 2 + margin_x, height / 2 + margin_y
    left, right = (1 - depth, 1.0) if rng.random() < 0.5 else (1.0, 1 - depth)
    corners = []
    for x, y, shrink in ((-1, -1, left), (-1, 1, left), (1, 1, right), (1, -1, right)):
        px, py = x * half_w, y * half_h / shrink
        px += math.tan(math.radians(slant)) * py
        corners += [
            width / 2 + math.cos(angle) * px - math.sin(angle) * py,
            height / 2 + math.sin(angle) * px + math.cos(angle) * py,
        ]
    return tuple(corners)


def peer_image(seed: int) -> np.ndarray:
    """Returns one picture, a function of the seed."""
    fonts, textures, sampler, knobs = tools()
    rng = np.random.default_rng(seed)
    text, font = sampler(rng), fonts[rng.integers(len(fonts))]
    stroke = int(rng.random() < 0.3)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    ink = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(ink).text((-left, -top), text, fill=255, font=font, stroke_width=stroke)
    corners = quad(rng, knobs, *ink.size)
    mask = ink.transform((WIDTH, HEIGHT), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    coverage = np.asarray(mask, np.float32) / 255

    contrast = rng.uniform(*knobs.contrast)
    dark = rng.random() * (1 - contrast)
    pair = (dark, dark + contrast)
    text_tone, ground_tone = pair if rng.random() < knobs.dark_share else pair[::-1]
    picture = np.full((HEIGHT, WIDTH), ground_tone, np.float32)
    tone = np.full((HEIGHT, WIDTH), text_tone, np.float32)
    if rng.random() < knobs.texture_share:
        texture = textures[rng.integers(len(textures))]
        zoom = math.exp(rng.uniform(math.log(0.35), math.log(1.0)))
        x, y = rng.uniform(0, 160 - WIDTH * zoom), rng.uniform(0, 160 - HEIGHT * zoom)
        crop = texture.resize(
            (WIDTH, HEIGHT), Image.Resampling.BILINEAR, (x, y, x + WIDTH * zoom, y + HEIGHT * zoom)
        )
        strength = rng.uniform(*knobs.texture) * contrast * 0.5
        picture += strength * (np.asarray(crop, np.float32) * (2 / 255) - 1)
    if rng.random() < knobs.gradient_share:
        ramp = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None, :]
        tone = tone + rng.uniform(*knobs.gradient) * 0.5 * contrast * ramp
    if rng.random() < knobs.shadow_share:
        dx, dy = rng.integers(-2, 3, 2)
        shade = np.roll(coverage, (dy, dx), (0, 1)) * rng.uniform(*knobs.shadow)
        picture *= 1 - shade
    if rng.random() < knobs.outline_share:
        edge = np.asarray(mask.filter(ImageFilter.MaxFilter(3)), np.float32) / 255
        picture += (1 - 2 * text_tone) * 0.5 * (edge - coverage)
    picture += (tone - picture) * coverage
    if rng.random() < knobs.light_share:
        coarse = rng.normal(0, 1, (3, 5)).astype(np.float32)
        field = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        picture *= 1 - rng.uniform(*knobs.light) * np.clip(np.asarray(field), 0, 1)
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    if rng.random() < knobs.blur_share:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*knobs.blur)))
    if rng.random() < knobs.motion_share:
        kernel = np.zeros((5, 5))
        kernel[2, 1:4] = 1
        image = image.filter(ImageFilter.Kernel((5, 5), kernel.ravel().tolist()))
    if rng.random() < knobs.lowres_share:
        factor = rng.uniform(*knobs.lowres)
        small = (max(int(WIDTH * factor), 1), max(int(HEIGHT * factor), 1))
        image = image.resize(small, Image.Resampling.BOX).resize((WIDTH, HEIGHT))
    if rng.random() < knobs.noise_share:
        noise = rng.standard_normal((HEIGHT, WIDTH), np.float32) * rng.uniform(*knobs.noise)
        values = np.asarray(image, np.float32) + 255 * noise
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if rng.random() < knobs.gamma_share:
        curve = (np.linspace(0, 1, 256) ** rng.uniform(*knobs.gamma) * 255).astype(np.uint8)
        image = image.point(curve.tolist())
    if rng.random() < knobs.jpeg_share:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.uniform(*knobs.jpeg)))
        image = Image.open(file)
    return np.asarray(image)


def peer_chunk(start: int) -> np.ndarray:
    return np.stack([peer_image(seed) for seed in range(start, start + CHUNK)])


def share_of_step(render, assets, batch: int, steps: int) -> float:
    """Returns which part of the paper's network's training step rendering takes."""
    import jax
    import jax.numpy as jnp

    from crnn_jax import config as config_lib
    from crnn_jax import train
    from crnn_jax.data.feeds import Feed, RenderedRows

    config = config_lib.default_config()
    config.batch_size = batch
    config.data.width = WIDTH
    model, tx, _ = train.build(config, num_classes=63, warmup=1, total=100)
    feed = Feed((RenderedRows("scene", render, batch, 0),), 0)
    seconds = {}
    loaded = jax.jit(feed)((assets,), jnp.int32(0), None)
    for name, arguments in (("loaded", (None, loaded, ())), ("rendered", (feed, None, (assets,)))):
        state = jax.jit(lambda: train.create_train_state(config, model, tx))()
        step = train.compile_train_step(model, tx, config, arguments[0])
        times = []
        for _ in range(steps + 1):
            start = time.perf_counter()
            state, sums = step(state, *arguments[1:])
            jax.block_until_ready(sums)
            times.append(time.perf_counter() - start)
        seconds[name] = statistics.median(times[1:])
    return 1 - seconds["loaded"] / seconds["rendered"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--batch", type=int, default=128, help="images of ours at once")
    parser.add_argument("--share", action="store_true", help="also: of the paper's training step")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))

    import jax
    import jax.numpy as jnp

    from crnn_jax.charset import build_charset
    from crnn_jax.synth import presets, renderer
    from crnn_jax.synth.warp import Canvas

    render, assets = renderer.build_renderer(
        presets.get_preset("scene"),
        build_charset("alnum62"),
        Canvas(HEIGHT, WIDTH),
        lambda width: width // 4,
    )
    assets = jax.device_put(assets)
    program = jax.jit(
        lambda assets, start: render(
            assets, renderer.row_keys(0, "speed", start + jnp.arange(args.batch))
        )
    )
    start = time.perf_counter()
    jax.block_until_ready(program(assets, 0))
    compiling = time.perf_counter() - start

    rounds, batches, chunks = (3, 8, 8) if args.quick else (7, 24, 24)
    if jax.default_backend() != "cpu":
        batches *= 20
    ours, peers = [], []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(cores, mp_context=context) as pool:
        list(pool.map(peer_chunk, range(cores * 2)))  # workers start, faces and textures load
        for number in range(rounds):
            start = time.perf_counter()
            for i in range(batches):
                last = program(assets, (number * batches + i) * args.batch)
            jax.block_until_ready(last)
            ours.append(batches * args.batch / (time.perf_counter() - start))
            seeds = [CHUNK * (number * chunks + i) for i in range(chunks)]
            start = time.perf_counter()
            list(pool.map(peer_chunk, seeds))
            peers.append(chunks * CHUNK / (time.perf_counter() - start))
            print(f"round {number}: ours {ours[-1]:,.0f}, Pillow {peers[-1]:,.0f} images/s")
    result = {
        "ratio": round(statistics.median(ours) / statistics.median(peers), 2),
        "images_per_second": round(statistics.median(ours)),
        "peer_images_per_second": round(statistics.median(peers)),
        "compile_seconds": round(compiling, 1),
        "batch": args.batch,
        "cores": cores,
        "device": jax.devices()[0].device_kind,
    }
    if args.share:
        share = share_of_step(render, assets, args.batch, 3 if args.quick else 20)
        result["share_of_training_step"] = round(share, 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
