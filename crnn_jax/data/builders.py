"""TFDS builders of published word sets, from what their publishers distribute, unpacked.

Nobody may pass those sets on, so they are looked for in TFDS's folder for manual downloads, under
the names that their archives unpack to. Importing this module registers the builders with TFDS;
`tfds:iiit5k_words/test` prepares its set on first use.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from crnn_jax.data import tfds_rows
from crnn_jax.data.sources import Source, open_source
from crnn_jax.data.spec import Spec, tfds_splits
from crnn_jax.errors import DataError, ImageError

_MJSYNTH = "mnt/ramdisk/max/90kDICT32px"
_LOG = logging.getLogger("crnn_jax")


# TFDS loads its modules when they are asked for, which hides the base class from mypy.
class _PublishedWords(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A set of which every split is a SPEC below the folder of manual downloads.

    Attributes:
      SPLITS: split -> a file that shows that it is there, and its SPEC, below that folder.
      HOMEPAGE: where the data are distributed.
    """

    VERSION = tfds.core.Version(tfds_rows.VERSION)
    SPLITS: ClassVar[dict[str, tuple[str, Spec]]]
    HOMEPAGE: ClassVar[str]
    url_infos = None  # nothing is downloaded; TFDS's own look-up needs importlib_resources

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            homepage=self.HOMEPAGE,
            **tfds_rows.described(),
        )

    @classmethod
    def found(cls, folder: pathlib.Path) -> dict[str, Spec]:
        """Returns the splits that a folder of manual downloads holds, with whole paths."""
        return {
            split: dataclasses.replace(
                spec,
                location=str(folder / spec.location),
                root=spec.root and str(folder / spec.root),
            )
            for split, (file, spec) in cls.SPLITS.items()
            if (folder / file).is_file()
        }

    @classmethod
    def absent(cls, folder: pathlib.Path) -> DataError:
        """Returns the error for a folder of manual downloads that holds no split."""
        wanted = ", ".join(file for file, _ in cls.SPLITS.values())
        return DataError(
            f"tfds:{cls.name} is made of what {cls.HOMEPAGE} distributes: unpack it into {folder}, "
            f"so that it holds {wanted}; or prepare it from elsewhere, python -m "
            f"crnn_jax.data.prepare --name={cls.name} --data=SPEC"
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = pathlib.Path(dl_manager.manual_dir)
        specs = self.found(folder)
        if not specs:
            raise self.absent(folder)
        return {split: self._generate_examples(open_source(spec)) for split, spec in specs.items()}

    def _generate_examples(self, source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in range(len(source)):
            try:
                yield row, tfds_rows.make_example(source, row)
            except ImageError as error:
                _LOG.warning("left out: %s: %s", source.where(row), error)

    # TFDS would say on standard output, which may be a command's result, that it downloads nothing.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass


def _icdar_splits(train: str, test: str, test_images: str) -> dict[str, tuple[str, Spec]]:
    """Returns the splits of a word recognition task: a folder, a list and its folder."""
    return {
        "train": (f"{train}/gt.txt", Spec("icdar", train)),
        "test": (test, Spec("icdar", test, root=test_images)),
    }


class Iiit5kWords(_PublishedWords):
    """IIIT5K-Words: 2,000 and 3,000 cropped words with lexica of 50 words."""

    name = "iiit5k_words"
    HOMEPAGE = "https://cvit.iiit.ac.in/research/projects/cvit-projects/the-iiit-5k-word-dataset"
    SPLITS: ClassVar = {
        part: (f"IIIT5K/{part}data.mat", Spec("iiit5k", "IIIT5K", part=part))
        for part in ("train", "test")
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack IIIT5K-Word_V3.0.tar.gz: IIIT5K/testdata.mat ..."


class SvtWords(_PublishedWords):
    """Street View Text: the tagged words of photographed shop fronts, with lexica of 50 words."""

    name = "svt_words"
    HOMEPAGE = "http://vision.ucsd.edu/~kai/svt/"
    SPLITS: ClassVar = {
        part: (f"svt1/{part}.xml", Spec("svt", "svt1", part=part)) for part in ("train", "test")
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack svt.zip: svt1/test.xml, svt1/img/ ..."


class Ic03Words(_PublishedWords):
    """ICDAR 2003: the tagged words of photographed scenes."""

    name = "ic03_words"
    HOMEPAGE = "http://www.iapr-tc11.org/mediawiki/index.php/ICDAR_2003_Robust_Reading_Competitions"
    SPLITS: ClassVar = {
        "train": ("SceneTrialTrain/words.xml", Spec("icdar03", "SceneTrialTrain")),
        "test": ("SceneTrialTest/words.xml", Spec("icdar03", "SceneTrialTest")),
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack the scene archives: SceneTrialTest/words.xml ..."


class Ic13Words(_PublishedWords):
    """ICDAR 2013, focused scene text: 848 and 1,095 cropped words."""

    name = "ic13_words"
    HOMEPAGE = "https://rrc.cvc.uab.es/?ch=2"
    SPLITS: ClassVar = _icdar_splits(
        "Challenge2_Training_Task3_Images_GT",
        "Challenge2_Test_Task3_GT.txt",
        "Challenge2_Test_Task3_Images",
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack each archive of task 3 into a folder of its name."


class Ic15Words(_PublishedWords):
    """ICDAR 2015, incidental scene text: 4,468 and 2,077 cropped words."""

    name = "ic15_words"
    HOMEPAGE = "https://rrc.cvc.uab.es/?ch=4"
    SPLITS: ClassVar = _icdar_splits(
        "ch4_training_word_images_gt", "Challenge4_Test_Task3_GT.txt", "ch4_test_word_images_gt"
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack each archive of task 3 into a folder of its name."


class MjsynthWords(_PublishedWords):
    """MJSynth (Synth90k): nine million rendered words."""

    name = "mjsynth_words"
    HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/text/"
    SPLITS: ClassVar = {
        part: (f"{_MJSYNTH}/annotation_{part}.txt", Spec("mjsynth", _MJSYNTH, part=part))
        for part in ("train", "val", "test")
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack mjsynth.tar.gz: mnt/ramdisk/max/90kDICT32px/ ..."


BUILDERS: dict[str, type[_PublishedWords]] = {
    builder.name: builder
    for builder in (Iiit5kWords, SvtWords, Ic03Words, Ic13Words, Ic15Words, MjsynthWords)
}


def open_builder(name: str, split: str) -> tfds.core.DatasetBuilder:
    """Returns the builder of a published set; what is asked for is prepared on first use.

    Args:
      name: of the set.
      split: as TFDS takes it; the splits in it are prepared in TFDS's data folder.

    Raises:
      DataError: it is not prepared, nor where manual downloads lie.
      UserError: as `prepare`.
    """
    from crnn_jax.data.prepare import prepare

    builder, data_dir = BUILDERS[name], pathlib.Path(constants.DATA_DIR)
    folder, manual = tfds_rows.set_folder(data_dir, name), data_dir / "downloads" / "manual"
    ready, found = tfds_rows.read_splits(folder), builder.found(manual)
    if not ready and not found:
        raise builder.absent(manual)
    for wanted in tfds_splits(split):
        if wanted in found and wanted not in ready:
            print(f"preparing {folder}, {wanted}, once", file=sys.stderr)
            done = prepare(str(found[wanted]), name, wanted, data_dir)
            if done.unreadable:
                _LOG.warning(
                    "%s/%s: %d image(s) cannot be read and are left out, see %s",
                    name, wanted, len(done.unreadable), done.left_out,
                )  # fmt: skip
    return builder(data_dir=data_dir)
