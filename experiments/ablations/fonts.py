"""How many faces should text be drawn with?

python -m crnn_jax.sweep --config=ablations/fonts:real=DIR --workdir=runs/fonts

12 runs in 22 minutes of one core. 584 faces read 4.6 points [-1.0, 10.2] more photographs than 16;
scenes alone are too hard to begin with (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Atlases of faces; `make fonts` builds the larger one."""
    add("16 faces")
    add("584 faces", {"synth.atlas": "build/fonts.npz"})
    add("584 faces, scenes alone", {"synth.atlas": "build/fonts.npz", "data.train": "synth:scene"})
    add("16 faces, scenes alone", {"data.train": "synth:scene"})
    add.seeds(3)
