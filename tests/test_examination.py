"""What a DICOM header says was examined."""

from __future__ import annotations

from typing import Any

import pytest
from dicoms import coded, dataset, made, stored

from covidnet_lite import examination, radiograph
from covidnet_lite.errors import NotAChestRadiograph
from covidnet_lite.examination import Examination

pytest.importorskip("pydicom")

PA, AP = coded("272479007", "SCT", "postero-anterior"), coded("R-10206", "SRT", "antero-posterior")
LEFT = coded("399173006", "SCT", "left lateral")
OBLIQUE = coded("399356000", "SCT", "right anterior oblique")
CHEST, HAND = coded("816094009", "SCT", "Brustkorb"), coded("85562004", "SCT", "Hand")
DX, CT = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.2"
NAIL = "1.2.840.10008.5.1.4.1.1.77.1.4"  # photography; begins like a secondary capture


def read(**fields: Any) -> Examination:
    return examination.read(dataset(**fields))


def test_plain_fields_are_told() -> None:
    found = read(Modality="dx", BodyPartExamined="Chest", ViewPosition="AP", ImageLaterality="U")
    assert found == Examination("DX", "CHEST", "AP", "U", "")
    assert found.to_dict() == {"modality": "DX", "body_part": "CHEST", "view": "AP", "laterality": "U"}


def test_what_is_not_said_is_left_out() -> None:
    assert read(Modality="", BodyPartExamined=None, ViewPosition="").to_dict() == {}


@pytest.mark.parametrize(("codes", "view"), [(PA, "PA"), (AP, "AP"), (coded("399033003", "SCT", "frontal"), "FRONTAL")])
def test_codes_serve_where_plain_fields_are_empty(codes: Any, view: str) -> None:
    found = read(ViewPosition="", BodyPartExamined="", ViewCodeSequence=codes, AnatomicRegionSequence=CHEST)
    assert (found.view, found.body_part, found.objection) == (view, "BRUSTKORB", "")


def test_laterality_is_that_of_the_image_or_else_of_the_series() -> None:
    assert read(ImageLaterality="L", Laterality="R").laterality == "L"
    assert read(Laterality="R").laterality == "R"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ViewCodeSequence": LEFT}, "view LEFT LATERAL, not frontal"),
        ({"ViewPosition": "", "ViewCodeSequence": OBLIQUE}, "view RIGHT ANTERIOR OBLIQUE, not frontal"),
        ({"ViewPosition": "LL"}, "view LL, not frontal"),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, "view LATERAL, not frontal"),
        ({"AnatomicRegionSequence": HAND}, "body part HAND, not chest"),
        ({"BodyPartExamined": "TSPINE"}, "body part TSPINE, not chest"),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": HAND}, "body part HAND, not chest"),
        ({"Modality": "MG"}, "modality MG, not a projection radiograph"),
        ({"Modality": "", "SOPClassUID": CT}, "CT Image Storage, not a projection radiograph"),
        ({"SOPClassUID": CT}, "CT Image Storage, not a projection radiograph"),
        ({"SOPClassUID": NAIL}, "Photographic Image Storage, not a projection radiograph"),
    ],
)
def test_one_statement_against_it_is_enough(fields: dict[str, Any], words: str) -> None:
    assert words in read(**fields).objection
    with pytest.raises(NotAChestRadiograph, match=words):
        radiograph.read(made(stored(), **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"SOPClassUID": DX, "Modality": "DX", "ViewCodeSequence": PA, "AnatomicRegionSequence": CHEST},
        {"ViewPosition": "", "PatientOrientation": ["L", "F"]},
        {"ViewPosition": "PA", "PatientOrientation": ["A", "F"]},  # a view in words outweighs the guess
        {"ViewPosition": "P-A "},
        {"BodyPartExamined": "TORAX"},
        {"BodyPartExamined": "TÓRAX"},
        {"BodyPartExamined": "T?RAX"},  # Ó in a character set that has none
        {"BodyPartExamined": "T\xc3\x93RAX"},  # Ó in UTF-8, read as Latin-1
        {"BodyPartExamined": "Pecho"},
        {"ViewCodeSequence": coded("V7", "99VENDOR", "Thorax pa"), "AnatomicRegionSequence": []},
        {"AnatomicRegionSequence": coded("B7", "99VENDOR", "Oberkörper")},  # a vendor's own code says nothing to us
        {"SOPClassUID": "1.3.6.1.4.1.99999.1"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_chest_frontal_or_nothing_said_is_no_objection(fields: dict[str, Any]) -> None:
    assert read(**fields).objection == ""


def test_the_examination_reaches_the_result(film: Any) -> None:
    from covidnet_lite import classify

    told = classify(film).to_dict()["examination"]
    assert told == {"modality": "CR", "body_part": "CHEST", "view": "PA"}
    assert "examination" not in classify(radiograph.read(film).image).to_dict()
