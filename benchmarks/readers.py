"""What it costs to have a radiograph read in a process of its own: ``python benchmarks/readers.py [--rounds 200]``.

The same radiographs by :func:`covidnet_lite.radiograph.read` in this process and by a reader of a service, in turn, as
bytes and as paths; reduced as the network `base` wants them. Each line has the two medians, then the difference and the
ratio of the same rounds with their 95 % intervals. Needs an idle machine; DICOM needs the extra ``dicom``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import difference, machine, milliseconds, ratio
from covidnet_lite import radiograph
from covidnet_lite.machine.benchmark import synthetic_radiograph
from covidnet_lite.network import model
from covidnet_lite.radiograph import Source
from covidnet_lite.readers.pool import Readers

SIDES = (512, 1024, 2048, 3000)  # pixels
WARM_UP = 5  # rounds that do not count
MAX_REPLY = 3.0  # milliseconds that a reader may cost


def radiographs(folder: Path) -> dict[str, Path]:
    """Name -> a made-up radiograph's file."""
    files = {f"JPEG {side}": synthetic_radiograph(folder / f"{side}.jpg", side) for side in SIDES}
    try:
        return files | {"DICOM 2048": dicom(folder / "2048.dcm", 2048)}
    except ImportError:
        return files


def dicom(path: Path, side: int) -> Path:
    """An uncompressed radiograph of 12 bits."""
    import pydicom

    rng = np.random.default_rng(0)
    pixels = (np.add.outer(np.arange(side), np.arange(side)) + rng.integers(0, 99, (side, side))).astype(np.uint16)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.UID("1.2.3")
    data.Modality, data.BodyPartExamined, data.ViewPosition = "CR", "CHEST", "PA"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = side, side, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 13, 12, 0
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def in_pairs(
    readers: Readers, source: Source, at_least: tuple[int, int], rounds: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of each round: in a reader, and here; who comes first changes."""
    there: list[float] = []
    here: list[float] = []
    for number in range(WARM_UP + rounds):
        runs = [(there, readers.read), (here, radiograph.read)]
        for times, read in runs if number % 2 else reversed(runs):
            times.append(milliseconds(partial(read, source, at_least)))
    return there[WARM_UP:], here[WARM_UP:]


def main() -> int:
    """Measures; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="of each file (default: 200)")
    args = parser.parse_args()
    told, at_least, dear = machine(), model.load().manifest.input.at_least, 0
    print(f"{told['cores']} cores of {told['processor']}, load {told['load']:.2f} before, Python {told['python']}")
    with tempfile.TemporaryDirectory() as folder, Readers(1) as readers:
        for name, path in radiographs(Path(folder)).items():
            for kind, source in (("bytes", path.read_bytes()), ("path", path)):
                there, here = in_pairs(readers, source, at_least, args.rounds)
                more, times = difference(there, here), ratio(there, here)
                dear += more.value > MAX_REPLY
                print(
                    f"{name:10} as {kind:5}  reader {np.median(there):6.2f} ms, here {np.median(here):6.2f} ms: "
                    f"{more.value:+5.2f} ms [{more.low:+.2f}, {more.high:+.2f}], "
                    f"{times.value:.3f} x [{times.low:.3f}, {times.high:.3f}]"
                )
    print(f"{dear} of these cost more than {MAX_REPLY:.0f} ms")
    return 1 if dear else 0


if __name__ == "__main__":
    sys.exit(main())
