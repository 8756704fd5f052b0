"""The paper's network and optimizer: images squashed to 32x100, 36 characters, ADADELTA.

    python -m crnn_jax.main --config=crnn_paper --workdir=runs/crnn_paper \\
        --config.data.train=tsv:DIR/labels.tsv::split=0:90 \\
        --config.data.eval=tsv:DIR/labels.tsv::split=90:100

Shi, Bai and Yao, 2015: the network of table 1, ADADELTA with rho 0.9 and no learning rate to tune,
training images of 32x100. Without data of your own it trains on rendered words. It is meant for an
accelerator (`--dry_run` estimates the time on your device); no run to its end has been made yet.
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, smoke=False)
    config = config_lib.default_config()
    config.data.train = "tfds:rendered_words/train"
    config.data.eval = "tfds:rendered_words/test"
    config.charset = "alnum36"
    config.model.encoder = "vgg"
    config.optimizer.name = "adadelta"
    config.optimizer.learning_rate = 1.0
    config.optimizer.rho = 0.9
    config.optimizer.epsilon = 1e-6
    config.schedule = "constant"
    config_lib.set_duration(config, total_epochs=5)
    config_lib.set_duration(config, warmup_steps=0)
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
