"""Five-character captchas from a folder whose file names are the labels.

    python -m crnn_jax.main --config=captcha:data=DIR --workdir=runs/captcha

DIR holds captchas as in the well-known Keras example, each named by its label: in order of their
names, the first 640 train and the next 200 validate. Two CPU cores (AMD EPYC): 3.2 minutes, 0.975
of the validation captchas right. The misses are n and m mistaken for each other or
merged, where letters overlap or the line that crosses them looks like a stroke.
"""

from ml_collections import ConfigDict

from crnn_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `data=DIR` is the folder, `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, data="captcha", smoke=False)
    config = config_lib.default_config()
    config.data.train = f"names:{options.data}::rows=0:640"
    config.data.eval = f"names:{options.data}::rows=640:840"
    config.charset = "from_data"
    config.batch_size = 16
    config.data.height = 32
    config.data.width = 128
    config.model.encoder = "tiny"
    config.model.layers = 1
    config.model.hidden = 96
    config.model.dropout = 0.2
    config.optimizer.weight_decay = 0.05
    config_lib.set_duration(config, total_epochs=50)
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
