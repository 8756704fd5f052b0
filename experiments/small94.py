"""The largest recogniser that a CPU core trains in a night: printable ASCII and space.

    python -m crnn_jax.main --config=small94:atlas=build/fonts.npz --workdir=runs/small94

As `tiny_latin`, with a larger encoder and fewer characters. On rendered text alone, drawn with the
faces of `make fonts`; without `atlas=` with 16 faces. One core (`taskset -c 0`) renders and learns
80 images/s (AMD EPYC) beside other work. The card of `small-94` says in which runs it was trained.
"""

from ml_collections import ConfigDict

from crnn_jax import cli
from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `images=N`, `atlas=FILE`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, images=1_400_000, atlas="", smoke=False)
    config = cli.load_experiment(f"tiny_latin:images={options.images},atlas={options.atlas}")
    config.charset = "latin94+space"
    config.data.eval = "synth:scene::seed=1,limit=1000"
    config.model.encoder = "small"
    config.model.hidden = 256
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
