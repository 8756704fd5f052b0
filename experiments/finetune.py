"""Goes on from a trained model with your own words, and keeps what it can read.

    python -m crnn_jax.main --config=finetune:model=runs/quickstart,data=tsv:DIR/labels.tsv \\
        --workdir=runs/mine

`model` is a run's workdir, a bundle or the name of a shipped model; network, image size and old
characters are taken from it.
`data` is a SPEC, without `split=` and `rows=`: 90 % of its rows train, the others validate.
Anything else goes into `--config.data.train` and `--config.data.eval`, and `rows=N` says how many
there are.
`replay=0.3` is the share of rendered text in every batch, against forgetting; it and the
rates, the length and what is frozen come from the number of rows (`crnn_jax.recipes`) unless given.
"""

import logging

from ml_collections import ConfigDict

from crnn_jax import bundle, recipes, surgery
from crnn_jax import config as config_lib
from crnn_jax.data.sources import open_source
from crnn_jax.errors import UserError

TRAIN, EVAL = "split=0:90", "split=90:100"


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `model=`, `data=`, `replay=`, `rows=`; `:smoke` shrinks it to seconds."""
    options = config_lib.parse_arg(arg, model="", data="", replay=-1.0, rows=0, smoke=False)
    config = config_lib.default_config()
    config.init_from = options.model
    config.init_charset = "union"
    config.charset = "from_data"
    rows, replay = options.rows or 1000, None if options.replay < 0 else options.replay
    if options.model:
        surgery.take_knobs(config, bundle.config_of(options.model))
    if options.data:
        if not options.model:
            raise UserError(
                "finetune has data= and no model=: give a model to go on from, as in "
                "--config=finetune:model=runs/quickstart,data=tsv:DIR/labels.tsv"
            )
        mark = "," if "::" in options.data else "::"
        train = f"{options.data}{mark}{TRAIN}"
        rows = options.rows or max(len(open_source(train)), 1)
        replay = recipes.replay_share(rows) if replay is None else replay
        config.data.eval = f"{options.data}{mark}{EVAL}"
        config.data.train = train
        if replay:
            config.data.train = f"{1 - replay:g}*{train} + {replay:g}*synth:scene"
    recipes.apply_recipe(config, rows, replay)
    logging.getLogger("crnn_jax").info(recipes.describe(rows, replay))
    if options.smoke:
        config_lib.shrink_to_smoke(config)
    return config
