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
from convert.judge.judgement import path_beside
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
        description="Quantises a classifier of Keras, TensorFlow, PyTorch or ONNX to a full-integer int8 .tflite.",
        epilog="Research use only; not a medical device.",
    )
    parser.add_argument(
        "network",
        nargs="?" if CHECKPOINT.is_file() else None,  # only a checkout has it
        type=_path,
        default=CHECKPOINT,
        help="the network to convert: .keras, .h5, SavedModel, .onnx, PyTorch's .pt2 or a float .tflite "
        "(default in a checkout: the shipped network)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        help="the .tflite to write (default: beside the network; for the shipped network, into the package)",
    )
    parser.add_argument(
        "--schemes",
        type=_schemes,
        default=("int8",),
        metavar="A,B,...",
        help=f"one or more of {', '.join(SCHEMES)}, compared in one table; with several, each file's name ends in "
        "_SCHEME (default: int8)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--calibration",
        type=Path,
        metavar="FOLDER|MANIFEST|NPZ|synthetic",
        help="representative images, on which the activation ranges are measured; 'synthetic' makes images from "
        "the network itself, if no real image may be used",
    )
    source.add_argument(
        "--ranges", type=Path, metavar="FILE", help="activation ranges recorded earlier (default: NETWORK.ranges.json)"
    )
    parser.add_argument(
        "--count",
        type=_count,
        help=f"number of representative images (default: {COUNT}; {SYNTHETIC_COUNT} synthetic ones)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER|MANIFEST",
        help="labelled images: the split val fits temperature, threshold and guard, the split test judges the result "
        "(default: those of --calibration)",
    )
    parser.add_argument(
        "--min-agreement",
        type=_share,
        default=0.99,
        metavar="SHARE",
        help="least top-1 agreement with float on held-out images; below it the converter tries finer ways to "
        "quantise, and if none reaches it, writes nothing (default: 0.99)",
    )
    parser.add_argument(
        "--write-best",
        action="store_true",
        help="if no way of quantising reaches --min-agreement, write the best; its manifest and the "
        "report state the shortfall",
    )
    for kind, meaning in (("float", "float"), ("int16", "16 bits, slower than float on a CPU")):
        parser.add_argument(
            f"--keep-{kind}",
            action="append",
            default=[],
            metavar="LAYER",
            help=f"keep layers in {meaning}: a name from the report, or a pattern such as 'block_1*' (repeatable)",
        )
    parser.add_argument(
        "--allow-int16",
        action="store_true",
        help="as a last resort, keep the noisiest layers in 16 bits, which is slower than float on a CPU",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write a report of the conversion and its cost in accuracy to DIR: JSON, Markdown and plots",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="store the activation ranges and the fitted values beside the network; the next conversion then needs "
        "no image",
    )
    parser.add_argument("--labels", help="names of the classes, comma-separated, in the order of the outputs")
    parser.add_argument(
        "--input-range",
        nargs=2,
        type=float,
        metavar=("BLACK", "WHITE"),
        help="the values that the network takes for black and white, e.g. -1 1",
    )
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="instead of --input-range: the scaling of images in keras.applications or torchvision",
    )
    for name, meaning in (("mean", "mean to subtract"), ("std", "standard deviation to divide by afterwards")):
        parser.add_argument(
            f"--{name}",
            nargs="+",
            type=float,
            metavar="LEVEL",
            help=f"instead of --input-range: the {meaning}, in levels of 0 to 255; one value, or one per channel",
        )
    parser.add_argument(
        "--colour",
        choices=COLOURS,
        default="",
        help="input of a network with three channels: colours in this order, or gray three times (default: as the "
        "network or --preset states, else rgb; gray with --equalise)",
    )
    parser.add_argument(
        "--equalise",
        action="store_true",
        default=None,
        help="equalise the gray levels of each image before the network",
    )
    parser.add_argument("--name", help="name for the manifest (default: the network's name)")
    parser.add_argument("--model-version", dest="version", default="", help="version for the manifest")
    parser.add_argument("--licence", default="", help="licence of the weights, for the manifest")
    parser.add_argument(
        "--target-error",
        type=_share,
        default=0.05,
        help="share of wrong answers to allow; the network abstains rather than exceed it (default: 0.05)",
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
        help="also write NAME_batchN.tflite, the same graph for N images at a time, for other runtimes "
        "(covidnet-lite takes one image)",
    )
    parser.add_argument(
        "--edgetpu",
        action="store_true",
        help="report which parts a Coral Edge TPU will run; if edgetpu_compiler is installed, also write "
        "NAME_edgetpu.tflite",
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
        selected = options(args)
        shipped = selected.out.resolve().parent == SHIPPED.resolve() and args.out is None
        with silent_runtime():  # TensorFlow tells which GPU it has not found
            report = convert(replace(selected, force=True) if shipped else selected)
        if shipped:
            digests = {**model.shipped(), selected.out.stem: report.candidates[0].model.sha256}
            sums = "".join(f"{digest}  {name}.tflite\n" for name, digest in sorted(digests.items()))
            files.write(SHIPPED / "SHA256SUMS", sums)
    except (CovidNetLiteError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def options(args: argparse.Namespace) -> Options:
    """Parsed arguments -> options.

    Raises:
        ConversionError: they say twice, or half, how images are scaled.
    """
    scalings = [args.input_range, args.preset, args.mean or args.std]
    if sum(scaling is not None for scaling in scalings) > 1:
        raise ConversionError("--input-range, --preset, and --mean with --std say the same; give one of them")
    if (args.mean is None) != (args.std is None):
        raise ConversionError("--mean and --std belong together; give both, in levels of 0 to 255")
    args.scope = Scope(tuple(args.keep_float), tuple(args.keep_int16), args.allow_int16)
    args.scaled = of_numbers(args.mean, args.std) if args.mean else PRESETS.get(args.preset)
    values = {field.name: getattr(args, field.name) for field in fields(Options)}
    stem = stem_of(args.network)
    checkpoint = CHECKPOINT.parent / f"{stem.name}{CHECKPOINT.suffix}"
    shipped = args.network.resolve() == checkpoint.resolve() and args.schemes == ("int8",)
    values["out"] = args.out or path_beside(SHIPPED / stem.name if shipped else stem, ".tflite")
    values["labels"] = tuple(label.strip() for label in args.labels.split(",")) if args.labels else None
    values["input_range"] = tuple(args.input_range) if args.input_range else None
    return Options(**values)


if __name__ == "__main__":
    sys.exit(main())
