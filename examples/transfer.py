"""Transfer learning for vgg16.py and mobilenet.py: everything except the network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import keras
import numpy as np

import covidnet_lite
from convert import quantize
from covidnet_lite.dataset import LabelledImage, read_dataset, write_manifest
from covidnet_lite.network.input_spec import InputSpec
from training import dataset

Network = TypeVar("Network")


def arguments(story: str) -> argparse.Namespace:
    """DATA, OUT, how long to learn; and, as ``quantise``, options for the converter."""
    parser = argparse.ArgumentParser(
        description=story.splitlines()[0], epilog="Any other --option=value goes to convert/quantize.py."
    )
    parser.add_argument("data", type=Path, help="a folder (LABEL/image or SPLIT/LABEL/image) or a manifest.csv")
    parser.add_argument("out", type=Path, nargs="?", help="folder for the results (default: runs/NAME)")
    parser.add_argument("--side", type=int, default=224, help="height and width of the input (default: 224)")
    parser.add_argument("--epochs", type=int, default=20, help="default: 20")
    parser.add_argument("--weights", choices=("imagenet", "none"), default="imagenet", help="default: imagenet")
    args, args.quantise = parser.parse_known_args()
    args.out = args.out or Path("runs", Path(parser.prog).stem)
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(2020)
    return args


def radiographs(data: Path, out: Path) -> tuple[list[LabelledImage], tuple[str, ...], Path]:
    """The cases, each in a split, no patient in two; their labels; and the manifest that keeps who is where."""
    cases = read_dataset(data)
    labels = tuple(sorted({case.label for case in cases if case.label}))
    dataset.check(cases, labels)
    cases = dataset.split_by_patient(cases, seed=2020)
    for split in dataset.SPLITS:
        missing = set(labels) - {case.label for case in cases if case.split == split}
        if missing:
            sys.exit(f"{data}: no {', '.join(sorted(missing))} in the {split} split; a few more images are needed")
    return cases, labels, write_manifest(out / "manifest.csv", cases)


def examples(cases: Sequence[LabelledImage], split: str, labels: Sequence[str], spec: InputSpec) -> tuple[Any, Any]:
    """Inputs and targets of one split, read as they will be on the device."""
    selection = [case for case in cases if case.split == split]
    inputs = dataset.network_inputs(dataset.decode(selection, max(spec.height, spec.width)), spec)
    return inputs, np.array([labels.index(case.label) for case in selection])


def pretrained(build: Callable[[str], Network], weights: str) -> Network:
    """``build("imagenet")`` or, without a connection, ``build("none")`` and a warning."""
    try:
        return build(weights)
    except Exception as error:  # Keras raises nothing narrower when a download fails
        if "URL fetch failure" not in str(error):
            raise
        print(
            f"warning: {error}\n"
            "warning: going on from random weights instead of ImageNet's: the result shows the way and is good for "
            "nothing else",
            file=sys.stderr,
        )
        return build("none")


def quantise_and_try(network: Path, manifest: Path, cases: Sequence[LabelledImage], *options: str) -> None:
    """-> int8, with a report on the test split, and the answer for one radiograph of it."""
    if quantize.main([str(network), "--calibration", str(manifest), "--force", *options]) != 0:
        sys.exit(1)
    sample = next(sample for sample in cases if sample.split == "test")
    print(f"{sample.label}: {covidnet_lite.classify(sample.path, model=network.with_suffix('.tflite'))}")
