"""Chooses how much a language model counts in the beam search, on labelled validation images.

The network runs once. The search then runs for each weight (alpha) of the model and each bonus per
character of a grid, and for those half-way from the best ones to their neighbours. Word accuracy
decides, CER where it is equal. Test sets are refused: weights that were chosen by them would make
their scores worthless.
"""

from __future__ import annotations

import argparse
import logging
import math
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crnn_jax import cli, files
from crnn_jax.errors import UserError

if TYPE_CHECKING:
    from crnn_jax.decode.weight_search import Search, Tuning, Weights
    from crnn_jax.scoring.sections import Section
    from crnn_jax.scoring.significance import PairedTest, RowScores

_LOG = logging.getLogger("crnn_jax")
_EXAMPLE = """example:
  python -m crnn_jax.decode.tune --model=runs/quickstart --data=tsv:validation/labels.tsv \\
      --lm=words.arpa.gz --out=weights.json
  python -m crnn_jax.evaluate --model=runs/quickstart --data=tsv:test/labels.tsv \\
      --lm=words.arpa.gz --lm_tuned=weights.json"""


def load_weights(path: str | pathlib.Path) -> tuple[float, float]:
    """Returns alpha and the bonus per character that the command wrote.

    Raises:
      UserError: the file cannot be read, or was written by something else.
    """
    found = files.read_json(path)
    values = found.get("alpha", math.nan), found.get("bonus", math.nan)
    real = all(type(v) in (int, float) and math.isfinite(v) for v in values)
    if not real or values[0] < 0:
        raise UserError(
            f"{path}: no alpha of at least 0 and bonus in it; give what "
            "python -m crnn_jax.decode.tune wrote"
        )
    return float(values[0]), float(values[1])


def warn_of_other(path: str | pathlib.Path, lm: str | pathlib.Path, order: int) -> None:
    """Warns where weights that the command wrote are those of another language model."""
    found = files.read_json(path)
    for name, own in (("lm", pathlib.Path(lm).name), ("order", order)):
        if found.get(name, own) != own:
            _LOG.warning(
                "%s was tuned for a language model of %s %s, and this one has %s: tune it anew, "
                "or give --lm and --lm_order as then",
                path, name, found[name], own,
            )  # fmt: skip


class _Width(NamedTuple):
    """What a width of the beam is worth with the weights that were chosen."""

    width: int
    scores: RowScores
    milliseconds: float  # per image, the search alone


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    args = _parse(argv)

    from crnn_jax.data import leaks
    from crnn_jax.data.sources import open_source, row_groups
    from crnn_jax.data.spec import parse_spec
    from crnn_jax.decode import lm
    from crnn_jax.decode import weight_search as search_lib
    from crnn_jax.recognizer import Recognizer, default_protocol
    from crnn_jax.scoring.significance import paired_test

    spec = parse_spec(args.data)
    source = open_source(spec)
    if not args.tune_on_test:
        name = leaks.told_name(spec, source.name)
        leaks.refuse_test_set(name, len(source), "--data", "scores", "add --tune_on_test")
    recognizer = Recognizer.load(args.model).in_windows()
    charset = recognizer.charset
    protocol = args.protocol or default_protocol(charset)
    model = lm.load(args.lm, charset, args.order)
    tables = model.tables(charset)
    labels = [source.label(i) for i in range(len(source))]
    pieces = search_lib.compute_logits(recognizer, source, args.batch_size)

    def search(width: int) -> Search:
        return search_lib.Search(pieces, len(source), charset, tables, width)

    tuning = search_lib.tune(search(args.width), labels, protocol, args.alphas, args.bonuses)
    best = tuning.trials[0].weights
    scores = {**tuning.coarse, **tuning.fine}
    groups = row_groups([source.key(i) for i in range(len(source))], spec)
    none = scores[search_lib.NONE]
    others = tuning.crossed(_halves(groups))
    crossed = None if others is None else paired_test(none, others, source.name)
    chosen = paired_test(none, scores[best], source.name)
    assert chosen is not None  # `tune` refuses labels of which nothing counts
    print(_grid(tuning, best).text())
    print(_told(tuning, best, chosen, crossed))
    widths = [
        _at_width(width, search(width), best, labels, protocol)
        for width in sorted({max(args.width // 4, 1), args.width, 4 * args.width})
    ]
    print(_widths(widths).text())
    if args.out:
        files.write_json(
            args.out,
            {
                "alpha": best.alpha,
                "bonus": best.bonus,
                "lm": pathlib.Path(args.lm).name,
                "order": model.order,
                "model": recognizer.name,
                "data": str(spec),
                "protocol": protocol,
                "width": args.width,
                "chosen": chosen.to_json(),
                "crossed": crossed and crossed.to_json(),
                "edges": tuning.edges(best),
                "tried": [t._asdict() | t.weights._asdict() for t in tuning.trials],
            },
        )
    return cli.DONE


def _halves(groups: Sequence[str]) -> np.ndarray:
    """Returns whether rows are of the second half, by a hash of their groups: bool (N,)."""
    import zlib

    return np.array([zlib.crc32(group.encode()) % 2 == 1 for group in groups], bool)


def _at_width(
    width: int, search: Search, weights: Weights, labels: Sequence[str], protocol: str
) -> _Width:
    from crnn_jax.decode.weight_search import score_readings

    search.read(weights)  # compiles
    start = time.perf_counter()
    readings = search.read(weights)
    seconds = time.perf_counter() - start
    scores = score_readings(labels, readings, protocol)
    return _Width(width, scores, 1000 * seconds / len(labels))


def _grid(tuning: Tuning, best: Weights) -> Section:
    """Returns the table of word accuracies in percent, a row for each alpha."""
    from crnn_jax.decode.weight_search import Weights
    from crnn_jax.scoring.sections import Section

    found = {t.weights: t.word_accuracy for t in tuning.trials}
    alphas, bonuses = (sorted(set(column)) for column in zip(*found, strict=True))

    def cell(weights: Weights) -> str:
        if weights not in found:
            return ""
        return f"{100 * found[weights]:.2f}" + ("*" if weights == best else "")

    return Section(
        "Word accuracy (%) by alpha, downwards, and bonus per character in nats; *: the best",
        ("alpha", *(f"{bonus:g}" for bonus in bonuses)),
        [(f"{alpha:g}", *(cell(Weights(alpha, b)) for b in bonuses)) for alpha in alphas],
    )


def _told(tuning: Tuning, best: Weights, chosen: PairedTest, crossed: PairedTest | None) -> str:
    """Returns what was chosen, and how sure it is to be better than no language model."""

    def lines() -> Iterator[str]:
        yield f"\nbest: alpha {best.alpha:g}, bonus {best.bonus:g}"
        for name, test in (
            ("on these images, by which they were chosen", chosen),
            ("chosen on one half of them, measured on the other, both ways", crossed),
        ):
            if test is None:
                yield (
                    "not measured on others than those that chose: all that count are of one half "
                    "of the groups; give more images, or another group="
                )
                continue
            accuracy, cer = test.word_accuracy, test.cer
            yield f"{name} ({test.count} images):"
            for metric, d in (("word accuracy", accuracy), ("CER", cer)):
                low, high = (100 * end for end in d.interval)
                yield (
                    f"  {metric} {100 * d.a:.2f} % without, {100 * d.b:.2f} % with: "
                    f"{100 * d.difference:+.2f} [{low:+.2f}, {high:+.2f}], p {d.p:.2g}"
                )
        if edges := tuning.edges(best):
            yield (
                f"{' and '.join(edges)}: on the edge of the grid; widen it with --alphas or "
                "--bonuses"
            )

    return "\n".join(lines()) + "\n"


def _widths(widths: Sequence[_Width]) -> Section:
    from crnn_jax.decode.weight_search import NONE, trial
    from crnn_jax.scoring.sections import Section

    rows = []
    for width, scores, milliseconds in widths:
        _, accuracy, cer = trial(NONE, scores)
        numbers = f"{100 * accuracy:.2f}", f"{100 * cer:.2f}", f"{milliseconds:.2f}"
        rows.append((str(width), *numbers))
    head = ("width", "word accuracy (%)", "CER (%)", "ms per image")
    return Section("The width of the beam with the best weights", head, rows)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers, as in 0,0.5,1")
    return found


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m crnn_jax.decode.tune", description=__doc__, epilog=_EXAMPLE)

    def add(name: str, text: str, **kwargs: Any) -> None:
        parser.add_argument(name, help=text, **kwargs)

    add("--model", "a run, or a bundle", required=True)
    images = "labelled validation images"
    add("--data", images, required=True, metavar="SPEC", action=cli.Once)
    add("--lm", "languages, an ARPA file, or a text", required=True, metavar="LANGUAGE|FILE")
    add("--order", "characters of the model that go together", type=cli.positive_int)
    add("--width", "texts that the search keeps", type=cli.positive_int, default=16)
    add("--alphas", "weights of the grid, as in 0,0.5,1", type=_numbers, default=())
    add("--bonuses", "bonuses of the grid, as in --bonuses=-1,0,1", type=_numbers, default=())
    parser.add_protocol()
    add("--batch_size", "most images per step", type=cli.positive_int, default=64)
    add("--tune_on_test", "takes a public test set for validation", action="store_true")
    add("--out", "writes the weights", metavar="FILE.json")
    args = parser.parse_args(argv)
    cli.check_output(args.out)

    from crnn_jax import metrics
    from crnn_jax.decode import lm
    from crnn_jax.decode.weight_search import ALPHAS, BONUSES

    lm.check_exists(args.lm)
    if args.protocol:
        metrics.apply_protocol("", args.protocol)
    args.alphas, args.bonuses = args.alphas or ALPHAS, args.bonuses or BONUSES
    if min(args.alphas) < 0:
        raise UserError(f"--alphas: {min(args.alphas):g} would make unlikely texts likely; from 0")
    return args


if __name__ == "__main__":
    cli.run(main)
