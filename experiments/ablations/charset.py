"""What does it cost to tell more characters apart?

python -m crnn_jax.sweep --config=ablations/charset:real=DIR --workdir=runs/charset

12 runs: 57 minutes of training on one core, busy with other work, too. Ten points after 25,000
images for capitals apart from small letters, no more that could be shown for punctuation, 27 for
the letters of western Europe (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Charsets, all judged by letters and digits in lower case."""
    add("36 characters")
    for name in ("alnum62", "latin94", "latin"):
        add(name, {"charset": name})
    add.seeds(3)
