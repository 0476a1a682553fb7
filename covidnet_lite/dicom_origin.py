"""What DICOM results take over from the file they speak of: patient, study, and a way to refer to it.

Real headers hold odd things. What a result has to refer to must be there; what
identifies the patient is kept as it is; a date, an age or a sex that breaks its
format is left empty, as the standard has it for what is not known.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from . import __version__, dicom, radiograph
from .errors import InputError
from .prediction import Prediction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NAME = "covidnet-lite"
SERIES = {"sr": 9001, "sc": 9002}  # kind of result -> series number, far from those that modalities give
UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# The standard wants these even when they are empty.
EXPECTED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
NAMES = ("PatientName", "ReferringPhysicianName")
WELCOME = ("IssuerOfPatientID", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight")
FORMATS = {
    "DA": r"\d{8}",
    "TM": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "AS": r"\d{3}[DWMY]",
    "DS": r"[+-]?\d{1,8}(\.\d{1,6})?",
    "CS": r"[MFO]",  # the sex
    "UI": r"\d[\d.]{0,62}\d",
}
LONGEST = {"SH": 16, "LO": 64, "PN": 192}  # characters


def read(source: str | os.PathLike[str] | bytes, name: str) -> tuple[Dataset, Dataset]:
    """The part of a DICOM file's header that results inherit, nothing in it against the standard; and people's names.

    The names come apart, to be put in last: highdicom warns of every name in one piece, and real ones often are.

    Raises:
        InputError: this is no DICOM file, or it does not say which instance of which study it is.
        MissingExtraError: pydicom is not installed.
    """
    from pydicom.dataset import Dataset

    with radiograph.opened(source, name) as file:
        header = dicom.header(file, name)
    origin = Dataset()
    origin.SpecificCharacterSet = "ISO_IR 192"
    for keyword in UIDS:
        value = _text(header, keyword)
        if not value:
            raise InputError(
                f"{name}: has no valid {keyword}, so no DICOM result can refer to it; export it again, "
                "or go without --dicom-out"
            )
        setattr(origin, keyword, value)
    names = Dataset()
    for keyword in EXPECTED:
        setattr(origin, keyword, "" if keyword in NAMES else _text(header, keyword))
    for keyword in NAMES:
        setattr(names, keyword, _text(header, keyword))
    for keyword in WELCOME:
        if value := _text(header, keyword):
            setattr(origin, keyword, value)
    # Secondary captures tell what has been lost, and how the patient lay.
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if header.get(keyword):
            origin[keyword] = header[keyword]
    orientation = [str(axis) for axis in header.get("PatientOrientation") or []]
    if len(orientation) == 2 and all(re.fullmatch("[ARLPFH]{1,3}", axis) for axis in orientation):
        origin.PatientOrientation = orientation
    return origin, names


def _text(header: Dataset, keyword: str) -> str:
    """One element as text that its kind of value allows, or nothing."""
    from pydicom.datadict import dictionary_VR
    from pydicom.multival import MultiValue

    try:
        value = header.get(keyword)
    except (ValueError, TypeError, NotImplementedError):  # pydicom, on what it cannot convert
        return ""
    if value is None or isinstance(value, MultiValue):
        return ""
    kind, text = dictionary_VR(keyword), str(value).strip(" \0")
    if kind in FORMATS:
        return text if re.fullmatch(FORMATS[kind], text, re.ASCII) else ""
    text = "".join(c for c in text if c.isprintable() and c != "\\")
    return text[: LONGEST.get(kind, 64)]


def uid(origin: Dataset, prediction: Prediction, kind: str) -> str:
    """A UID that follows from the source, the network and the kind of thing."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[str(origin.SOPInstanceUID), prediction.sha256, kind]))


def identity(origin: Dataset, prediction: Prediction, kind: str) -> dict[str, Any]:
    """What highdicom is told of every result of a kind: series, instance, equipment."""
    return {
        "series_instance_uid": uid(origin, prediction, f"{kind} series"),
        "series_number": SERIES[kind],
        "sop_instance_uid": uid(origin, prediction, kind),
        "instance_number": 1,
        "manufacturer": NAME,
        "manufacturer_model_name": prediction.model[:64],
        "software_versions": __version__,
        "content_qualification": "RESEARCH",
        "specific_character_set": "ISO_IR 192",
    }
