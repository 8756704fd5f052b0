"""Everything that a run reads, opened from its config: charset, loaded and rendered rows, sets."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from crnn_jax import bidi, files, processes
from crnn_jax.auditing import before_training
from crnn_jax.charset import Charset, build_charset
from crnn_jax.data import leaks
from crnn_jax.data import parts as parts_lib
from crnn_jax.data.buckets import choose_buckets
from crnn_jax.data.feeds import BankRows, Feed, RenderedRows
from crnn_jax.data.images import Preprocess
from crnn_jax.data.index import WIDEN, Index, IndexReport
from crnn_jax.data.plan import BY_COLUMNS, EpochPlan, apportion
from crnn_jax.data.sources import Source, check_names, open_source
from crnn_jax.data.spec import ON_DEVICE, Spec, parse_mixture, parse_sets
from crnn_jax.errors import UserError
from crnn_jax.keys import digest
from crnn_jax.surgery import combine
from crnn_jax.synth import presets
from crnn_jax.synth.knobs import EVERYWHERE, TEXTS

_LOG = logging.getLogger("crnn_jax")
_LABEL_STEP = 8  # label columns are a multiple of it, so that few shapes are compiled
_FEW = 10_000  # images; from nothing, 4,088 words gave 26 % where a model that went on gave 74
SKIPPED_FILE = "skipped_rows.tsv"


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """What a run trains on and what it is judged by.

    Attributes:
      charset: of the labels.
      preprocess: of loaded images.
      index, plan: of the rows that the host loads; None when there are none.
      label_length: columns of their labels.
      feed: puts a step's batch together on the device.
      assets: arrays of the feed's parts.
      steps_per_epoch: steps in a pass over the loaded rows; None for rendered text without end.
      eval_sources: validation sets.
      reports: what became of the rows that are loaded, and of those of banks.
    """

    charset: Charset
    preprocess: Preprocess
    index: Index | None
    plan: EpochPlan | None
    label_length: int
    feed: Feed
    assets: tuple[Any, ...]
    steps_per_epoch: int | None
    eval_sources: list[Source]
    reports: tuple[IndexReport, ...]

    def fingerprints(self) -> dict[str, str]:
        """Returns a hash of every source's rows; resuming on changed data is refused."""
        loaded = self.index.sources if self.index else []
        return (
            {f"train {i}: {source.name}": source.fingerprint() for i, source in enumerate(loaded)}
            | {
                f"train on the device {i}: {part.name}": digest(repr(part), assets)
                for i, (part, assets) in enumerate(zip(self.feed.parts, self.assets, strict=True))
            }
            | {f"eval: {source.name}": source.fingerprint() for source in self.eval_sources}
        )

    def images_before(self, step: int) -> int:
        """Returns the rows of all steps before a step, those made on the device included."""
        return step * self._made + (self.plan.rows_before(step) if self.plan else 0)

    def batch_rows(self, width: int) -> int:
        """Returns the rows of a batch whose loaded images are padded to a width."""
        return self._made + (self.plan.batch_rows(width) if self.plan else 0)

    @property
    def _made(self) -> int:
        """Rows of a step that are made on the device."""
        return sum(part.rows for part in self.feed.parts)

    def summary(self) -> str:
        """Says in one line what a batch is made of."""
        parts = [f"{part.rows} {part.name} on the device" for part in self.feed.parts]
        if self.index and self.plan:
            widths = self.plan.bucket_widths
            rows = [self.plan.batch_rows(width) for width in widths]
            loaded = f"{rows[0]}" if len(set(rows)) == 1 else " ".join(map(str, rows))
            parts.insert(
                0,
                f"{loaded} loaded ({self.index.report.summary()}; {' '.join(map(str, widths))} "
                f"pixels wide, {self.plan.padding(self.index.widths):.0%} of them padding)",
            )
        return "rows per step: " + ", ".join(parts)

    def write_skipped(self, workdir: pathlib.Path) -> None:
        """Names every row that is left out, and why, in `workdir/skipped_rows.tsv`."""
        skipped = [row for report in self.reports for row in report.skipped]
        if skipped and processes.is_main():
            cells = ((" ".join(cell.split()) for cell in row) for row in skipped)
            text = "".join("\t".join(row) + "\n" for row in cells)
            files.write_text(workdir / SKIPPED_FILE, text)
            _LOG.warning("rows left out are named in %s", workdir / SKIPPED_FILE)


def open_training_set(
    config: Any, preprocess: Preprocess, known: Charset | None = None
) -> TrainingSet:
    """Opens the sets of a config and plans what every step trains on.

    Args:
      config: of the run.
      preprocess: of loaded images.
      known: charset of the model that the run goes on from, see `config.init_charset`.

    Raises:
      UserError: for a set that cannot be read, or a row that the config's policies refuse.
    """
    mixture = parse_mixture(config.data.train)
    specs = [spec for _, spec in mixture]
    _check_knobs_are_used(config, specs)
    shares = _shares(config, mixture)
    made = any(spec.kind in ON_DEVICE for spec in specs)
    _check_batch_by(config, made)
    opened = {i: open_source(spec) for i, spec in enumerate(specs) if spec.kind != "synth"}
    loaded = [i for i in opened if specs[i].kind not in ON_DEVICE]
    sources = [opened[i] for i in loaded]
    if sources and config.steps_per_dispatch > 1:
        raise UserError(
            f"config.steps_per_dispatch is {config.steps_per_dispatch}, and {sources[0].name} is "
            "loaded by the host, step by step: give 1, or make it a bank "
            "(python -m crnn_jax.synth.bank)"
        )
    labelled = [*sources, *(source for i, source in opened.items() if i not in loaded)]
    for i, source in opened.items() if not config.data.train_on_test else ():
        leaks.refuse_test_set(leaks.told_name(specs[i], source.name), len(source))
    evaluated = _validation_sets(config)
    before_training.look([(specs[i], opened[i]) for i in loaded], evaluated)
    if known is None and len(opened) == len(specs):
        _warn_if_few(sum(map(len, labelled)))
    charset = build_charset(config.charset, config.case, _labels(labelled) if labelled else None)
    if config.unknown == WIDEN and labelled:
        charset = _widened(charset, labelled)
    if known is not None:
        charset = combine(known, charset, config.init_charset)
    _check_direction(charset, labelled)
    index = plan = None
    label_length = _LABEL_STEP
    reports = []
    if sources:
        index = parts_lib.index_rows(config, sources, charset, preprocess)
        reports.append(index.report)
        weights = [weight for i in loaded if (weight := mixture[i][0]) is not None]
        # Rendered rows are as wide as can be, so that loaded ones need no widths of their own.
        widest = (preprocess.widest,)
        plan = EpochPlan(
            index,
            sum(shares[i] for i in loaded),
            widest if made else choose_buckets(index.widths, config.data.buckets),
            config.seed,
            weights or None,
            config.data.batch_by,
            config.accumulate,
        )
        label_length = -(-index.max_label_length // _LABEL_STEP) * _LABEL_STEP
    knobs = parts_lib.augmentation(config)
    parts: list[RenderedRows | BankRows] = []
    assets = []
    part: RenderedRows | BankRows
    for i, (spec, rows) in enumerate(zip(specs, shares, strict=True)):
        if spec.kind == "synth":
            part, arrays = parts_lib.rendered_rows(config, spec, rows, charset, preprocess)
        elif spec.kind == "bank":
            part, arrays, report = parts_lib.bank_rows(
                config, spec, rows, opened[i], charset, preprocess, knobs
            )
            reports.append(report)
        else:
            continue
        parts.append(part)
        assets.append(arrays)
    _check_draws(parts)
    data = TrainingSet(
        charset=charset,
        preprocess=preprocess,
        index=index,
        plan=plan,
        label_length=label_length,
        feed=Feed(tuple(parts), knobs, plan.batch_size if plan else 0),
        assets=tuple(assets),
        steps_per_epoch=plan.steps_per_epoch if plan else _epoch(parts),
        eval_sources=[source for _, source in evaluated],
        reports=tuple(reports),
    )
    _LOG.info("training %s", data.summary())
    return data


def _warn_if_few(count: int) -> None:
    """Warns of a run that begins with nothing and has nothing else than so many images."""
    if count < _FEW:
        _LOG.warning(
            "%s images to learn to read from nothing: with fewer than some ten thousand go on from "
            "a model (--config=finetune:model=tiny-latin,data=SPEC), or mix rendered text in "
            "(--config.data.train='0.5*synth:scene + 0.5*SPEC')",
            f"{count:,}",
        )


def _widened(charset: Charset, sources: Sequence[Source]) -> Charset:
    """Returns a charset with the characters of all labels."""
    wide = combine(charset, build_charset("from_data", charset.case, _labels(sources)), "union")
    added = wide.classes[len(charset.classes) :]
    if added:
        _LOG.warning(
            "the charset takes in %d character(s) of the labels: %s",
            len(added), " ".join(map(repr, added)),
        )  # fmt: skip
    return wide


def _check_knobs_are_used(config: Any, specs: Sequence[Spec]) -> None:
    """Raises a UserError where knobs of rendered text were changed that nothing reads."""
    preset = config.synth.preset
    rendered = {spec.location for spec in specs if spec.kind == "synth"}
    if preset in {config.data.augment, *rendered}:
        return
    changed = presets.changed(config.synth)
    unused = [name for name in changed if not (rendered and name in EVERYWHERE)]
    if unused:
        raise UserError(
            f"config.synth changes the preset {preset!r}, which neither config.data.train nor "
            f"config.data.augment uses ({', '.join(unused[:3])}): set config.synth.preset="
            f"{next(iter(rendered), config.data.augment or 'NAME')}, or the one that is meant"
        )


def _warn_of_other_texts(config: Any, specs: Sequence[Spec]) -> None:
    """Says where what is written in validation is not what is written in training."""
    changed = [name for name in presets.changed(config.synth) if name in TEXTS]
    for spec in specs:
        same = spec.languages == config.synth.languages
        own = [name for name in changed if name != "languages" or not same]
        if spec.kind == "synth" and own:
            advice = "give a labelled set"
            if own == ["languages"]:
                advice = f"add languages={config.synth.languages} to it"
            _LOG.warning(
                "config.data.eval: %s has its own texts, whatever config.synth.%s says: to judge "
                "the run by yours, %s",
                spec, own[0], advice,
            )  # fmt: skip


def _check_draws(parts: Sequence[RenderedRows | BankRows]) -> None:
    """Raises a UserError where two parts would draw the same rows: a name is what they draw by."""
    seen = set()
    for part in parts:
        drawn = type(part), part.name, getattr(part, "seed", None)
        if drawn in seen:
            raise UserError(
                f"config.data.train has {part.name!r} twice, and both would draw the same rows: "
                "give one of them ::name=OTHER, or one the weight of both"
            )
        seen.add(drawn)


def _shares(config: Any, mixture: Sequence[tuple[float | None, Spec]]) -> list[int]:
    """Returns the rows of a batch that come from each set; loaded ones without weights share."""
    specs = [spec for _, spec in mixture]
    weights = [weight for weight, _ in mixture if weight is not None]  # of all sets, or of none
    if weights:
        return apportion(config.batch_size, weights)
    if len(specs) > 1 and any(spec.kind in ON_DEVICE for spec in specs):
        raise UserError(
            f"config.data.train mixes rendered text or a bank with other sets ({specs[0]} + "
            f"{specs[1]}): give each a weight, as in '0.7*{specs[0]} + 0.3*{specs[1]}'"
        )
    return [config.batch_size] + [0] * (len(specs) - 1)


def _check_batch_by(config: Any, made: bool) -> None:
    """Raises a UserError for batches by columns where rows of one width, or none, are loaded."""
    if config.data.batch_by == BY_COLUMNS and (made or config.data.fit != "keep"):
        raise UserError(
            "config.data.batch_by is columns, which is for loaded images of their own widths: set "
            "config.data.fit to keep and train on no rendered text or bank, or set "
            "config.data.batch_by to rows"
        )


def _epoch(parts: Sequence[Any]) -> int | None:
    """Returns the steps after which rendered rows repeat; None when they never do."""
    limits = [part.limit for part in parts if isinstance(part, RenderedRows)]
    if len(parts) == 1 and limits and limits[0]:
        return max(limits[0] // parts[0].rows, 1)
    return None


def _validation_sets(config: Any) -> list[tuple[Spec, Source]]:
    specs = parse_sets(config.data.eval, "config.data.eval")
    _warn_of_other_texts(config, specs)
    evaluated = [(spec, open_source(spec)) for spec in specs]
    check_names([source for _, source in evaluated], "config.data.eval: ")
    return evaluated


def _check_direction(charset: Charset, sources: Sequence[Any]) -> None:
    """Warns of right-to-left labels that cannot be told from how they look."""
    if not charset.right_to_left:
        return
    texts = list(dict.fromkeys(_labels(sources)))
    odd = bidi.changed(texts)
    for found, what in (
        (
            [text for text in odd if bidi.sets_direction(text)],
            "lose characters that set the direction, which nobody sees: take them out",
        ),
        (
            [text for text in odd if not bidi.sets_direction(text)],
            "come back in another order when they are read from left to right and turned round: "
            "numbers among signs, whose readings will differ there, or labels in the order of the "
            "picture already, which ::order=picture tells",
        ),
        (
            list(filter(bidi.begins_left_to_right, texts)),
            "have right-to-left letters and begin with one of the other direction: their words are "
            "taken to stand from right to left; leave out lines that run from left to right",
        ),
    ):
        if found:
            _LOG.warning("%d different label(s) %s; the first is %r", len(found), what, found[0])


def _labels(sources: Sequence[Source]) -> Any:
    return (source.label(row) for source in sources for row in range(len(source)))
