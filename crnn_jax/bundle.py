"""Bundles a run: one file with the model, its charset, config, licence, ancestors and card."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crnn_jax import calibration_file, cli, files, model_card, shipped
from crnn_jax import config as config_lib
from crnn_jax.bundle_file import UNKNOWN, Ancestor, Bundle, load_bundle, rounded, save_bundle
from crnn_jax.calibration_file import Calibration
from crnn_jax.data.spec import parse_mixture
from crnn_jax.errors import UserError, printable

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_EXAMPLE = """example:
  python -m crnn_jax.bundle --run=runs/mine --out=mine.crnn --licence=CC0-1.0 --card=card.md
  python -m crnn_jax.bundle --show=mine.crnn
What fine-tuning has forgotten comes back with some of the weights that it began with:
  python -m crnn_jax.bundle --run=runs/mine --mix=small-94 --share=0.25 --out=mine.crnn
Results are those of the weights in the file, so a bundle for others is made twice:
  python -m crnn_jax.bundle --run=runs/mine --out=mine.crnn --bf16
  python -m crnn_jax.evaluate --model=mine.crnn --data=tsv:test --out=results.json
  python -m crnn_jax.bundle --run=runs/mine --out=mine.crnn --bf16 --results=results.json \
      --card=card.md --licence=CC0-1.0"""

_SCORES = ("count", "word_accuracy", "cer", "one_minus_ned")
_SPECS = ("data.train", "data.eval")
_PATHS = ("init_from", "synth.atlas", "synth.text_file", "synth.textures")


def bundle_of_run(
    workdir: str | pathlib.Path,
    licence: str = "",
    name: str = "",
    card: str = "",
    average: int = 1,
) -> Bundle:
    """Returns the best checkpoint of a run as a bundle.

    Args:
      workdir: of the run. Its ancestors are the list `lineage` in its run.json, if there.
      licence: of the model; empty: that of the run's config, else "unknown".
      name: of the model; empty: that of the workdir.
      card: Markdown that describes it.
      average: above 1 the mean of so many of the newest checkpoints, instead of the best one; it
        has no scores yet.

    Raises:
      UserError: when there is no such run or it cannot be read.
    """
    from crnn_jax import workdir as workdir_lib
    from crnn_jax.load_run import load_run

    folder = pathlib.Path(workdir)
    model, config, step = load_run(folder, average)
    knobs = config_lib.flatten(config)
    run = files.read_json(folder / workdir_lib.RUN_FILE)
    data, ancestors = run.get("data"), run.get("lineage", [])
    if not isinstance(data, dict) or not isinstance(ancestors, list):
        raise UserError(f"{folder / workdir_lib.RUN_FILE}: damaged, it names no data; restore it")
    own = Ancestor(
        name=name or folder.resolve().name,
        licence=licence or knobs.get("licence") or UNKNOWN,
        train=_short_specs(config.data.train),
        fingerprints={key: value for key, value in data.items() if key.startswith("train")},
        steps=step,
        images=step * config.batch_size,
    )
    import jax

    calibration = calibration_file.load_calibration(folder)
    if calibration is not None and not calibration.is_for(model.variables):
        calibration = None  # which loading the run has warned of
    return Bundle(
        config=_without_folders(config),
        charset=model.charset,
        variables=jax.device_get(model.variables),
        lineage=(*map(Ancestor.from_json, ancestors), own),
        metrics=_metrics(folder, step) if average < 2 else {},
        card=card,
        calibration=calibration,
    )


def open_model(model: str | pathlib.Path) -> Bundle:
    """Returns a model, from a bundle, a run's workdir or by its shipped name, with its lineage."""
    path = shipped.find(model)
    return load_bundle(path) if path.is_file() else bundle_of_run(path)


def config_of(model: str | pathlib.Path) -> ConfigDict:
    """Returns the config of a model (see `open_model`) before its weights are needed.

    Raises:
      UserError: when there is no such model or it cannot be read.
    """
    path = shipped.find(model)
    if path.is_file():
        return load_bundle(path).config
    if not (path / "config.json").is_file():
        raise shipped.no_model(path)
    return config_lib.load(path / "config.json")


def show(model: str | pathlib.Path) -> str:
    """Returns what is inside a bundle, or a shipped model, for people."""
    path = shipped.find(model)
    bundle = load_bundle(path)
    config, charset = bundle.config, bundle.charset
    megabytes = path.stat().st_size / 1e6
    network = f"{config.model.name}, encoder {config.model.encoder}"
    images = f"{config.data.height} pixels high, {config.data.channels} channel(s)"
    lines = [
        f"name      {bundle.name}",
        f"licence   {bundle.licence}",
        f"network   {network}, {bundle.parameters / 1e6:.2f} M parameters, {megabytes:.1f} MB",
        f"images    {images}, {config.data.fit}",
        f"charset   {len(charset.classes)} characters, case {charset.case}: "
        + "".join(charset.classes),
    ]
    for number, ancestor in enumerate(bundle.lineage, start=1):
        lines.append(
            f"lineage   {number}. {ancestor.name}: {ancestor.steps} steps, {ancestor.images} "
            f"images of {ancestor.train or 'unknown sets'}; licence {ancestor.licence}"
        )
        lines += [f"            {key} {value}" for key, value in ancestor.fingerprints.items()]
    if mixed := bundle.metrics.get("mix"):
        lines.append(f"mixed     with {mixed['share']:.0%} of the weights of {mixed['with']}")
    for name, scores in bundle.metrics.get("eval", {}).items():
        told = ", ".join(f"{key} {value}" for key, value in scores.items())
        lines.append(f"metrics   {name}: {told}")
    lines += [
        f"tested    {score}, protocol {score.protocol}, {score.decoder}, {score.count} images"
        for score in model_card.scores_of(bundle.metrics)
    ]
    if speed := model_card.speed_of(bundle.metrics):
        lines.append(f"speed     {speed.ms:.1f} ms a word, {speed.device}")
    if found := bundle.calibration:
        sets = ", ".join(found.fitted.sets)
        lines.append(
            f"calibrated temperature {found.temperature:.3f}, fitted on {found.fitted.rows} rows "
            f"of {sets} (protocol {found.protocol})"
        )
    lines += [f"note      {line}" for line in bundle.other_licences()]
    if bundle.card:
        lines += ["", *bundle.card.rstrip().expandtabs().splitlines()]
    return "\n".join(map(printable, lines))  # whoever made the file wrote them


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    parser = cli.Parser(prog="python -m crnn_jax.bundle", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--run", help="workdir of the run whose best checkpoint is bundled")
    parser.add_argument("--out", metavar="FILE.crnn", help="the file to write")
    parser.add_argument("--licence", default="", help="of the model, as in CC0-1.0")
    parser.add_argument("--name", default="", help="of the model; default: the workdir's")
    parser.add_argument(
        "--card",
        metavar="FILE.md",
        help=f"text that describes the model; results and speed replace {model_card.RESULTS} and "
        f"{model_card.SPEED} in it",
    )
    parser.add_argument(
        "--results", metavar="FILE.json", help="scores of this model, as evaluate --out wrote them"
    )
    parser.add_argument(
        "--speed",
        metavar="FILE.json",
        help='time per word: {"ms": 8.8, "device": "one core of ..."}',
    )
    parser.add_argument("--bf16", action="store_true", help="half the size, a little less exact")
    parser.add_argument(
        "--average",
        type=cli.positive_int,
        default=1,
        metavar="N",
        help="the mean of the weights of the N newest checkpoints, instead of the best one",
    )
    parser.add_argument(
        "--mix", metavar="MODEL", help="another model of the same network, which gives some weights"
    )
    parser.add_argument(
        "--share", type=float, metavar="0..1", help="of MODEL's weights in the mean of both"
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE.json",
        help="of these very weights, as calibrate --out wrote it; default: that of the run, where "
        "its weights are taken as they are",
    )
    parser.add_argument(
        "--show", metavar="FILE.crnn", help="prints what is inside a bundle or a shipped model"
    )
    args = parser.parse_args(argv)
    if args.show:
        print(show(args.show))
        return cli.DONE
    if not args.run or not args.out:
        raise UserError("give --run=WORKDIR and --out=FILE.crnn to write, or --show=FILE.crnn")
    cli.check_output(args.out)
    if os.path.isfile(args.run) or (not os.path.exists(args.run) and args.run in shipped.shipped()):
        raise UserError(
            f"--run={args.run}: this is a bundle already, --show={args.run} prints it; give the "
            "workdir of a run"
        )
    if (args.mix is None) != (args.share is None):
        raise UserError("--mix=MODEL and --share=0..1 belong together: give both or neither")
    card = _read_card(args.card) if args.card else ""
    bundle = bundle_of_run(args.run, args.licence, args.name, "", args.average)
    if args.mix is not None:
        from crnn_jax import mixing

        bundle = mixing.mix(bundle, open_model(args.mix), args.share)
    if args.bf16:
        bundle = rounded(bundle)
    if args.calibration is not None:
        found = Calibration.from_report(args.calibration, bundle.variables)
        bundle = dataclasses.replace(bundle, calibration=found)
    scores = model_card.read_scores(args.results, bundle.name) if args.results else []
    speed = model_card.read_speed(args.speed) if args.speed else None
    measured: dict[str, Any] = {"tests": [score.to_json() for score in scores]} if scores else {}
    if speed:
        measured["speed"] = dataclasses.asdict(speed)
    bundle = dataclasses.replace(
        bundle,
        metrics={**bundle.metrics, **measured},
        card=model_card.fill(card, scores, speed),
    )
    size = save_bundle(args.out, bundle, args.bf16)
    hint = "" if bundle.licence != UNKNOWN else " (say what others may do with it: --licence=...)"
    print(
        f"{args.out}: {bundle.name}, {bundle.parameters / 1e6:.2f} M parameters, "
        f"{size / 1e6:.1f} MB, licence {bundle.licence}{hint}"
    )
    for line in bundle.other_licences():
        print(line)
    return cli.DONE


def _read_card(path: str) -> str:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--card={path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"--card={path}: not a text in UTF-8; save it so") from None


def _metrics(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Returns the scores of the checkpoint itself: summary.json has those of the last one."""
    from crnn_jax import metric_lines

    for line in reversed(metric_lines.read(folder)):
        if line["step"] == step and "eval" in line:
            scores = {
                name: {key: found[key] for key in _SCORES if key in found}
                for name, found in line["eval"].items()
            }
            return {"step": step, "eval": scores}
    return {}


def _without_folders(config: ConfigDict) -> ConfigDict:
    """Returns a copy of a config that tells nobody how its maker's disk looks."""
    config = config.copy_and_resolve_references()
    flat = config_lib.flatten(config)
    for keys, shorten in (
        (_SPECS, _short_specs), (_PATHS, _short_path), (("charset",), _short_charset),
    ):  # fmt: skip
        for key in set(keys) & set(flat):
            config_lib.set_knob(config, key, shorten(flat[key]))
    return config


def _short_specs(text: str) -> str:
    """Shortens the paths in SPECs that are joined by ` + `."""
    if not text:
        return text
    parts = []
    for weight, spec in parse_mixture(text):
        short = dataclasses.replace(
            spec,
            location=_short_path(spec.location),
            root=spec.root and _short_path(spec.root),
            charset=spec.charset and _short_charset(spec.charset),
        )
        parts.append(("" if weight is None else f"{weight:g}*") + str(short))
    return " + ".join(parts)


def _short_charset(text: str) -> str:
    """Shortens the path in file:PATH; other descriptions of a charset may hold any characters."""
    if not text.startswith("file:"):
        return text
    return f"file:{_short_path(text.removeprefix('file:'))}"


def _short_path(text: str) -> str:
    """Returns the last two parts of an absolute path, and anything else as it is."""
    first, *parts = pathlib.PurePosixPath(text).parts or ("",)
    return "/".join(parts[-2:]) or text if first.startswith("/") else text


if __name__ == "__main__":
    cli.run(main)
