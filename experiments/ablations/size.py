"""How many pixels does a word need?

python -m crnn_jax.sweep --config=ablations/size:real=DIR --workdir=runs/size

18 runs: 113 minutes of training on one core, busy with other work, too. 160 pixels of width read
five points more than the paper's 100, 64 sixteen fewer; 48 pixels of height no more than 32
(experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Heights and widths that words are squashed to."""
    add("32 x 100")
    for height, width in ((32, 64), (32, 128), (32, 160), (48, 100), (48, 150)):
        add(f"{height} x {width}", {"data.height": height, "data.width": width})
    add.seeds(3)
