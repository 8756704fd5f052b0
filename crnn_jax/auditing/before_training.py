"""What a run looks at before it trains: labels and splits always, every image where it is asked to.

What the index of the training set reports by itself (unknown characters, labels that do not fit
the frames, unreadable images) is left to it here.
"""

from __future__ import annotations

import functools
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from crnn_jax import audit as audit_lib
from crnn_jax import files, models
from crnn_jax.auditing import duplicates, labels, page, report
from crnn_jax.auditing.findings import Finding, ranked
from crnn_jax.auditing.rows import AuditSet, Images
from crnn_jax.charset import Charset
from crnn_jax.data.images import Preprocess
from crnn_jax.data.sources import Source
from crnn_jax.data.spec import Spec, loaded_specs

JSON_FILE, PAGE_FILE = "audit.json", "audit.html"
_MOST_SEARCHED = 100_000  # rows among which near-duplicates are found in minutes
_LOG = logging.getLogger("crnn_jax")
_REPORTED = ("unknown_character", "empty_label", "too_long_label")  # by the index


def look(
    train: Sequence[tuple[Spec, Source]], held_out: Sequence[tuple[Spec, Source]]
) -> report.Audit:
    """Looks at the labels and the splits of a run's sets, and warns of what is wrong with them.

    Args:
      train: sets that are trained on.
      held_out: validation sets.
    """
    both = [(pair, False) for pair in train] + [(pair, True) for pair in held_out]
    unseen = Images.of_count(0)  # no image is looked at
    sets = [
        AuditSet(source.name, spec, source, unseen, against) for (spec, source), against in both
    ]
    findings: list[Finding] = []
    for number, audited in enumerate(sets):
        findings += labels.check_labels(number, audited, None)
        if not audited.against:
            for other, held in enumerate(sets):
                if held.against:
                    findings += duplicates.check_rows(number, audited, other, held)[0]
    found = report.Audit(sets, ranked(findings), [], 0, None, None, "")
    _warn(found)
    return found


def look_at_images(
    config: Any, charset: Charset, preprocess: Preprocess, workdir: pathlib.Path
) -> report.Audit:
    """Audits the loaded sets of a run, images included; writes audit.json and audit.html.

    Args:
      config: of the run.
      charset: of its labels.
      preprocess: of its images.
      workdir: where the files go.
    """
    specs, against = map(loaded_specs, (config.data.train, config.data.eval))
    frames = functools.partial(models.num_frames, config.model.encoder)
    found = audit_lib.audit_sets(
        specs,
        against,
        charset=charset,
        charset_name=config.charset,
        frames=audit_lib.Frames(preprocess, frames, "this run's network"),
        most_searched=_MOST_SEARCHED,
    )
    files.write_json(workdir / JSON_FILE, report.to_json(found))
    files.write_text(workdir / PAGE_FILE, page.to_html(found))
    _warn(found)
    for what in found.not_checked:
        if what.startswith("near-duplicates"):
            _LOG.warning("audit: not checked: %s", what)
    _LOG.info("audit of the images: %s", workdir / PAGE_FILE)
    return found


def _warn(found: report.Audit) -> None:
    """Logs a line for every finding that is more than good to know."""
    for finding in found.findings:
        if finding.severity != "note" and finding.kind not in _REPORTED:
            _LOG.warning("audit: %s", report.one_line(found, finding))
