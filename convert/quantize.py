"""Turns a trained network into an int8 ``.tflite`` that explains itself.

    python convert/quantize.py
    python convert/quantize.py mine.keras --calibration IMAGES --labels a,b --input-range -1 1 -o mine.tflite

Without arguments it makes the shipped network, byte for byte, from
``training/checkpoints/base.keras`` and the activation ranges and answer
thresholds recorded beside it: no X-ray is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, from anywhere

from convert import calibration, edgetpu, edgetpu_compiler, judgement, network, report
from covidnet_lite import files
from covidnet_lite import model as models
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import ConversionError, CovidNetLiteError
from covidnet_lite.manifest import Manifest, seal

CHECKPOINT = ROOT / "training/checkpoints/base.keras"
SHIPPED = ROOT / "covidnet_lite/models/base.tflite"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Quantise a Keras image classifier to a full-integer int8 .tflite.",
        epilog="Research use only; not a medical device.",
    )
    parser.add_argument(
        "network",
        nargs="?",
        type=Path,
        default=CHECKPOINT,
        help=".keras, .h5 or SavedModel (default: the shipped network)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        help="the .tflite to write (default: beside the network; the package for the shipped one)",
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--calibration",
        type=Path,
        metavar="FOLDER|MANIFEST",
        help="representative radiographs, from which activation ranges are recorded",
    )
    source.add_argument(
        "--ranges", type=Path, metavar="FILE", help="activation ranges recorded earlier (default: NETWORK.ranges.json)"
    )
    parser.add_argument(
        "--count", type=_count, default=200, help="how many representative radiographs to take (default: 200)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER|MANIFEST",
        help="labelled radiographs: val fits the answers, test judges them (default: as --calibration)",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="keep the ranges and what was fitted beside the network, so that no image is needed next time",
    )
    parser.add_argument("--labels", help="names of the classes, comma-separated, in the order of the outputs")
    parser.add_argument(
        "--input-range",
        nargs=2,
        type=float,
        metavar=("BLACK", "WHITE"),
        help="what black and white are to the network, e.g. -1 1",
    )
    parser.add_argument("--equalise", action="store_true", default=None, help="equalise gray levels before the network")
    parser.add_argument("--name", help="name in the manifest (default: the network's)")
    parser.add_argument("--model-version", default="", help="version in the manifest")
    parser.add_argument("--licence", default="", help="licence of the weights, for the manifest")
    parser.add_argument(
        "--target-error",
        type=_share,
        default=0.05,
        help="share of wrong answers to allow before abstaining (default: 0.05)",
    )
    parser.add_argument(
        "--edgetpu",
        action="store_true",
        help="say what the Edge TPU will run, and write NAME_edgetpu.tflite too where edgetpu_compiler is installed",
    )
    return parser


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = build_parser().parse_args(argv)
    try:
        convert(args)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def convert(args: argparse.Namespace) -> Path:
    """The whole conversion; writes nothing before all of it has worked."""
    shipped = args.network.resolve() == CHECKPOINT.resolve() and args.out is None
    out = args.out or (SHIPPED if shipped else args.network.with_suffix(".tflite"))
    _check_places(args, out)
    out_compiled = edgetpu_compiler.name_beside(out)
    for path in (out, out_compiled) if args.edgetpu else (out,):
        if path.exists() and not (args.force or shipped):
            raise ConversionError(f"{path}: is there already; pass --force to replace it, or -o for another name")
    labels = tuple(label.strip() for label in args.labels.split(",")) if args.labels else None
    input_range = tuple(args.input_range) if args.input_range else None
    net = network.load(args.network, labels, input_range, args.equalise)
    stem = args.network.with_suffix("")

    ranges, origin = _ranges(args, net, stem)
    flatbuffer = calibration.quantise(net, ranges)
    lint = edgetpu.check(flatbuffer, out.name) if args.edgetpu else None
    card = _provenance(args, net, origin)
    plain = _manifest(
        args.name or net.facts.get("name") or stem.name,
        net.labels,
        net.spec,
        net.outputs,
        licence=_licence(args, net),
        version=args.model_version or net.facts.get("version", ""),
        provenance=card,
    )

    cases = _cases(args)
    if any(c.split == "val" for c in cases):
        int8_model, float_model = (models.verify(seal(graph, plain), out) for graph in (flatbuffer, net.tflite))
        fitted = judgement.fit(int8_model, float_model, cases, args.target_error)
    else:
        fitted = judgement.load(stem)
    float_manifest = replace(plain, temperature=fitted.temperature, threshold=fitted.threshold)
    manifest = replace(float_manifest, correction=fitted.correction, guard=fitted.guard)
    sealed = seal(flatbuffer, manifest)
    float_model = models.verify(seal(net.tflite, float_manifest), out)
    int8_model = models.verify(sealed, out)

    test = [c for c in cases if c.split == "test"]
    found = report.agreement(float_model, int8_model, test) if test else None
    print(report.text(float_model, int8_model, found, report.latency(float_model, int8_model)))
    recorded = stem.with_suffix(".figures.json")
    if found is None and recorded.is_file():
        print(
            f"recorded when it was trained, on {(figures := json.loads(recorded.read_text()))['images']} test images: "
            + ", ".join(f"{k} {v}" for k, v in figures.items() if k != "images")
        )
    if lint:
        print("\n" + edgetpu.text(lint, out.name))
    compiled = edgetpu_compiler.compile_if_installed(int8_model) if lint else None
    files.write(out, sealed)
    if shipped:
        files.write(SHIPPED.parent / "SHA256SUMS", f"{int8_model.sha256}  {SHIPPED.name}\n")
    if args.record:
        _record(stem, ranges, fitted, found)
    print(f"wrote {out}  sha256 {int8_model.sha256}")
    if compiled:
        print(f"wrote {compiled.write(out_compiled)}  {compiled.log.edge_tpu or 'some'} operations on the Edge TPU")
    return out


def _check_places(args: argparse.Namespace, out: Path) -> None:
    """Finds out before the long work that a result can't be written, or would replace what it is made from.

    Raises:
        ConversionError, OutputError: it can't, or would.
    """
    if out.is_dir() or not out.name:
        raise ConversionError(f"{out}: is a folder; give the name of the .tflite to write")
    for given in (args.network, args.ranges):
        if given is not None and out.exists() and given.exists() and out.samefile(given):
            raise ConversionError(f"{out}: is what the conversion is made from; choose another name with -o")
    files.check_folder(out.parent)


def _manifest(*args: Any, **kwargs: Any) -> Manifest:
    try:
        return Manifest(*args, **kwargs)
    except (ValueError, TypeError) as error:
        raise ConversionError(f"the network cannot be described: {error}") from error


def _ranges(args: argparse.Namespace, net: network.FloatNetwork, stem: Path) -> tuple[calibration.Ranges, str]:
    """Activation ranges and, for the manifest, where they come from."""
    if args.calibration:
        chosen = calibration.choose(read_cases(args.calibration), args.count)
        return calibration.record(
            net, calibration.pixels(chosen, net.spec)
        ), f"{len(chosen)} representative radiographs"
    path = args.ranges or stem.with_suffix(".ranges.json")
    if not path.is_file() and not args.ranges:
        raise ConversionError(
            f"{args.network}: int8 needs the range of every activation; "
            "pass --calibration FOLDER with images, or --ranges FILE"
        )
    return calibration.read_ranges(path), "recorded ranges"


def _cases(args: argparse.Namespace) -> list[Case]:
    where = args.data or args.calibration
    return read_cases(where) if where else []


def _licence(args: argparse.Namespace, net: network.FloatNetwork) -> str:
    return str(args.licence or net.facts.get("licence", ""))


def _provenance(args: argparse.Namespace, net: network.FloatNetwork, origin: str) -> dict[str, Any]:
    """Facts only that are the same in every run, or the file would not be."""
    digest = hashlib.sha256(args.network.read_bytes()).hexdigest() if args.network.is_file() else ""
    packages = {name: version(name) for name in ("tensorflow", "keras", "litert-quantizer")}
    told = {k: v for k, v in net.facts.items() if k not in ("name", "version", "licence")}
    return {**told, "network_sha256": digest, "calibration": origin, "packages": packages}


def _record(
    stem: Path, ranges: calibration.Ranges, fitted: judgement.Judgement, found: report.Agreement | None
) -> None:
    files.write(
        stem.with_suffix(".ranges.json"), json.dumps({k: list(v) for k, v in sorted(ranges.items())}, indent=1) + "\n"
    )
    judgement.save(fitted, stem)
    if found:
        figures = {
            "images": found.images,
            "float accuracy": round(found.float_correct / found.images, 4),
            "int8 accuracy": round(found.int8_correct / found.images, 4),
            "top-1 agreement": round(found.top1, 4),
            "confidence drift": round(found.drift, 4),
        }
        files.write(stem.with_suffix(".figures.json"), json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
