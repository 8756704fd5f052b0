"""`small-94`, grown to twice its arithmetic.

    python -m crnn_jax.main --config=medium94:atlas=build/fonts.npz --workdir=runs/medium94

Three more residual blocks and a second recurrent layer, which go on from the weights of `small-94`
(`config.init_weights=alike`). One core (`taskset -c 0`) renders and learns 50 images/s (AMD EPYC).
The longest run so far, of 326,000 images, had not reached its parent yet (docs/models.md): give
more, or an accelerator.
"""

from ml_collections import ConfigDict

from crnn_jax import cli
from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `images=N`, `atlas=FILE`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, images=1_000_000, atlas="", smoke=False)
    config = cli.load_experiment(f"small94:images={options.images},atlas={options.atlas}")
    config.init_from = "small-94"
    config.init_weights = "alike"
    config.model.encoder = "medium"
    config.model.layers = 2
    config.optimizer.learning_rate = 1.5e-3
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
