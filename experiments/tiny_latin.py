"""A small recogniser of Latin letters, digits and signs, with space: to go on from on a laptop.

    python -m crnn_jax.main --config=tiny_latin --workdir=runs/tiny_latin
    bash benchmarks/gpu_models.sh OUT tiny_latin  # three minutes on one GPU, expected

On rendered text alone, every second word English and the others of six languages, in their own
aspect, pieces of the words beside them. `images=N` is its length; on CPUs it can be trained in
pieces, the same command goes on. One core (`taskset -c 0`) renders and learns 48 to 165 images/s
(AMD EPYC, an older and a newer one). The card of `tiny-latin` says in which runs it was trained.
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `images=N`, `atlas=FILE`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, images=2_000_000, atlas="", smoke=False)
    config = config_lib.default_config()
    config.charset = "latin+space"
    config.data.train = "0.45*synth:scene + 0.3*synth:street + 0.15*synth:clean + 0.1*synth:receipt"
    config.data.eval = "synth:scene::seed=1,limit=1000,charset=latin+space"
    config.data.fit = "keep"
    config.data.max_width = 160
    config.synth.beside_share = 0.3
    config.synth.atlas = options.atlas
    config.synth.languages = "6*english|german|french|spanish|portuguese|italian|dutch"
    config.protocol = "36"
    config.batch_size = 32
    config.model.encoder = "tiny"
    config.model.recurrence = "gru"
    config.model.layers = 1
    config.model.hidden = 192
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
