"""What many tests compute with, compiled: operation by operation it takes several times as long."""

from __future__ import annotations

import functools

import jax

from crnn_jax.ctc import align as align_lib
from crnn_jax.ctc import characters, loss
from crnn_jax.decode import beam, language

align = jax.jit(align_lib.align)
character_posteriors = jax.jit(characters.character_posteriors)
search = functools.partial(jax.jit, static_argnames="options")(beam.nbest)
string_log_probability = jax.jit(loss.string_log_probability)
string_score = jax.jit(language.string_score)
