"""Links between the files of the repository lead somewhere, those of the notebooks included."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")
_PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "experiments/**/*.md",
        "benchmarks/*.md",
        "notebooks/*.ipynb",
    )
    for path in _ROOT.glob(pattern)
)


def _texts(path: pathlib.Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def test_there_are_links_to_check() -> None:
    assert sum(len(_LINK.findall(_texts(path))) for path in _PAGES) > 50


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    missing = [link for link in _LINK.findall(_texts(page)) if not (page.parent / link).exists()]
    assert not missing
