"""Writes the reference pages: every command's help, every knob, the modules of the library."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

COMMANDS = (
    "main", "evaluate", "predict", "sweep", "report", "audit", "calibrate", "align", "bundle",
    "convert", "export", "demo", "decode.lm", "decode.tune", "synth.preview", "synth.atlas",
    "synth.bank", "data.prepare",
)  # fmt: skip
# What users of the library call, in the order in which data flows.
MODULES = {
    "Reading": ("recognizer", "reading", "ensembles", "rotations", "careful"),
    "Decoding": (
        "decode.greedy", "decode.beam", "decode.lexicon", "decode.automaton", "decode.pattern",
        "decode.lm",
    ),
    "Training": ("config", "train", "step", "optim", "recipes", "growth", "checkpoint"),
    "Models": ("models", "models.crnn", "models.encoders", "models.encoder_layers",
               "models.recurrent"),
    "CTC": ("ctc.loss", "ctc.align", "ctc.characters"),
    "Data": ("charset", "data.sources", "data.spec", "data.images"),
    "Rendered text": ("synth.presets", "synth.knobs", "synth.render"),
    "Evaluation": ("evaluate", "metrics", "scoring.significance", "scoring.calibration"),
    "Sweeps": ("sweeps.cells", "sweeps.runs", "sweeps.table"),
    "Bundles": ("bundle", "bundle_file", "shipped", "model_card"),
    "Exported models": ("runtime",),
}  # fmt: skip


def write(folder: pathlib.Path) -> None:
    """Writes commands.md, config.md and api.md into a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in (("commands", commands()), ("config", config()), ("api", api())):
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def commands() -> str:
    """Returns the help of every command, as it prints it."""
    parts = [
        "# Commands\n\nWhat `--help` prints. Exit codes: 0 all is done, 1 done in part or failed,\n"
        "2 a mistake in the command or the data, told in one line.\n"
    ]
    environment = {**os.environ, "COLUMNS": "80", "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", f"crnn_jax.{name}", "--help"],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        parts.append(f"## {name}\n\n```text\n{done.stdout.rstrip()}\n```\n")
    return "\n".join(parts)


def config() -> str:
    """Returns every knob with its default and its meaning."""
    from crnn_jax import config as config_lib

    flat = config_lib.flatten(config_lib.default_config())
    lines = [
        "# Config", "",
        "Every knob with its default; `--config.KEY=VALUE` sets one, `--print_config` shows those",
        "of an experiment. Those of `synth` are here as the preset `scene` sets them.", "",
        "| knob | default | meaning |", "|-|-|-|",
    ]  # fmt: skip
    for key, meaning in config_lib.comments().items():
        lines.append(f"| `{key}` | `{repr(flat[key]).replace('|', '/')}` | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"([|*_`])", r"\\\1", text).replace("<", "&lt;")


def api() -> str:
    """Returns the page that Sphinx fills with the docstrings of the modules."""
    parts = ["# Library\n"]
    for title, names in MODULES.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts.append(
                f"### crnn_jax.{name}\n\n```{{eval-rst}}\n.. automodule:: crnn_jax.{name}\n"
                "   :members:\n```\n"
            )
    return "\n".join(parts)
