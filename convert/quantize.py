"""Turns a trained network into an int8 ``.tflite`` that explains itself.

    python convert/quantize.py
    python convert/quantize.py training/checkpoints/nano.keras
    python convert/quantize.py mine.keras --calibration IMAGES --labels a,b --input-range -1 1 -o mine.tflite

Without arguments it makes the shipped network, byte for byte, from
``training/checkpoints/base.keras`` and the activation ranges and answer
thresholds recorded beside it: no X-ray is needed. Every network in that folder
is shipped, and goes into the package with its hash.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from convert.conversion import COUNT, SYNTHETIC_COUNT, convert
from convert.judge.judgement import beside
from convert.options import Options, stem_of
from convert.quantisation.scheme import SCHEMES
from convert.quantisation.scope import Scope
from convert.source.scaling import PRESETS, of_numbers
from covidnet_lite import files
from covidnet_lite.errors import ConversionError, CovidNetLiteError
from covidnet_lite.network import model
from covidnet_lite.network.input_spec import COLOURS
from covidnet_lite.network.model import SHIPPED
from covidnet_lite.quiet import silent_runtime

ROOT = Path(__file__).resolve().parent.parent

CHECKPOINT = ROOT / "training/checkpoints/base.keras"  # others beside it are shipped too


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Quantise a classifier of Keras, TensorFlow, PyTorch or ONNX to a full-integer int8 .tflite.",
        epilog="Research use only; not a medical device.",
    )
    parser.add_argument(
        "network",
        nargs="?" if CHECKPOINT.is_file() else None,  # only a checkout has it
        type=_path,
        default=CHECKPOINT,
        help=".keras, .h5, SavedModel, .onnx, .pt2 of PyTorch or float .tflite "
        "(default in a checkout: the shipped network)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        help="the .tflite to write (default: beside the network; the package for the shipped one)",
    )
    parser.add_argument(
        "--schemes",
        type=_schemes,
        default=("int8",),
        metavar="A,B,...",
        help=f"one or more of {', '.join(SCHEMES)}, compared in one table; with several, _SCHEME is added to the name "
        "(default: int8)",
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--calibration",
        type=Path,
        metavar="FOLDER|MANIFEST|NPZ|synthetic",
        help="representative images, from which activation ranges are recorded; 'synthetic' makes pictures from "
        "the network itself, for those who may show it none",
    )
    source.add_argument(
        "--ranges", type=Path, metavar="FILE", help="activation ranges recorded earlier (default: NETWORK.ranges.json)"
    )
    parser.add_argument(
        "--count",
        type=_count,
        help=f"how many representative images to take (default: {COUNT}; {SYNTHETIC_COUNT} synthetic ones)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER|MANIFEST",
        help="labelled images: val fits the answers, test judges them (default: as --calibration)",
    )
    parser.add_argument(
        "--min-agreement",
        type=_share,
        default=0.99,
        metavar="SHARE",
        help="top-1 agreement with float on held-out images below which finer ways to quantise are tried, and in the "
        "end nothing is written (default: 0.99)",
    )
    parser.add_argument(
        "--write-best",
        action="store_true",
        help="where none agrees well enough, write the best there is; its manifest and the report say so",
    )
    for kind, what in (("float", "float"), ("int16", "16 bits, slower than float on a CPU")):
        parser.add_argument(
            f"--keep-{kind}",
            action="append",
            default=[],
            metavar="LAYER",
            help=f"keep a layer in {what}, by its name in the report or a pattern such as 'block_1*'; may be repeated",
        )
    parser.add_argument(
        "--allow-int16",
        action="store_true",
        help="in the end also try to keep the noisiest layers in 16 bits, which is slower than float on a CPU",
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write what was done and what it cost: JSON, Markdown and plots"
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
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="instead of --input-range: how keras.applications or torchvision scaled the pictures",
    )
    for name, what in (("mean", "mean taken off"), ("std", "standard deviation they are then divided by")):
        parser.add_argument(
            f"--{name}",
            nargs="+",
            type=float,
            metavar="LEVEL",
            help=f"instead of --input-range: the {what}, in levels of 0 to 255, one or one a channel",
        )
    parser.add_argument(
        "--colour",
        choices=COLOURS,
        default="",
        help="what a network of three channels sees: colours in this order, or a gray picture three times (default: "
        "what the network or --preset says, else rgb; gray with --equalise)",
    )
    parser.add_argument("--equalise", action="store_true", default=None, help="equalise gray levels before the network")
    parser.add_argument("--name", help="name in the manifest (default: the network's)")
    parser.add_argument("--model-version", dest="version", default="", help="version in the manifest")
    parser.add_argument("--licence", default="", help="licence of the weights, for the manifest")
    parser.add_argument(
        "--target-error",
        type=_share,
        default=0.05,
        help="share of wrong answers to allow before abstaining (default: 0.05)",
    )
    parser.add_argument(
        "--format",
        choices=("tflite", "c-array"),
        default="tflite",
        help="c-array: also write NAME.h, the network as a C array for TFLite Micro",
    )
    parser.add_argument(
        "--batch",
        type=_count,
        default=1,
        metavar="N",
        help="also write NAME_batchN.tflite, the same graph for N images at a time, for other runtimes: ours takes one",
    )
    parser.add_argument(
        "--edgetpu",
        action="store_true",
        help="say what the Edge TPU will run, and write NAME_edgetpu.tflite too where edgetpu_compiler is installed",
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1")
    return share


def _path(text: str) -> Path:
    path = Path(text)
    if path.name in ("", ".."):  # "." is the folder that it is
        path = path.resolve()
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is no network")
    return path


def _schemes(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in SCHEMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SCHEMES)}")
    return names


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Runs the command; returns its exit code. ``prog`` is what its help calls it."""
    args = build_parser(prog).parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold what the terminal cannot show
    try:
        chosen = options(args)
        shipped = chosen.out.resolve().parent == SHIPPED.resolve() and args.out is None
        with silent_runtime():  # TensorFlow tells which GPU it has not found
            done = convert(replace(chosen, force=True) if shipped else chosen)
        if shipped:
            pinned = {**model.shipped(), chosen.out.stem: done.candidates[0].model.sha256}
            sums = "".join(f"{digest}  {name}.tflite\n" for name, digest in sorted(pinned.items()))
            files.write(SHIPPED / "SHA256SUMS", sums)
    except (CovidNetLiteError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def options(args: argparse.Namespace) -> Options:
    """Parsed arguments -> options.

    Raises:
        ConversionError: they say twice, or half, how pictures are scaled.
    """
    ways = [args.input_range, args.preset, args.mean or args.std]
    if sum(way is not None for way in ways) > 1:
        raise ConversionError("--input-range, --preset, and --mean with --std say the same; give one of them")
    if (args.mean is None) != (args.std is None):
        raise ConversionError("--mean and --std belong together; give both, in levels of 0 to 255")
    args.scope = Scope(tuple(args.keep_float), tuple(args.keep_int16), args.allow_int16)
    args.scaled = of_numbers(args.mean, args.std) if args.mean else PRESETS.get(args.preset)
    given = {field.name: getattr(args, field.name) for field in fields(Options)}
    stem = stem_of(args.network)
    checkpoint = CHECKPOINT.parent / f"{stem.name}{CHECKPOINT.suffix}"
    shipped = args.network.resolve() == checkpoint.resolve() and args.schemes == ("int8",)
    given["out"] = args.out or beside(SHIPPED / stem.name if shipped else stem, ".tflite")
    given["labels"] = tuple(label.strip() for label in args.labels.split(",")) if args.labels else None
    given["input_range"] = tuple(args.input_range) if args.input_range else None
    return Options(**given)


if __name__ == "__main__":
    sys.exit(main())
