"""AdamW, or the paper's ADADELTA?

python -m crnn_jax.sweep --config=ablations/optimizer:real=DIR --workdir=runs/optimizer

21 runs: 84 minutes of training on one core, busy with other work, too. ADADELTA is four points
ahead of AdamW after 25,000 images, and no longer after 75,000; half of AdamW's rate costs eleven
points, twice its rate nothing (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Optimizers, and what another rate does to them; `short` has AdamW at 2e-3."""
    add("AdamW")
    adadelta = {"optimizer.name": "adadelta", "optimizer.learning_rate": 1.0}
    add("ADADELTA", {**adadelta, "optimizer.epsilon": 1e-6})
    add("SGD with momentum", {"optimizer.name": "sgd", "optimizer.learning_rate": 0.02})
    add("Lion", {"optimizer.name": "lion", "optimizer.learning_rate": 1e-4})
    add("Lion at 1e-3", {"optimizer.name": "lion", "optimizer.learning_rate": 1e-3})
    add("AdamW at 1e-3", {"optimizer.learning_rate": 1e-3})
    add("AdamW at 4e-3", {"optimizer.learning_rate": 4e-3})
    add.seeds(3)
