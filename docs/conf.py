"""Builds the documentation: `make docs`. Reference pages come from parsers, config and code."""

from __future__ import annotations

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import reference  # noqa: E402

project = "crnn_jax"
author = "the authors of crnn_jax"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build"]
html_theme = "furo"
html_title = "crnn_jax"
myst_heading_anchors = 3
smartquotes = False  # quotes in texts are code, most often
default_role = "code"
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_use_ivar = True  # else attributes with annotations are there twice
suppress_warnings = ["ref.python"]  # two modules have a class of one name


def setup(app: object) -> None:
    """Writes the generated pages before Sphinx looks for pages."""
    reference.write(HERE / "reference")
