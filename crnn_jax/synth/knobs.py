"""Every knob of rendered text, with its neutral setting and what it means.

A pair is a range, drawn from uniformly for each image; a `*_share` is the probability that an
image gets the effect before it. Lengths in pixels hold for images 32 pixels high and grow with the
height. An em is the nominal size of a face. The trailing comments are what `--print_config` shows.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.data import words
from crnn_jax.errors import UserError

# What text is made of, whatever it looks like: a run that changes one of these for its preset
# changes it for the others that it trains on, too.
TEXTS = ("text_file", "languages", "patterns", "pattern")
EVERYWHERE = ("atlas", "faces", "textures", *TEXTS)


def plain_knobs() -> ConfigDict:
    """Returns all knobs, every effect off: upright black text on white."""
    synth = ConfigDict()
    synth.preset = "plain"  # where the knobs come from; setting it sets them all

    # What is drawn from.
    synth.atlas = ""  # npz of crnn_jax.synth.atlas; empty: the 16 text faces of matplotlib
    synth.faces = ""  # style tags joined by '|': only faces with one of them; empty: all faces
    synth.text_file = ""  # UTF-8, one text per line, optionally TAB count; empty: dictionaries
    synth.languages = "english"  # of the dictionaries, joined by '|': 3*english|german|french
    synth.textures = ""  # folder of photographs as grounds; empty: procedural ones

    # Texts: shares of the kinds, relative to one another.
    synth.words = 1.0  # words of the dictionaries or of text_file
    synth.random = 0.0  # strings of random characters, all equally often
    synth.numbers = 0.0  # 7, 2,480, -3.5
    synth.prices = 0.0  # $4.99, 1,250.00
    synth.dates = 0.0  # 03/11/2024, 12 May 1998
    synth.codes = 0.0  # plates, part numbers, times
    synth.patterns = 0.0  # strings that match `pattern`
    synth.pattern = ""  # regular expression of whole texts, for `patterns`
    synth.temper = 0.3  # words are drawn with probability ~ count**temper; 0: all equally often
    synth.line_words = (1, 1)  # texts per line; above 1 needs a charset with space
    synth.punctuation = 0.0  # share of words that punctuation follows or surrounds
    synth.max_length = 24  # characters of a label, at most; less where the frames allow less
    synth.lower = 1.0  # words as written; lower, title, upper and mixed are shares of the lines
    synth.title = 0.0  # share of words in Title case
    synth.upper = 0.0  # share of words in UPPER case
    synth.mixed = 0.0  # share of words in mIxEd case

    synth.calm_share = 0.0  # images without effects of a _share (but dark_share, line_box_share)

    # Layout.
    synth.tracking = (0.0, 0.0)  # extra space between characters, em
    synth.spacing_jitter = 0.0  # of single characters, standard deviation, em
    synth.baseline_jitter = 0.0  # of single characters, standard deviation, em
    synth.size_jitter = 0.0  # of single characters, standard deviation of the logarithm
    synth.tilt_jitter = 0.0  # rotation of single characters, standard deviation, degrees
    synth.dancing_share = 0.0  # characters of sizes, heights and angles of their own
    synth.dancing = (0.3, 1.0)  # strength; 1 is 12 % of the size, 0.06 em and 7 degrees
    synth.initial_share = 0.0  # words whose first character is larger, as beside small capitals
    synth.initial = (1.15, 1.6)  # times the others
    synth.spaced_share = 0.0  # characters far apart
    synth.spaced = (0.4, 1.5)  # space between them instead of `tracking`, em; less in long texts
    synth.mixed_faces_share = 0.0  # every character from a face of its own
    synth.slant_share = 0.0  # sheared text
    synth.slant = (-15.0, 25.0)  # degrees
    synth.stretch = (1.0, 1.0)  # width of the characters, logarithmically uniform
    synth.rotation_share = 0.0  # rotated text
    synth.rotation = (-6.0, 6.0)  # degrees; the range shrinks for long texts
    synth.arc_share = 0.0  # text on a circle
    synth.arc = (-60.0, 60.0)  # degrees of the circle that the text spans; shrinks for short ones
    synth.wave_share = 0.0  # text on a wave
    synth.wave = (0.02, 0.1)  # amplitude, em
    synth.perspective_share = 0.0  # seen from one side or from above
    synth.perspective = (0.05, 0.3)  # one end is smaller by this, below 0.8
    synth.elastic_share = 0.0  # smooth random displacement
    synth.elastic = (0.01, 0.04)  # of the height
    synth.margin_x = (0.06, 0.12)  # left and right of the ink, of the height; below 0 cuts slivers
    synth.margin_y = (0.06, 0.12)  # above and below the ink, of the height
    synth.line_box_share = 0.0  # room for ascenders and descenders that the text may lack

    # Ink.
    synth.weight = (0.0, 0.0)  # strokes bolder or, below 0, thinner, em; with outline below 0.18
    synth.contrast = (1.0, 1.0)  # between text and ground, of full scale; at least 0.15
    synth.dark_share = 1.0  # dark text on lighter ground; the others are light on darker
    synth.saturation = (0.0, 0.0)  # of the colours of text and ground; colour images
    synth.gradient_share = 0.0  # colour runs across the text
    synth.gradient = (0.1, 0.4)  # of the contrast
    synth.outline_share = 0.0  # a line around the characters
    synth.outline = (0.02, 0.06)  # width, em
    synth.hollow_share = 0.0  # only the outline is drawn
    synth.shadow_share = 0.0  # cast by the characters
    synth.shadow = (0.3, 0.9)  # opacity
    synth.shadow_offset = (0.5, 2.5)  # how far it falls, px
    synth.solid_share = 0.0  # of the shadows: the side of a solid letter, not a copy
    synth.glow_share = 0.0  # light or dark around the characters
    synth.glow = (0.05, 0.15)  # reach, em
    synth.bevel_share = 0.0  # raised or sunk edges
    synth.bevel = (0.1, 0.5)  # strength
    synth.texture_share = 0.0  # textured ground
    synth.texture = (0.1, 0.8)  # strength
    synth.ink_texture_share = 0.0  # textured or worn characters
    synth.ink_texture = (0.1, 0.5)  # strength
    synth.neighbours_share = 0.0  # parts of the lines above and below
    synth.neighbours = (0.9, 1.4)  # distance of the lines, em
    synth.beside_share = 0.0  # pieces of the words beside
    synth.beside = (0.2, 0.5)  # distance of the words, em
    synth.rolling_share = 0.0  # digits between two positions, as counters show them
    synth.rolling = (0.0, 0.3)  # of the way to the next digit

    # Things in the picture.
    synth.rules_share = 0.0  # underlines, boxes, edges of signs
    synth.strokes_share = 0.0  # lines across the text
    synth.strokes = (0.5, 1.5)  # thickness, px
    synth.stains_share = 0.0  # soft blots
    synth.stains = (0.1, 0.5)  # opacity
    synth.occlusion_share = 0.0  # something small in front
    synth.occlusion = (0.03, 0.12)  # side, of the height

    # Light.
    synth.light_share = 0.0  # uneven light
    synth.light = (0.1, 0.5)  # strength
    synth.shade_share = 0.0  # shadow with an edge across the picture
    synth.shade = (0.15, 0.5)  # darkness

    # Camera and file.
    synth.blur_share = 0.0  # Gaussian
    synth.blur = (0.3, 1.0)  # standard deviation, px
    synth.motion_share = 0.0  # motion blur
    synth.motion = (1.5, 4.0)  # length, px
    synth.defocus_share = 0.0  # out of focus
    synth.defocus = (0.6, 1.6)  # radius, px
    synth.lowres_share = 0.0  # scaled down and up again
    synth.lowres = (0.4, 0.9)  # factor
    synth.noise_share = 0.0  # Gaussian, equal everywhere
    synth.noise = (0.01, 0.06)  # standard deviation, of full scale
    synth.shot_share = 0.0  # as photons are counted: stronger where it is bright
    synth.shot = (0.01, 0.06)  # standard deviation at white
    synth.speckle_share = 0.0  # multiplicative
    synth.speckle = (0.03, 0.12)  # standard deviation
    synth.salt_share = 0.0  # white and black pixels
    synth.salt = (0.002, 0.02)  # share of the pixels
    synth.gamma_share = 0.0  # tone curve
    synth.gamma = (0.6, 1.6)  # exponent
    synth.tone_share = 0.0  # contrast and brightness of the whole picture
    synth.tone = (0.5, 1.1)  # factor of the contrast
    synth.invert_share = 0.0  # negative
    synth.jpeg_share = 0.0  # block artefacts
    synth.jpeg = (25, 90)  # quality
    synth.lock()
    return synth


def comments() -> dict[str, str]:
    """Returns what every knob means, by its name."""
    lines = inspect.getsource(plain_knobs).splitlines()
    matches = (re.match(r"\s*synth\.(\w+) = .*?  # (.*)$", line) for line in lines)
    return {match[1]: match[2] for match in matches if match}


# What a knob may be, by its name; shares are checked as such, the others are free.
_POSITIVE = ("stretch", "initial", "lowres", "jpeg", "gamma", "motion", "defocus", "blur")
_NOT_NEGATIVE = (
    "words", "random", "numbers", "prices", "dates", "codes", "patterns", "temper", "lower",
    "title", "upper", "mixed", "spacing_jitter", "baseline_jitter", "size_jitter", "tilt_jitter",
    "dancing", "wave", "perspective", "elastic", "contrast", "saturation", "gradient", "outline",
    "shadow", "shadow_offset", "glow", "bevel", "texture", "ink_texture", "neighbours", "beside",
    "rolling", "strokes", "stains", "occlusion", "light", "shade", "noise", "shot", "speckle",
    "salt", "tone",
)  # fmt: skip
_AT_MOST_ONE = (
    "contrast", "shadow", "texture", "ink_texture", "stains", "light", "shade", "salt", "lowres",
    "punctuation", "gradient",
)  # fmt: skip
_MOST_TEMPER = 10.0  # beyond, counts become infinite
_BOLDEST = 0.18  # em: so far from the outlines their distance is known
_FARTHEST = 0.8  # perspective beyond which the far end of a text is a dot


def parse_range(what: str, text: str, kind: type) -> tuple[Any, Any]:
    """Parses `LOW:HIGH`, also written `LOW,HIGH` or `(LOW, HIGH)`; raises UserError.

    Args:
      what: the knob, for messages.
      text: as given.
      kind: int or float, of both numbers.
    """
    parts = re.split(r"[:,]", text.strip().strip("()[]"))
    try:
        low, high = map(kind, parts)
    except ValueError:
        numbers = "whole numbers" if kind is int else "numbers"
        raise UserError(f"{what} is {text!r}: give two {numbers}, LOW:HIGH") from None
    return low, high


def check_knobs(synth: ConfigDict) -> None:
    """Raises a UserError that names the first knob whose value cannot be."""
    for name, value in synth.items():
        what = f"config.synth.{name} is {value}"
        if isinstance(value, tuple) and not value[0] <= value[1]:
            raise UserError(f"{what}: the first number of a range is the smaller one")
        if isinstance(value, str):
            continue
        low, high = value if isinstance(value, tuple) else (value, value)
        if name.endswith("_share") and not 0 <= low <= high <= 1:
            raise UserError(f"{what}: a share is a number from 0 to 1")
        if name in _NOT_NEGATIVE and not low >= 0:
            raise UserError(f"{what}: give 0 or positive numbers")
        if name in _POSITIVE and not low > 0:
            raise UserError(f"{what}: give positive numbers")
        if name in _AT_MOST_ONE and not high <= 1:
            raise UserError(f"{what}: give at most 1")
    words.parse_languages(synth.languages, "config.synth.languages")
    if synth.text_file and synth.languages != words.ENGLISH:
        raise UserError(
            f"config.synth.text_file is {synth.text_file} and languages {synth.languages}: words "
            "are of the one or the other; leave one out"
        )
    if not synth.lower + synth.title + synth.upper + synth.mixed > 0:
        raise UserError("config.synth.lower, title, upper and mixed are all 0: one must be above 0")
    if not synth.line_words[0] >= 1:
        raise UserError(f"config.synth.line_words is {synth.line_words}: a line has 1 text or more")
    if not synth.temper <= _MOST_TEMPER:
        raise UserError(
            f"config.synth.temper is {synth.temper}: give at most {_MOST_TEMPER:g}; 1 draws words "
            "as often as they are counted"
        )
    if not synth.max_length >= 1:
        raise UserError(f"config.synth.max_length is {synth.max_length}: give 1 or more")
    if bool(synth.patterns) != bool(synth.pattern):
        raise UserError(
            f"config.synth.patterns is {synth.patterns} and config.synth.pattern "
            f"{synth.pattern!r}: give both a share and a regular expression, or neither"
        )
    bolder = synth.weight[1] + (synth.outline[1] if synth.outline_share else 0.0)
    if not bolder < _BOLDEST:
        raise UserError(
            f"config.synth.weight is {synth.weight} and outline {synth.outline} (share "
            f"{synth.outline_share}): give what makes strokes bolder by less than {_BOLDEST} em"
        )
    if not synth.perspective[1] < _FARTHEST:
        raise UserError(
            f"config.synth.perspective is {synth.perspective}: give numbers below {_FARTHEST}"
        )
    if synth.margin_y[1] >= 0.45 or synth.margin_y[0] <= -0.2 or synth.margin_x[0] <= -0.2:
        raise UserError(
            f"config.synth.margin_x is {synth.margin_x} and margin_y {synth.margin_y}: margins are "
            "shares of the height, above -0.2, and margin_y below 0.45"
        )
