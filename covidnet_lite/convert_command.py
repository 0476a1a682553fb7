"""``covidnet-lite convert``: ``convert`` of a checkout, which a wheel holds as ``covidnet_lite._convert``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

NAME = "convert"
EXAMPLES = (
    "covidnet-lite convert mine.keras --labels normal,pneumonia,covid --calibration images/",
    "covidnet-lite convert mine.onnx --labels cat,dog --preset imagenet-torch --calibration images/",
)


def add(commands: Any) -> None:
    """Adds the command to the list; its options stand in the converter's own parser, see :func:`main`."""
    text = "Turns a trained network into an int8 .tflite."
    commands.add_parser(
        NAME,
        help="turn a trained network into an int8 .tflite",
        description=text,
        examples=EXAMPLES,
        add_help=False,
    )


def main(argv: Sequence[str]) -> int:
    """Runs the converter with its own options; returns its exit code."""
    in_wheel = find_spec("._convert", __package__) is not None
    quantize = import_module("._convert.quantize" if in_wheel else "convert.quantize", __package__)
    return int(quantize.main(argv, f"covidnet-lite {NAME}"))
