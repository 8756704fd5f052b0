"""A recogniser as one StableHLO program for CPUs, CUDA GPUs and TPUs, weights included."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import export

from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.recognizer import Recognizer

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(recognizer: Recognizer) -> bytes:
    """Returns a recogniser's network as a serialised program of `jax.export`.

    Its arguments are images uint8 (B, height, W, channels), resized and padded on the right with
    anything, and their real widths int32 (B,); its results logits float32 (B, T, K), class 0 the
    blank, and real frame counts int32 (B,). B and W are free, W from the narrowest image on.
    """
    preprocess = recognizer.preprocess
    batch, width = export.symbolic_shape("b, w", constraints=[f"w >= {preprocess.narrowest}"])

    @jax.jit
    def program(images: Any, widths: Any) -> Any:
        return recognizer.model.apply(recognizer.variables, images, widths)

    made = export.export(program, platforms=PLATFORMS)(
        jax.ShapeDtypeStruct((batch, preprocess.height, width, preprocess.channels), jnp.uint8),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    return bytes(made.serialize())


def loaded(content: bytes) -> Callable[[Any, Any], Any]:
    """Returns the function (images, widths) -> (logits, frames) of a serialised program."""
    return jax.jit(export.deserialize(bytearray(content)).call)


def load_stablehlo(path: str | pathlib.Path) -> Callable[[Any, Any], Any]:
    """Returns the function (images, widths) -> (logits, frames) of an exported program.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return loaded(pathlib.Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # flatbuffers and MLIR raise what they like
        told = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not a program of jax.export ({told}); export it again") from None
