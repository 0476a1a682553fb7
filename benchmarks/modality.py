"""An X-ray machine: radiographs under many UIDs, and dcmtk's ``storescu``, which sends them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from benchmarks.orthanc import program
from covidnet_lite.image_in.reduction import reduce


def copies_of(source: Path, folder: Path, count: int, side: int = 300, first: int = 0) -> dict[Path, str]:
    """Copies of a radiograph, ``side`` pixels at least, each of a study of its own: path -> SOP Instance UID.

    The ``first`` has this number, and the same number is the same study.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = pydicom.dcmread(source)
    reduced = reduce(data.pixel_array, (side, side))
    data.Rows, data.Columns = reduced.shape
    data.PixelData = reduced.tobytes()
    uid_of = {}
    for i in range(first, first + count):
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(data, keyword, generate_uid(entropy_srcs=[keyword, str(i)]))
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        path = folder / f"{i:05}.dcm"
        data.save_as(path)
        uid_of[path] = str(data.SOPInstanceUID)
    return uid_of


def send(
    paths: Sequence[Path],
    port: int,
    acknowledged: Callable[[], None] = lambda: None,
    options: Sequence[str] = (),
) -> list[Path]:
    """Sends with ``storescu``; which were acknowledged with success.

    Args:
        acknowledged: called after each, at once.
        options: more of them, for ``storescu``.
    """
    command = [program("storescu") or "storescu", "-v", "-aet", "XRAY", "-aec", "COVIDNET", *options]
    command += ["127.0.0.1", str(port), *map(str, paths)]
    stored, current = [], None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            if line.startswith("I: Sending file: "):
                current = Path(line.removeprefix("I: Sending file: ").strip())
            elif line.startswith("I: Received Store Response (Success") and current:
                stored.append(current)
                acknowledged()
    return stored
