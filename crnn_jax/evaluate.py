"""Evaluates a model on labelled sets: a table, and JSON for scripts.

Every row counts: an image that cannot be read is a wrong reading.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import cli, files
from crnn_jax.errors import DataError, unknown_name

if TYPE_CHECKING:
    from crnn_jax.data.sources import Source
    from crnn_jax.recognizer import Recognizer

_EXAMPLE = """example:
  python -m crnn_jax.evaluate --model=runs/quickstart --data=tsv:words/labels.tsv \\
      --data=tfds:rendered_words/test --out=results.json --predictions=readings.tsv"""

_SPACES = dict.fromkeys(map(ord, "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")


@dataclasses.dataclass(frozen=True)
class Row:
    """One image of a set: what it says, what was read, how sure, and its loss where it has one."""

    key: str
    label: str
    reading: str
    confidence: float
    error: str = ""
    loss: float | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """A set's metrics and its rows, in the set's order."""

    name: str
    metrics: dict[str, Any]  # count, word_accuracy, cer, wer, one_minus_ned, ...
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        """Returns the set's entry in the results file."""
        return {"name": self.name, **self.metrics}


def evaluate_source(
    recognizer: Recognizer,
    source: Source,
    protocol: str,
    decoder: str = "greedy",
    batch_size: int = 32,
    progress: bool = True,
    interrupted: Callable[[], bool] = lambda: False,
) -> Result | None:
    """Reads every row of a source and scores the readings; None when interrupted.

    Of several processes each reads its share, and all get the whole result.

    Args:
      recognizer: the model.
      source: the set.
      protocol: how texts are compared, a name of `crnn_jax.metrics.PROTOCOLS`.
      decoder: a name of `crnn_jax.decode.DECODERS`.
      batch_size: most images per step.
      progress: show a bar on a terminal when it takes longer than a few seconds.
      interrupted: asked after every row; True gives up.
    """
    from tqdm import tqdm

    from crnn_jax import metrics as metrics_lib
    from crnn_jax import parallel

    process, processes = parallel.place()
    mine = range(process, len(source), processes)
    found: dict[int, Row] = {}
    start = time.perf_counter()
    bar = tqdm(
        total=len(mine), desc=source.name, unit="img", delay=3, disable=None if progress else True
    )
    with bar:
        for position, reading in recognizer.stream(
            mine,
            lambda i: recognizer.preprocess(source.image_bytes(i)),
            batch_size,
            decoder,
            label=source.label,
        ):
            i = mine[position]
            if isinstance(reading, DataError):
                found[i] = Row(source.key(i), source.label(i), "", 0.0, str(reading))
            else:
                texts = source.key(i), source.label(i), reading.text
                found[i] = Row(*texts, reading.confidence, loss=reading.loss)
            bar.update()
            if interrupted():
                break
    whole = len(found) == len(mine) and not interrupted()
    if not all(parallel.collect(whole)):
        return None
    shares = parallel.collect([(i, *dataclasses.astuple(row)) for i, row in found.items()])
    rows = [Row(*row) for _, *row in sorted(row for share in shares for row in share)]
    seconds = time.perf_counter() - start
    scores = metrics_lib.RecognitionMetrics(protocol)
    for row in rows:
        scores.update(row.label, row.reading)
    losses = [row.loss for row in rows if row.loss is not None]
    metrics = scores.compute() | {
        "loss": sum(losses) / len(losses) if losses else None,
        "unreadable": sum(bool(row.error) for row in rows),
        "skipped": scores.skipped,
        "images_per_second": len(source) / seconds,
    }
    return Result(source.name, metrics, rows)


def evaluate_sources(
    recognizer: Recognizer,
    sources: Sequence[Source],
    protocol: str,
    batch_size: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Result] | None:
    """Evaluates on several sets without a bar; by name, None when interrupted."""
    results = {}
    for source in sources:
        result = evaluate_source(
            recognizer,
            source,
            protocol,
            batch_size=batch_size,
            progress=False,
            interrupted=interrupted,
        )
        if result is None:
            return None
        results[source.name] = result
    return results


def table(results: Sequence[Result]) -> str:
    """Returns the results as an aligned text table."""
    from crnn_jax.metrics import wilson_interval

    head = f"{'set':<20} {'images':>7} {'word accuracy':>24} {'CER':>7} {'1-NED':>7} {'img/s':>8}"
    lines = [head, "-" * len(head)]
    for result in results:
        m = result.metrics
        if not m["count"]:
            lines.append(f"{result.name:<20} {0:>7} no row has a label under this protocol")
            continue
        low, high = wilson_interval(round(m["word_accuracy"] * m["count"]), m["count"])
        accuracy = f"{m['word_accuracy']:.4f} [{low:.4f}, {high:.4f}]"
        lines.append(
            f"{result.name:<20} {m['count']:>7} {accuracy:>24} {m['cer']:>7.4f} "
            f"{m['one_minus_ned']:>7.4f} {m['images_per_second']:>8.0f}"
        )
        for count, what in (
            (m["unreadable"], "unreadable images, counted as wrong"),
            (m["skipped"], "rows left out, their labels are empty under the protocol"),
        ):
            if count:
                lines.append(f"  {count} {what}")
    return "\n".join(lines)


def write_predictions(path: str | pathlib.Path, results: Sequence[Result]) -> None:
    """Writes path, label, reading and confidence of every row, tab-separated.

    A tab or line break inside a text becomes a space.
    """
    lines = []
    for row in (row for result in results for row in result.rows):
        texts = [text.translate(_SPACES) for text in (row.key, row.label, row.reading)]
        lines.append("\t".join((*texts, f"{row.confidence:.6f}")) + "\n")
    files.write_text(path, "".join(lines))


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.evaluate", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--model", required=True, help="workdir of a run, or a bundle")
    parser.add_argument("--data", action="append", required=True, metavar="SPEC", help="a set")
    parser.add_argument("--decoder", default="greedy", help="greedy")
    parser.add_argument("--protocol", default="", help="36, 62, 94 or exact; default: the model's")
    parser.add_argument(
        "--batch_size", type=cli.positive_int, default=64, help="most images per step"
    )
    parser.add_argument("--out", metavar="FILE.json", help="writes the results")
    parser.add_argument("--predictions", metavar="FILE.tsv", help="writes every reading")
    args = parser.parse_args(argv)
    for path in (args.out, args.predictions):
        cli.check_output(path)

    from crnn_jax import metrics, recognizer
    from crnn_jax.data.sources import open_source
    from crnn_jax.decode import DECODERS

    # A wrong name must not cost the loading of sets, let alone an evaluation.
    if args.protocol:
        metrics.apply_protocol("", args.protocol)
    if args.decoder not in DECODERS:
        raise unknown_name("decoder", args.decoder, DECODERS)
    sources = [open_source(spec) for spec in args.data]
    model = recognizer.Recognizer.load(args.model)
    protocol = args.protocol or recognizer.default_protocol(model.charset)
    results = [
        evaluate_source(model, source, protocol, args.decoder, args.batch_size)
        for source in sources
    ]
    print(f"model {model.name}, protocol {protocol}, decoder {args.decoder}\n")
    print(table(results))
    if args.out:
        report = {
            "model": model.name,
            "protocol": protocol,
            "decoder": args.decoder,
            "sets": [result.to_json() for result in results],
        }
        files.write_json(args.out, report)
    if args.predictions:
        write_predictions(args.predictions, results)
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
