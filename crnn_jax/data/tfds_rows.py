"""What a row of an image set is in a TFDS set of our own, and how such a set is described.

Images are stored as the bytes they come as, and are not re-encoded.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

from crnn_jax.data import images
from crnn_jax.data.sources import Source
from crnn_jax.errors import DataError

VERSION = "1.0.0"  # of the features
FILE_FORMAT = "array_record"
INFO_FILE = "dataset_info.json"


def word_features() -> tfds.features.FeaturesDict:
    """Returns the features: the encoded image, its text, its lexicon, its file or record key."""
    text = tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "label": text(),
            "lexicon": tfds.features.Sequence(text()),
            "file": text(),
        }
    )


def described() -> dict[str, Any]:
    """Returns what TFDS is told of every such set, builders' and others'."""
    return {
        "features": word_features(),
        "supervised_keys": ("image", "label"),
        "disable_shuffling": True,  # record i is row i
    }


def make_example(source: Source, row: int) -> dict[str, Any]:
    """Returns a row's features; raises an ImageError where its image cannot be decoded."""
    image = source.image_bytes(row)
    images.decode_image(image, 1)
    return {
        "image": image,
        "label": source.label(row),
        "lexicon": list(source.lexicon(row)),
        "file": source.key(row),
    }


class Serializer:
    """From a row's features to the bytes of a record."""

    def __init__(self):
        self._features = word_features()
        self._serializer = example_serializer.ExampleSerializer(
            self._features.get_serialized_info()
        )

    def __call__(self, example: dict[str, Any]) -> bytes:
        """Returns the record."""
        encoded = self._serializer.get_tf_example(self._features.encode_example(example))
        return encoded.SerializeToString(deterministic=True)  # the same in every process


def set_folder(data_dir: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the folder of a set, the one of its version."""
    return data_dir / name / VERSION


def shard_file(name: str, split: str, shard: int, shards: int) -> str:
    """Returns the name of a shard's file."""
    return f"{name}-{split}.{FILE_FORMAT}-{shard:05d}-of-{shards:05d}"


def split_info(
    folder: pathlib.Path, name: str, split: str, lengths: Sequence[int], num_bytes: int
) -> tfds.core.SplitInfo:
    """Returns a split's description.

    Args:
      folder: of the set's version.
      name: of the set.
      split: its name.
      lengths: records of each shard.
      num_bytes: of all records.
    """
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, split=split, filetype_suffix=FILE_FORMAT
    )
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=list(lengths),
        num_bytes=num_bytes,
        filename_template=template,
    )


def read_splits(folder: pathlib.Path) -> dict[str, tfds.core.SplitInfo]:
    """Returns the splits of a set by name; none where it has no description yet.

    Raises:
      DataError: it is a set of other features.
    """
    if not (folder / INFO_FILE).is_file():
        return {}
    info = tfds.builder_from_directory(folder).info
    if info.features.to_json() != word_features().to_json():
        raise DataError(
            f"{folder} holds a set with the features {', '.join(sorted(info.features))}, not one "
            "that crnn_jax prepared: give another --name or --dir"
        )
    return dict(info.splits.items())


def write_metadata(folder: pathlib.Path, name: str, splits: Sequence[tfds.core.SplitInfo]) -> None:
    """Writes a set's description; each file of it appears whole, and the one that counts last.

    Raises:
      OSError: it cannot be written.
    """
    identity = tfds.core.DatasetIdentity(
        name=name,
        version=tfds.core.Version(VERSION),
        data_dir=str(folder),
        module_name="",
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description="Labelled images of text, prepared by crnn_jax.",
        **described(),
    )
    info.set_file_format(FILE_FORMAT)
    info.set_splits(tfds.core.splits.SplitDict(list(splits)))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".metadata") as temporary:
        info.write_to_directory(temporary)
        written = sorted(pathlib.Path(temporary).iterdir(), key=lambda path: path.name == INFO_FILE)
        for path in written:
            path.replace(folder / path.name)
