"""What is measured on: made-up images as large and as busy as a radiograph, and the radiograph of pydicom-data."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from covidnet_lite.machine.benchmark import synthetic_radiograph


def real_radiograph() -> Path | None:
    """The 1955 x 1841 DICOM file of pydicom-data, or ``None`` where that is not installed."""
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "data/RG1_UNCR.dcm"


def all_kinds(folder: Path) -> dict[str, Path]:
    """Name -> file of each kind that people have; the images are written into ``folder``."""
    files_of = {
        "1024 JPEG": synthetic_radiograph(folder / "1024.jpg", 1024, 1024),
        "2048 JPEG": synthetic_radiograph(folder / "2048.jpg"),
        "2048 PNG": synthetic_radiograph(folder / "2048.png"),
        "3000 x 2500 JPEG": synthetic_radiograph(folder / "3000.jpg", 3000, 2500),
    }
    dicom = real_radiograph()
    return {**files_of, "1955 x 1841 DICOM": dicom} if dicom else files_of
