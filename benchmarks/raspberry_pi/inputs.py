"""Fixed inputs: drawn chests, from a seed, as the files a person would have, and a real radiograph."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import inputs as benchmark_inputs
from covidnet_lite import files, radiograph

from .systems import EmulationError

Plane = npt.NDArray[np.float64]

# name -> width, height, seed, opacity of the right lower lung, gray level of the frame
CHESTS = {
    "clear.png": (1100, 1024, 0, 0.0, 0),
    "clouded.jpg": (1024, 1024, 1, 0.8, 0),
    "large.jpg": (2048, 2048, 2, 0.3, 0),
    "small.png": (320, 280, 3, 0.5, 30),
}
COUNTED_FILE = "large.jpg"  # what instructions are counted on: the size of a radiograph from an archive


def chest(width: int, height: int, seed: int, opacity: float, frame: int) -> Image.Image:
    """Lungs, ribs, spine, heart and diaphragm in a body, 8-bit gray: like a radiograph to a decoder, not to a
    physician."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    body = _soft(1 - (x / 0.95) ** 8 - (y / 1.2) ** 8, 4)
    lungs = sum(_soft(1 - ((x - c) / 0.34) ** 2 - ((y + 0.05) / 0.68) ** 2, 9) for c in (-0.43, 0.43))
    lungs = lungs * _soft(0.55 - y - 0.1 * np.cos(4 * x), 14)  # above the diaphragm
    heart = _soft(1 - ((x - 0.12) / 0.3) ** 2 - ((y - 0.28) / 0.34) ** 2, 7)
    spine = np.exp(-((x / 0.09) ** 2)) * (0.8 + 0.2 * np.cos(40 * y))
    ribs = np.clip(np.sin(22 * (y + 0.5 * x**2 - 0.3 * np.abs(x))), 0, 1) ** 2
    cloud = opacity * np.exp(-(((x + 0.45) / 0.22) ** 2) - ((y - 0.25) / 0.25) ** 2)
    gray = 175 - 115 * lungs * (1 - 0.75 * heart) * (1 - cloud) + 22 * ribs * lungs + 40 * spine
    gray = body * (gray + _grain(rng, height, width)) + (1 - body) * frame
    return Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8))


def write_chests(folder: Path) -> list[Path]:
    """Writes the drawn chests; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, parameters in CHESTS.items():
        chest(*parameters).save(folder / name, quality=90)
    return [folder / name for name in CHESTS]


def write_real_radiograph(folder: Path) -> Path:
    """Writes the chest radiograph of pydicom-data as a PNG, which needs no pydicom. The guard refuses every drawn
    chest, so this is what is classified to the end.

    Raises:
        EmulationError: pydicom-data is not installed.
    """
    stored = benchmark_inputs.real_radiograph()
    if stored is None:
        raise EmulationError("the film that is classified is in the package pydicom-data: run this by `make pi`")
    return files.write_png(folder / "film.png", radiograph.read(stored).image)


def labelled_radiographs(data: Path, each: int = 1) -> list[Path]:
    """The first few radiographs of each label in the test split; none where the folder is not there."""
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        return []
    paths_of: dict[str, list[Path]] = {}
    with open(manifest, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "test":
                paths_of.setdefault(row["label"], []).append(data / row["file"])
    return [path for label in sorted(paths_of) for path in sorted(paths_of[label])[:each]]


def _soft(inside: Plane, steepness: float) -> Plane:
    return np.asarray(1 / (1 + np.exp(-steepness * np.clip(inside, -60, 60))))


def _grain(rng: np.random.Generator, height: int, width: int) -> Plane:
    """Quantum noise over vessels: fine and coarse."""
    coarse = Image.fromarray(rng.normal(0, 9, (height // 24, width // 24)).astype(np.float32))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray(rng.normal(0, 3, (height, width)) + smooth)
