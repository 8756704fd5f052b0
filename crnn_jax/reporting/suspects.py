"""Labels that the model reads otherwise and is sure of it, as the audit finds them."""

from __future__ import annotations

from crnn_jax.auditing import readings as auditing
from crnn_jax.auditing.findings import Finding
from crnn_jax.auditing.rows import AuditSet, Images
from crnn_jax.reporting.gather import Run
from crnn_jax.reporting.sets import Readings


def find(run: Run, readings: Readings) -> list[Finding]:
    """Returns the finding about each set that has such labels.

    Only what was read otherwise, and surely, is read again; of a calibrated model all that was read
    otherwise, for the audit is sure at temperature 1. Labels of rendered text are true.
    """
    found = []
    for number, one in enumerate(readings.sets):
        images = Images.of_count(len(one.source))
        least = auditing.SURE if one.reader.temperature == 1.0 else 0.0
        for pair in readings.pairs:
            sure = pair.confidence >= least and pair.label != pair.reading
            sure = sure and not one.result.rows[pair.row].error
            if pair.set == number and sure and one.spec.kind != "synth":
                images.widths[pair.row] = 1  # the image can be read
        audited = AuditSet(one.name, one.spec, one.source, images)
        found += auditing.check_readings(number, audited, one.reader, run.protocol)
    return found


def rows(found: list[Finding]) -> set[tuple[int, int]]:
    """Returns (set, row) of all labels that are suspected."""
    return {
        (row.set, row.row)
        for finding in found
        for example in finding.examples
        for row in example.rows
    }
