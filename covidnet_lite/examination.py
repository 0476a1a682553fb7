"""What a DICOM header says was examined, and what speaks against a frontal chest radiograph.

Only what is known to be something else is an objection; a word that nobody here knows is none, and is noted: the
picture itself is judged. The plain fields and the code sequences are both asked: older machines fill the ones, DX
machines the others. An objection names what was understood, and quotes nothing.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from . import anatomy
from .elements import text, values

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OBJECTION = "its header says"  # how an objection begins
PROJECTION = ("CR", "DX", "RG")  # computed, digital and digitised film radiography
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
NO_CHEST = "its header does not name the chest"
NO_FRONTAL = "its header does not name a frontal view (PA or AP)"
NO_RADIOGRAPH = "its header does not name a radiograph (modality CR or DX)"


@dataclass(frozen=True)
class Examination:
    """What was examined; what the header does not say is ``""``.

    Attributes:
        modality: ``CR``, ``DX`` and so on.
        body_part: in capitals.
        view: ``PA``, ``AP``, or whatever else the header says, in capitals.
        laterality: ``L``, ``R``, ``B`` (both) or ``U`` (unpaired).
        objection: why it is no frontal chest radiograph, or ``""``.
        notes: what the header does not say of the three things that matter, in words.
        orientation: to which side of the patient rows and columns run, as ``L\\F``, in capitals.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    laterality: str = ""
    objection: str = ""
    notes: tuple[str, ...] = ()
    orientation: str = ""

    def to_dict(self) -> dict[str, str]:
        """What the header says of the three, without what it does not."""
        told = ("modality", "body_part", "view", "laterality")
        return {name: value for name, value in asdict(self).items() if value and name in told}


def read(header: Dataset) -> Examination:
    """What the elements of a DICOM file say of the examination."""
    modality, part, view = text(header, "Modality"), text(header, "BodyPartExamined"), text(header, "ViewPosition")
    chest, others, names = _body_parts(header, part)
    frontal, elsewhere = _views(header, view)
    objections = [
        *_wrong_kind(header, modality),
        *(f"body part {other}, not chest" for other in others),
        *(f"view {other}, not frontal (PA or AP)" for other in elsewhere),
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
        f"{OBJECTION} {objections[0]}" if objections else "",
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
