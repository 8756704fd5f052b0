"""Finds glyphs that show another character than the one they stand for.

Every glyph is compared with the same and with all other characters of trusted faces, in a space
where faces differ little and characters differ much (linear discriminant analysis). What is
refused: capitals drawn for small letters and the reverse, glyphs that are another character's, and
glyphs that are near to another character and far from their own (boxes, symbols, accents).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import linalg, ndimage

from crnn_jax.synth.faces import PIXELS

SIDE = 24  # pixels of a glyph's small image

_ROWS = 2048  # glyphs that are compared at once
_FAMILY = 6  # characters of a face's name that its family shares
_DIMENSIONS = 50  # of the space of comparison
_SHRINKAGE = 0.05  # of the covariance within characters towards a sphere
_POOL = 64  # faces that are compared with, besides the references
_CASE_SHARE = 0.4  # letters drawn in the other case that make it the whole face's habit
_WORST_RATIO = 1.45  # of the distances from the own and the nearest other character
_CLEAN = 0.9  # share of right glyphs in the faces of the pool
_LEGIBLE = 0.15  # share of a face's glyphs that are nearest to their own character; symbols: 0.1
_LEGIBLE_KIND = 0.2  # the same of its digits, and of what is neither digit nor letter

# Small letters that are not simply their capital made smaller.
_DISTINCT = "abdefghmnqrt"
# Characters that faces draw alike without being wrong; case is added, and so are accents.
_ALIKE = (
    *("Il1|!i/\\jJ[]¦¡", "O0oQD", "S5s§$", "Z2z7", "B8", "b6G", "9gq", "G6C", "({[<‹", ")}]>›"),
    *(
        "'`´‘’,.‚¹",
        '"“”„',
        "-_~–—=",
        ":;i!",
        "ce¢",
        "uv",
        "VUY",
        "xX×*",
        "*°ªº®™+±·•'‘’",
        "nh",
        "·•.°º…",
        "WM",
    ),
    *("µu", "ßB", "aoª", "ÐD", "Þpb", "f†t‡+±", "3³", "2²", "Y¥", "C€", "L£", "%‰", "¼½¾", "®©@"),
)
_SAME = ("Il1|", "O0", "-–", "'’", '"”', ",‚", "°º", "·•", "oº", "ao", "µu")  # even identical


class Shapes(NamedTuple):
    """The glyphs of a face in a form that can be compared.

    Attributes:
      family: of the face; judged faces of one family are no evidence for one another.
      images: uint8 [A, SIDE, SIDE], the ink stretched to a square; zeros where there is none.
      boxes: float32 [A, 4], the ink's left, top, right, bottom in em, y down.
      drawn: bool [A].
      keys: per character, equal for equal drawings; None where there is none.
    """

    family: str
    images: np.ndarray
    boxes: np.ndarray
    drawn: np.ndarray
    keys: list[bytes | None]

    @classmethod
    def empty(cls, name: str, count: int) -> Shapes:
        """Returns the shapes of a face of which nothing is drawn yet."""
        family = (name.split() or [""])[0][:_FAMILY].lower()
        images, boxes = np.zeros((count, SIDE, SIDE), np.uint8), np.zeros((count, 4), np.float32)
        return cls(family, images, boxes, np.zeros(count, bool), [None] * count)

    def add(self, index: int, pixels: np.ndarray, left: int, top: int) -> None:
        """Adds the glyph of a character: its drawing, and where that begins."""
        resized = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)
        self.images[index] = np.asarray(resized, dtype=np.uint8)
        box = (left, top, left + pixels.shape[1], top + pixels.shape[0])
        self.boxes[index] = np.array(box) / PIXELS
        self.drawn[index] = True
        self.keys[index] = hashlib.sha256(f"{box}".encode() + pixels.tobytes()).digest()

    def spread(self, rows: np.ndarray, count: int) -> Shapes:
        """Returns the same glyphs as rows of a longer list of characters."""
        longer = Shapes.empty("", count)
        longer.images[rows], longer.boxes[rows] = self.images, self.boxes
        longer.drawn[rows] = self.drawn
        for row, key in zip(rows.tolist(), self.keys, strict=True):
            longer.keys[row] = key
        return longer._replace(family=self.family)


def right_glyphs(
    faces: Sequence[Shapes], references: Sequence[Shapes], characters: str
) -> np.ndarray:
    """Returns which glyphs show their character, bool [F, A]; none of a face that is no text face.

    Args:
      faces: what to judge.
      references: faces known to be right.
      characters: the A characters of both; more than the faces have help to see what a wrong glyph
        is. Those that no reference has are not judged by their shape.
    """
    drawn = np.stack([face.drawn for face in faces])
    trusted = np.stack([face.drawn for face in references])
    x, trusted_x = _features(faces, characters), _features(references, characters)
    alike = alike_characters(characters)

    # At first with the references alone: what they find good is compared with, too, from then on.
    distance = _distances(x, drawn, trusted_x, trusted, np.zeros((len(x), len(trusted_x)), bool))
    right = drawn & ~_other_case(distance, drawn, characters)
    ratio = _ratio(distance, drawn, alike)
    clean = (right & (ratio < _WORST_RATIO)).sum(1) / np.maximum(drawn.sum(1), 1)
    pool = np.flatnonzero(clean > _CLEAN)
    pool = pool[np.linspace(0, len(pool) - 1, min(_POOL, len(pool))).round().astype(int)]
    families = np.array([face.family for face in faces])
    related = np.concatenate(
        [np.zeros((len(x), len(trusted_x)), bool), families[:, None] == families[pool]], 1
    )
    distance = _distances(
        x,
        drawn,
        np.concatenate([trusted_x, x[pool]]),
        np.concatenate([trusted, (right & (ratio < 1))[pool]]),
        related,
    )
    ratio = _ratio(distance, drawn, alike)
    known = trusted.any(0)
    judged = right & known
    right &= ~(known & (ratio > _WORST_RATIO))
    signs = np.array([not c.isalnum() for c in characters])
    digits = np.array([c.isdecimal() for c in characters])
    for kind, least in ((signs | True, _LEGIBLE), (signs, _LEGIBLE_KIND), (digits, _LEGIBLE_KIND)):
        hits = (judged & kind & (ratio < 1)).sum(1)
        right &= ~(kind & known) | (hits >= least * (judged & kind).sum(1))[:, None]
    rows = drawn.cumsum().reshape(drawn.shape) - 1
    for i, face in enumerate(faces):
        own = np.where(drawn[i], distance[rows[i], np.arange(len(characters))], np.inf)
        right[i] &= ~_copies(face.keys, own, characters)
    return right


def _features(faces: Sequence[Shapes], characters: str) -> np.ndarray:
    """Returns float32 [F, A, D]: blurred small images, and the ink's place and proportions."""
    images = np.stack([face.images for face in faces]).astype(np.float32) / 255
    blurred = ndimage.gaussian_filter(images, (0, 0, 1.2, 1.2))[:, :, ::2, ::2]
    boxes = np.stack([face.boxes for face in faces])
    drawn = np.stack([face.drawn for face in faces])
    capitals = [i for i, c in enumerate(characters) if c in "HEITXLFNZ"]
    heights = np.where(drawn[:, capitals], -boxes[:, capitals, 1], np.nan)
    some = (np.nan_to_num(heights) > 0.05).any(1)
    heights[~some] = 0.7
    cap = np.maximum(np.nanmedian(heights, 1), 0.05)[:, None]
    top, bottom = -boxes[..., 1] / cap, -boxes[..., 3] / cap
    width = np.clip((boxes[..., 2] - boxes[..., 0]) / cap, 0.02, 4)
    slimness = np.log(width / np.clip(top - bottom, 0.02, 4))
    place = np.clip(np.stack([1.5 * top, 1.5 * bottom, 0.7 * slimness], -1), -4, 4)
    place[~drawn] = 0
    flat = blurred.reshape(*blurred.shape[:2], -1)
    return np.concatenate([flat, place], -1).astype(np.float32)


def _projection(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the discriminant directions [D, _DIMENSIONS] of labelled features (Fisher 1936)."""
    classes = np.unique(labels)
    means = np.stack([x[labels == k].mean(0) for k in classes])
    centred = x - means[np.searchsorted(classes, labels)]
    within = centred.T @ centred / len(x)
    within += _SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    between = np.cov(means.T)
    _, vectors = linalg.eigh(between, within)
    return vectors[:, ::-1][:, :_DIMENSIONS].astype(np.float32)


def _distances(
    x: np.ndarray, drawn: np.ndarray, pool: np.ndarray, valid: np.ndarray, related: np.ndarray
) -> np.ndarray:
    """Returns float32 [N, A]: of N drawn glyphs from the nearest that stands for a character.

    Args:
      x: features [F, A, D] of the glyphs.
      drawn: which of them there are.
      pool: features [R, A, D] of what they are compared with.
      valid: which of those are right.
      related: bool [F, R], which faces are not compared: they are of one family.
    """
    labels, source = valid.T.nonzero()  # sorted by the character
    near = pool[source, labels]
    projection = _projection(near, labels)
    near, queries = near @ projection, x[drawn] @ projection
    classes, starts = np.unique(labels, return_index=True)
    face = drawn.nonzero()[0]
    result = np.full((len(queries), x.shape[1]), np.inf, np.float32)
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        squares = queries[rows] @ (-2 * near.T)
        squares += (queries[rows] ** 2).sum(1)[:, None] + (near**2).sum(1)[None, :]
        squares[related[face[rows]][:, source]] = np.inf
        result[rows, classes] = np.minimum.reduceat(squares, starts, axis=1)
    return np.sqrt(np.maximum(result, 0))


def _ratio(distance: np.ndarray, drawn: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Returns [F, A]: distance from the own character by that from the nearest not alike."""
    labels = drawn.nonzero()[1]
    own = distance[np.arange(len(labels)), labels]
    other = np.where(alike[labels], np.inf, distance).min(1)
    ratio = np.zeros(drawn.shape, np.float32)
    ratio[drawn] = own / np.maximum(other, 0.3)  # very near is as good as equal
    return ratio


def _other_case(distance: np.ndarray, drawn: np.ndarray, characters: str) -> np.ndarray:
    """Returns the letters of faces that draw this case as the other one, bool [F, A]."""
    result = np.zeros(drawn.shape, bool)
    face, label = drawn.nonzero()
    small = [c for c in _DISTINCT if c in characters and c.upper() in characters]
    for letters, is_case in (
        (small, str.islower),
        ([c.upper() for c in small], str.isupper),
    ):
        votes, swaps = np.zeros(len(drawn)), np.zeros(len(drawn))
        for letter in letters:
            own, other = characters.index(letter), characters.index(letter.swapcase())
            rows = label == own
            np.add.at(votes, face[rows], 1)
            np.add.at(swaps, face[rows], distance[rows, other] < distance[rows, own])
        habit = (votes > 0) & (swaps >= _CASE_SHARE * votes)
        result |= habit[:, None] & np.array([is_case(c) for c in characters])
    return result


def alike_characters(characters: str) -> np.ndarray:
    """Returns which characters faces may draw alike, bool [A, A]."""
    groups = [{*group, *group.lower(), *group.upper()} for group in _ALIKE]
    members = np.array([[char in group for group in groups] for char in characters], np.float32)
    # Accents are small, and most capitals are their small letters enlarged.
    bases = np.array([unicodedata.normalize("NFD", char)[0] for char in characters])
    small = np.array([base.lower() for base in bases])
    one_shape = ~np.isin(bases, list(_DISTINCT))
    same_letter = (small == small[:, None]) & one_shape & one_shape[:, None]
    return (members @ members.T > 0) | (bases == bases[:, None]) | same_letter


def _copies(keys: Sequence[bytes | None], own: np.ndarray, characters: str) -> np.ndarray:
    """Returns which characters are drawn exactly as another one that fits the drawing better."""
    groups: dict[bytes, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(i)
    wrong = np.zeros(len(keys), bool)
    for members in groups.values():
        best = min(members, key=lambda i: own[i])
        for i in members:
            pair = {characters[i], characters[best]}
            wrong[i] = len(pair) > 1 and not any(pair <= set(group) for group in _SAME)
    return wrong
