"""Should a long word weigh more than a short one, and should the encoder be judged alone?

python -m crnn_jax.sweep --config=ablations/loss:real=DIR --workdir=runs/loss

12 runs in 23 minutes of one core. Divided by its own characters, as in PyTorch, a word teaches
seven points less than as it is; a second loss changes nothing (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Ways to sum the CTC loss, and a second one on the frames before the recurrence."""
    add("mean over words")
    add("mean over characters", {"loss": "mean_per_character"})
    add("each word by its characters", {"loss": "mean_of_means"})
    add("CTC before the recurrence, too", {"model.auxiliary": 0.3})
    add.seeds(3)
