"""How far the box around the lungs moves for nothing: ``python training/lung_steadiness.py --data MANIFEST``.

Each film is enlarged until its longer side has 2048 pixels, saved as a JPEG and read as a classifier reads it. Then it
is read again decoded in full, mirrored, darker, and moved by a third of a pixel. Prints, for the finder and for the one
that taught it, the mean and the 99th percentile of how far the side of the box moves that moves most, in percent of the
film's side; and how near the finder's boxes are to those of its teacher, averaged over windows. Of a whole network it
prints on how many of the films each way of reading leaves the class as it was, and by how much the confidence moves.
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
from covidnet_lite.dataset import read_cases
from covidnet_lite.errors import CovidNetLiteError
from covidnet_lite.fit import fit
from covidnet_lite.network import lungs, model
from covidnet_lite.prediction import calibrated
from training.locate_lungs import TEACHER, Boxes, intersection_over_union, teach

ROOT = Path(__file__).resolve().parent.parent

LARGE = 2048  # pixels
AT_LEAST = (320, 320)  # of a network that takes 224 x 224 pixels
THIRD = 1 / 3  # of a pixel of the reduced film

Films = dict[str, Image.Image]


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
            unseen = [case.path for case in read_cases(manifest) if case.split != "train"]
            chosen = np.random.default_rng(7).permutation(len(unseen))[: args.count]
            paths += [unseen[i] for i in chosen]
        versions = [read_in_ways(path) for path in paths]
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, data in (("finder", finder), ("teacher", teacher)):
        for way, moved in movement(versions, data).items():
            print(f"{name}, {way}: mean {moved.mean():.2f} %, 99th percentile {np.percentile(moved, 99):.2f} %")
    for way, (same, change) in answers(versions, network).items():
        print(f"{args.model}, {way}: same class {same:.1%}, confidence changes by {change:.4f} on average")
    films = [films["as read"] for films in versions]
    overlap = intersection_over_union(find(films, finder), np.stack([teach(film, teacher) for film in films]))
    print(f"finder and averaged teacher: intersection over union mean {overlap.mean():.3f}, least {overlap.min():.3f}")
    return 0


def read_in_ways(path: Path) -> Films:
    """A film as a classifier reads it, and what should give the same box."""
    film = radiograph.read(path).image
    factor = LARGE / max(film.size)
    buffer = io.BytesIO()
    film.resize([round(factor * side) for side in film.size], Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    read = radiograph.read(buffer.getvalue(), AT_LEAST).image
    return {
        "as read": read,
        "decoded in full": radiograph.read(buffer.getvalue(), AT_LEAST, exact=True).image,
        "mirrored": ImageOps.mirror(read),
        "darker": read.point([round(0.9 * 255 * (level / 255) ** 0.9 + 6) for level in range(256)]),
        "a third of a pixel on": read.transform(
            read.size, Image.Transform.AFFINE, (1, 0, THIRD, 0, 1, THIRD), Image.Resampling.BICUBIC
        ),
    }


def find(films: Sequence[Image.Image], finder: bytes) -> Boxes:
    """The boxes of the films, ``(n, 4)``, without a margin."""
    return np.array([lungs.find(film, finder, margin=0.0) for film in films], np.float32)


def movement(versions: Sequence[Films], finder: bytes) -> dict[str, npt.NDArray[np.float64]]:
    """Of each way of reading the films, how far the box moves beyond where it should, in percent, ``(n,)``."""
    boxes = {way: find([films[way] for films in versions], finder) for way in versions[0]}
    start = boxes.pop("as read")
    sizes = np.array([films["as read"].size * 2 for films in versions])
    boxes["mirrored"] = boxes["mirrored"][:, [2, 1, 0, 3]]
    boxes["mirrored"][:, [0, 2]] = 1 - boxes["mirrored"][:, [0, 2]]
    boxes["a third of a pixel on"] = np.asarray(boxes["a third of a pixel on"] + THIRD / sizes, start.dtype)
    return {way: 100 * np.abs(found - start).max(axis=1) for way, found in boxes.items()}


def answers(versions: Sequence[Films], network: model.Model) -> dict[str, tuple[float, float]]:
    """Of each way of reading the films, the share with the same class, and how far the confidence moves on average."""
    spec, shares = network.manifest.input, {}
    for way in versions[0]:
        pictures = np.stack([fit(films[way], spec) for films in versions])
        shares[way] = calibrated(outputs(network, pictures)["logits"], network.manifest)
    start = shares.pop("as read")
    top = start.argmax(axis=1)
    rows = np.arange(len(top))
    return {
        way: (float((found.argmax(axis=1) == top).mean()), float(np.abs(found - start)[rows, top].mean()))
        for way, found in shares.items()
    }


if __name__ == "__main__":
    sys.exit(main())
