"""AdamW, or the paper's ADADELTA?

python -m crnn_jax.sweep --config=ablations/optimizer --workdir=runs/optimizer
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Optimizers, each at a rate that suits it."""
    add("AdamW")
    add("ADADELTA", {"optimizer.name": "adadelta", "optimizer.learning_rate": 1.0})
    add("SGD with momentum", {"optimizer.name": "sgd", "optimizer.learning_rate": 0.02})
    add("Lion", {"optimizer.name": "lion", "optimizer.learning_rate": 3e-4})
    add.seeds(3)
