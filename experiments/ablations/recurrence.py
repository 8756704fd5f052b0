"""What is the recurrence worth, in one direction and in both?

python -m crnn_jax.sweep --config=ablations/recurrence:real=DIR --workdir=runs/recurrence

18 runs in about 35 minutes of one core. GRUs in both directions read most; both directions are
worth five points over one with LSTMs, and one brings nothing over none (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Networks that differ in what follows the convolutions."""
    add("LSTM, both ways")
    add("LSTM, one way", {"model.bidirectional": False})
    add("GRU, both ways", {"model.recurrence": "gru"})
    add("GRU, one way", {"model.recurrence": "gru", "model.bidirectional": False})
    add("two layers of LSTM, both ways", {"model.layers": 2})
    add("none", {"model.recurrence": "none"})
    add.seeds(3)
