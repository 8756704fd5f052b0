"""The quickstart's network trained for three minutes: what the ablations change a part of.

    python -m crnn_jax.main --config=short --workdir=runs/short

Words squashed to 32 x 100, as in the paper; half clean words, half scenes. Judged on both, and with
`real=DIR` on the photographed words of DIR/iiit5k_train, too. `atlas=FILE` draws with other faces,
`images=N` is its length.
"""

from ml_collections import ConfigDict

from crnn_jax import cli
from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `images=N`, `atlas=FILE`, `real=DIR`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, images=25_000, atlas="", real="", smoke=False)
    config = cli.load_experiment("quickstart")
    config.synth.atlas = options.atlas
    config.protocol = "36"
    config.grid_images = 0
    sets = [
        "synth:clean::seed=1,limit=1000,charset=alnum62",
        "synth:scene::seed=1,limit=2000,charset=alnum62",
    ]
    if options.real:
        sets.append(f"tsv:{options.real}/iiit5k_train")
    config.data.eval = " + ".join(sets)
    config_lib.set_duration(config, total_examples=options.images)
    config_lib.set_duration(config, eval_every_percent=50.0)
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
