"""The largest of the family for printable ASCII and space, on rendered text; for an accelerator.

    python -m crnn_jax.main --config=best94 --workdir=runs/best94
    bash benchmarks/gpu_models.sh OUT best94      # in pieces of nine minutes, on one GPU

A residual encoder, two bidirectional layers, a second CTC loss before them, images standardized,
32 pixels high, their aspect kept up to 160 pixels, which helped the quickstart's network most of
all (experiments/README.md). `atlas=build/fonts.npz` draws with the faces of `make fonts`. No run to
its end has been made yet.
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `atlas=FILE`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, atlas="", smoke=False)
    config = config_lib.default_config()
    config.charset = "latin94+space"
    config.data.train = "0.45*synth:scene + 0.3*synth:street + 0.15*synth:clean + 0.1*synth:receipt"
    config.synth.beside_share = 0.3
    config.data.eval = "synth:scene::seed=1,limit=2000"
    config.data.fit = "keep"
    config.data.max_width = 160
    config.synth.atlas = options.atlas
    config.protocol = "36"
    config.batch_size = 1024
    config.model.encoder = "resnet"
    config.model.standardize = True
    config.model.dropout = 0.1
    config.model.auxiliary = 0.3
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.02
    config.ema = 0.9995
    config.licence = "Apache-2.0"
    config_lib.set_duration(config, total_examples=30_000_000)
    config_lib.set_duration(config, warmup_percent=2.0)
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
