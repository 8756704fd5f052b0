"""Trains on your own words: any SPEC, aspect kept, real widths in buckets.

    python -m crnn_jax.main --config=words --workdir=runs/words \\
        --config.data.train=tsv:DIR/labels.tsv::split=0:90 \\
        --config.data.eval=tsv:DIR/labels.tsv::split=90:100

Characters are those of the labels (`--config.charset=latin94+space` and the like name a fixed set).
When several images show the same thing, keep them on one side of the split with `group=REGEX`.
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `:smoke` shrinks it to seconds on rendered words."""
    options = config_lib.parse_arg(arg, smoke=False)
    config = config_lib.default_config()
    config.charset = "from_data"
    config.data.fit = "keep"
    config.data.max_width = 320
    config.model.encoder = "tiny"
    config.model.layers = 1
    config.model.hidden = 128
    config.optimizer.weight_decay = 0.01
    config_lib.set_duration(config, total_epochs=30)
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
