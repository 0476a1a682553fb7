"""What was examined according to a DICOM header, and why it is not a frontal chest radiograph.

Only a header that clearly names something else gives an objection. An unknown word gives a note, and the image itself
is judged. Both the plain fields and the code sequences are read: older machines fill the former, DX machines the
latter. An objection names what was understood, and quotes nothing.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..codes import Code, Note
from . import anatomy
from .elements import text, values

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OBJECTION = "its header says"  # starts an objection
PROJECTION = ("CR", "DX", "RG")  # computed, digital and digitised film radiography
UNSPECIFIC = ("OT", "DR", "XR", "SC")  # about the modality
# Modalities that are something else (PS3.3, C.7.3.1.1.1). Not listed: OT, and DR, XR or SC, which some write for DX.
OTHER_MODALITIES = frozenset(
    "CT MR US NM PT MG IO PX XA RF XC BI BMD BDUS CD CF CP CS DD DF DG DM DS EC ECG EEG EMG EOG EPS ES FA FS GM HD "
    "IVOCT IVUS KER LEN LP LS MA MS OAM OCT OP OPM OPT OPTBSV OPTENF OPV PA POS RESP RTDOSE RTIMAGE RTPLAN RTRECORD "
    "RTSTRUCT SEG SM SMR SRF SR ST TG VA VF KO PR DOC AU M3D REG FID PLAN STAIN TEXTUREMAP".split()
)
# The SOP classes of radiographs: CR, DX, secondary capture.
_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
)
NO_CHEST, NO_FRONTAL = Note(Code.CHEST_NOT_NAMED), Note(Code.VIEW_NOT_NAMED)
NO_RADIOGRAPH = Note(Code.MODALITY_NOT_NAMED)
LATERALITIES = ("L", "R", "B", "U")


@dataclass(frozen=True)
class Examination:
    """What was examined; ``""`` for what the header does not say.

    Attributes:
        modality: ``CR``, ``DX`` and so on.
        body_part: in capitals.
        view: ``PA``, ``AP``, or the header's own word, in capitals.
        laterality: ``L``, ``R``, ``B`` (both) or ``U`` (unpaired).
        objection: why it is no frontal chest radiograph, or ``""``.
        code: of the objection.
        notes: which of modality, body part and view the header does not name, in words.
        orientation: to which side of the patient rows and columns run, as ``L\\F``, in capitals.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    laterality: str = ""
    objection: str = ""
    code: Code | None = None
    notes: tuple[Note, ...] = ()
    orientation: str = ""

    def to_dict(self) -> dict[str, str]:
        """Modality, body part, view and laterality, those that the header names."""
        fields = ("modality", "body_part", "view", "laterality")
        return {name: value for name, value in asdict(self).items() if value and name in fields}

    def public(self) -> dict[str, str]:
        """The same in our own words only, for what leaves the machine: a header may hold a name in any field."""
        words, (frontal, other) = anatomy.words_of(self.body_part), anatomy.view_of(anatomy.words_of(self.view))
        fields = {
            "modality": self.modality if self.modality in (*PROJECTION, *OTHER_MODALITIES, *UNSPECIFIC) else "",
            "body_part": "CHEST" if anatomy.names_chest(words) else anatomy.other_part(words),
            "view": other or frontal,
            "laterality": self.laterality if self.laterality in LATERALITIES else "",
        }
        return {name: value for name, value in fields.items() if value}


def read(header: Dataset) -> Examination:
    """Reads the examination from the elements of a DICOM file."""
    modality, part, view = text(header, "Modality"), text(header, "BodyPartExamined"), text(header, "ViewPosition")
    chest, others, names = _body_parts(header, part)
    frontal, elsewhere = _views(header, view)
    objections = [
        *((Code.OTHER_MODALITY, objection) for objection in _modality_objections(header, modality)),
        *((Code.OTHER_BODY_PART, f"body part {other}, not chest") for other in others),
        *((Code.OTHER_VIEW, f"view {other}, not frontal (PA or AP)") for other in elsewhere),
    ]
    notes = [
        *([] if chest else [NO_CHEST]),
        *([] if frontal else [NO_FRONTAL]),
        *([] if modality in PROJECTION else [NO_RADIOGRAPH]),
    ]
    return Examination(
        modality,
        part or next(iter(names), ""),
        next(iter((*frontal, *elsewhere)), view),
        text(header, "ImageLaterality") or text(header, "Laterality"),
        f"{OBJECTION} {objections[0][1]}" if objections else "",
        objections[0][0] if objections else None,
        () if objections else tuple(notes),
        _orientation(header),
    )


def _modality_objections(header: Dataset, modality: str) -> list[str]:
    if modality in OTHER_MODALITIES:
        return [f"modality {modality}, not a projection radiograph (CR, DX)"]
    kind = next(iter(values(header, "SOPClassUID") or values(header.file_meta, "MediaStorageSOPClassUID") or ()), None)
    # Multi-frame secondary captures pass here: their number of frames is checked later.
    if kind is None or getattr(kind, "type", "") != "SOP Class":
        return []
    if kind not in _CLASSES and not kind.startswith(f"{_CLASSES[-1]}."):
        return [f"{kind.name}, not a projection radiograph (CR, DX)"]
    return []


def _body_parts(header: Dataset, plain: str) -> tuple[bool, list[str], list[str]]:
    """Whether the header names the chest; the other parts that it names; and the meanings of its codes, unchanged."""
    chest, others, names = False, [], []
    for code, meaning in (("", plain), *_codes(header, "AnatomicRegionSequence")):
        words = anatomy.words_of(meaning)
        if code and meaning:
            names.append(meaning)
        if code in anatomy.CHEST_CODES or anatomy.names_chest(words):
            chest = True
        elif other := anatomy.OTHER_CODES.get(code) or anatomy.other_part(words):
            others.append(other)
    return chest, others, names


def _views(header: Dataset, plain: str) -> tuple[list[str], list[str]]:
    """The frontal and other views in the header; if none, lateral where rows run from the patient's front to back."""
    frontal, others = [], []
    for code, meaning in (("", plain), *_codes(header, "ViewCodeSequence")):
        coded = anatomy.VIEW_CODES.get(code, "")
        front, other = anatomy.view_of([coded] if coded in anatomy.FRONTAL_VIEWS else anatomy.words_of(meaning))
        if coded and coded not in anatomy.FRONTAL_VIEWS:
            front, other = "", coded
        frontal += [front] if front and not other else []
        others += [other] if other else []
    if not frontal and not others and re.match("[AP]", text(header, "PatientOrientation")):
        others = ["LATERAL"]
    return frontal, others


def _orientation(header: Dataset) -> str:
    r"""``ROW\COLUMN``, or nothing where the header does not say both."""
    sides = [str(side).strip().upper() for side in values(header, "PatientOrientation") or ()]
    return "\\".join(sides) if len(sides) == 2 and all(sides) else ""


def _codes(header: Dataset, keyword: str) -> list[tuple[str, str]]:
    """``(code, meaning)`` of each item, in capitals."""
    items = [item for item in values(header, keyword) or () if hasattr(item, "get")]
    return [(text(item, "CodeValue"), text(item, "CodeMeaning")) for item in items]
