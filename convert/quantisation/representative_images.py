"""Representative images: chosen evenly over labels and sources, and never one that the network is judged on."""

from __future__ import annotations

import hashlib
import tokenize
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from convert.progress import track
from covidnet_lite import radiograph
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.fit import fit
from covidnet_lite.network.input_spec import InputSpec

Images = npt.NDArray[np.uint8]  # (n, height, width), or (n, height, width, 3) in colour; fitted
Change = Callable[[Image.Image], Image.Image]
T = TypeVar("T")
R = TypeVar("R")
MAX_LISTED = 20  # unreadable files named in an error

# What NumPy raises on archives it cannot load.
_UNLOADABLE = (
    EOFError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def choose(cases: Sequence[LabelledImage], count: int, seed: int = 0) -> list[LabelledImage]:
    """A representative choice: labels and sources in turn, from the training split where there is one."""
    pool = [c for c in cases if c.split == "train"] or [c for c in cases if not c.split]
    if not pool:
        raise DatasetError(
            "no case is in the train split or without a split, and those to be judged must not calibrate"
        )
    rng = np.random.default_rng(seed)
    cells: dict[tuple[str, str], list[LabelledImage]] = defaultdict(list)
    for index in rng.permutation(len(pool)):
        cells[pool[index].label, pool[index].source].append(pool[index])
    selection: list[LabelledImage] = []
    while len(selection) < min(count, len(pool)):
        for _, members in sorted(cells.items()):
            if members and len(selection) < count:
                selection.append(members.pop())
    return selection


def pixels(cases: Sequence[LabelledImage], spec: InputSpec, change: Change | None = None) -> Images:
    """Reads images, changes them where asked to, and fits them exactly as the device does.

    Returns ``(n, height, width)`` uint8, in colour ``(n, height, width, 3)``.

    Raises:
        DatasetError: at least one cannot be read; all such are named.
    """
    return _fitted([(str(c.path), c.path) for c in cases], spec, change)


def read_npz(path: Path, count: int, spec: InputSpec) -> Images:
    """The images of a NumPy archive, fitted as the device does; ``count`` evenly spread ones where there are more.

    The archive holds one array, or one called ``images``: ``(n, height, width)`` or ``(n, height, width, 1 or 3)``,
    of any size, uint8 or what :func:`covidnet_lite.radiograph.read` takes.

    Raises:
        DatasetError: it is no such archive.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file; check the path")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip archive")
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            name = "images" if "images" in names else names[0] if len(names) == 1 else ""
            if not name:
                contents = ", ".join(names) or "nothing"
                raise DatasetError(f"{path}: holds {contents} and no array called images; write it with numpy.savez")
            images = np.asarray(archive[name])
    except _UNLOADABLE as error:
        raise DatasetError(f"{path}: is no NumPy archive of images ({error}); write it with numpy.savez") from error
    if images.ndim not in (3, 4) or not len(images):
        raise DatasetError(f"{path}: {name} has shape {images.shape}; it must be (n, height, width) and maybe channels")
    positions = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return _fitted([(f"{path}, image {i}", np.squeeze(images[i])) for i in positions], spec)


def _fitted(sources: Sequence[tuple[str, Any]], spec: InputSpec, change: Change | None = None) -> Images:
    def one(named: tuple[str, Any]) -> Images:
        name, source = named
        image = radiograph.read(source, spec.at_least, name, colour=spec.in_colour).image
        return fit(change(image) if change else image, spec)

    return np.stack(gather(sources, one))


def gather(items: Sequence[T], make: Callable[[T], R]) -> list[R]:
    """What ``make`` makes of each, in order, on several threads.

    Raises:
        DatasetError: it raised a :class:`CovidNetLiteError` for at least one; the first such are named.
    """

    def one(item: T) -> tuple[R] | str:
        try:
            return (make(item),)
        except CovidNetLiteError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        results = list(track(pool.map(one, items), len(items), "reading images"))
    if errors := [m for m in results if isinstance(m, str)]:
        raise DatasetError("these images cannot be read:\n  " + "\n  ".join(errors[:MAX_LISTED]))
    return [m[0] for m in results if not isinstance(m, str)]


def refuse_overlap(calibration_images: Images, judged_images: Images, names: Sequence[str]) -> None:
    """Compares images as the network sees them, so that a copy under another name or in another format is found.

    Args:
        calibration_images, judged_images: fitted images.
        names: of those that are judged on.

    Raises:
        DatasetError: some are in both.
    """
    digests = {_digest(p) for p in calibration_images}
    shared = [name for name, image in zip(names, judged_images) if _digest(image) in digests]
    if shared:
        raise DatasetError(
            f"{len(shared)} of {len(names)} images to judge on were also given to calibrate "
            f"({', '.join(shared[:3])}{', ...' if len(shared) > 3 else ''}): the figures would flatter; "
            "take them out of --calibration, or mark the splits in a manifest"
        )


def _digest(image: Images) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()


def digest(images: Images) -> str:
    """One SHA-256 for a whole set, whatever its order."""
    return hashlib.sha256(b"".join(sorted(_digest(p) for p in images))).hexdigest()
