"""A prediction -> a DICOM Secondary Capture with captions burnt in; only an answer has an evidence map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .. import radiograph
from ..evidence import heatmap
from ..output import capitalised
from ..percent import percent
from ..prediction import Prediction
from . import origin as dicom_origin

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

    from ..radiograph import Source

MIN_SIDE = 512  # pixels of the narrower side; text on a smaller image would be too small to read
BANNER = "RESEARCH USE ONLY"


def build(prediction: Prediction, origin: Dataset, source: Source) -> Dataset:
    """The radiograph, with the evidence map of an answer, in the study of ``origin``; needs highdicom."""
    from highdicom.sc import SCImage
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    has_map = bool(prediction.labels) and prediction.evidence is not None
    radiograph_image = prediction.heatmap(image=source) if has_map else _plain(source)
    image = add_captions(radiograph_image, lines(prediction))
    capture = SCImage(
        pixel_array=np.asarray(image),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # highdicom requires one; the source's own follows
        study_instance_uid=origin.StudyInstanceUID,
        series_description=f"{dicom_origin.NAME} {'evidence map' if has_map else 'no answer'} - research use only",
        **dicom_origin.identity(origin, prediction, "sc"),
    )
    capture.copy_patient_and_study_information(origin)
    capture.PatientOrientation = origin.get("PatientOrientation")
    if has_map:
        capture.BodyPartExamined = "CHEST"  # nothing else gets a map
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in origin:
            capture[keyword] = origin[keyword]
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = origin.SOPClassUID, origin.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [_item(codes.DCM.SourceImageForImageProcessingOperation)]
    capture.SourceImageSequence = [reference]
    content = "Evidence map" if has_map else "No answer"
    capture.DerivationDescription = f"{content} of {prediction.model}, SHA-256 {prediction.sha256}"
    return capture


def lines(prediction: Prediction) -> list[str]:
    """The captions below the image."""
    footer = f"{dicom_origin.NAME}, network {prediction.model}"
    if not prediction.labels:
        return [
            f"No answer: {str(prediction.public_reason).removeprefix('unsure: ')}",
            "No evidence map without an answer. Not a diagnosis, not a medical device.",
            footer,
        ]
    if prediction.label is None:
        answer = f"{capitalised(str(prediction.answer))} (training classes)"
    else:
        share = percent(prediction.probabilities[prediction.label])
        answer = f"Resembles training class: {prediction.label} ({share})"
    return [
        answer,
        *prediction.findings,
        *([prediction.track_record] if prediction.track_record else []),
        "Evidence map, not a lesion. Not a diagnosis, not a medical device.",
        footer,
    ]


def _plain(source: Source) -> Image.Image:
    return radiograph.read(source, at_least=heatmap.SIZE).image.convert("RGB")


def add_captions(image: Image.Image, captions: list[str]) -> Image.Image:
    """An RGB image with a banner above and captions below, in bands of their own that cover none of the image."""
    scale = max(1.0, MIN_SIDE / min(image.size))
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    width = image.width
    above = _band(BANNER, width, width // 14, "black", (255, 214, 0))
    bands = [above, image, *(_band(line, width, width // 32, "white", (0, 0, 0)) for line in captions)]
    page, top = Image.new("RGB", (width, sum(band.height for band in bands))), 0
    for band in bands:
        page.paste(band, (0, top))
        top += band.height
    return page


def _band(text: str, width: int, size: int, colour: str, ground: tuple[int, int, int]) -> Image.Image:
    """One line in Pillow's own font, ``size`` pixels high or less where it is too long for ``width``."""
    font = ImageFont.load_default(size)
    while size > 8 and font.getlength(text) > width * 0.96:
        size -= 1
        font = ImageFont.load_default(size)
    band = Image.new("RGB", (width, round(size * 1.5)), ground)
    ImageDraw.Draw(band).text((width // 2, band.height // 2), text, fill=colour, font=font, anchor="mm")
    return band


def _item(code: Code) -> Dataset:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme_designator, code.meaning)
