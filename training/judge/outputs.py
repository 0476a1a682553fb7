"""What a network makes of many radiographs, kept on disk, for each network and each set of radiographs is asked
once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covidnet_lite import files
from covidnet_lite.dataset import LabelledImage
from training.data.prepared import Prepare, as_on_device, prepare_all
from training.judge.network import Network

Arrays = dict[str, npt.NDArray[Any]]

BATCH = 256  # radiographs in memory


def outputs(network: Network, cases: Sequence[LabelledImage], folder: Path, prepare: Prepare = as_on_device) -> Arrays:
    """The network's outputs, float32, and ``views`` ``(n, 4)`` (see :func:`training.data.prepared.prepare_all`).

    Args:
        folder: where they are kept, or found again if network, radiographs and ``prepare`` are the same.

    Raises:
        DatasetError: a radiograph cannot be read.
        OutputError: the folder cannot be written to.
    """

    def run() -> Arrays:
        parts: list[Arrays] = []
        for start in range(0, len(cases), BATCH):
            images, views = prepare_all(cases[start : start + BATCH], network.spec, prepare)
            parts.append({**network.run(images), "views": views})
        return {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in parts[0]}

    return cached(folder / f"{network.sha256[:16]}.{digest(cases)}.{prepare.__name__}.npz", run)


def cached(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """Arrays from a file, or made and written to it.

    Raises:
        OutputError: the file cannot be written.
    """
    if path.is_file():
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    arrays = make()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # no output is called allow_pickle
    files.write(path, buffer.getvalue())
    return arrays


def digest(cases: Sequence[LabelledImage]) -> str:
    """Of which radiographs these are, and in which state: the manifest's SHA-256, else size and time of the file."""
    lines = []
    for case in cases:
        state = case.fields.get("sha256")
        if not state and case.path.is_file():
            stat = case.path.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns}"
        lines.append(f"{case.path} {state}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
