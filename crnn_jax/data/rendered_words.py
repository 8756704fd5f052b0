"""TFDS data set of rendered words: "train" and, with words that train does not hold, "test".

`open_builder` prepares it on first use, without a download and without TensorFlow. Both splits mix
dictionary words and random strings alike; a hash of the lower-cased text decides which split may
hold it. Row i is a pure function of (seed, split, i): the files are the same for any number of
processes, and a smaller set is the beginning of a larger one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import tqdm_utils
from tqdm import tqdm

from crnn_jax.data import pillow_render, word_rows, words
from crnn_jax.errors import UserError
from crnn_jax.files import default_cache_dir, locked

TRAIN_ROWS = 60_000
TEST_ROWS = 1_000


class RenderedWordsConfig(tfds.core.BuilderConfig):
    """Row counts and settings; the name, and so the folder, is a hash of all that rows depend on.

    Attributes:
      rows: rows of each split.
      settings: what the rows depend on.
      workers: processes that render, see `word_rows.render_rows`; no part of the name.
      progress: whether a progress bar is shown; no part of the name.
    """

    def __init__(
        self,
        train: int = TRAIN_ROWS,
        test: int = TEST_ROWS,
        settings: word_rows.RowSettings | None = None,
        workers: int | None = None,
        progress: bool = True,
    ):
        self.rows = {"train": train, "test": test}
        self.settings = settings or word_rows.RowSettings()
        self.workers = workers
        self.progress = progress
        for name, given, least in (
            ("train", train, 1),
            ("test", test, 1),
            ("seed", self.settings.seed, 0),
            ("workers", workers or 0, 0),
        ):
            if given < least:
                raise UserError(f"rendered_words: {name}={given}: give {least} or more")
        if not 0 <= self.settings.random_share <= 1:
            raise UserError(
                f"rendered_words: random_share={self.settings.random_share}: give 0 to 1"
            )
        made_of = [word_rows.ingredients(), self.rows, dataclasses.asdict(self.settings)]
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        super().__init__(name=digest[:16], description=f"{train} + {test} rows, {self.settings}")


class RenderedWords(tfds.core.GeneratorBasedBuilder):
    """Words drawn with Pillow in the text faces of matplotlib: 'image' (JPEG) and 'label'."""

    VERSION = tfds.core.Version(word_rows.VERSION)
    url_infos = None  # nothing is downloaded; TFDS's own look-up needs importlib_resources

    def __init__(
        self,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        config: RenderedWordsConfig | None = None,
        version: Any = None,
    ):
        super().__init__(data_dir=data_dir, config=config or RenderedWordsConfig(), version=version)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(
            shape=(pillow_render.HEIGHT, None, 1), dtype=np.uint8, encoding_format="jpeg"
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"image": image, "label": tfds.features.Text()}),
            supervised_keys=("image", "label"),
            disable_shuffling=True,  # rows are independent as they are, and record i is row i
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in words.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        count = config.rows[split]
        rows = word_rows.render_rows(config.settings, split, count, config.workers)
        bar = tqdm(
            rows,
            desc=f"rendering words, {split}",
            total=count,
            unit=" images",
            file=sys.stderr,
            mininterval=0.5,
            disable=not config.progress,
        )
        with contextlib.closing(rows), bar:
            for row, (image, text) in enumerate(bar):
                yield row, {"image": image, "label": text}

    # What TFDS says by itself: a warning for every config that is not in a fixed list, and two
    # lines about a download, on standard output, which may be a command's result.
    def _create_builder_config(self, builder_config: Any, version: Any) -> Any:
        if isinstance(builder_config, RenderedWordsConfig):
            return builder_config
        return super()._create_builder_config(builder_config, version=version)

    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass


def open_builder(
    train: int = TRAIN_ROWS,
    test: int = TEST_ROWS,
    *,
    seed: int = 0,
    random_share: float = words.RANDOM_SHARE,
    cache_dir: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> RenderedWords:
    """Returns the builder, its data prepared; the first call takes half a minute on two cores.

    A second process that asks for the same data waits for the first. Data appears by one rename
    when it is complete, so a killed preparation is started anew.

    Args:
      train: rows of the split "train".
      test: rows of the split "test".
      seed: of all randomness.
      random_share: share of the texts that are random strings; the others are English words.
      cache_dir: folder for prepared data; None asks `default_cache_dir`.
      workers: processes that render; None uses all cores; see `word_rows.render_rows`.
      progress: whether to show a progress bar on standard error.

    Raises:
      UserError: for a row count, seed or share that cannot be, or a folder that cannot be written.
    """
    root = default_cache_dir() if cache_dir is None else pathlib.Path(cache_dir)
    settings = word_rows.RowSettings(seed=seed, random_share=random_share)
    config = RenderedWordsConfig(train, test, settings, workers, progress)
    builder = RenderedWords(data_dir=root, config=config)
    if builder.data_path.exists():
        return builder
    folder = root / builder.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", f"prepares {folder}"):
            if not builder.data_path.exists():  # else the last holder of the lock prepared it
                _remove_leftovers(folder)
                _prepare(builder)
    except OSError as error:
        raise UserError(
            f"cannot prepare rendered_words in {folder} ({error}): "
            "make room there, or set CRNN_JAX_CACHE to a folder that can be written"
        ) from error
    return RenderedWords(data_dir=root, config=config)  # as read from the folder


def _remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what killed preparations left; only the holder of the lock may."""
    for path in folder.glob("*/incomplete.*"):
        shutil.rmtree(path)


def _prepare(builder: RenderedWords) -> None:
    """Writes the builder's data into a temporary folder beside its own, which it then renames."""
    if builder.builder_config.progress:
        print(f"preparing {builder.data_dir}, once", file=sys.stderr)
    bars_shown = tqdm_utils._active
    tqdm_utils.display_progress_bar(False)  # TFDS's bars do not know the number of rows
    try:
        with tempfile.TemporaryDirectory() as downloads:  # TFDS makes that folder, unused
            builder.download_and_prepare(download_dir=downloads, file_format="array_record")
    finally:
        tqdm_utils.display_progress_bar(bars_shown)
