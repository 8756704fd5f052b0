"""The perceptual hash and the search for the nearest pairs."""

from __future__ import annotations

import io

import drawn_words
import numpy as np
import pytest
from PIL import Image

from crnn_jax.auditing.duplicates import NEAR
from crnn_jax.auditing.near_duplicates import BITS, nearest_pairs, perceptual_hash

WORDS = drawn_words.words(60)


def hash_of(image: Image.Image) -> np.ndarray:
    return perceptual_hash(image.convert("L"))[0]


def distance(a: Image.Image, b: Image.Image) -> int:
    return int(np.bitwise_count(hash_of(a) ^ hash_of(b)).sum())


# The hash.


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(io.BytesIO(buffer.getvalue()))


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((1, 1, width - max(2, width // 50), height - 1))


def resized(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.BICUBIC)


def dimmed(image: Image.Image) -> Image.Image:
    return image.point(lambda value: value * 0.5 + 20)


@pytest.mark.parametrize("change", [jpeg, cropped, resized, dimmed])
def test_a_changed_copy_is_near(change) -> None:
    images = [drawn_words.draw(word, seed) for seed, word in enumerate(WORDS)]
    distances = [distance(image, change(image)) for image in images]
    assert max(distances) <= NEAR, distances


def test_different_images_are_far() -> None:
    hashes = np.stack([hash_of(drawn_words.draw(w, seed)) for seed, w in enumerate(WORDS)])
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1)[np.triu_indices(60, 1)]
    assert apart.min() > NEAR
    assert abs(apart.mean() - (BITS - 1) / 2) < 10, "signs of unrelated images are coin flips"


@pytest.mark.parametrize(
    ("face", "other"),
    [
        ("DejaVuSans", "DejaVuSerif-Bold"),
        ("DejaVuSans", "DejaVuSansMono-Oblique"),
        ("STIXGeneralBol", "DejaVuSansDisplay"),
    ],
)
def test_different_images_of_one_word_are_seldom_near(face: str, other: str) -> None:
    distances = [
        distance(drawn_words.draw(w, i, face), drawn_words.draw(w, 100 + i, other))
        for i, w in enumerate(WORDS)
    ]
    near = [word for word, bits in zip(WORDS, distances, strict=True) if bits <= NEAR]
    assert len(near) <= 0.05 * len(WORDS), near  # letters may happen to stand at one place
    assert np.median(distances) > NEAR + 16


def test_a_negative_is_no_copy_and_the_constant_frequency_no_bit() -> None:
    image = drawn_words.draw("negative")
    assert distance(image, image.point(lambda value: 255 - value)) == BITS - 1
    assert hash_of(image)[0] & np.uint64(0x80) == 0


def test_contrast_tells_blank_images() -> None:
    assert perceptual_hash(Image.new("L", (80, 30), 77))[1] == 0
    assert perceptual_hash(drawn_words.draw("written"))[1] > 20


# The search.


def brute_force(left, left_aspects, right, right_aspects) -> list[tuple[int, int, int]]:
    """All pairs with like aspects as (distance, i, j), nearest first."""
    alone = right is None
    other, other_aspects = (left, left_aspects) if alone else (right, right_aspects)
    found = []
    for i, a in enumerate(left):
        for j, b in enumerate(other):
            longer = max(left_aspects[i], other_aspects[j]) / min(left_aspects[i], other_aspects[j])
            if longer <= 1.25 and not (alone and j <= i):
                bits = sum((int(x) ^ int(y)).bit_count() for x, y in zip(a, b, strict=True))
                found.append((bits, i, j))
    return sorted(found)


def random_hashes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of which many are near each other, with ties, and aspects that matter."""
    hashes = rng.integers(0, 2**64, (count, BITS // 64), np.uint64)
    for i in range(1, count, 3):
        hashes[i] = hashes[rng.integers(0, i)]
        for bit in rng.integers(0, 64, rng.integers(0, 20)):
            hashes[i, bit % 4] ^= np.uint64(1) << np.uint64(bit)
    return hashes, rng.choice([1.0, 1.3, 2.0, 2.2], count).astype(np.float32)


@pytest.mark.parametrize("block", [7, 16, 512])
@pytest.mark.parametrize("most", [0, 1, 10, 100_000])
@pytest.mark.parametrize("alone", [True, False])
def test_the_search_equals_brute_force(monkeypatch, block: int, most: int, alone: bool) -> None:
    monkeypatch.setattr("crnn_jax.auditing.near_duplicates._BLOCK", block)
    rng = np.random.default_rng(block)
    left, aspects = random_hashes(rng, 60)
    right, right_aspects = (None, None) if alone else random_hashes(rng, 45)
    if right is not None:
        right[:20] = left[:20]
    expected = brute_force(left, aspects, right, right_aspects)
    compared = []
    groups = np.arange(60, dtype=np.int32) % 3 if alone else None
    pairs = nearest_pairs(
        left, aspects, right, right_aspects,
        within=90, most=most, groups=groups, progress=compared.append,
    )  # fmt: skip
    found = list(zip(pairs.distances, pairs.left, pairs.right, strict=True))
    assert found == expected[:most]
    assert pairs.within == sum(bits <= 90 for bits, _, _ in expected)
    assert pairs.within > 5
    apart = [(bits, i, j) for bits, i, j in expected if bits <= 90 and i % 3 != j % 3]
    if alone:
        found = list(zip(pairs.apart.distances, pairs.apart.left, pairs.apart.right, strict=True))
        assert (found, pairs.apart.within) == (apart[:most], len(apart))
        assert 1 < len(apart) < pairs.within
    else:
        assert pairs.apart is None
    assert sum(compared) >= (60 * 59 // 2 if alone else 60 * 45)


def test_no_rows_and_a_single_row_have_no_pairs() -> None:
    for count in (0, 1):
        hashes = np.zeros((count, 4), np.uint64)
        pairs = nearest_pairs(hashes, np.ones(count, np.float32), within=BITS, most=5)
        assert (len(pairs.distances), pairs.within) == (0, 0)
