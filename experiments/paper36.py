"""The paper's network for 36 characters, trained on rendered text alone; for an accelerator.

    python -m crnn_jax.main --config=paper36 --workdir=runs/paper36
    bash benchmarks/gpu_models.sh OUT paper36     # in pieces of nine minutes, on one GPU

Shi, Bai and Yao, 2015: table 1's network, images of 32x100, grey, case folded; what differs is the
data (three times as many images as MJSynth has, none of them twice), the optimizer (AdamW for
ADADELTA) and that weights are averaged. `atlas=build/fonts.npz` draws with the faces of `make
fonts`. No run to its end has been made yet.
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `atlas=FILE`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, atlas="", smoke=False)
    config = config_lib.default_config()
    config.charset = "alnum36"
    config.data.train = "0.55*synth:scene + 0.3*synth:street + 0.15*synth:clean"
    config.synth.beside_share = 0.3
    config.data.eval = "synth:scene::seed=1,limit=2000,charset=alnum62"
    config.synth.atlas = options.atlas
    config.batch_size = 1024
    config.model.encoder = "vgg"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config.ema = 0.9995
    config.licence = "Apache-2.0"
    config_lib.set_duration(config, total_examples=27_000_000)
    config_lib.set_duration(config, warmup_percent=2.0)
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
