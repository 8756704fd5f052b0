"""Which effects of rendered scenes teach, and which only cost?

python -m crnn_jax.sweep --config=ablations/rendering:real=DIR --workdir=runs/rendering

36 runs in 87 minutes of one core, busy with other work, too. Without calm images 4.8 points [1.9,
7.9] are lost; blur may be learnt later than 25,000 images, and the other groups are within the
error (experiments/README.md).
"""

from ml_collections import ConfigDict

from crnn_jax import cli

OFF = {  # name -> effects that no image gets
    "no calm images": "calm",
    "no texture": "texture ink_texture",
    "no perspective": "perspective",
    "no rotation, slant": "rotation slant",
    "no arc, wave, elastic": "arc wave elastic",
    "no blur, low resolution": "blur motion defocus lowres",
    "no noise of any kind": "noise shot speckle salt",
    "no outline, shadow, glow, bevel": "outline shadow glow bevel",
    "no uneven light": "light shade",
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config of `short`, with its options."""
    return cli.load_experiment(f"short:{arg}")


def sweep(add) -> None:
    """Scenes with one group of effects left out at a time, or one put in; half are clean words."""
    add("all effects")
    for name, shares in OFF.items():
        add(name, {f"synth.{share}_share": 0.0 for share in shares.split()})
    add("pieces of words beside", {"synth.beside_share": 0.4})
    add("all words equally often", {"synth.temper": 0.0})
    add.seeds(3)
