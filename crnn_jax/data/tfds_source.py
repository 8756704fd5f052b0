"""Sets prepared by TensorFlow Datasets, read without TensorFlow.

A location is `name/split`, as in `rendered_words/train` or `name/config:1.0.0/train[:10%]`, or
`DIR/split` with DIR the folder of a prepared set, the one that holds `dataset_info.json` or the one
above it.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from crnn_jax.data import builders, images
from crnn_jax.data.files_of_rows import fingerprint
from crnn_jax.errors import DataError, ImageError

# Sets of rendered words and the arguments with which their builder is opened.
RENDERED_WORDS: dict[str, dict[str, Any]] = {
    "rendered_words": {},
    "rendered_words/tiny": {"train": 256, "test": 64},  # prepared in seconds, to try things out
}

_INFO_FILE = "dataset_info.json"
_KEYS = ("file", "key")  # features of texts that tell a row, where a set has one
_MOST_REASON = 120  # characters
_CHUNK = 1024  # records read at a time to learn their labels


def open_tfds(location: str) -> _TfdsSource:
    """Opens a split of a prepared set; those of our own builders are prepared on first use.

    Raises:
      DataError: no such set or split, a set that is not prepared, or one of another form.
    """
    set_name, _, split = location.rpartition("/")
    if not set_name or not split:
        raise DataError(f"tfds:{location} names no split: write tfds:NAME/SPLIT")
    builder = _open_builder(set_name, split)
    features = dict(builder.info.features.items())
    image, label = features.get("image"), features.get("label")
    if not (isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.Text)):
        raise DataError(
            f"tfds:{set_name} has the features {', '.join(sorted(features))}: a set needs 'image', "
            "an encoded image, and 'label', a text"
        )
    return _TfdsSource(builder.info.name, str(builder.data_path), split)


def _open_builder(set_name: str, split: str) -> tfds.core.DatasetBuilder:
    if set_name in RENDERED_WORDS:
        from crnn_jax.data import rendered_words  # as late as it is needed: it renders

        return rendered_words.open_builder(**RENDERED_WORDS[set_name])
    if set_name in builders.BUILDERS:
        return builders.open_builder(set_name, split)
    if folder := _prepared_folder(Path(set_name).expanduser()):
        return tfds.builder_from_directory(folder.absolute())
    try:
        builder = tfds.builder(set_name)
    except (ValueError, AssertionError, ImportError) as error:  # unknown name, version, needs
        known = [
            *RENDERED_WORDS,
            *builders.BUILDERS,
            *tfds.list_builders(with_community_datasets=False),
        ]
        near = difflib.get_close_matches(set_name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"tfds:{set_name} is neither the folder of a prepared set (with dataset_info.json) "
            f"nor a set that TFDS can open: {hint}{str(error).splitlines()[0][:160]}"
        ) from error
    if not builder.is_prepared():
        raise DataError(
            f"tfds:{set_name} is not prepared in {builder.data_path}: run its builder's "
            "download_and_prepare(file_format='array_record'), or set TFDS_DATA_DIR"
        )
    return builder


def _prepared_folder(folder: Path) -> Path | None:
    """Returns the folder of a prepared set: this one, or that of the only version in it."""
    found = [path.parent for path in (folder / _INFO_FILE, *folder.glob(f"*/{_INFO_FILE}"))
             if path.is_file()]  # fmt: skip
    return found[0] if found and (len(found) == 1 or found[0] == folder) else None


class _TfdsSource:
    """A split of a prepared set.

    Keys are what the set has as 'file' or 'key', else SPLIT/NUMBER with the record's number in the
    whole split, so that rows of a slice have the keys they have without slicing. All records are
    read once, when a label is first asked for.
    """

    def __init__(self, name: str, folder: str, split: str):
        self.name = name
        self._folder = folder
        self._split = split
        len(self)  # a mistaken split shows now

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_folder": self._folder, "_split": self._split}

    @cached_property
    def _builder(self) -> tfds.core.DatasetBuilder:
        # By folder: a worker process may not have imported what registers the builder's name.
        return tfds.builder_from_directory(self._folder)

    @cached_property
    def _records(self) -> Any:  # a sequence of dicts that also has `__getitems__`
        decoders = {"image": tfds.decode.SkipDecoding()}
        try:
            return self._builder.as_data_source(self._split, decoders=decoders)
        except NotImplementedError as error:
            form = self._builder.info.file_format.value
            raise DataError(
                f"tfds:{self.name} is stored as {form}, which has no random access: prepare it "
                "with download_and_prepare(file_format='array_record')"
            ) from error
        except ValueError as error:
            raise DataError(
                f"tfds:{self.name} has no split {self._split!r}: "
                f"valid: {', '.join(self._builder.info.splits)}, or a slice as in 'train[:10%]'"
            ) from error

    @cached_property
    def _numbers(self) -> list[str]:
        splits = self._builder.info.splits
        keys: list[str] = []
        for part in tfds.core.ReadInstruction.from_spec(self._split).to_absolute(splits):
            numbers = range(splits[part.splitname].num_examples)[part.from_ : part.to]
            keys.extend(f"{part.splitname}/{number}" for number in numbers)
        return keys

    @cached_property
    def _key_feature(self) -> str | None:
        features = dict(self._builder.info.features.items())
        texts = [name for name in _KEYS if isinstance(features.get(name), tfds.features.Text)]
        return texts[0] if texts else None

    @cached_property
    def _has_lexicon(self) -> bool:
        words = dict(self._builder.info.features.items()).get("lexicon")
        if not isinstance(words, tfds.features.Sequence):
            return False
        return isinstance(words.feature, tfds.features.Text)

    @cached_property
    def _texts(self) -> tuple[list[str], list[str], np.ndarray, set[int]]:
        """Label, key and size of every row, and the rows that have words of their own."""
        with_words: set[int] = set()
        labels: list[str] = []
        keys: list[str] = []
        sizes: list[int] = []
        for start in range(0, len(self), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(self)))
            with self._reading(DataError):
                records = self._records.__getitems__(rows)
            for i, record in zip(rows, records, strict=True):
                labels.append(self._text(i, "label", record["label"]))
                sizes.append(len(record["image"]))
                if self._has_lexicon and len(record["lexicon"]):
                    with_words.add(i)
                if self._key_feature:
                    keys.append(self._text(i, self._key_feature, record[self._key_feature]))
        return labels, keys or self._numbers, np.array(sizes, np.int32), with_words

    def __len__(self) -> int:
        return len(self._records)

    def key(self, i: int) -> str:
        return self._texts[1][i] if self._key_feature else self._numbers[i]

    def label(self, i: int) -> str:
        return self._texts[0][i]

    def lexicon(self, i: int) -> tuple[str, ...]:
        if i not in self._texts[3]:  # to read a record again costs more than all the rest
            return ()
        with self._reading(DataError):
            words = self._records[i]["lexicon"]
        return tuple(self._text(i, "lexicon", word) for word in words)

    def _text(self, i: int, feature: str, content: bytes) -> str:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(
                f"{self._folder}, split {self._split}: {feature} of record {i:,} is not UTF-8 "
                f"({content[:40]!r}): make the set anew, from labels that are"
            ) from None

    def image_bytes(self, i: int) -> bytes:
        with self._reading(ImageError):
            return self._records[i]["image"]

    @contextlib.contextmanager
    def _reading(self, kind: type[DataError]) -> Iterator[None]:
        """Raises an error of the kind where a shard is missing, cut or damaged."""
        try:
            yield
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:_MOST_REASON] or "its files are cut"
            raise kind(
                f"{self._folder}, split {self._split}: records cannot be read ({reason}): "
                "copy the set again"
            ) from None

    def image_size(self, i: int) -> tuple[int, int]:
        try:
            return images.image_size(self.image_bytes(i))
        except ImageError as error:
            raise ImageError(f"{self.where(i)}: {error}") from error

    def where(self, i: int) -> str:
        told = f" ({self.key(i)})" if self._key_feature else ""
        return f"{self.name} record {self._numbers[i]}{told}"

    def fingerprint(self, rows: Sequence[int] | np.ndarray | None = None) -> str:
        sizes = self._texts[2]
        return fingerprint(self, rows, lambda i: int(sizes[i]))
