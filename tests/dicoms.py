"""DICOM files as machines write them, for tests."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

CR = "1.2.840.10008.5.1.4.1.1.1"
LITTLE = "1.2.840.10008.1.2.1"
IDENTITY = {
    "StudyInstanceUID": "1.2.4",
    "SeriesInstanceUID": "1.2.5",
    "PatientName": "Doe^Jane",
    "PatientID": "P-17",
    "PatientBirthDate": "19500101",
    "PatientSex": "F",
    "StudyDate": "20240229",
    "StudyTime": "101112",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Who^Doctor",
}


def stored(height: int = 80, width: int = 100) -> npt.NDArray[np.uint16]:
    """A ramp of 16-bit values."""
    return (np.add.outer(np.arange(height) * 3, np.arange(width) * 5) + 100).astype(np.uint16)


def dataset(pixels: npt.NDArray[Any] | None = None, **fields: Any) -> Any:
    """A chest radiograph as a CR machine writes it, with other fields where given; ``None`` leaves one out."""
    import pydicom

    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = LITTLE
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CR
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Modality, data.BodyPartExamined, data.ViewPosition = "CR", "CHEST", "PA"
    if pixels is not None:
        data.Rows, data.Columns = pixels.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
        data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
        data.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    return data


def written(data: Any) -> bytes:
    """The bytes of its file."""
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_dicom(pixels: npt.NDArray[Any] | None = None, **fields: Any) -> bytes:
    """The bytes of :func:`dataset`."""
    return written(dataset(pixels, **fields))


def compressed(frame: bytes, syntax: str, pixels: npt.NDArray[Any], **fields: Any) -> bytes:
    """The bytes of a file that holds ``frame`` as its one compressed picture."""
    import pydicom

    data = dataset(pixels, **fields)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = pydicom.encaps.encapsulate([frame])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return written(data)


def coded(value: str, scheme: str, meaning: str) -> Any:
    """A code sequence of one item."""
    import pydicom

    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]
