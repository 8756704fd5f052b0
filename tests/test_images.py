"""Images decode as people have them, or fail in one clear line before they cost anything."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from crnn_jax import runtime
from crnn_jax.data import images, pixels
from crnn_jax.data.images import Preprocess, decode_image, image_size
from crnn_jax.errors import ImageError, UserError

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def encode(image: Image.Image | np.ndarray, form: str = "PNG", **options) -> bytes:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.rint(rgb @ np.array([0.299, 0.587, 0.114]))


def png_header(
    width: int, height: int, depth: int = 8, colour: int = 0, body: bytes = b""
) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(body)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


# Decoding.


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_pixels_back(form):
    data = encode(RGB, form, **({"lossless": True} if form == "WEBP" else {}))
    np.testing.assert_array_equal(decode_image(data, 3), RGB)
    grey = decode_image(data, 1)
    assert grey.shape == (12, 20, 1)
    assert np.abs(grey[..., 0] - luma(RGB)).max() <= 1
    assert image_size(data) == (20, 12)


def test_jpeg_and_gif_are_read():
    flat = np.full((16, 24, 3), (200, 30, 60), np.uint8)
    assert np.abs(decode_image(encode(flat, "JPEG"), 3) - flat.astype(int)).max() <= 3
    np.testing.assert_array_equal(decode_image(encode(GREY, "GIF"), 1)[..., 0], GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_rotation_is_applied(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(RGB, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    with Image.open(io.BytesIO(data)) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    assert upright.shape == ((20, 12, 3) if orientation >= 5 else (12, 20, 3))
    np.testing.assert_array_equal(decode_image(data, 3), upright)
    assert image_size(data) == (upright.shape[1], upright.shape[0])
    np.testing.assert_array_equal(
        Preprocess(height=upright.shape[0], width=upright.shape[1], channels=3)(data), upright
    )


def test_exif_behind_the_pixels_counts():
    """ImageMagick writes PNGs so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(RGB, "PNG", exif=exif)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    last = data.index(b"IEND") - 4
    late = data[:start] + data[end:last] + data[start:end] + data[last:]
    np.testing.assert_array_equal(decode_image(late, 3), decode_image(data, 3))
    assert image_size(late) == image_size(data) == (12, 20)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_a_pil_image_is_rotated_once(form):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(RGB, form, exif=exif)
    preprocess = Preprocess(height=20, width=12, channels=3)
    with Image.open(io.BytesIO(data)) as lazy:
        np.testing.assert_array_equal(preprocess(lazy), decode_image(data, 3))


def test_damaged_exif_leaves_the_pixels_as_stored():
    data = encode(RGB, "PNG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01")
    np.testing.assert_array_equal(decode_image(data, 3), RGB)
    jpeg = encode(RGB, "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff\x01")
    assert decode_image(jpeg, 3).shape == RGB.shape


def test_transparency_is_composited_on_white():
    alpha = np.full((12, 20), 255, np.uint8)
    alpha[:, :5], alpha[:, 5:10] = 0, 128
    data = encode(np.dstack([RGB, alpha]))
    expected = RGB.astype(float)
    expected[:, :5] = 255
    expected[:, 5:10] = RGB[:, 5:10] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decode_image(data, 3) - expected).max() <= 1
    np.testing.assert_array_equal(decode_image(data, 3)[:, 10:], RGB[:, 10:])

    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    decoded = decode_image(encode(grey_alpha), 1)[..., 0]
    assert (decoded[:, :5] == 255).all()
    np.testing.assert_array_equal(decoded[:, 10:], GREY[:, 10:])


def test_palette_images():
    indices = np.repeat(np.arange(4, dtype=np.uint8), 3)[None].repeat(6, 0)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0, 0])
    palette = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [0, 0, 0]], np.uint8)
    np.testing.assert_array_equal(decode_image(encode(image), 3), palette[indices])
    # One entry fully transparent; then each entry with its own alpha.
    for transparency in (3, bytes([255, 255, 255, 0])):
        clear = decode_image(encode(image, transparency=transparency), 3)
        assert (clear[:, 9:] == 255).all()
        np.testing.assert_array_equal(clear[:, :9], palette[indices][:, :9])
    gif = decode_image(encode(image, "GIF", transparency=3), 3)
    assert (gif[:, 9:] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_colour_declared_transparent_becomes_white(mode):
    image = Image.new(mode, (6, 4), 0)
    image.paste(Image.new(mode, (3, 4), {"1": 1, "L": 90, "RGB": (90, 90, 90)}[mode]))
    data = encode(image, transparency=(0, 0, 0) if mode == "RGB" else 0)
    decoded = decode_image(data, 1)[..., 0]
    assert (decoded[:, 3:] == 255).all()
    assert (decoded[:, :3] == (255 if mode == "1" else 90)).all()


def test_bilevel_images():
    bits = GREY > 128
    for data in (encode(bits), encode(bits, "TIFF", compression="group4")):
        np.testing.assert_array_equal(decode_image(data, 1)[..., 0], bits * np.uint8(255))


def test_16_bits_are_scaled_to_8():
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    scaled = [[0, 0, 1, 1, 128, 254, 255, 255]]  # rounded v / 257
    np.testing.assert_array_equal(decode_image(encode(values), 1)[..., 0], scaled)
    np.testing.assert_array_equal(decode_image(encode(values, "TIFF"), 1)[..., 0], scaled)
    clear = decode_image(encode(values, transparency=128), 1)[..., 0]
    np.testing.assert_array_equal(clear, [[0, 255, *scaled[0][2:]]])
    big_endian = Image.frombytes("I;16B", (8, 1), values.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode_image(encode(big_endian, "TIFF"), 1)[..., 0], scaled)
    colour = struct.pack(">B6H", 0, 65535, 32768, 0, 257, 514, 771)  # RGB of two pixels
    np.testing.assert_array_equal(
        decode_image(png_header(2, 1, depth=16, colour=2, body=colour), 3),
        [[[255, 128, 0], [1, 2, 3]]],
    )


def test_float_and_32_bit_tiffs():
    unit = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(
        decode_image(encode(unit, "TIFF"), 1)[..., 0], np.rint(unit * 255)
    )
    np.testing.assert_array_equal(
        decode_image(encode(unit * 255, "TIFF"), 1)[..., 0], np.rint(unit * 255)
    )
    whole = np.array([[0, 100, 255]], np.int32)
    np.testing.assert_array_equal(decode_image(encode(whole, "TIFF"), 1)[..., 0], whole)
    wide = np.array([[0, 257, 65535]], np.int32)
    np.testing.assert_array_equal(decode_image(encode(wide, "TIFF"), 1)[..., 0], [[0, 1, 255]])
    for values in (unit - 0.5, unit * 300, np.full((2, 2), np.nan, np.float32), whole - 1):
        with pytest.raises(ImageError, match="pixel values from") as error:
            decode_image(encode(values, "TIFF"), 1)
        assert "0..1 or 0..255" in one_line(error) or "0..65535" in one_line(error)


def test_cmyk_jpeg():
    flat = Image.new("RGB", (16, 16), (200, 30, 60))
    decoded = decode_image(encode(flat.convert("CMYK"), "JPEG", quality=95), 3)
    assert np.abs(decoded - np.array([200.0, 30.0, 60.0])).max() <= 4
    assert decode_image(encode(flat.convert("CMYK"), "TIFF"), 1).shape == (16, 16, 1)


def test_lab_tiff():
    flat = Image.new("RGB", (8, 8), (200, 30, 60))
    decoded = decode_image(encode(flat.convert("LAB"), "TIFF"), 3)
    assert np.abs(decoded - np.array([200.0, 30.0, 60.0])).max() <= 4


def test_the_first_frame_is_taken():
    frames = [Image.new("L", (5, 4), value) for value in (10, 200)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_image(data, 1) == 10).all()
    pages = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert (decode_image(pages, 1) == 10).all()


# Refusals.


def test_a_huge_image_is_refused_from_its_header_in_milliseconds(tmp_path):
    data = png_header(50_000, 50_000)
    (tmp_path / "huge.png").write_bytes(data)
    tracemalloc.start()
    started = time.perf_counter()
    for read in (
        lambda: decode_image(data, 1),
        lambda: image_size(data),
        lambda: Preprocess()(data),
    ):
        with pytest.raises(ImageError) as error:
            read()
        assert one_line(error).startswith("the image is too large: 50,000 x 50,000 pixels, at most")
        assert "64,000,000" in one_line(error)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.3
    assert peak < 5e6
    with pytest.raises(ImageError, match=r"huge\.png: the image is too large"):
        decode_image(tmp_path / "huge.png", 1)


def test_huge_headers_of_other_formats_are_refused():
    # The sizes of small images are overwritten where each format keeps them.
    jpeg = bytearray(encode(RGB, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    gif = bytearray(encode(GREY, "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    bmp = bytearray(encode(RGB, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    tiff = bytearray(encode(RGB, "TIFF"))
    for tag in (b"\x00\x01\x04\x00\x01\x00\x00\x00", b"\x01\x01\x04\x00\x01\x00\x00\x00"):
        at = tiff.index(tag) + len(tag)
        tiff[at : at + 4] = struct.pack("<I", 60_000)
    for data in (jpeg, gif, bmp, tiff):
        with pytest.raises(ImageError, match="too large: 60,000 x 60,000 pixels"):
            decode_image(bytes(data), 1)


def test_the_limit_is_ours_and_pillows_stays_untouched(monkeypatch):
    data = encode(RGB)
    assert decode_image(data, 3, max_pixels=240).shape == RGB.shape
    with pytest.raises(ImageError, match="at most 239 in all"):
        decode_image(data, 3, max_pixels=239)
    # A program's own setting for Pillow neither disturbs us nor is changed.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    for form in ("PNG", "JPEG", "BMP"):
        assert decode_image(encode(RGB, form), 3).shape == RGB.shape
    assert Image.MAX_IMAGE_PIXELS == 1
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_an_error(form):
    data = encode(RGB, form)
    for size in (len(data) * 2 // 3, len(data) // 3, 20):
        with pytest.raises(ImageError, match="damaged") as error:
            decode_image(data[:size], 1)
        assert "replace the file" in one_line(error)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"%PDF-1.4 ", r"\(a PDF\): turn its pages into images"),
        (b"\0\0\0\x18ftypheic\0\0", r"\(HEIC, AVIF or a video\): save the picture as JPEG or PNG"),
        (b"\xef\xbb\xbfa.png\t\xc3\xbc\r\nb\xc3", r"\(a text\): .*with predict --images_from"),
        (b"a.png\0", r"\(it begins with b'a\.png\\x00'\): use PNG"),
        (b"\xe4hnlich", r"\(it begins with b'\\xe4hnlich'\): use PNG"),
    ],
)
def test_what_else_it_is_is_told(start, said):
    with pytest.raises(ImageError, match=f"^not an image {said}"):
        decode_image(start, 1)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("tsv:set/labels.tsv", "a labelled set is read by crnn_jax.evaluate, with --data"),
        ("a.png\ttext", "a list of images has a path per line, and no labels"),
        ("C:a.png", "give the path of an image's file"),
    ],
)
def test_what_is_meant_by_a_path_that_leads_nowhere(path, said):
    with pytest.raises(ImageError, match=f"cannot be opened .*: {said}$"):
        image_size(path)


def test_what_is_no_image_is_an_error(tmp_path):
    with pytest.raises(ImageError, match=r"empty \(0 bytes\)"):
        decode_image(b"", 1)
    with pytest.raises(ImageError, match="empty"):
        image_size(b"")
    text = tmp_path / "text.png"
    text.write_text("hello, world")
    with pytest.raises(ImageError, match=r"text\.png: not an image \(a text\): use PNG"):
        decode_image(text, 1)
    with pytest.raises(ImageError, match="use PNG, JPEG, WebP, BMP, TIFF or GIF"):
        image_size(b"RIFF\x10\x00\x00\x00WAVEfmt ")
    with pytest.raises(ImageError, match=r"none\.png: the image cannot be opened \(No such file"):
        decode_image(tmp_path / "none.png", 1)
    with pytest.raises(ImageError, match="cannot be opened"):
        image_size(str(tmp_path))
    with pytest.raises(UserError, match="channels=4"):
        decode_image(encode(RGB), 4)


@pytest.mark.parametrize("name", ["pipe", "folder", "loop", "/dev/zero", "/proc/self/mem"])
def test_what_is_no_file_is_refused_at_once(no_file, name):
    path = no_file(name)
    for read in (decode_image, Preprocess()):
        with pytest.raises(ImageError, match=r"cannot be (opened|read) \(") as error:
            read(path, 1) if read is decode_image else read(path)
        assert one_line(error).startswith(str(path))


def test_names_that_no_file_has_are_refused(tmp_path):
    with pytest.raises(ImageError, match="embedded null byte"):
        decode_image("a\0.png", 1)
    with pytest.raises(ImageError, match="File name too long") as error:
        decode_image("a" * 100_000, 1)
    assert len(one_line(error)) < 500
    with pytest.raises(ImageError) as error:
        decode_image(str(tmp_path / "a\nb\x1b[31m.png"), 1)
    assert r"a\nb\x1b[31m.png: the image cannot be opened" in one_line(error)


def test_large_images_are_converted_strip_by_strip(monkeypatch):
    rng = np.random.default_rng(3)
    images = [
        Image.fromarray(rng.integers(0, 256, (9, 13, 4), np.uint8), mode)
        for mode in ("RGBA", "CMYK")
    ]
    images += [Image.fromarray(rng.integers(0, 65536, (9, 13), np.uint16))]
    images += [Image.fromarray(rng.integers(0, 65536, (9, 13), np.int32))]
    images += [Image.fromarray(rng.random((9, 13), np.float32))]
    images += [images[0].convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "LAB")]
    for image in images:
        for channels in (1, 3):
            whole = np.asarray(pixels.flatten(image, channels))
            for count in (5, 13, 40):  # parts of rows, rows, several
                monkeypatch.setattr(runtime, "_STRIP", count)
                np.testing.assert_array_equal(pixels.flatten(image, channels), whole)
            monkeypatch.undo()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there memory is kept")
def test_a_large_image_leaves_the_process_as_small_as_it_was():
    code = """
import resource
from crnn_jax.data.images import Preprocess
from crnn_jax.memory import keep_freed_memory

def megabytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmRSS"))

keep_freed_memory()
read = Preprocess(32, 1, "squash", 100, 16, 160)
read(bytes.fromhex(SMALL))
before = megabytes()
read(bytes.fromhex(LARGE))
print(megabytes() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before)
"""
    small = encode(Image.new("RGB", (40, 30)), "WEBP", lossless=True)
    sides = small.index(b"VP8L") + 9  # 14 bits each
    large = small[:sides] + struct.pack("<I", 4999 | 4999 << 14) + small[sides + 4 :]
    code = code.replace("SMALL", repr(small.hex())).replace("LARGE", repr(large.hex()))
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    stays, most = map(float, said.stdout.split())
    assert most > 350  # 16 bytes for each of the 25 million pixels
    assert stays < 100


def test_a_row_without_end_is_refused():
    with pytest.raises(ImageError, match="1,000,000 on a side"):
        decode_image(png_header(64_000_000, 1), 1)


def test_a_jpeg_of_thousands_of_scans_is_refused():
    data = encode(GREY, "JPEG", progressive=True)
    at = data.index(b"\xff\xda")
    wide = data.index(b"\xff\xc2") + 5
    scans = data[at:-2] * 500
    data = data[:wide] + struct.pack(">HH", 8000, 8000) + data[wide + 4 : at] + scans
    with pytest.raises(ImageError, match=r"scans, which takes minutes: save it anew"):
        decode_image(data + b"\xff\xd9", 1)


class Failing(io.BytesIO):
    """A file on a disk that fails after so many reads."""

    def __init__(self, data, good):
        super().__init__(data)
        self.good = good

    def read(self, *args):
        self.good -= 1
        if self.good < 0:
            raise OSError(5, "Input/output error")
        return super().read(*args)


def test_a_disk_that_fails_is_told(monkeypatch):
    """At every call, of the header and of the pixels."""
    data = encode(GREY, "JPEG")
    for good in range(4):
        failing = contextlib.nullcontext(Failing(data, good))
        monkeypatch.setattr(images, "opened", lambda data, failing=failing: failing)
        with pytest.raises(ImageError, match="Input/output error"):
            decode_image(data, 1)


def test_pillows_own_log_stays_silent(capfd):
    tiff = bytearray(encode(RGB, "TIFF"))
    at = tiff.index(struct.pack("<HH", 277, 3))  # samples per pixel
    tiff[at + 8 : at + 12] = struct.pack("<I", 278)
    with pytest.raises(ImageError, match="damaged"):
        decode_image(bytes(tiff), 1)
    assert capfd.readouterr().err == ""


def test_damaged_files_give_image_errors_or_agreeing_sizes_and_no_warning():
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 8
    originals = [encode(RGB, form, exif=exif) for form in ("PNG", "JPEG", "TIFF", "WEBP")]
    originals += [encode(RGB, "BMP"), encode(GREY, "GIF"), encode(GREY.astype(np.uint16))]
    decoded = refused = 0
    for trial in range(700):
        data = bytearray(originals[trial % len(originals)])
        for place in rng.integers(0, rng.choice([40, len(data)]), rng.choice([1, 4])):
            data[place % len(data)] = rng.integers(256)
        try:
            shape = decode_image(bytes(data), 1).shape
        except ImageError:  # and nothing else
            refused += 1
        else:
            assert image_size(bytes(data)) == (shape[1], shape[0])
            decoded += 1
    assert decoded > 50
    assert refused > 50


def test_threads_leave_the_warning_filters_as_they_were():
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode(RGB, "TIFF", exif=exif)
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [decode_image(data, 1) for _ in range(30)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# Preprocessing.


def test_squash_and_keep_sizes():
    squash = Preprocess(height=32, fit="squash", width=100)
    assert squash(RGB).shape == (32, 100, 1)
    keep = Preprocess(height=32, channels=3, fit="keep", min_width=16, max_width=200)
    assert keep(RGB).shape == (32, 53, 3)  # 20 * 32 / 12 = 53.3
    assert keep(np.zeros((30, 3), np.uint8)).shape == (32, 16, 3)  # stretched to min_width
    assert keep(np.zeros((10, 900), np.uint8)).shape == (32, 200, 3)  # squeezed to max_width
    assert keep.target_width(25, 16) == 50
    assert Preprocess(height=1, fit="keep", min_width=1).target_width(5, 2) == 3  # half up


def test_resizing_is_pillows_antialiased_bilinear():
    image = np.random.default_rng(2).integers(0, 256, (96, 300), dtype=np.uint8)
    expected = Image.fromarray(image).resize((100, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(Preprocess()(image)[..., 0], np.asarray(expected))
    # Antialiased: the mean of fine stripes, not some of the stripes.
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 400))
    assert np.abs(Preprocess()(stripes).astype(int) - 127).max() <= 16


def test_all_kinds_of_input_agree(tmp_path):
    data = encode(RGB)
    (tmp_path / "a.png").write_bytes(data)
    preprocess = Preprocess(height=16, channels=3, width=30)
    reference = preprocess(data)
    assert reference.dtype == np.uint8
    assert reference.flags.writeable
    for image in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        RGB,
        Image.fromarray(RGB),
        (RGB / 255).astype(np.float64),
        RGB.astype(np.uint16) * 257,
        np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)]),
    ):
        np.testing.assert_array_equal(preprocess(image), reference)
    grey = Preprocess(height=16, width=30)
    np.testing.assert_array_equal(grey(GREY[..., None]), grey(GREY))
    np.testing.assert_array_equal(grey(GREY), grey(encode(GREY)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, np.uint8), r"shape \(5,\) is not an image: give HxW"),
        (np.zeros((4, 5, 2), np.uint8), r"shape \(4, 5, 2\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"shape \(1, 4, 5, 3\)"),
        (np.zeros((0, 5), np.uint8), "no pixels"),
        (np.zeros((4, 5), np.int64), "array of int64 is not an image: give uint8"),
        (np.zeros((4, 5), bool), "array of bool"),
        (np.full((4, 5), 255.0), r"from 255 to 255: give 0\.\.1, or uint8"),
        (np.full((4, 5), np.nan), "from nan to nan"),
    ],
)
def test_arrays_that_are_no_images(array, message):
    with pytest.raises(ImageError, match=message) as error:
        Preprocess()(array)
    one_line(error)


def test_a_lazy_pil_image_that_is_truncated():
    with (
        Image.open(io.BytesIO(encode(RGB)[:400])) as lazy,
        pytest.raises(ImageError, match="cannot be loaded") as error,
    ):
        Preprocess()(lazy)
    one_line(error)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 0}, "height=0: write at least 1 pixel"),
        ({"width": -3}, "width=-3: write at least 1"),
        ({"channels": 2}, r"channels=2: write 1 \(grey\) or 3"),
        ({"fit": "squish"}, "unknown fit 'squish': did you mean 'squash'"),
        ({"min_width": 9, "max_width": 8}, "min_width=9 is above max_width=8"),
    ],
)
def test_preprocess_checks_its_fields(fields, message):
    with pytest.raises(UserError, match=message) as error:
        Preprocess(**fields)
    one_line(error)


def test_preprocess_is_a_value():
    preprocess = Preprocess(height=48, fit="keep")
    assert preprocess == pickle.loads(pickle.dumps(preprocess))
    assert len({preprocess, Preprocess(height=48, fit="keep"), Preprocess()}) == 2
    with pytest.raises(AttributeError):
        preprocess.height = 3


def test_real_photographs_decode(real_data):
    paths = sorted((real_data / "svt_test" / "images").iterdir())[:20]
    assert len(paths) == 20
    for path in paths:
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(decode_image(path, 3), expected)
        assert image_size(path) == (expected.shape[1], expected.shape[0])
