"""Layout and rendering: Pillow's pictures, ink inside the frame, keys and rows."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from PIL import Image, ImageDraw, ImageFont, features
from scipy import ndimage

from crnn_jax.charset import build_charset
from crnn_jax.data import pillow_render
from crnn_jax.synth import assets, layout, presets, render, renderer, warp
from crnn_jax.synth.atlas import load_atlas
from crnn_jax.synth.draws import Draws
from crnn_jax.synth.layout import lay_out, strokes
from crnn_jax.synth.render import coverage, sample
from crnn_jax.synth.warp import Canvas, locate

CANVAS = Canvas(32, 256, keep=True)
TEXTS = ("Hamburgefonstiv", "AVATAR", "Typography", "quick&jumpy", "0123456789", "(Wolf, fjord!)")


# The programs are large and their pictures small: compiling them is what takes time.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def knobs(preset="plain", **changes):
    values = presets.get_preset(preset)
    with values.unlocked():
        values.update(changes)
    return FrozenConfigDict(values)


@functools.cache
def atlas():
    return load_atlas("")


def encode(texts):
    columns = max(map(len, texts))
    glyphs = np.zeros((len(texts), columns), np.int32)
    for row, text in enumerate(texts):
        glyphs[row, : len(text)] = [atlas().characters.index(c) for c in text]
    return jnp.asarray(glyphs), jnp.array([len(t) for t in texts])


def lay(texts, settings, canvas=CANVAS, seed=0, face=None):
    """Returns glyphs, frame and draws of texts, in one face if asked for."""
    faces = assets.build_faces(atlas())
    if face is not None:
        only = np.zeros(len(atlas().faces), bool)
        only[atlas().faces.index(face)] = True
        faces = faces._replace(covered=faces.covered & only[:, None])
    draws = Draws.from_keys(jax.random.split(jax.random.key(seed), len(texts)))
    least = jnp.full(len(texts), 8)
    laid = compiled(lay_out, static_argnums=(5, 6))
    glyphs, frame = laid(faces, *encode(texts), least, draws, settings, canvas)
    return faces, glyphs, frame, draws


def ink(texts, settings, canvas=CANVAS, seed=0, face=None):
    """Returns the coverage (B, H, W) of texts and their frame."""
    faces, glyphs, frame, draws = lay(texts, settings, canvas, seed, face)
    return np.asarray(cover(faces.field, glyphs, frame, draws, settings, canvas)), frame


@functools.partial(compiled, static_argnums=(4, 5))
def cover(field, glyphs, frame, draws, settings, canvas):
    u, v = locate(frame, draws, settings, canvas)
    weight, outline = (width[:, None, None] for width in strokes(draws, settings))
    return coverage(sample(field, glyphs, u, v, settings), weight + outline)


def pillow_ink(text, face, frame, row):
    """Draws the same text at eight times the size in the same frame, averaged over pixels."""
    origin, step, centre = (
        np.asarray(part[row], float) for part in (frame.origin, frame.step, frame.centre)
    )
    scale = 8 / step[1]  # pixels per em
    font = ImageFont.truetype(
        str(pillow_render.font_path(face)), round(scale), layout_engine=ImageFont.Layout.RAQM
    )
    scale = round(scale)
    pad = 2 * scale
    size = (int(font.getlength(text)) + 2 * pad, 4 * scale)
    picture = Image.new("L", size)
    ImageDraw.Draw(picture).text(
        (pad, 2 * scale), text, fill=255, font=font, anchor="ls", features=["-liga"]
    )
    width = int(frame.widths[row])
    left = pad + (origin[0] + centre[0]) * scale
    top = 2 * scale + (origin[1] + centre[1]) * scale
    box = (left, top, left + step[0] * width * scale, top + step[1] * CANVAS.height * scale)
    averaged = picture.resize((width, CANVAS.height), Image.Resampling.BOX, box=box)
    return np.asarray(averaged, np.float32) / 255


def ssim(a, b):
    """Structural similarity (Wang et al., 2004) with its Gaussian window, values in 0..1."""
    blur = functools.partial(ndimage.gaussian_filter, sigma=1.5, truncate=3.5)
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow kerns with libraqm alone")
def test_looks_like_pillow_drawn_large_and_averaged():
    scores = {}
    for stem in pillow_render.FACES:
        drawn, frame = ink(TEXTS, knobs(), face=face_name(stem))
        scores[stem] = [
            ssim(drawn[row, :, : int(frame.widths[row])], pillow_ink(text, stem, frame, row))
            for row, text in enumerate(TEXTS)
        ]
    assert len(scores) == 16
    print({stem: round(float(np.mean(s)), 3) for stem, s in scores.items()})
    assert np.mean(list(scores.values())) >= 0.95


def face_name(stem):
    """The name of a face in the atlas, from the name of its file."""
    font = ImageFont.truetype(str(pillow_render.font_path(stem)), 10)
    family, style = font.getname()
    names = (f"{family} {style}", f"{family}-{style.replace(' ', '')}", family)
    return next(name for name in names if name in atlas().faces)


BENT = {
    "rotation_share": 1.0, "arc_share": 0.5, "wave_share": 0.5, "perspective_share": 1.0,
    "slant_share": 0.5, "stretch": (0.7, 1.4), "tilt_jitter": 3.0, "size_jitter": 0.05,
    "baseline_jitter": 0.02, "weight": (-0.01, 0.01), "line_box_share": 0.5,
}  # fmt: skip


def test_ink_stays_inside_whatever_bends_it():
    settings = knobs(margin_x=(0.06, 0.2), margin_y=(0.06, 0.15), **BENT)
    texts = [TEXTS[i % len(TEXTS)] for i in range(60)]
    drawn, _ = ink(texts, settings, Canvas(32, 128))
    assert drawn[:, 8:24, 16:112].mean() > 0.1  # there is ink
    border = np.concatenate([drawn[:, 0], drawn[:, -1], drawn[:, :, 0], drawn[:, :, -1]], axis=1)
    assert (border.max(axis=1) < 0.5).mean() >= 0.95
    wide, _ = ink(texts, settings, Canvas(32, 512, keep=True))
    assert np.isfinite(wide).all()  # beyond the text, too
    assert wide[:, :, :16].max(axis=(1, 2)).min() > 0.2
    assert border.mean() < 0.005


BOLD = {"weight": (0.05, 0.05), "outline_share": 1.0, "outline": (0.05, 0.05)}


@pytest.mark.parametrize("strokes", [{}, BOLD])
def test_text_fills_the_frame(strokes):
    drawn, frame = ink(TEXTS, knobs(**strokes))
    for row in range(len(TEXTS)):
        rows = np.flatnonzero(drawn[row].max(axis=1) > 0.5)
        columns = np.flatnonzero(drawn[row].max(axis=0) > 0.5)
        width = int(frame.widths[row])
        assert 1 <= rows[0] <= 5
        assert 26 <= rows[-1] <= 30
        assert 1 <= columns[0] <= 5
        assert width - 6 <= columns[-1] <= width - 2


def test_places_map_back_to_where_they_came_from():
    settings = knobs(**BENT)
    texts = list(TEXTS)
    _, _, frame, draws = lay(texts, settings)
    _, _, straight, _ = lay(texts, knobs())
    assert not np.allclose(frame.linear, straight.linear)
    u, v = (np.asarray(x) for x in locate(frame, draws, settings, CANVAS))
    batch = len(texts)
    x, y = warp._bend(
        frame, jnp.asarray(u.reshape(batch, -1)), jnp.asarray(v.reshape(batch, -1)), settings
    )
    a, b, c, d = (np.asarray(frame.linear)[:, i : i + 1] for i in range(4))
    x, y = a * x + b * y, c * x + d * y
    depth = 1 + np.asarray(frame.tilt)[:, :1] * x + np.asarray(frame.tilt)[:, 1:] * y
    x, y = np.asarray(x / depth), np.asarray(y / depth)
    step, origin = np.asarray(frame.step), np.asarray(frame.origin)
    columns, rows = np.meshgrid(np.arange(CANVAS.width + 1), np.arange(CANVAS.height + 1))
    back_x = ((x - origin[:, :1]) / step[:, :1]).reshape(batch, *columns.shape)
    back_y = ((y - origin[:, 1:]) / step[:, 1:]).reshape(batch, *columns.shape)
    inside = np.broadcast_to(columns[None] <= np.asarray(frame.widths)[:, None, None], back_x.shape)
    assert np.abs(back_x - columns)[inside].max() < 0.05
    assert np.abs(back_y - rows)[inside].max() < 0.05


def test_the_sharpest_bends_hold_the_whole_text_and_are_not_all_alike():
    texts = ["international"] * 16
    settings = knobs(arc_share=1.0, arc=(-360.0, 360.0), rotation_share=1.0, rotation=(-80.0, 80.0))
    _, glyphs, frame, draws = lay(texts, settings)
    half = (glyphs.bins.shape[1] / np.asarray(glyphs.bin_map)[:, 0] - 0.5) / 2
    u = np.asarray(locate(frame, draws, settings, CANVAS)[0]).reshape(16, -1)
    along = u - np.asarray(frame.centre)[:, :1]
    assert (along.min(axis=1) < -half).all()
    assert (along.max(axis=1) > half).all()
    angles = np.arctan2(frame.linear[:, 2], frame.linear[:, 0])
    for drawn in (np.asarray(angles), np.asarray(frame.curvature) * half):
        assert 0.05 < np.abs(drawn).max() < np.radians(80.01)
        assert len(np.unique(drawn.round(5))) == 16


def test_kept_widths_follow_the_text_and_hold_the_label():
    _, _, frame, _ = lay(["i", "WWWWWWWWWWWWWWWWWWWW", "Hello"], knobs())
    narrow, wide, between = frame.widths.tolist()
    assert CANVAS.min_width <= narrow < between < wide == CANVAS.width


def test_a_lone_dot_is_not_blown_up():
    drawn, _ = ink([".", "-"], knobs(), Canvas(32, 64, keep=True))
    assert drawn.reshape(2, -1).mean(axis=1).max() < 0.25


def test_initials_and_dancing_letters_are_drawn_so():
    def letters(text, settings):
        """Returns the boxes (rows, columns) of the letters that are drawn, from left to right."""
        drawn, _ = ink([text], settings)
        boxes = ndimage.find_objects(ndimage.label(drawn[0] > 0.5, np.ones((3, 3)))[0])
        return sorted(boxes, key=lambda box: box[1].start)

    def heights(text, settings):
        found = [box[0].stop - box[0].start for box in letters(text, settings)]
        assert len(found) == len(text.replace(" ", ""))
        return np.array(found) / found[-1]

    apart = {"tracking": (0.2, 0.2)}
    large = knobs(initial_share=1.0, initial=(1.5, 1.5), **apart)
    np.testing.assert_allclose(heights("HHH", knobs(**apart)), 1, atol=0.05)
    np.testing.assert_allclose(heights("HHH", large), [1.5, 1, 1], atol=0.1)
    np.testing.assert_allclose(heights("H H", large), 1, atol=0.05)  # both begin a word
    straight, turned = (
        [box[1].stop - box[1].start for box in letters("IIIIII", settings)]
        for settings in (knobs(**apart), knobs(dancing_share=1.0, dancing=(1.0, 1.0), **apart))
    )
    assert np.ptp(straight) <= 1
    assert np.ptp(turned) > 1  # an upright stroke that is turned is wider


def test_spaced_texts_are_wider_by_their_gaps():
    face = "STIXGeneral-Italic"
    apart = knobs(spaced_share=1.0, spaced=(1.0, 1.0))
    frames = [lay(["HHH"], settings, face=face)[2] for settings in (knobs(), apart)]
    em = [float(frame.widths[0] * frame.step[0, 0]) for frame in frames]
    assert em[1] - em[0] == pytest.approx(2.0, abs=0.1)


def test_characters_that_overlap_are_both_drawn():
    """The f of an italic face reaches over its neighbours; nothing of it is cut off."""
    name = "STIXGeneral-Italic"
    alone, _ = ink(["f"], knobs(), face=name)
    settings = knobs(tracking=(-0.2, -0.2))
    together, frame = ink(["fff"], settings, face=name)
    ratio = together.sum() * float(frame.step[0, 0] * frame.step[0, 1])
    _, _, single, _ = lay(["f"], knobs(), face=name)
    ratio /= 3 * alone.sum() * float(single.step[0, 0] * single.step[0, 1])
    assert 0.8 < ratio < 1.01


@pytest.mark.parametrize("calm", [0.0, 1.0])
def test_calm_images_have_one_face_and_no_rolling_digits(calm):
    draws = Draws.from_keys(jax.random.split(jax.random.key(0), 16)).calming(calm)
    glyphs = encode(["0123456789"] * 16)
    every = jax.device_put(assets.build_faces(atlas()))
    faces = layout.choose_faces(every.covered, *glyphs, draws, 1.0)
    spacing = layout._spacing(every, faces[:, 0], draws, knobs(rolling_share=1.0))
    assert np.any(faces != faces[:, :1]) == np.all(spacing < 1e5) == (not calm)


def test_long_lines_lose_no_character():
    """Every character is nearest to its own middle, slim ones between wide ones, too."""
    text = "WMWMWMllilWM" * 30
    _, glyphs, _, _ = lay([text], knobs())
    scale, start = (float(x) for x in glyphs.bin_map[0])
    bins = np.asarray(glyphs.bins)[0]
    widths = np.asarray(glyphs.size)[0, : len(text)] & 0xFFFF
    middles = (widths / 2 - np.asarray(glyphs.x)[0]) / np.asarray(glyphs.scale)[0]
    pair = bins[(middles * scale + start).astype(int)]
    own = np.arange(len(text))
    assert ((pair & 0xFFFF == own) | (pair >> 16 == own)).all()


def test_pieces_of_words_beside_come_after_a_gap_and_leave_the_text_as_it_is():
    settings = knobs(beside_share=1.0)
    faces, glyphs, frame, draws = lay(TEXTS, settings)
    drawn, alone = (
        np.asarray(cover(faces.field, laid, frame, draws, settings, CANVAS))
        for laid in (glyphs, glyphs._replace(beside=None))
    )
    corners = np.asarray(locate(frame, draws, settings, CANVAS)[0])
    u = (corners[:, 1:, 1:] + corners[:, :-1, :-1]) / 2
    gap, left, _, right, _ = (np.asarray(part)[:, None, None] for part in glyphs.beside)
    text = (u > left + gap / 2) & (u < right - gap / 2)
    np.testing.assert_array_equal(drawn[text], alone[text])
    assert alone[~text].max() == 0  # what is beyond half of the gap is no part of the text
    inside = np.arange(CANVAS.width) < np.asarray(frame.widths)[:, None, None]
    piece = inside & ((u < left) | (u > right))
    assert drawn[inside & ~text & (u > left + 0.05) & (u < right - 0.05)].max() < 0.05
    assert np.mean((drawn * piece).max(axis=(1, 2)) > 0.5) > 0.5  # others show the gap alone


# The whole renderer


@functools.cache
def small(preset="scene", channels=1, keep=False):
    charset = build_charset("latin94+space", "keep")
    canvas = Canvas(32, 128, channels, keep)
    return *renderer.build_renderer(presets.get_preset(preset), charset, canvas, frames), charset


def frames(width):
    return width // 4


@functools.cache
def program(preset="scene", channels=1, keep=False):
    render, arrays, _ = small(preset, channels, keep)
    draw = compiled(render)
    return lambda keys: jax.device_get(draw(arrays, keys))


def keys_of(rows, seed=0):
    return renderer.row_keys(seed, "test", jnp.asarray(rows))


def test_same_keys_same_bits_and_rows_on_their_own():
    first = program()(keys_of(range(16)))
    again = program()(keys_of(range(16)))
    other = program()(keys_of([*range(8, 16), *range(100, 108)]))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a[8:], c[:8])
    assert not np.array_equal(first.images[:8], other.images[8:])
    assert first.images.std(axis=(1, 2, 3)).min() > 2  # every picture shows something


def test_no_two_stages_share_a_draw_unknowingly(monkeypatch):
    """Only the contrast that must survive looks at the draws of the effects that follow."""
    names: dict[str, set[str]] = {"painted": set(), "survive": set(), "degrade": set()}
    stages = ["painted"]
    bits = Draws.bits

    def record(self, name, *shape):
        names[stages[-1]].add(name)
        return bits(self, name, *shape)

    def staged(stage, function):
        def run(*args):
            stages.append(stage)
            result = function(*args)
            stages.pop()
            return result

        return run

    monkeypatch.setattr(Draws, "bits", record)
    monkeypatch.setattr(render, "survive", staged("survive", render.survive))
    monkeypatch.setattr(renderer, "degrade", staged("degrade", renderer.degrade))
    program, arrays, _ = small()
    jax.eval_shape(program, arrays, keys_of(range(8)))
    assert all(names.values())
    assert not names["painted"] & names["degrade"]
    assert names["survive"] <= names["degrade"]


@pytest.mark.slow
def test_a_large_batch_is_rendered_part_by_part():
    whole = program("clean")(keys_of(range(128)))
    half = program("clean")(keys_of(range(64, 128)))
    for a, b in zip(whole, half, strict=True):
        np.testing.assert_array_equal(a[64:], b)


def test_seeds_and_streams_give_different_texts():
    texts = [program()(keys).labels for keys in (keys_of(range(16)), keys_of(range(16), 1))]
    assert not np.array_equal(*texts)
    assert not np.array_equal(
        jax.random.key_data(renderer.row_keys(0, "a", jnp.arange(4))),
        jax.random.key_data(renderer.row_keys(0, "b", jnp.arange(4))),
    )


@pytest.mark.slow
def test_a_batch_does_not_depend_on_the_number_of_devices():
    render, arrays, _ = small("clean")
    keys = keys_of(range(32))
    alone = jax.device_get(compiled(render)(arrays, keys))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    shared = compiled(render, in_shardings=(whole, rows), out_shardings=rows)
    spread = shared(jax.device_put(arrays, whole), jax.device_put(keys, rows))
    assert len(spread.images.sharding.device_set) == 4
    for a, b in zip(alone, jax.device_get(spread), strict=True):
        np.testing.assert_allclose(a.astype(int), b.astype(int), atol=1)


@pytest.mark.parametrize(
    "preset",
    [
        "receipt",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("document", "street", "captcha", "meter")
        ),
    ],
)
def test_presets_render_labels_that_fit_their_widths(preset):
    batch = program(preset, keep=True)(keys_of(range(32)))
    charset = small(preset, keep=True)[2]
    for image, width, ids, length in zip(*batch, strict=True):
        text = charset.decode(ids[:length])
        repeats = sum(a == b for a, b in itertools.pairwise(text))
        assert text
        assert image[:, :width].std() > 2
        assert len(text) + repeats <= frames(width)
    beyond = np.arange(128)[None, :] >= batch.widths[:, None]
    assert not batch.images[np.repeat(beyond[:, None], 32, 1)].any()
    texts = [
        charset.decode(ids[:n]) for ids, n in zip(batch.labels, batch.label_lengths, strict=True)
    ]
    if preset == "meter":
        assert sum(c.isdigit() for c in "".join(texts)) > 0.6 * len("".join(texts))
    if preset == "receipt":
        assert any(" " in text for text in texts)
    if preset == "street":
        letters = [c for c in "".join(texts) if c.isalpha()]
        assert sum(c.isupper() for c in letters) > 0.35 * len(letters)


@pytest.mark.slow
def test_colour_pictures_have_colour():
    images = program("scene", channels=3)(keys_of(range(16))).images.astype(int)
    assert images.shape == (16, 32, 128, 3)
    assert np.abs(images[..., 0] - images[..., 2]).mean() > 3


def test_batches_are_multiples_of_eight():
    render, arrays, _ = small("clean")
    with pytest.raises(ValueError, match="multiple of 8"):
        render(arrays, keys_of(range(9)))
