"""The elements that DICOM results take over from their source: patient, study, and the reference to the instance.

Real headers hold odd values. The UIDs that a result refers to must be valid; what identifies the patient is kept as it
is; a date, an age or a sex in a wrong format is left empty, which the standard uses for unknown values.
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
SERIES = {"sr": 9001, "sc": 9002}  # kind of result -> series number, unlike those of modalities
UTF8 = "ISO_IR 192"
UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
PEOPLE = ("PatientName", "ReferringPhysicianName")
# The standard requires these, and the names, even when they are empty.
EXPECTED = ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")
OPTIONAL = (
    *("IssuerOfPatientID", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
# By value representation (VR); a name, an identifier or a description may be anything that can be printed.
FORMATS = {
    "UI": r"(?=.{1,64}$)\d+(\.\d+)+",
    "DA": r"\d{8}",
    "TM": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "AS": r"\d{3}[DWMY]",
    "DS": r"[+-]?\d{1,8}(\.\d{1,6})?",
    "CS": r"[A-Z0-9_ ]{1,16}",
}
SINGLE_VALUED = ("DA", "TM", "AS")  # VRs with only one value in the elements that are taken over
CHOICES = {"PatientSex": ("M", "F", "O"), "LossyImageCompression": ("00", "01")}


def read(source: str | os.PathLike[str] | bytes | Dataset, name: str) -> tuple[Dataset, Dataset]:
    """The elements that results inherit from a DICOM file's header, and people's names separately.

    Names are added last: highdicom warns about names without components, and real ones often have none.

    Raises:
        InputError: this is no DICOM file, or a UID is missing.
        MissingExtraError: pydicom is not installed.
    """
    from pydicom.dataset import Dataset

    if isinstance(source, Dataset):
        header = source
    else:
        with radiograph.open_binary(source, name) as file:
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
    for keyword in OPTIONAL:
        if value := _text(header, keyword):
            setattr(origin, keyword, value)
    orientation = _text(header, "PatientOrientation")
    if re.fullmatch(r"[ARLPFH]{1,3}\\[ARLPFH]{1,3}", orientation):
        origin.PatientOrientation = orientation
    return origin, names


def _text(header: Dataset, keyword: str) -> str:
    """An element as text, several values separated by backslashes; empty if it breaks its format."""
    from pydicom.datadict import dictionary_VR
    from pydicom.multival import MultiValue
    from pydicom.valuerep import DA

    vr = dictionary_VR(keyword)
    try:
        value = header.get(keyword)
        values = value if isinstance(value, MultiValue) else [value]
        texts = ["" if item is None else str(item).strip(" \0") for item in values]
        if vr == "DA":
            DA(texts[0])
    except dicom_errors():
        return ""
    if vr in FORMATS and not all(re.fullmatch(FORMATS[vr], text, re.ASCII) for text in texts):
        return ""
    if vr in SINGLE_VALUED and len(texts) > 1:
        return ""
    text = "\\".join("".join(c for c in text if c.isprintable()) for text in texts)
    if text not in CHOICES.get(keyword, (text,)):
        return ""
    return text[:64] if keyword == "StudyDescription" else text


def uid(origin: Dataset, prediction: Prediction, kind: str) -> str:
    """A UID derived from the source, the network, the site and the kind of result."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[str(origin.SOPInstanceUID), *_by(prediction), kind]))


def _by(prediction: Prediction) -> list[str]:
    """The hashes of the network and of the site, if there is one: a result depends on both."""
    return [prediction.sha256, *([prediction.site.digest] if prediction.site else [])]


def device(prediction: Prediction) -> str:
    """The UID of the observer: this version with this network, at this site."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[NAME, __version__, *_by(prediction)]))


def identity(origin: Dataset, prediction: Prediction, kind: str) -> dict[str, Any]:
    """The arguments for highdicom that all results of a kind share: series, instance, equipment."""
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
