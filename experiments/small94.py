"""The largest recogniser that two CPU cores train in a night: printable ASCII and space.

    python -m crnn_jax.main --config=small94:atlas=build/fonts.npz --workdir=runs/small94

On rendered text alone, drawn with the faces of `make fonts`; without `atlas=` with 16 faces. It can
be stopped and goes on with the same command. One core renders and learns about 80 images/s: 1.6
million take six hours, and a second core is free for something else (`taskset -c 0`).
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `images=N`, `atlas=FILE`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, images=1_400_000, atlas="", smoke=False)
    config = config_lib.default_config()
    config.charset = "latin94+space"
    config.data.train = "0.8*synth:scene + 0.12*synth:clean + 0.08*synth:receipt"
    config.data.eval = "synth:scene::seed=1,limit=1000"
    config.data.width = 128
    config.synth.atlas = options.atlas
    config.protocol = "36"
    config.batch_size = 32
    config.model.encoder = "small"
    config.model.recurrence = "gru"
    config.model.layers = 1
    config.model.standardize = True
    config.model.auxiliary = 0.3
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config.ema = 0.9995
    config.licence = "Apache-2.0"
    config_lib.set_duration(config, total_examples=options.images)
    config_lib.set_duration(config, warmup_percent=1.0)
    config_lib.set_duration(config, eval_every_percent=4.0)
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
