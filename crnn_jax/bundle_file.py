"""A bundle: one file that holds a model and what is to be known about it.

It is a zip: `model.json`, `config.json`, the model's card `README.md` where there is one, and the
weights as `.npy` arrays (`numpy.load` reads the file, too). The same model gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crnn_jax import bundle_zip, files
from crnn_jax import config as config_lib
from crnn_jax.calibration_file import Calibration
from crnn_jax.charset import Charset
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from crnn_jax.recognizer import Recognizer

FORMAT = 1
UNKNOWN = "unknown"  # licence of a model for which none was given

_MODEL, _CONFIG, _CARD = "model.json", "config.json", "README.md"
_MIX = {"with": str, "share": float}  # kinds of what tells of it
_MOST_LICENCE = 200  # characters


@dataclasses.dataclass(frozen=True)
class Ancestor:
    """One training on the way to a model, dates left out.

    Attributes:
      name: of the model that came out.
      licence: an SPDX expression or a few words; "unknown" when none was given.
      train: what it was trained on: SPECs joined by "+".
      fingerprints: hashes of those sets, by name, as in run.json.
      steps: of this training.
      images: seen in it.
    """

    name: str
    licence: str = UNKNOWN
    train: str = ""
    fingerprints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    steps: int = 0
    images: int = 0

    def __post_init__(self) -> None:
        if not (self.name.strip() and self.name.isprintable()):
            raise UserError(f"a model's name is {self.name!r}: give one line of text")
        if not self.licence.isprintable() or not 0 < len(self.licence.strip()) <= _MOST_LICENCE:
            raise UserError(
                f"a model's licence is {self.licence!r:.80}: give one line of at most "
                f"{_MOST_LICENCE} characters, as in CC0-1.0, or {UNKNOWN}"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values; `from_json` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Ancestor:
        """Returns what `to_json` described; raises UserError on anything else."""
        kinds = {"name": str, "licence": str, "train": str, "fingerprints": dict,
                 "steps": int, "images": int}  # fmt: skip
        if (
            not isinstance(data, dict)
            or set(data) != set(kinds)
            or any(not isinstance(data[key], kind) for key, kind in kinds.items())
        ):
            raise UserError(f"not an ancestor of a model: {data!r:.80}; it has {', '.join(kinds)}")
        return cls(**data)


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A model and what is to be known about it.

    Attributes:
      config: of its run.
      charset: classes of the network.
      variables: params and batch_stats, float32.
      lineage: trainings that led to it, oldest first; the last one is its own.
      metrics: evaluation of these weights: {"step": ..., "eval": {SET: {"count": ..., ...}}}, and
        what `crnn_jax.model_card` adds: {"tests": [...], "speed": {...}}; of weights that are
        mixed with another model's {"mix": {"with": NAME, "share": ...}}.
      card: Markdown that describes the model; empty when there is none.
      calibration: what its confidences are calibrated with; None when they are not.
    """

    config: ConfigDict
    charset: Charset
    variables: Any
    lineage: tuple[Ancestor, ...]
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    card: str = ""
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not self.lineage:
            raise UserError("a bundle has no lineage: its own training, at least, belongs there")

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.lineage[-1].name

    @property
    def licence(self) -> str:
        """Licence of the model; its ancestors have theirs."""
        return self.lineage[-1].licence

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        arrays = bundle_zip.flatten(self.variables)
        return sum(x.size for path, x in arrays.items() if path.startswith("params/"))

    def other_licences(self) -> list[str]:
        """Says of every ancestor whose licence differs from the model's what it is."""
        others = dict.fromkeys((a.name, a.licence) for a in self.lineage[:-1])
        return [
            f"its ancestor {name} has licence {licence}, this model {self.licence}: see that the "
            "terms of both are kept"
            for name, licence in others
            if licence != self.licence
        ]

    def recognizer(self) -> Recognizer:
        """Returns the model ready to read; raises UserError where weights and config disagree."""
        import jax

        from crnn_jax.recognizer import Recognizer, network_of, preprocess_of

        try:
            network = network_of(self.config, self.charset.num_classes)
            preprocess = preprocess_of(self.config)
            shape = (1, preprocess.height, preprocess.widest, preprocess.channels)
            expected = jax.eval_shape(
                network.init,
                jax.random.key(0),
                jax.ShapeDtypeStruct(shape, np.uint8),
                jax.ShapeDtypeStruct((1,), np.int32),
            )
        except UserError as error:
            raise UserError(f"model {self.name}: {error}") from None
        except Exception as error:  # negative sizes, or huge ones, make JAX raise almost anything
            raise UserError(
                f"model {self.name}: its config describes no network ({type(error).__name__}: "
                f"{error!s:.120}); bundle the run anew"
            ) from None
        there = {path: x.shape for path, x in bundle_zip.flatten(self.variables).items()}
        needed = {path: x.shape for path, x in bundle_zip.flatten(expected).items()}
        if wrong := [p for p in {**needed, **there} if needed.get(p) != there.get(p)]:
            raise UserError(
                f"model {self.name}: {wrong[0]} is {there.get(wrong[0], 'missing')} and not "
                f"{needed.get(wrong[0], 'there')}, as its config wants it: the file is from "
                "another version of crnn_jax; bundle the run with this one"
            )
        variables = jax.device_put({"batch_stats": {}, **self.variables})
        # Not asked for their fingerprint: weights of half the size are others by their last bits.
        temperature = self.calibration.temperature if self.calibration else 1.0
        return Recognizer(
            network, variables, self.charset, preprocess, self.name, temperature=temperature
        )


def _halved(array: Any) -> bool:
    """Returns whether an array is one of those that bfloat16 is for: no vector."""
    return array.ndim > 1


def rounded(bundle: Bundle) -> Bundle:
    """Returns a bundle with the weights that `save_bundle` keeps of it with `bf16`."""
    import jax
    import jax.numpy as jnp

    def kept(array: Any) -> np.ndarray:
        array = np.asarray(array)
        return array.astype(jnp.bfloat16).astype(np.float32) if _halved(array) else array

    return dataclasses.replace(bundle, variables=jax.tree.map(kept, bundle.variables))


def save_bundle(path: str | pathlib.Path, bundle: Bundle, bf16: bool = False) -> int:
    """Writes a bundle, whole or not at all, and returns its size in bytes.

    Args:
      path: of the file.
      bundle: what to write.
      bf16: matrices and kernels as bfloat16, which halves the file; vectors (biases, statistics of
        normalisation) stay float32.
    """
    from crnn_jax.recognizer import preprocess_of

    arrays = {
        path: ("bfloat16" if bf16 and _halved(value) else "float32", np.asarray(value))
        for path, value in bundle_zip.flatten(bundle.variables).items()
    }
    model = {
        "format": FORMAT,
        "name": bundle.name,
        "licence": bundle.licence,
        "lineage": [ancestor.to_json() for ancestor in bundle.lineage],
        "charset": bundle.charset.to_json(),
        # For other programs; here the config decides.
        "preprocess": dataclasses.asdict(preprocess_of(bundle.config)),
        "metrics": dict(bundle.metrics),
        "calibration": bundle.calibration and bundle.calibration.to_json(),
        "arrays": {path: dtype for path, (dtype, _) in sorted(arrays.items())},
    }
    text = json.dumps(files.finite(model), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    texts = {_MODEL: text, _CONFIG: config_lib.to_json(bundle.config)}
    if bundle.card:
        texts[_CARD] = bundle.card
    content = bundle_zip.pack(texts, arrays)
    bundle_zip.write(path, content)
    return len(content)


def load_bundle(path: str | pathlib.Path) -> Bundle:
    """Reads a bundle.

    Raises:
      UserError: for a file that is damaged, no bundle, or of a newer version.
    """
    texts, arrays = bundle_zip.read(path)
    for name in (_MODEL, _CONFIG):
        if name not in texts:
            raise UserError(f"{path}: not a bundle: it lacks {name}")
    model = bundle_zip.parse_json(texts[_MODEL], f"{path}: {_MODEL} in it")
    if model.get("format") != FORMAT:
        raise UserError(
            f"{path}: a bundle of format {model.get('format')!r:.20}, and this version reads "
            f"{FORMAT}: update crnn_jax"
        )
    kinds = {"lineage": list, "charset": dict, "metrics": dict, "arrays": dict}
    for key, kind in kinds.items():
        if not isinstance(model.get(key), kind):
            raise UserError(f"{path}: not a bundle: {_MODEL} in it has no {key}")
    if set(model["arrays"]) != set(arrays):
        raise UserError(f"{path}: not a bundle: its arrays are not those that {_MODEL} names")
    try:
        return Bundle(
            config=_load_config(texts[_CONFIG]),
            charset=Charset.from_json(model["charset"]),
            variables=bundle_zip.unflatten(
                {
                    key: bundle_zip.unpack_array(key, content, model["arrays"][key])
                    for key, content in arrays.items()
                }
            ),
            lineage=tuple(map(Ancestor.from_json, model["lineage"])),
            metrics=_load_metrics(model["metrics"]),
            card=texts.get(_CARD, ""),
            calibration=_load_calibration(model.get("calibration")),
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _load_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """Returns the metrics of a bundle; raises UserError where they are not by set and by name."""
    sets, tests = metrics.get("eval", {}), metrics.get("tests", [])
    by_name = isinstance(sets, dict) and all(isinstance(found, dict) for found in sets.values())
    mixed = metrics.get("mix", {"with": "", "share": 0.0})
    by_name &= isinstance(mixed, dict) and {k: type(v) for k, v in mixed.items()} == _MIX
    if not by_name or not isinstance(tests, list):
        raise UserError(f"metrics in {_MODEL} are none: {metrics!r:.80}; bundle the run anew")
    return metrics


def _load_calibration(value: Any) -> Calibration | None:
    return None if value is None else Calibration.from_json(value, f"calibration in {_MODEL}")


def _load_config(text: str) -> ConfigDict:
    """Returns a config from the text of its file."""
    what = f"{_CONFIG} in it"
    return config_lib.from_values(bundle_zip.parse_json(text, what), what)
