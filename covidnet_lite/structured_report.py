"""A prediction -> a DICOM Structured Report, "Imaging Measurement Report" (TID 1500).

Where there is no answer, no training class is named, and no probability is
given for one: an abstention must not be read as a finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import __version__, dicom_origin
from .prediction import DISCLAIMER, Prediction
from .report import printable

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
    return sr.ComprehensiveSR(
        evidence=[origin],
        content=report,
        is_complete=True,
        series_description=f"{dicom_origin.NAME} result - research use only",
        coding_schemes=[highdicom.coding_schemes.CodingSchemeIdentificationItem(SCHEME, name="covidnet-lite")],
        **kind,
    )


def _group(prediction: Prediction, origin: Dataset) -> Any:
    """The one measurement group (TID 1501): of which image, by what, and what came out."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    evaluations = [sr.QualitativeEvaluation(_ours("STATUS", "Status of the classification"), _status(prediction))]
    measurements = []
    if prediction.label is not None:
        evaluations.append(
            sr.QualitativeEvaluation(_ours("RESEMBLES", "Resembles training class"), _class(prediction.label))
        )
        measurements = [_probability(label, share) for label, share in prediction.probabilities.items()]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=dicom_origin.uid(origin, prediction, "tracking"), identifier=f"{dicom_origin.NAME} on one radiograph"
        ),
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[sr.SourceImageForMeasurementGroup(origin.SOPClassUID, origin.SOPInstanceUID)],
    )
    content = group[0].ContentSequence
    content.extend(
        sr.AlgorithmIdentification(
            name=dicom_origin.NAME,
            version=f"{__version__}, network {prediction.model}",
            parameters=[f"network SHA-256 {prediction.sha256}"],
        )
    )
    for text in (_explanation(prediction), _examined(prediction), DISCLAIMER):
        content.append(
            sr.TextContentItem(codes.DCM.Comment, text, relationship_type=sr.RelationshipTypeValues.CONTAINS)
        )
    return group


def _status(prediction: Prediction) -> Any:
    return _ours(prediction.status.upper(), STATUS[prediction.status])


def _explanation(prediction: Prediction) -> str:
    if prediction.status == "answered":
        return (
            f"Of the network's training classes the radiograph resembles {prediction.label} most. "
            "This is no diagnosis: another disease, or none, can look alike."
        )
    if prediction.status == "unsure":
        return (
            f"No answer: the highest calibrated probability, {prediction.confidence:.0%}, is below that from which "
            "the network answers. This says nothing about the patient."
        )
    return f"No answer: {printable(prediction.reason or '')}. This says nothing about the patient."


def _examined(prediction: Prediction) -> str:
    told = prediction.examination.to_dict() if prediction.examination else {}
    header = ", ".join(f"{name.replace('_', ' ')} {printable(value)}" for name, value in told.items())
    return f"By its header the image is: {header or 'not described'}."


def _probability(label: str, share: float) -> Any:
    """A number that carries its class in its name, lest it be shown without; and as a code beside it."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    measurement = sr.Measurement(
        name=_ours(f"P-{_plain(label)}", f"Probability of training class {_plain(label)}"),
        value=round(share * 100, 1),
        unit=codes.UCUM.Percent,
    )
    finding = sr.CodeContentItem(
        codes.DCM.Finding, _class(label), relationship_type=sr.RelationshipTypeValues.HAS_CONCEPT_MOD
    )
    item = measurement[0]
    if "ContentSequence" not in item:
        item.ContentSequence = sr.ContentSequence()
    item.ContentSequence.append(finding)
    return measurement


def _class(label: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(*FINDINGS[label]) if label in FINDINGS else _ours(_plain(label), _plain(label))


def _ours(value: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value, SCHEME, meaning[:64])


def _plain(label: str) -> str:
    return label.replace("\\", "/")
