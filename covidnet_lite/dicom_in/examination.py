"""What a DICOM header says was examined, and what speaks against a frontal chest radiograph.

Only what is known to be something else is an objection; a word that nobody here knows is none, and is noted: the
picture itself is judged. The plain fields and the code sequences are both asked: older machines fill the ones, DX
machines the others. An objection names what was understood, and quotes nothing.
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

OBJECTION = "its header says"  # how an objection begins
PROJECTION = ("CR", "DX", "RG")  # computed, digital and digitised film radiography
SAYS_NOTHING = ("OT", "DR", "XR", "SC")  # of the kind of picture
# Modalities that are something else (PS3.3, C.7.3.1.1.1). Not among them: OT, and DR, XR or SC, as some write for DX.
OTHER_MODALITIES = frozenset(
    "CT MR US NM PT MG IO PX XA RF XC BI BMD BDUS CD CF CP CS DD DF DG DM DS EC ECG EEG EMG EOG EPS ES FA FS GM HD "
    "IVOCT IVUS KER LEN LP LS MA MS OAM OCT OP OPM OPT OPTBSV OPTENF OPV PA POS RESP RTDOSE RTIMAGE RTPLAN RTRECORD "
    "RTSTRUCT SEG SM SMR SRF SR ST TG VA VF KO PR DOC AU M3D REG FID PLAN STAIN TEXTUREMAP".split()
)
# The classes of objects such a picture may come in: CR, DX, secondary capture.
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
    """What was examined; what the header does not say is ``""``.

    Attributes:
        modality: ``CR``, ``DX`` and so on.
        body_part: in capitals.
        view: ``PA``, ``AP``, or whatever else the header says, in capitals.
        laterality: ``L``, ``R``, ``B`` (both) or ``U`` (unpaired).
        objection: why it is no frontal chest radiograph, or ``""``.
        code: of the objection.
        notes: what the header does not say of the three things that matter, in words.
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
        """What the header says of the three, without what it does not."""
        told = ("modality", "body_part", "view", "laterality")
        return {name: value for name, value in asdict(self).items() if value and name in told}

    def known(self) -> dict[str, str]:
        """The same in words of ours alone, for what leaves the machine: a header may hold anything in any field."""
        words, (frontal, other) = anatomy.folded(self.body_part), anatomy.view_of(anatomy.folded(self.view))
        told = {
            "modality": self.modality if self.modality in (*PROJECTION, *OTHER_MODALITIES, *SAYS_NOTHING) else "",
            "body_part": "CHEST" if anatomy.names_chest(words) else anatomy.other_part(words),
            "view": other or frontal,
            "laterality": self.laterality if self.laterality in LATERALITIES else "",
        }
        return {name: value for name, value in told.items() if value}


def read(header: Dataset) -> Examination:
    """What the elements of a DICOM file say of the examination."""
    modality, part, view = text(header, "Modality"), text(header, "BodyPartExamined"), text(header, "ViewPosition")
    chest, others, names = _body_parts(header, part)
    frontal, elsewhere = _views(header, view)
    objections = [
        *((Code.OTHER_MODALITY, objection) for objection in _wrong_kind(header, modality)),
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


def _wrong_kind(header: Dataset, modality: str) -> list[str]:
    if modality in OTHER_MODALITIES:
        return [f"modality {modality}, not a projection radiograph (CR, DX)"]
    kind = next(iter(values(header, "SOPClassUID") or values(header.file_meta, "MediaStorageSOPClassUID") or ()), None)
    # Multi-frame secondary captures are not told apart here: they are turned away for their frames.
    if kind is None or getattr(kind, "type", "") != "SOP Class":
        return []
    if kind not in _CLASSES and not kind.startswith(f"{_CLASSES[-1]}."):
        return [f"{kind.name}, not a projection radiograph (CR, DX)"]
    return []


def _body_parts(header: Dataset, plain: str) -> tuple[bool, list[str], list[str]]:
    """Whether the chest is named; the names of other parts that are; and the meanings of codes, as they stand."""
    chest, others, names = False, [], []
    for code, meaning in (("", plain), *_codes(header, "AnatomicRegionSequence")):
        words = anatomy.folded(meaning)
        if code and meaning:
            names.append(meaning)
        if code in anatomy.CHEST_CODES or anatomy.names_chest(words):
            chest = True
        elif other := anatomy.OTHER_CODES.get(code) or anatomy.other_part(words):
            others.append(other)
    return chest, others, names


def _views(header: Dataset, plain: str) -> tuple[list[str], list[str]]:
    """Frontal and other views that are named; if none, lateral where the film runs from the patient's front to back."""
    frontal, others = [], []
    for code, meaning in (("", plain), *_codes(header, "ViewCodeSequence")):
        known = anatomy.VIEW_CODES.get(code, "")
        front, other = anatomy.view_of([known] if known in anatomy.FRONTAL_VIEWS else anatomy.folded(meaning))
        if known and known not in anatomy.FRONTAL_VIEWS:
            front, other = "", known
        frontal += [front] if front and not other else []
        others += [other] if other else []
    if not frontal and not others and re.match("[AP]", text(header, "PatientOrientation")):
        others = ["LATERAL"]
    return frontal, others


def _orientation(header: Dataset) -> str:
    r"""``ROW\COLUMN``, or nothing where the header does not say both."""
    both = [str(one).strip().upper() for one in values(header, "PatientOrientation") or ()]
    return "\\".join(both) if len(both) == 2 and all(both) else ""


def _codes(header: Dataset, keyword: str) -> list[tuple[str, str]]:
    """``(code, meaning)`` of each item, in capitals."""
    items = [item for item in values(header, keyword) or () if hasattr(item, "get")]
    return [(text(item, "CodeValue"), text(item, "CodeMeaning")) for item in items]
