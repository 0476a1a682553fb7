"""A prediction -> a DICOM Structured Report, "Imaging Measurement Report" (TID 1500).

Without an answer, the report names no training class and no probability: an abstention must not be read as a finding.
Where the answer is narrowed to several classes, each is coded as not ruled out, and the only probability is that of
the class that is ruled out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import __version__
from ..evidence.place import OUTSIDE
from ..output import capitalised
from ..prediction import DISCLAIMER, Prediction
from . import origin as dicom_origin

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SCHEME = "99CNLITE"  # codes of ours, where the standard has none
# label -> SNOMED CT
FINDINGS = {
    "normal": ("17621005", "SCT", "Normal"),
    "pneumonia": ("233604007", "SCT", "Pneumonia"),
    "covid": ("840539006", "SCT", "COVID-19"),
}
STATUS = {
    "answered": "Answered",
    "narrowed": "Narrowed to several training classes",
    "unsure": "No answer: the network abstains",
    "refused": "No answer: not taken for a frontal chest film",
}


def build(prediction: Prediction, origin: Dataset) -> Dataset:
    """The report on ``prediction``, of the study of ``origin``; needs highdicom."""
    import highdicom.coding_schemes
    from highdicom import sr
    from pydicom.sr.codedict import codes

    kind = dicom_origin.identity(origin, prediction, "sr")
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=dicom_origin.device(prediction),
            name=dicom_origin.NAME,
            manufacturer_name=dicom_origin.NAME,
            model_name=prediction.model,
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[_group(prediction, origin)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    (root,) = report
    content, root.ContentSequence = root.ContentSequence, []  # highdicom would copy it, and search it for references
    document = sr.ComprehensiveSR(
        evidence=[origin],
        content=root,
        is_complete=True,
        series_description=f"{dicom_origin.NAME} result - research use only",
        coding_schemes=[highdicom.coding_schemes.CodingSchemeIdentificationItem(SCHEME, name="covidnet-lite")],
        **kind,
    )
    document.ContentSequence = content
    return document


def _group(prediction: Prediction, origin: Dataset) -> Any:
    """The only measurement group (TID 1501): the image, the algorithm and the result."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    evaluations = [
        (_own_code("STATUS", "Status of the classification"), _status(prediction)),
        *_answer(prediction),
        *_zones(prediction),
    ]
    measurements = [*_probabilities(prediction), *_extent(prediction)]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=dicom_origin.uid(origin, prediction, "tracking"), identifier=f"{dicom_origin.NAME} on one radiograph"
        ),
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(*evaluation) for evaluation in evaluations],
        source_images=[sr.SourceImageForMeasurementGroup(origin.SOPClassUID, origin.SOPInstanceUID)],
    )
    content = group[0].ContentSequence
    content.extend(
        sr.AlgorithmIdentification(
            name=dicom_origin.NAME,
            version=f"{__version__}, network {prediction.model}",
            parameters=[
                f"network SHA-256 {prediction.sha256}",
                f"network signed by {prediction.signed_by}" if prediction.signed_by else "network not signed",
                *_site(prediction),
            ],
        )
    )
    for text in (_explanation(prediction), _header(prediction), DISCLAIMER):
        content.append(
            sr.TextContentItem(codes.DCM.Comment, text, relationship_type=sr.RelationshipTypeValues.CONTAINS)
        )
    return group


def _site(prediction: Prediction) -> list[str]:
    """The site whose thresholds applied, if they were not the network's own."""
    site = prediction.site
    return [f"thresholds of site {site.name}, fitted {site.date}, SHA-256 {site.digest}"] if site else []


def _status(prediction: Prediction) -> Any:
    return _own_code(prediction.status.upper(), STATUS[prediction.status])


def _answer(prediction: Prediction) -> list[tuple[Any, Any]]:
    """The class of the answer, or each class that is not ruled out and the one that is, as name and code."""
    if prediction.label is not None:
        return [(_own_code("RESEMBLES", "Resembles training class"), _class(prediction.label))]
    if not prediction.labels:
        return []
    not_ruled_out = _own_code("NOT-RULED-OUT", "Training class not ruled out")
    return [
        (_own_code("RULED-OUT", "Training class ruled out"), _class(str(prediction.negative))),
        *((not_ruled_out, _class(label)) for label in prediction.labels),
    ]


def _zones(prediction: Prediction) -> list[tuple[Any, Any]]:
    """The place of the evidence for a positive answer: each main zone of the lungs, or that it is diffuse."""
    if not prediction.is_positive or prediction.place is None:
        return []
    name = _own_code("EVIDENCE-ZONE", "Zone of the lungs with evidence")
    zones = [(zone, f"{zone} zone") for zone in prediction.place.main_zones] or [(prediction.place.main,) * 2]
    return [
        (name, _own_code(zone.upper().replace(" ", "-")[:16], capitalised(description))) for zone, description in zones
    ]


def _probabilities(prediction: Prediction) -> list[Any]:
    """The probabilities of all classes for an answer of one; of the class that is ruled out for a narrowed answer."""
    omitted = prediction.labels if prediction.status == "narrowed" else ()
    shares = prediction.probabilities if prediction.labels else {}
    return [_probability(label, share) for label, share in shares.items() if label not in omitted]


def _extent(prediction: Prediction) -> list[Any]:
    """The extent for a positive answer, and its mean absolute error."""
    if not prediction.is_positive or prediction.extent is None:
        return []
    measurements = [_measurement("EXTENT", "Extent of opacity in the lungs, estimated", prediction.extent)]
    if prediction.extent_error is not None:
        measurements.append(_measurement("EXTENT-ERROR", "Mean absolute error of the extent", prediction.extent_error))
    return measurements


def _explanation(prediction: Prediction) -> str:
    details = "".join(f" {capitalised(line)}." for line in (*prediction.findings, prediction.track_record) if line)
    if prediction.status == "answered":
        return (
            f"Of the network's training classes the radiograph resembles {prediction.label} most. "
            f"This is no diagnosis: another disease, or none, can look alike.{details}"
        )
    if prediction.status == "narrowed":
        return (
            f"{capitalised(str(prediction.answer))}: the radiograph does not resemble the training class "
            f"{prediction.negative}, and which of the others it resembles is open. "
            f"This is no diagnosis: another disease, or none, can look alike.{details}"
        )
    if prediction.status == "unsure":
        outside = prediction.place is not None and prediction.place.main == OUTSIDE
        cause = "its evidence lies mostly outside the lungs" if outside else "the network is not sure enough"
        return f"No answer: {cause}. This says nothing about the patient."
    return f"No answer: {prediction.public_reason or 'refused'}. This says nothing about the patient."


def _header(prediction: Prediction) -> str:
    fields = prediction.examination.public() if prediction.examination else {}
    description = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())
    notes = "".join(f" Note: {text}." for text in dict.fromkeys(note.code.public for note in prediction.notes))
    return f"By its header the image is: {description or 'not described'}.{notes}"


def _probability(label: str, share: float) -> Any:
    """A probability with its class in the name, so that no viewer shows it without, and as a code."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    measurement = _measurement(f"P-{_plain(label)}", f"Probability of training class {_plain(label)}", share)
    finding = sr.CodeContentItem(
        codes.DCM.Finding, _class(label), relationship_type=sr.RelationshipTypeValues.HAS_CONCEPT_MOD
    )
    item = measurement[0]
    if "ContentSequence" not in item:
        item.ContentSequence = sr.ContentSequence()
    item.ContentSequence.append(finding)
    return measurement


def _measurement(code: str, meaning: str, share: float) -> Any:
    """A share as a percentage; a share that is not exactly 0 or 1 is not rounded to it."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    exact = share * 100
    close = (round(exact, digits) for digits in range(1, 10))
    value = next((v for v in close if v == exact or 0 < v < 100), exact)
    return sr.Measurement(name=_own_code(code, meaning), value=value, unit=codes.UCUM.Percent)


def _class(label: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(*FINDINGS[label]) if label in FINDINGS else _own_code(_plain(label), _plain(label))


def _own_code(value: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value, SCHEME, meaning[:64])


def _plain(label: str) -> str:
    return label.replace("\\", "/")
