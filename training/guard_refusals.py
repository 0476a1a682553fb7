"""What the guard refuses: ``python training/guard_refusals.py MODEL --data MANIFEST [--pictures FOLDER ...]``.

Shows a network what is no frontal chest radiograph, or one shown wrongly, and radiographs of the test split, through
:class:`covidnet_lite.Classifier` as a user would, and counts what it refuses. The other images are the sample files of
pydicom-data (CT, MR, ultrasound, a hand; their headers ignored, so that the image alone decides), the sample images
of scikit-learn and scikit-image where these are installed, folders of one's own, and blank, noisy and drawn images.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from convert.judge.shown_wrongly import WRONG
from covidnet_lite import Classifier, radiograph
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from training.judge.figure import share, to_text

PATTERNS = ("*.jpg", "*.jpeg", "*.png", "*.bmp", "*.tif", "*.tiff")
RADIOGRAPH = "RG1"  # the one real chest radiograph of pydicom-data

Kind = tuple[str, Iterator[Image.Image]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Count what the guard refuses.")
    parser.add_argument("model", help="a .tflite, or the name of a shipped network")
    parser.add_argument("--data", type=Path, required=True, help="a manifest.csv, or a folder: radiographs")
    parser.add_argument("--split", default="test", help="the split of the radiographs (default: test)")
    parser.add_argument("--pictures", type=Path, nargs="+", default=[], help="folders of pictures that are none")
    args = parser.parse_args(argv)
    try:
        classifier = Classifier(args.model)
        cases = [c for c in read_dataset(args.data) if c.split in (args.split, "") and c.label in classifier.labels]
        if not cases:
            raise DatasetError(f"{args.data}: has no radiograph in the {args.split} split; check --data and --split")
        print(f"## {classifier.model.name}: refused\n\n| | refused (95 %) |\n|---|---|")
        for name, images in kinds(args.pictures, cases):
            refused = [classifier.classify(image).status == "refused" for image in images]
            if refused:
                print(f"| {name} | {to_text(share(sum(refused), len(refused)))} |", flush=True)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def kinds(folders: Sequence[Path], cases: Sequence[LabelledImage]) -> Iterator[Kind]:
    """What is shown, by kind: other images first, then radiographs shown wrongly, then radiographs."""
    yield "CT, MR, ultrasound and others of pydicom-data", of_pydicom_data()
    yield "sample pictures of scikit-learn and scikit-image", _samples()
    for folder in folders:
        yield f"pictures in {folder.name}", _of_folder(folder)
    yield "blank, noisy and drawn", synthetic_images()
    for name, change in WRONG.items():
        yield f"radiographs {name}", (change(_read(case)) for case in cases)
    for source in sorted({case.source for case in cases}):
        yield f"radiographs as they are: {source or 'no source'}", (_read(c) for c in cases if c.source == source)
    yield "radiographs as they are", (_read(case) for case in cases)


def synthetic_images(count: int = 6) -> Iterator[Image.Image]:
    """Nothing, noise of several grains, ramps, rings and boards."""
    side = 256
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield Image.new("L", (side, side), int(rng.integers(256)))
        noise = _gray(rng.uniform(0, 255, (side, side)))
        yield noise
        yield _gray(np.asarray(noise.filter(ImageFilter.GaussianBlur(float(2 << seed))), float))
        yield _gray(x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1))
        yield _gray(np.sin(np.hypot(x - rng.uniform(-1, 1), y - rng.uniform(-1, 1)) * rng.uniform(5, 60)))
        size = int(rng.integers(4, 40))
        yield _gray((np.indices((side, side)).sum(axis=0) // size % 2).astype(float))


def of_pydicom_data() -> Iterator[Image.Image]:
    """Of the sample files of pydicom-data, but for the chest radiograph."""
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations or not find_spec("pydicom"):
        return
    import pydicom

    for path in sorted(Path(next(iter(spec.submodule_search_locations))).rglob("*.dcm")):
        if path.name.startswith(RADIOGRAPH):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some are broken on purpose
                pixels = pydicom.dcmread(path, force=True).pixel_array
        except Exception:  # whatever a broken file makes a decoder raise
            continue
        while pixels.ndim > 2 and not (pixels.ndim == 3 and pixels.shape[-1] == 3):
            pixels = pixels[len(pixels) // 2]  # a frame in the middle
        pixels = pixels.mean(axis=-1) if pixels.ndim == 3 else pixels
        if min(pixels.shape) >= radiograph.MIN_SIDE:
            yield _gray(pixels)


def _samples() -> Iterator[Image.Image]:
    for package, folder in (("sklearn", "datasets/images"), ("skimage", "data")):
        spec = find_spec(package)
        if spec and spec.submodule_search_locations:
            yield from _of_folder(Path(next(iter(spec.submodule_search_locations))) / folder)


def _of_folder(folder: Path) -> Iterator[Image.Image]:
    for path in sorted(path for pattern in PATTERNS for path in folder.glob(pattern)):
        try:
            with Image.open(path) as image:
                gray = image.convert("L")
        except OSError as error:
            print(f"{path}: left out, cannot be read ({error})", file=sys.stderr)
            continue
        if min(gray.size) >= radiograph.MIN_SIDE:
            yield gray


def _read(case: LabelledImage) -> Image.Image:
    return radiograph.read(case.path).image


def _gray(values: npt.NDArray[Any]) -> Image.Image:
    low, high = float(values.min()), float(values.max())
    return Image.fromarray(((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8))


if __name__ == "__main__":
    sys.exit(main())
