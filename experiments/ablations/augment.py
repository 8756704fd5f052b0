"""What is it worth to change images that there are few of?

python -m crnn_jax.sweep --config=ablations/augment:real=DIR --workdir=runs/augment

21 runs: 52 minutes of training, one or two at a time on two cores. Of five thousand words, mild
changes are worth 2.7 points [1.4, 4.2] at once, those of documents 5.7 [3.6, 7.7] after three times
as long; those of scenes are too hard to begin with (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short` on five thousand words from files, with its options."""
    config = cli.load_experiment(f"short:{arg}")
    config.data.train = "tfds:rendered_words/train::limit=5000"
    return config


def sweep(add) -> None:
    """Effects on loaded images, by their preset, and as many words as are seen at all."""
    add("as they are")
    for name in ("clean", "document", "scene"):
        add(f"as in {name}", {"data.augment": name})
    add("five times as many words", {"data.train": "tfds:rendered_words/train::limit=25000"})
    longer = {"total_examples": 75_000}
    add("as they are, three times as long", longer)
    add("as in document, three times as long", {"data.augment": "document"} | longer)
    add.seeds(3)
