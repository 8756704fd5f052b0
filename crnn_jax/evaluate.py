"""Evaluates models, or readings of other recognisers, on labelled sets.

Every row counts: an image that cannot be read is a wrong reading.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from crnn_jax import cli, files
from crnn_jax import decoder_options as options
from crnn_jax.errors import DataError, UserError
from crnn_jax.scoring.results import Result, Row, score, write_predictions
from crnn_jax.scoring.tables import report_markdown, report_text, table

if TYPE_CHECKING:
    import argparse

    from crnn_jax.careful import Careful
    from crnn_jax.data.sources import Source
    from crnn_jax.decode import Decoder
    from crnn_jax.ensembles import Voters
    from crnn_jax.recognizer import Recognizer
    from crnn_jax.scoring.report import Report

__all__ = [
    "Result", "Row", "evaluate_source", "evaluate_sources", "main", "table", "write_predictions",
]  # fmt: skip

_EXAMPLE = """example:
  python -m crnn_jax.evaluate --model=runs/quickstart --data=tsv:words/labels.tsv \\
      --data=tfds:rendered_words/test --out=results.json --predictions=readings.tsv
  python -m crnn_jax.evaluate --model=runs/mine --data=tsv:svt_test --protocol=36 --published \\
      --against=tesseract_out --out=results.md --plot=results.png
  python -m crnn_jax.evaluate --readings=predicts.txt:paddle --data=tsv:svt_test --protocol=36"""


@overload
def evaluate_source(
    recognizer: Recognizer | Voters | Careful,
    source: Source,
    protocol: str,
    decoder: str | Decoder | tuple[Decoder, ...] = "greedy",
    batch_size: int = 32,
    progress: bool = True,
) -> Result: ...


@overload
def evaluate_source(
    recognizer: Recognizer | Voters | Careful,
    source: Source,
    protocol: str,
    decoder: str | Decoder | tuple[Decoder, ...] = "greedy",
    batch_size: int = 32,
    progress: bool = True,
    *,
    interrupted: Callable[[], bool],
) -> Result | None: ...


def evaluate_source(
    recognizer: Recognizer | Voters | Careful,
    source: Source,
    protocol: str,
    decoder: str | Decoder | tuple[Decoder, ...] = "greedy",
    batch_size: int = 32,
    progress: bool = True,
    interrupted: Callable[[], bool] = lambda: False,
) -> Result | None:
    """Reads every row of a source and scores the readings; None when interrupted.

    Of several processes each reads its share, and all get the whole result.

    Args:
      recognizer: the model, or several that vote.
      source: the set.
      protocol: how texts are compared, a name of `crnn_jax.metrics.PROTOCOLS`.
      decoder: one of `crnn_jax.decode`, or its name; of voters one for each, if need be.
      batch_size: most images per step.
      progress: show a bar on a terminal when it takes longer than a few seconds.
      interrupted: asked after every row; True gives up.
    """
    from tqdm import tqdm

    from crnn_jax import processes

    def load(i: int) -> Any:  # of a model pixels, of voters what each of them makes pixels of
        return recognizer.preprocess(source.image_bytes(i))

    process, count = processes.place()
    mine = range(process, len(source), count)
    found: dict[int, Row] = {}
    start = time.perf_counter()
    bar = tqdm(
        total=len(mine), desc=source.name, unit="img", delay=3, disable=None if progress else True
    )
    with bar:
        for position, reading in recognizer.stream(
            mine,
            load,
            batch_size,
            decoder,
            label=source.label,
            words=source.lexicon,
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
    if not all(processes.collect(whole)):
        return None
    shares = processes.collect([(i, *dataclasses.astuple(row)) for i, row in found.items()])
    rows = [Row(*row) for _, *row in sorted(row for share in shares for row in share)]
    seconds = time.perf_counter() - start
    return score(source.name, rows, protocol, len(source) / seconds)


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


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    args = _parse(argv)

    from crnn_jax import ensembles
    from crnn_jax.careful import Careful
    from crnn_jax.data.sources import check_names, open_source
    from crnn_jax.scoring import systems as systems_lib
    from crnn_jax.scoring.breakdown import aspect_ratios
    from crnn_jax.scoring.report import build_report

    sources = [open_source(spec) for spec in args.data]
    check_names(sources)
    models = systems_lib.load_models(args.model, args.squeeze, args.ensemble)
    protocol = args.protocol or systems_lib.common_protocol(models)
    systems_lib.check_published(args.published, protocol)
    systems_lib.warn_of_unwritable(models, sources, protocol)
    # A file of another set must not cost an evaluation.
    opponents = systems_lib.open_files(args.against, sources, protocol)
    systems = systems_lib.open_files(args.readings, sources, protocol)
    ways = options.variants(args) if models else []
    for _, way in ways:
        options.check_own_words(way, sources)
    # A decoder may take long to build, and serves all models of its charset.
    builds = [functools.lru_cache(functools.partial(options.build_decoder, way)) for _, way in ways]
    decoded = [
        (
            name + suffix,
            Careful(model) if args.careful else model,
            ensembles.decoder_of(model, build),
        )
        for name, model in models.items()
        for (suffix, _), build in zip(ways, builds, strict=True)
    ]
    systems += [
        systems_lib.System(
            name,
            tuple(
                evaluate_source(model, source, protocol, decoder, args.batch_size)
                for source in sources
            ),
        )
        for name, model, decoder in decoded
    ]
    if args.predictions:  # first: they are what took the time
        write_predictions(args.predictions, systems[0].results)
    report = build_report(
        systems,
        opponents,
        [
            aspect_ratios(source) if args.breakdown or args.out else [None] * len(source)
            for source in sources
        ],
        protocol,
        _describe(args, [options.describe_decoder(way) for _, way in ways]),
        args.resamples,
        args.published,
        options.describe_lexicon(ways[0][1]) if len(ways) == 1 else None,
        alike={0: None, 1: len(args.model)}.get(len(ways), 0),
    )
    try:
        _write(args, report, sources, systems[0].results)
    finally:  # neither a full disk nor a closed pipe may cost the other
        print(report_text(report, args.breakdown))
    return cli.DONE


def _describe(args: argparse.Namespace, decoders: Sequence[str]) -> str | None:
    """Returns how models read, for the report; None without models."""
    careful = ", careful" if args.careful else ""
    return " or ".join(dict.fromkeys(decoders)) + careful if decoders else None


def _write(
    args: argparse.Namespace, report: Report, sources: Sequence[Source], results: Sequence[Result]
) -> None:
    """Writes the files that are asked for."""
    if args.out and pathlib.Path(args.out).suffix.lower() == ".md":
        files.write_text(args.out, report_markdown(report))
    elif args.out:
        files.write_json(args.out, report.to_json())
    if args.plot:
        from crnn_jax.scoring.plot import save_plot

        save_plot(args.plot, report)
    if args.worst:
        from crnn_jax.scoring.worst import save_worst

        save_worst(args.worst, sources, results, report.protocol)
    if args.misses:
        from crnn_jax.scoring.misses import save_misses

        save_misses(args.misses, sources, results, report.protocol)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments; a wrong name must not cost the loading of sets, or an evaluation."""
    parser = cli.Parser(prog="python -m crnn_jax.evaluate", description=__doc__, epilog=_EXAMPLE)

    def add(name: str, text: str, **kwargs: Any) -> None:
        parser.add_argument(name, help=text, **kwargs)

    several = {"action": "append", "default": []}
    add("--model", "run, bundle or shipped model; several are compared and averaged", **several)
    add("--ensemble", "also reads with all models together", action="store_true")
    file = several | {"metavar": "FILE[:FORMAT]"}
    add("--readings", "instead of a model: what another recogniser read", **file)
    add("--data", "a set", action="append", required=True, metavar="SPEC")
    add("--against", "readings to test against, on the same rows", **file)
    options.add_options(parser, several=True)
    parser.add_protocol()
    add("--batch_size", "most images per step", type=cli.positive_int, default=64)
    parser.add_squeeze()
    parser.add_careful()
    add("--resamples", "of the bootstrap", type=cli.positive_int, default=2000)
    add("--published", "published results beside these (protocol 36)", action="store_true")
    add("--breakdown", "accuracy by length, shape and characters", action="store_true")
    add("--out", "writes the results, as JSON or as Markdown", metavar="FILE.json|FILE.md")
    add("--plot", "draws the results", metavar="FILE.png")
    add("--worst", "draws the fifty worst readings, of the first model", metavar="FILE.png")
    add("--misses", "draws a hundred wrong readings of each set, by kind", metavar="FILE.png")
    add("--predictions", "writes every reading, of the first model", metavar="FILE.tsv")
    args = parser.parse_args(argv)
    picture = (".png",)
    cli.check_outputs(
        [
            ("--out", args.out, (".json", ".md")),
            ("--plot", args.plot, picture),
            ("--worst", args.worst, picture),
            ("--misses", args.misses, picture),
            ("--predictions", args.predictions, ()),
        ]
    )
    if not (args.model or args.readings):
        parser.error("the following arguments are required: --model or --readings")
    if args.ensemble and len(args.model) < 2:
        raise UserError("--ensemble reads with several models together: give --model twice or more")
    if args.model and args.readings:
        raise UserError("--model and --readings are both given: to compare them, use --against")
    if args.readings and not args.protocol:
        raise UserError(f"--readings has no protocol of its own: add --protocol={cli.PROTOCOLS}")

    from crnn_jax import metrics
    from crnn_jax.scoring import systems as systems_lib

    if args.protocol:
        metrics.apply_protocol("", args.protocol)
        systems_lib.check_published(args.published, args.protocol)
    if args.model:
        for _, way in options.variants(args):
            options.check_options(way)
    elif options.given(args):
        raise UserError(
            "--decoder, --lexicon and the like are for models: --readings are read already"
        )
    return args


if __name__ == "__main__":
    cli.run(main)
