"""What a DICOM header says was examined, and what speaks against a frontal chest radiograph.

The plain fields and the code sequences are both asked: older machines fill the
ones, DX machines the others. A code of a vendor's own is not judged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OBJECTION = "its header says"  # how an objection begins
PROJECTION = ("CR", "DX", "RG")  # computed, digital and digitised film radiography
# The classes of objects such a picture may come in: CR, DX, secondary capture.
_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
)
_CHEST = ("CHEST", "THORAX", "TORAX", "TORACE", "PECHO", "LUNG", "RIB", "CLAVICLE", "HEART", "MEDIASTIN")
# Chest, thoracic structure, thoracic cavity, lung, rib, clavicle, heart, mediastinum, sternum; chest with neighbours.
_CHEST_CODES = frozenset(
    "816094009 51185008 43799004 39607008 113197003 51299004 80891009 72410000 56873002 "
    "416550000 416775004 417437006 416319003 416152001 "
    "T-D3000 T-28000 T-11300 T-12310 T-32000 T-D3300 T-11210 R-FAB55".split()
)
# SNOMED CT, and the identifiers of SNOMED RT that DICOM used before.
_VIEW_CODES = {
    "272479007": "PA", "399348003": "AP", "399033003": "FRONTAL",
    "R-40888": "PA", "R-10214": "PA", "R-10206": "AP", "R-10202": "FRONTAL",
}  # fmt: skip
_FRONTAL = ("PA", "AP", "FRONTAL")
_STANDARD = ("SCT", "SRT", "SNM3", "99SDM", "DCM", "RADLEX")  # schemes whose codes are judged


@dataclass(frozen=True)
class Examination:
    """What was examined; what the header does not say is ``""``.

    Attributes:
        modality: ``CR``, ``DX`` and so on.
        body_part: in capitals.
        view: ``PA``, ``AP``, or whatever else the header says, in capitals.
        laterality: ``L``, ``R``, ``B`` (both) or ``U`` (unpaired).
        objection: why it is no frontal chest radiograph, or ``""``.
        orientation: to which side of the patient rows and columns run, as ``L\\F``, in capitals.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    laterality: str = ""
    objection: str = ""
    orientation: str = ""

    def to_dict(self) -> dict[str, str]:
        """What the header says of the examination, without what it does not."""
        told = ("modality", "body_part", "view", "laterality")
        return {name: value for name, value in asdict(self).items() if value and name in told}


def read(header: Dataset) -> Examination:
    """What the elements of a DICOM file say of the examination."""
    modality = _text(header, "Modality")
    parts, views = _body_parts(header), _views(header)
    objections = [
        *_wrong_kind(header, modality),
        *(f"body part {part}, not chest" for part, chest in parts if not chest),
        *(f"view {view}, not frontal (PA or AP)" for view in views if view not in _FRONTAL),
    ]
    return Examination(
        modality,
        parts[0][0] if parts else "",
        views[0] if views else "",
        _text(header, "ImageLaterality") or _text(header, "Laterality"),
        f"{OBJECTION} {objections[0]}" if objections else "",
        _orientation(header),
    )


def _wrong_kind(header: Dataset, modality: str) -> list[str]:
    if modality and modality not in PROJECTION:
        return [f"modality {modality}, not a projection radiograph (CR, DX)"]
    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    # Multi-frame secondary captures are not told apart here: they are turned away for their frames.
    if kind and kind.type == "SOP Class" and kind not in _CLASSES and not kind.startswith(f"{_CLASSES[-1]}."):
        return [f"{kind.name}, not a projection radiograph (CR, DX)"]
    return []


def _body_parts(header: Dataset) -> list[tuple[str, bool]]:
    """Each body part that is named, and whether it belongs to the chest."""
    plain = _text(header, "BodyPartExamined")
    named = [(plain, _is_chest(plain))] if plain else []
    for code, scheme, meaning in _codes(header, "AnatomicRegionSequence"):
        chest = code in _CHEST_CODES or _is_chest(meaning)
        if chest or scheme in _STANDARD:
            named.append((meaning, chest))
    return named


def _is_chest(words: str) -> bool:
    """Also where a letter has an accent, or lost it to a wrong character set: ``TÓRAX``, ``T?RAX``."""
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    return any(part in plain for part in _CHEST) or bool(re.search(r"\bT[^A-Z\d]{1,2}RAX", words))


def _views(header: Dataset) -> list[str]:
    """Each view that is named; failing that, lateral if the film runs from the patient's front to the back."""
    plain = re.sub(r"[^A-Z0-9 ]", "", _text(header, "ViewPosition"))
    named = [plain] if plain else []
    for code, scheme, meaning in _codes(header, "ViewCodeSequence"):
        if code in _VIEW_CODES or scheme in _STANDARD:
            named.append(_VIEW_CODES.get(code, meaning))
    if not named and re.match("[AP]", _text(header, "PatientOrientation")):
        named = ["LATERAL"]
    return named


def _orientation(header: Dataset) -> str:
    r"""``ROW\COLUMN``, or nothing where the header does not say both."""
    value = header.get("PatientOrientation")
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or len(value) != 2:
        return ""
    both = [str(one).strip().upper() for one in value]
    return "\\".join(both) if all(both) else ""


def _codes(header: Dataset, keyword: str) -> list[tuple[str, str, str]]:
    """``(code, scheme, meaning)`` of each item, in capitals."""
    items = header.get(keyword) or []
    fields = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    return [(_text(item, fields[0]), _text(item, fields[1]), _text(item, fields[2])) for item in items]


def _text(data: Dataset, keyword: str) -> str:
    """An element as text in capitals; of several values the first."""
    value = data.get(keyword)
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = value[0] if value else ""
    return " ".join(str(value or "").upper().split())
