"""Says what is wrong with image sets before anyone trains on them.

Labels (characters, blanks, Unicode), images (unreadable, rotated, whole pages, of a length that no
label explains), labels that do not fit the frames, images that occur twice or with two labels,
what two sets share and, with a trained model, labels that are likely wrong.
"""

from __future__ import annotations

import argparse
import collections
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from crnn_jax import cli, files
from crnn_jax.errors import UserError, unknown_name

if TYPE_CHECKING:
    from crnn_jax.auditing.findings import Finding
    from crnn_jax.auditing.report import Audit
    from crnn_jax.auditing.rows import AuditSet
    from crnn_jax.charset import Charset
    from crnn_jax.data.images import Preprocess
    from crnn_jax.data.spec import Spec
    from crnn_jax.recognizer import Recognizer

_EXAMPLE = """example:
  python -m crnn_jax.audit --data=tsv:words/labels.tsv --charset=latin94 --html=audit.html
  python -m crnn_jax.audit --data=tsv:train/labels.tsv --against=tsv:test/labels.tsv \\
      --model=runs/quickstart --json=audit.json
  python -m crnn_jax.audit --data=tsv:words/labels.tsv --fail_on=error && echo good"""

# Frames are those of this experiment's network where there is no model: it takes any set.
_EXPERIMENT = "words"


class Frames(NamedTuple):
    """The frames that an image comes to.

    Attributes:
      preprocess: decides the width.
      count: from widths to frames.
      whose: for the report.
    """

    preprocess: Preprocess
    count: Callable[[Any], Any]
    whose: str


def audit_sets(
    specs: Sequence[Spec],
    against: Sequence[Spec] = (),
    charset: Charset | None = None,
    model: Recognizer | None = None,
    threshold: int | None = None,
    charset_name: str | None = None,
    frames: Frames | None = None,
    most_searched: int | None = None,
) -> Audit:
    """Audits image sets: each on its own, and every two of them together.

    Args:
      specs: of the sets.
      against: of sets that those are only compared with, test sets for instance.
      charset: that labels are held against; the model's where there is a model.
      model: reads the sets in search of label errors.
      threshold: bits up to which a pair is a near-duplicate; `duplicates.NEAR` when None. 0 leaves
        the search out, which takes minutes from 100,000 images on.
      charset_name: for the report.
      frames: that labels are to fit; by default the model's, else those of an experiment.
      most_searched: rows of all sets together up to which near-duplicates are searched, which
        takes hours among a million; None: any number.

    Raises:
      UserError: a set that cannot be opened.
    """
    from crnn_jax.auditing import duplicates
    from crnn_jax.auditing.findings import ranked
    from crnn_jax.auditing.report import Audit

    threshold = duplicates.NEAR if threshold is None else threshold
    sets = _open(specs, against)
    frames = frames or _frames(model)
    charset = model.charset if model else charset
    rows = sum(len(audited.source) for audited in sets)
    left_out = _not_checked(charset, model, threshold)
    if threshold and most_searched is not None and rows > most_searched:
        threshold = 0
        left_out.append(
            f"near-duplicates among {rows:,} rows, which takes long (python -m crnn_jax.audit "
            "searches them)"
        )
    findings: list[Finding] = []
    near = []
    for number, audited in enumerate(sets):
        if not audited.against:
            findings += _check_alone(number, audited, charset, model, frames)
            if threshold:
                near.append(
                    duplicates.find_near(number, audited, threshold=threshold, charset=charset)
                )
    for (first, a), (second, b) in itertools.combinations(enumerate(sets), 2):
        if not a.against:
            between, known = duplicates.check_between(first, a, second, b)
            findings += between
            if threshold:
                near.append(duplicates.find_near(first, a, second, b, known, threshold))
    for pairs in near:
        findings += duplicates.near_findings(pairs, threshold)
    return Audit(
        sets,
        ranked(findings),
        near,
        threshold,
        charset_name or (f"of {model.name}" if model else None),
        model.name if model else None,
        frames.whose,
        left_out,
    )


def _check_alone(
    number: int,
    audited: AuditSet,
    charset: Charset | None,
    model: Recognizer | None,
    frames: Frames,
) -> list[Finding]:
    """Returns the findings about one set, near-duplicates aside."""
    from crnn_jax.auditing import duplicates, labels, readings, shapes
    from crnn_jax.recognizer import default_protocol

    findings = labels.check_labels(number, audited, charset)
    findings += shapes.check_shapes(number, audited)
    if (spelled := charset or _own_charset(audited)) is not None:
        findings += shapes.check_frames(number, audited, spelled, frames.preprocess, frames.count)
    findings += duplicates.check_duplicates(number, audited, charset)
    if model is not None:
        protocol = default_protocol(model.charset)
        findings += readings.check_readings(number, audited, model, protocol)
    return findings


def _not_checked(charset: Charset | None, model: Recognizer | None, threshold: int) -> list[str]:
    """Returns what an audit leaves out, and what it takes."""
    left_out = []
    if charset is None:
        left_out.append("characters outside the charset (give --charset or --model)")
    if model is None:
        left_out.append("labels that a model reads otherwise (give --model)")
    if not threshold:
        left_out.append("near-duplicates (give --near another number than 0)")
    return left_out


def _own_charset(audited: AuditSet) -> Charset | None:
    """Returns the charset of the labels themselves; None when they hold no character at all."""
    from crnn_jax.charset import build_charset

    source = audited.source
    try:
        return build_charset("from_data", "keep", (source.label(i) for i in range(len(source))))
    except UserError:
        return None


def _open(specs: Sequence[Spec], against: Sequence[Spec]) -> list[AuditSet]:
    """Opens all sets, then decodes all images: a mistake in a SPEC shows at once."""
    from crnn_jax.auditing.rows import AuditSet, read_images
    from crnn_jax.data.sources import open_source, row_groups

    both = [(spec, False) for spec in specs] + [(spec, True) for spec in against]
    sources = [open_source(spec) for spec, _ in both]
    for source, (spec, _) in zip(sources, both, strict=True):
        row_groups([source.key(i) for i in range(len(source))], spec)  # raises where none is found
    names = _unlike([source.name for source in sources], [spec for spec, _ in both])
    return [
        AuditSet(name, spec, source, read_images(source), only_compared)
        for name, (spec, only_compared), source in zip(names, both, sources, strict=True)
    ]


def _unlike(names: list[str], specs: list[Spec]) -> list[str]:
    """Returns names of which no two are equal: parts of one folder are told by their options."""
    counts = collections.Counter(names)
    longer = [
        f"{name}::{options}"
        if counts[name] > 1 and (options := str(spec).partition("::")[2])
        else name
        for name, spec in zip(names, specs, strict=True)
    ]
    counts = collections.Counter(longer)
    return [f"{n} ({i})" if counts[n] > 1 else n for i, n in enumerate(longer, start=1)]


def _frames(model: Recognizer | None) -> Frames:
    """Returns the frames of a model, or of an experiment's network."""
    import functools

    from crnn_jax import recognizer as recognizer_lib
    from crnn_jax.models.encoders import frames_of, num_frames
    from crnn_jax.models.windows import layers_of

    if model is not None:
        frames = functools.partial(frames_of, layers_of(model.model))
        return Frames(model.preprocess, frames, f"the model {model.name}")
    config = cli.load_experiment(_EXPERIMENT)
    frames = functools.partial(num_frames, config.model.encoder)
    preprocess = recognizer_lib.preprocess_of(config)
    return Frames(preprocess, frames, f"the experiment {_EXPERIMENT!r}")


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.audit", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--data", action="append", required=True, metavar="SPEC", help="a set")
    parser.add_argument(
        "--against", action="append", default=[], metavar="SPEC", help="a set to compare with"
    )
    parser.add_argument("--model", help="run, bundle or shipped model: finds label errors")
    parser.add_argument("--charset", help="what labels may hold, as config.charset")
    parser.add_argument(
        "--near", type=_bits, metavar="BITS", help="distance of near-duplicates; 0: no search"
    )
    parser.add_argument(
        "--fail_on", metavar="SEVERITY",
        help="exits with 1 where there is such a finding, or a worse one: error, warning or note",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE.json", help="writes everything")
    parser.add_argument("--html", metavar="FILE.html", help="writes a page with pictures")
    args = parser.parse_args(argv)
    cli.check_outputs([("--json", args.json, ()), ("--html", args.html, ())])
    if args.model and args.charset:
        raise UserError(
            f"--model={args.model} and --charset={args.charset}: a model has a charset; give one "
            "of the two"
        )

    from crnn_jax.auditing import findings, page, report
    from crnn_jax.data.spec import parse_spec

    severities = findings.SEVERITIES
    if args.fail_on is not None and args.fail_on not in severities:
        raise unknown_name("severity", args.fail_on, severities)
    specs = [parse_spec(spec) for spec in args.data]
    against = [parse_spec(spec) for spec in args.against]
    model = charset = None
    if args.model:
        from crnn_jax.recognizer import Recognizer

        model = Recognizer.load(args.model)
    elif args.charset:
        charset = _charset(args.charset, specs)
    audit = audit_sets(specs, against, charset, model, args.near, args.charset)
    try:
        if args.json:
            files.write_json(args.json, report.to_json(audit))
        if args.html:
            files.write_text(args.html, page.to_html(audit))
    finally:  # neither a full disk nor a closed pipe may cost the other
        print(report.to_text(audit))
    if audit.findings and not (args.json or args.html):
        print("\nall rows of every finding: --json=FILE.json, with pictures: --html=FILE.html")
    failing = severities[: severities.index(args.fail_on) + 1] if args.fail_on else ()
    return cli.FAILED if any(f.severity in failing for f in audit.findings) else cli.DONE


def _bits(text: str) -> int:
    """Parses a distance of hashes."""
    from crnn_jax.auditing.near_duplicates import BITS

    if not text.isdecimal() or int(text) >= BITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bits from 0 to {BITS - 1}")
    return int(text)


def _charset(name: str, specs: Sequence[Spec]) -> Charset:
    """Returns the charset of a description; `from_data` is that of the labels of all sets."""
    from crnn_jax.charset import build_charset
    from crnn_jax.data.sources import open_source

    labels = None
    if name.startswith("from_data"):
        sources = [open_source(spec) for spec in specs]
        labels = (source.label(i) for source in sources for i in range(len(source)))
    return build_charset(name, labels=labels)


if __name__ == "__main__":
    cli.run(main)
