"""Which rendered text teaches most about other text?

python -m crnn_jax.sweep --config=ablations/presets:real=DIR --workdir=runs/presets

24 runs: 96 minutes of training on one core, busy with other work, too. Half clean words, half
scenes read eight points more than clean words alone, ten more than scenes alone, and four more than
words that Pillow has drawn (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Presets to train on, alone or by halves, and words that Pillow has drawn into files."""
    add("clean and scene")
    for name in ("scene", "clean", "document", "receipt", "captcha", "plain"):
        add(name, {"data.train": f"synth:{name}"})
    add("Pillow words", {"data.train": "tfds:rendered_words/train"})
    add.seeds(3)
