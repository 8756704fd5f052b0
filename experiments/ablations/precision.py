"""Does bfloat16 cost accuracy?

python -m crnn_jax.sweep --config=ablations/precision:real=DIR --workdir=runs/precision

6 runs in 12 minutes of one core. It costs nothing that three seeds could show
(experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """The same network computed in two precisions; on CPUs the shorter one is slower."""
    add("float32", {"model.dtype": "float32"})
    add("bfloat16", {"model.dtype": "bfloat16"})
    add.seeds(3)
