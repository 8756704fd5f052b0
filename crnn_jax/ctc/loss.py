"""CTC loss that cannot lie (Graves et al., 2006), on top of `optax.ctc_loss`.

optax gives an infeasible row a large *finite* loss with a gradient, and lets a NaN of a padded
frame through. Here every row says whether it is feasible, infeasible rows add nothing, and padded
frames are cut off before anything is computed from them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from crnn_jax import types
from crnn_jax.errors import UserError, unknown_name

NORMALISATIONS = ("mean_per_sample", "mean_per_character", "mean_of_means")


def frames_needed(labels: types.Labels, label_lengths: types.LabelLengths) -> types.FrameCounts:
    """Returns the fewest frames that can spell each label: its length + its repeated neighbours."""
    real = jnp.arange(labels.shape[1])[None, :] < label_lengths[:, None]
    repeats = (labels[:, 1:] == labels[:, :-1]) & real[:, 1:]
    return jnp.sum(repeats, axis=1) + label_lengths


def ctc_loss(
    logits: types.Logits,
    frames: types.FrameCounts,
    labels: types.Labels,
    label_lengths: types.LabelLengths,
    blank_id: int = 0,
) -> tuple[types.PerRow, types.RowMask]:
    """Returns -log p(label | image) in nats per row, and which rows are feasible.

    Args:
      logits: (B, T, K), unnormalised, any float dtype; computed on in float32.
      frames: (B,), real frames of each row.
      labels: (B, L), class ids, right-padded with anything.
      label_lengths: (B,).
      blank_id: class of the blank.

    Returns:
      Losses (B,), at least 0, and 0 where the row is not feasible; and the mask of feasible rows,
      which are those with a label of at least one character and enough frames to spell it. An
      infeasible row has no gradient.
    """
    t = jnp.arange(logits.shape[1])[None, :]
    padded = t >= frames[:, None]
    feasible = (label_lengths > 0) & (frames_needed(labels, label_lengths) <= frames)
    # Zeroed before use: 0 * NaN would still be NaN in the gradient.
    keep = (~padded & feasible[:, None])[:, :, None]
    logits = jnp.where(keep, logits.astype(jnp.float32), 0.0)
    label_pad = jnp.arange(labels.shape[1])[None, :] >= label_lengths[:, None]
    # It picks log-probabilities by a product, which GPUs and TPUs would round to 11 or 8 bits.
    with jax.default_matmul_precision("float32"):
        losses = optax.ctc_loss(
            logits,
            padded.astype(jnp.float32),
            jnp.where(label_pad, blank_id, labels),
            label_pad.astype(jnp.float32),
            blank_id=blank_id,
        )
    # Rounding makes a confident row's loss slightly negative.
    return jnp.where(feasible, jnp.maximum(losses, 0.0), 0.0), feasible


def loss_and_weight(
    losses: types.PerRow,
    feasible: types.RowMask,
    label_lengths: types.LabelLengths,
    normalisation: str,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns (sum of losses, what to divide it by), to be summed over devices before dividing.

    Normalisations:

    - mean_per_sample: nats per row; long labels weigh more.
    - mean_per_character: nats per character of all feasible labels; of a batch, the same but for
      a factor.
    - mean_of_means: nats per character of each label, averaged over rows; labels of any length
      weigh the same. What PyTorch's `CTCLoss` calls `mean`.

    Raises:
      UserError: for another name.
    """
    if normalisation == "mean_per_sample":
        weight = jnp.sum(feasible, dtype=jnp.float32)
    elif normalisation == "mean_per_character":
        weight = jnp.sum(jnp.where(feasible, label_lengths, 0), dtype=jnp.float32)
    elif normalisation == "mean_of_means":
        losses = losses / jnp.maximum(label_lengths, 1)
        weight = jnp.sum(feasible, dtype=jnp.float32)
    else:
        raise unknown_name("loss normalisation", normalisation, NORMALISATIONS)
    return jnp.sum(losses), weight


def check_labels(labels: np.ndarray, label_lengths: np.ndarray, num_classes: int) -> None:
    """Refuses labels that the loss would silently count as certain; call it on the host.

    Raises:
      UserError: naming the first row whose label holds the blank or an id out of range.
    """
    real = np.arange(labels.shape[1])[None, :] < label_lengths[:, None]
    bad = real & ((labels < 1) | (labels >= num_classes))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise UserError(
            f"label id {labels[row, column]} in row {row}, position {column}: ids are 1 to "
            f"{num_classes - 1} (0 is the blank); encode labels with the model's own charset"
        )


def string_log_probability(
    logits: types.Logits,
    frames: types.FrameCounts,
    labels: types.Labels,
    label_lengths: types.LabelLengths,
) -> types.PerRow:
    """Returns log p(label | image) per row by the CTC forward score, computed in float32.

    The empty string has one, too; a string that needs more frames than there are has -inf.
    """
    losses, _ = ctc_loss(logits, frames, labels, label_lengths)
    spelled = jnp.where(frames_needed(labels, label_lengths) <= frames, -losses, -jnp.inf)
    real = jnp.arange(logits.shape[1])[None, :] < frames[:, None]
    log_probs = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=-1)
    empty = jnp.sum(jnp.where(real, log_probs[:, :, 0], 0.0), axis=1)
    return jnp.where(label_lengths > 0, spelled, empty)
