"""Miniature originals of published sets, in the layouts of their publishers."""

from __future__ import annotations

import io

import numpy as np
import scipy.io
from PIL import Image
from source_files import png

WORDS = ("Lube", "spencerian", "ACCOMMODATINGLY")


def _cells(texts) -> np.ndarray:
    array = np.empty((1, len(texts)), object)
    array[0] = list(texts)
    return array


def mat_bytes(part: str, rows, fields=("ImgName", "GroundTruth", "smallLexi", "mediumLexi"), **how):
    """Returns a structure array PARTdata as MATLAB saves one, a row of texts and cells of texts."""
    array = np.empty((1, len(rows)), [(field, object) for field in fields])
    for i, row in enumerate(rows):
        array[0, i] = tuple(_cells(v) if isinstance(v, list | tuple) else v for v in row)
    file = io.BytesIO()
    scipy.io.savemat(file, {"other": np.arange(3.0), f"{part}data": array}, **how)
    return file.getvalue()


def iiit5k_rows(part: str) -> list[tuple]:
    return [
        (f"{part}/{i // 2}_{i}.png", word, [word, "the", f"word{i}"], [word, "a", "of", "b"])
        for i, word in enumerate(WORDS)
    ]


def write_iiit5k(folder, part: str = "test", rows=None, **how):
    rows = iiit5k_rows(part) if rows is None else rows
    (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / f"{part}data.mat").write_bytes(mat_bytes(part, rows, **how))
    for i, row in enumerate(rows):
        (folder / str(row[0])).write_bytes(png(20 + i))
    return folder


def photograph(width: int = 60, height: int = 40) -> Image.Image:
    """Returns pixels that are like no others: red counts columns, green rows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = np.arange(width)
    pixels[:, :, 1] = np.arange(height)[:, None]
    return Image.fromarray(pixels)


SVT_BOXES = ((5, 7, 20, 10), (-4, 30, 25, 30), (0, 0, 22, 10))  # x, y, width, height


def svt_xml(boxes=SVT_BOXES, words=WORDS) -> str:
    def rectangle(box, word):
        x, y, width, height = box
        return (
            f'<taggedRectangle height="{height}" width="{width}" x="{x}" y="{y}">\n'
            f"          <tag>{word}</tag>\n        </taggedRectangle>"
        )

    tagged = [rectangle(*pair) for pair in zip(boxes, words, strict=True)]
    return f"""<?xml version="1.0" encoding="utf-8"?>
<tagset>
  <image>
    <imageName>img/14_03.png</imageName>
    <address>341 Southwest 10th Avenue Portland OR</address>
    <lex>LUBE,SPENCERIAN,THE</lex>
    <Resolution x="60" y="40"/>
    <taggedRectangles>
        {"".join(tagged[:2])}
    </taggedRectangles>
  </image>
  <image>
    <imageName>img/14_04.png</imageName>
    <lex>ACCOMMODATINGLY,THE</lex>
    <taggedRectangles>{"".join(tagged[2:])}</taggedRectangles>
  </image>
</tagset>
"""


def write_svt(folder, part: str = "test", xml: str | None = None):
    (folder / "img").mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.xml").write_text(svt_xml() if xml is None else xml)
    photograph().save(folder / "img" / "14_03.png")
    photograph(50, 30).save(folder / "img" / "14_04.png")
    return folder


WORD_XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<imagelist>
    <image file="word/1/1.png" tag="self" />
    <image file="word/1/2.png" tag="&quot;caf\xe9&quot; &amp; &pound;" />
</imagelist>
"""


def write_icdar03_words(folder, encoding: str = "latin-1"):
    (folder / "word" / "1").mkdir(parents=True, exist_ok=True)
    (folder / "word.xml").write_bytes(WORD_XML.encode(encoding))
    for i in (1, 2):
        (folder / "word" / "1" / f"{i}.png").write_bytes(png(20 + i))
    return folder


WORDS_XML = """<?xml version="1.0" encoding="UTF-8"?>
<tagset>
  <image>
    <imageName>apanar_06.08.2002/IMG_1261.png</imageName>
    <resolution x="60" y="40" />
    <taggedRectangles>
      <taggedRectangle x="17.4" y="9.0" width="27.0" height="19.5" offset="0.0" rotation="0.0"
          userName="admin">
        <tag>Department</tag>
        <segmentation><xOff>3.0</xOff></segmentation>
      </taggedRectangle>
    </taggedRectangles>
  </image>
</tagset>
"""


def write_icdar03_scenes(folder):
    (folder / "apanar_06.08.2002").mkdir(parents=True, exist_ok=True)
    (folder / "words.xml").write_text(WORDS_XML)
    photograph().save(folder / "apanar_06.08.2002" / "IMG_1261.png")
    return folder


ICDAR_ROWS = 'word_1.png, "Tiredness"\nword_2.png, "a, \\"b\\" \\\\ c"\n\nword_3.png, "caf\xe9"\n'


def write_icdar(folder, name: str = "gt.txt", images=None, text: str = ICDAR_ROWS):
    images = folder if images is None else images
    images.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    for i in (1, 2, 3):
        (images / f"word_{i}.png").write_bytes(png(20 + i))
    return folder
