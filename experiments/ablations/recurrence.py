"""What is the recurrence worth, in one direction and in both?

    python -m crnn_jax.sweep --config=ablations/recurrence --workdir=runs/recurrence
"""

from ml_collections import ConfigDict

from crnn_jax import cli
from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the quickstart's config, shorter; `images=N`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, images=30_000, smoke=False)
    config = cli.load_experiment("quickstart" + ":smoke" * options.smoke)
    if not options.smoke:
        config_lib.set_duration(config, total_examples=options.images)
    return config


def sweep(add) -> None:
    """Six networks that differ in what follows the convolutions."""
    add("LSTM, both ways")
    add("LSTM, one way", {"model.bidirectional": False})
    add("GRU, both ways", {"model.recurrence": "gru"})
    add("GRU, one way", {"model.recurrence": "gru", "model.bidirectional": False})
    add("two layers of LSTM, both ways", {"model.layers": 2})
    add("none", {"model.recurrence": "none"})
    add.seeds(3)
