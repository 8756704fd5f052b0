"""What do larger convolutional encoders buy in the same number of images?

python -m crnn_jax.sweep --config=ablations/encoder:real=DIR --workdir=runs/encoder

15 runs: 279 minutes of training, two at a time on two cores, busy with other work, too. A residual
network reads 6.6 points [4.4, 8.8] more than `tiny`, the PyTorch port's seven convolutions 3.0
[1.8, 4.4]; those of the paper have hardly begun to read (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Encoders before the same recurrence."""
    add("tiny")
    for name in ("small", "resnet", "vgg", "vgg_port"):
        add(name, {"model.encoder": name})
    add.seeds(3)
