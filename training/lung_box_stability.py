"""How far the box around the lungs moves for nothing: ``python training/lung_box_stability.py --data MANIFEST``.

Each radiograph is enlarged until its longer side has 2048 pixels, saved as a JPEG and read as a classifier reads it.
Then it is read again decoded in full, mirrored, darker, and moved by a third of a pixel. Prints, for the finder and for
the one that taught it, the mean and the 99th percentile of how far the side of the box moves that moves most, in
percent of the radiograph's side; and how near the finder's boxes are to those of its teacher, averaged over windows. Of
a whole network it prints on how many of the radiographs each way of reading leaves the class as it was, and by how much
the confidence moves.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from convert.judge.network_outputs import outputs
from covidnet_lite import radiograph
from covidnet_lite.dataset import read_dataset
from covidnet_lite.errors import CovidNetLiteError
from covidnet_lite.fit import fit
from covidnet_lite.network import lungs, model
from covidnet_lite.prediction import calibrated
from training.locate_lungs import TEACHER, Boxes, intersection_over_union, teacher_box

ROOT = Path(__file__).resolve().parent.parent

LARGE = 2048  # pixels
AT_LEAST = (320, 320)  # of a network that takes 224 x 224 pixels
THIRD = 1 / 3  # of a pixel of the reduced radiograph

Versions = dict[str, Image.Image]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How far the box around the lungs moves for nothing.")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="manifest.csv files")
    parser.add_argument("--count", type=int, default=50, help="films of each manifest, none of its train split")
    parser.add_argument("--finder", type=Path, default=ROOT / "training/checkpoints/lungs.tflite")
    parser.add_argument("--teacher", type=Path, default=TEACHER)
    parser.add_argument("--model", default="base", help="the network to ask (default: base)")
    args = parser.parse_args(argv)
    try:
        network = model.load(args.model)
        finder, teacher = model.load(args.finder).data, model.load(args.teacher).data
        paths: list[Path] = []
        for manifest in args.data:
            unseen = [case.path for case in read_dataset(manifest) if case.split != "train"]
            selection = np.random.default_rng(7).permutation(len(unseen))[: args.count]
            paths += [unseen[i] for i in selection]
        versions = [versions_of(path) for path in paths]
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, data in (("finder", finder), ("teacher", teacher)):
        for change, distances in movement(versions, data).items():
            mean, most = distances.mean(), np.percentile(distances, 99)
            print(f"{name}, {change}: mean {mean:.2f} %, 99th percentile {most:.2f} %")
    for change, (same_class, drift) in answers(versions, network).items():
        print(f"{args.model}, {change}: same class {same_class:.1%}, confidence changes by {drift:.4f} on average")
    originals = [version["as read"] for version in versions]
    taught = np.stack([teacher_box(original, teacher) for original in originals])
    overlap = intersection_over_union(find(originals, finder), taught)
    print(f"finder and averaged teacher: intersection over union mean {overlap.mean():.3f}, least {overlap.min():.3f}")
    return 0


def versions_of(path: Path) -> Versions:
    """A radiograph as a classifier reads it, and what should give the same box."""
    original = radiograph.read(path).image
    factor = LARGE / max(original.size)
    buffer = io.BytesIO()
    original.resize([round(factor * side) for side in original.size], Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=92
    )
    reduced = radiograph.read(buffer.getvalue(), AT_LEAST).image
    return {
        "as read": reduced,
        "decoded in full": radiograph.read(buffer.getvalue(), AT_LEAST, exact=True).image,
        "mirrored": ImageOps.mirror(reduced),
        "darker": reduced.point([round(0.9 * 255 * (level / 255) ** 0.9 + 6) for level in range(256)]),
        "a third of a pixel on": reduced.transform(
            reduced.size, Image.Transform.AFFINE, (1, 0, THIRD, 0, 1, THIRD), Image.Resampling.BICUBIC
        ),
    }


def find(images: Sequence[Image.Image], finder: bytes) -> Boxes:
    """The boxes of the radiographs, ``(n, 4)``, without a margin."""
    return np.array([lungs.find(image, finder, margin=0.0) for image in images], np.float32)


def movement(versions: Sequence[Versions], finder: bytes) -> dict[str, npt.NDArray[np.float64]]:
    """Of each way of reading the radiographs, how far the box moves beyond where it should, in percent, ``(n,)``."""
    boxes = {change: find([version[change] for version in versions], finder) for change in versions[0]}
    start = boxes.pop("as read")
    sizes = np.array([version["as read"].size * 2 for version in versions])
    boxes["mirrored"] = boxes["mirrored"][:, [2, 1, 0, 3]]
    boxes["mirrored"][:, [0, 2]] = 1 - boxes["mirrored"][:, [0, 2]]
    boxes["a third of a pixel on"] = np.asarray(boxes["a third of a pixel on"] + THIRD / sizes, start.dtype)
    return {change: 100 * np.abs(moved - start).max(axis=1) for change, moved in boxes.items()}


def answers(versions: Sequence[Versions], network: model.Model) -> dict[str, tuple[float, float]]:
    """Of each way of reading the radiographs, the share with the same class, and how far the confidence moves on
    average."""
    spec, shares = network.manifest.input, {}
    for change in versions[0]:
        images = np.stack([fit(version[change], spec) for version in versions])
        shares[change] = calibrated(outputs(network, images)["logits"], network.manifest)
    start = shares.pop("as read")
    top = start.argmax(axis=1)
    rows = np.arange(len(top))
    return {
        change: (float((changed.argmax(axis=1) == top).mean()), float(np.abs(changed - start)[rows, top].mean()))
        for change, changed in shares.items()
    }


if __name__ == "__main__":
    sys.exit(main())
