"""Squash words to one width, or keep their aspect?

python -m crnn_jax.sweep --config=ablations/aspect:real=DIR --workdir=runs/aspect

9 runs in 27 minutes of one core. Keeping the aspect is worth twelve points, half of which width
alone brings (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """One width, or real widths up to a limit."""
    add("squashed to 32 x 100")
    add("squashed to 32 x 160", {"data.width": 160})
    add("aspect kept, up to 160", {"data.fit": "keep", "data.max_width": 160})
    add.seeds(3)
