"""What DICOM results take over from the file they speak of: patient, study, and a way to refer to it.

Real headers hold odd things. What a result has to refer to must be there; what
identifies the patient is kept as it is; a date, an age or a sex that breaks its
format is left empty, as the standard has it for what is not known.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from .. import __version__, radiograph
from ..codes import Code
from ..dicom_in import dicom_file
from ..dicom_in.elements import dicom_errors
from ..errors import InputError
from ..prediction import Prediction

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NAME = "covidnet-lite"
SERIES = {"sr": 9001, "sc": 9002}  # kind of result -> series number, far from those that modalities give
UTF8 = "ISO_IR 192"
UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
PEOPLE = ("PatientName", "ReferringPhysicianName")
# The standard wants these, and the names, even when they are empty.
EXPECTED = ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")
WELCOME = (
    *("IssuerOfPatientID", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
# By kind of value; a name, an identifier or a description may be anything that can be printed.
FORMATS = {
    "UI": r"(?=.{1,64}$)\d+(\.\d+)+",
    "DA": r"\d{8}",
    "TM": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "AS": r"\d{3}[DWMY]",
    "DS": r"[+-]?\d{1,8}(\.\d{1,6})?",
    "CS": r"[A-Z0-9_ ]{1,16}",
}
ONE_VALUE = ("DA", "TM", "AS")  # kinds of which the standard allows one value where they are taken over
CHOICES = {"PatientSex": ("M", "F", "O"), "LossyImageCompression": ("00", "01")}


def read(source: str | os.PathLike[str] | bytes | Dataset, name: str) -> tuple[Dataset, Dataset]:
    """What results inherit of a DICOM file's header; people's names come apart.

    They are to be put in last: highdicom warns of every name in one piece, and real ones often are.

    Raises:
        InputError: this is no DICOM file, or it does not say which instance of which study it is.
        MissingExtraError: pydicom is not installed.
    """
    from pydicom.dataset import Dataset

    if isinstance(source, Dataset):
        header = source
    else:
        with radiograph.opened(source, name) as file:
            header = dicom_file.header(file, name)
    origin, names = Dataset(), Dataset()
    origin.SpecificCharacterSet = names.SpecificCharacterSet = UTF8
    for keyword in UIDS:
        value = _text(header, keyword)
        if not value:
            raise InputError(
                f"{name}: has no valid {keyword}, so no DICOM result can refer to it; export it again",
                Code.INCOMPLETE_HEADER,
            )
        setattr(origin, keyword, value)
    for keyword in (*EXPECTED, *PEOPLE):
        setattr(origin, keyword, "" if keyword in PEOPLE else _text(header, keyword))
    for keyword in PEOPLE:
        setattr(names, keyword, _text(header, keyword))
    for keyword in WELCOME:
        if value := _text(header, keyword):
            setattr(origin, keyword, value)
    orientation = _text(header, "PatientOrientation")
    if re.fullmatch(r"[ARLPFH]{1,3}\\[ARLPFH]{1,3}", orientation):
        origin.PatientOrientation = orientation
    return origin, names


def _text(header: Dataset, keyword: str) -> str:
    """One element, several values with backslashes between them; nothing if it breaks its format."""
    from pydicom.datadict import dictionary_VR
    from pydicom.multival import MultiValue
    from pydicom.valuerep import DA

    kind = dictionary_VR(keyword)
    try:
        value = header.get(keyword)
        values = value if isinstance(value, MultiValue) else [value]
        texts = ["" if one is None else str(one).strip(" \0") for one in values]
        if kind == "DA":
            DA(texts[0])
    except dicom_errors():
        return ""
    if kind in FORMATS and not all(re.fullmatch(FORMATS[kind], text, re.ASCII) for text in texts):
        return ""
    if kind in ONE_VALUE and len(texts) > 1:
        return ""
    text = "\\".join("".join(c for c in text if c.isprintable()) for text in texts)
    if text not in CHOICES.get(keyword, (text,)):
        return ""
    return text[:64] if keyword == "StudyDescription" else text


def uid(origin: Dataset, prediction: Prediction, kind: str) -> str:
    """A UID that follows from the source, the network, the site and the kind of thing."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[str(origin.SOPInstanceUID), *_by(prediction), kind]))


def _by(prediction: Prediction) -> list[str]:
    """The hashes of the network and, where there is one, of the site: another of either gives another result."""
    return [prediction.sha256, *([prediction.site.digest] if prediction.site else [])]


def device(prediction: Prediction) -> str:
    """The UID of the observer: this version with this network, at this site."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[NAME, __version__, *_by(prediction)]))


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
        "specific_character_set": UTF8,
    }
