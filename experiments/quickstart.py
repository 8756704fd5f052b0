"""A small CRNN learns to read rendered words: minutes on two CPU cores, no download.

    python -m crnn_jax.main --config=quickstart --workdir=runs/quickstart

60,000 training words and 1,000 test words are rendered on first use; no word is in both sets.
Two CPU cores (AMD EPYC): 6.7 minutes of training, word accuracy 0.949, CER 0.008 on the test words.
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, smoke=False)
    config = config_lib.default_config()
    config.data.train = "tfds:rendered_words/train"
    config.data.eval = "tfds:rendered_words/test"
    config.model.encoder = "tiny"
    config.model.layers = 1
    config.model.hidden = 96
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config_lib.set_duration(config, total_epochs=1.5)
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
