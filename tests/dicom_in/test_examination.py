"""What a DICOM header says was examined."""

from __future__ import annotations

from typing import Any

import pytest
from dicoms import coded, dataset, make_dicom, stored

from covidnet_lite import radiograph
from covidnet_lite.dicom_in import examination
from covidnet_lite.dicom_in.examination import Examination
from covidnet_lite.errors import NotAChestRadiograph

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
    examination = read(Modality="dx", BodyPartExamined="Chest", ViewPosition="AP", ImageLaterality="U")
    assert examination == Examination("DX", "CHEST", "AP", "U", "")
    assert examination.to_dict() == {"modality": "DX", "body_part": "CHEST", "view": "AP", "laterality": "U"}


def test_what_is_not_said_is_left_out() -> None:
    assert read(Modality="", BodyPartExamined=None, ViewPosition="").to_dict() == {}


@pytest.mark.parametrize(("codes", "view"), [(PA, "PA"), (AP, "AP"), (coded("399033003", "SCT", "frontal"), "FRONTAL")])
def test_codes_serve_where_plain_fields_are_empty(codes: Any, view: str) -> None:
    examination = read(ViewPosition="", BodyPartExamined="", ViewCodeSequence=codes, AnatomicRegionSequence=CHEST)
    assert (examination.view, examination.body_part, examination.objection) == (view, "BRUSTKORB", "")


def test_laterality_is_that_of_the_image_or_else_of_the_series() -> None:
    assert read(ImageLaterality="L", Laterality="R").laterality == "L"
    assert read(Laterality="R").laterality == "R"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ViewCodeSequence": LEFT}, "view LATERAL, not frontal"),
        ({"ViewPosition": "", "ViewCodeSequence": OBLIQUE}, "view OBLIQUE, not frontal"),
        ({"ViewPosition": "LL"}, "view LATERAL, not frontal"),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, "view LATERAL, not frontal"),
        ({"AnatomicRegionSequence": HAND}, "body part HAND, not chest"),
        ({"BodyPartExamined": "TSPINE"}, "body part SPINE, not chest"),
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
        radiograph.read(make_dicom(stored(), **fields))


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

    fields = classify(film).to_dict()["examination"]
    assert fields == {"modality": "CR", "body_part": "CHEST", "view": "PA"}
    assert "examination" not in classify(radiograph.read(film).image).to_dict()


# Words of public COVID-19 sets and of vendors, in several languages.

CHESTS = """CHEST|Thorax|T?RAX|T\xd2RAX|T\xd3RAX|TORACE|PECHO|Pecho|PEITO|PULMON|POUMONS|LUNGE|BRUST|BRUSTKORB|BORST|TORAKS|PLUCA|P\u0142uca|RTG p\u0142uc|KLATKA PIERSIOWA|CXR|
BABYGRAM|PORT CHEST|CHESTABDOMEN|CHEST_ABDOMEN|ABDOMEN Y TORAX|NECKCHEST|HEAD NECK CHEST|RIBS|Costillas|HEMITHORAX"""
NO_PARTS = """UNKNOWN|OTHER|DEFAULT|UNDEFINED|NONE|-|WHOLEBODY|TRUNK|X|ICU BED 4|TRONCO|?"""
OTHER_PARTS = """HAND|MANO|M\xc3O|MAIN|H\xc4NDE|LHAND KNEE|KNEE|RODILLA|JOELHO|GINOCCHIO|GENOU|KNIE|ABDOMEN|Abd\xf3men|ADDOME|BAUCH|SKULL|
CR\xc1NEO|CR\xc2NIO|CRANIO|CR\xc2NE|SCH\xc4DEL|PELVIS|BACIA|BECKEN|HIP|CADERA|HANCHE|FOOT|PIE|PIED|FU\xdf|ANKLE|TOBILLO|SHOULDER|HOMBRO|SPALLA|
\xc9PAULE|SCHULTER|TSPINE|LSPINE|THORACIC SPINE|COLUMNA DORSAL|COLUNA TORACICA|BRUSTWIRBELS\xc4ULE|RACHIS|ELBOW|CODO|WRIST|MU\xd1ECA|
BREAST|NECK|HALS|HEAD|KOPF|EXTREMITY|FINGER|DEDO|FEMUR|FOREARM|JAW|PHANTOM"""
FRONTALS = """PA|AP|P-A|POSTEROANTERIOR|ANTEROPOSTERIOR|POSTERO-ANTERIOR|PA ERECT|AP SUPINE|AP PORTABLE|CHEST PA|PA CHEST|PA STANDING|POST-ANT|
FRONT|FRONTAL|DE FRENTE|PA LLD|PA/AP|AP LEFT LATERAL DECUBITUS|p.a."""
NO_VIEWS = "ERECT|SUPINE|PORTABLE|UNKNOWN|UNK|NONE|OTHER|0|LLD|PA AND LATERAL|LEFT LATERAL DECUBITUS|-"
OTHER_VIEWS = "LATERAL|LAT|LL|RL|L LAT|LEFT LATERAL|PERFIL|PROFIL|SEITLICH|OBLIQUE|AP OBLIQUE|OBLICUA|SCHR\xc4G|RAO|LPO|LLO|AXIAL|MLO|CC|TANGENTIAL"


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split("|")]


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("word", words(CHESTS))
def test_the_chest_is_named_in_many_languages(word: str) -> None:
    examination = read(BodyPartExamined=word)
    assert (examination.objection, examination.notes) == ("", ())


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("word", ["", *words(NO_PARTS)])
def test_a_word_that_means_no_part_of_the_body_is_noted_and_no_objection(word: str) -> None:
    result = read(BodyPartExamined=word)
    assert (result.objection, result.notes) == ("", (examination.NO_CHEST,))


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("word", words(OTHER_PARTS))
def test_other_parts_of_the_body_are_objected_to_in_many_languages(word: str) -> None:
    assert "not chest" in read(BodyPartExamined=word).objection
    assert "not chest" in read(BodyPartExamined=word.lower()).objection
    assert "not chest" in read(BodyPartExamined="", AnatomicRegionSequence=coded("X", "99X", word)).objection


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("word", words(FRONTALS))
def test_a_frontal_view_is_named_in_many_ways(word: str) -> None:
    examination = read(ViewPosition=word)
    assert (examination.objection, examination.notes) == ("", ())
    assert examination.view in ("PA", "AP", "FRONTAL")


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("word", ["", *words(NO_VIEWS)])
def test_a_word_that_means_no_view_is_noted_and_no_objection(word: str) -> None:
    result = read(ViewPosition=word)
    assert (result.objection, result.notes) == ("", (examination.NO_FRONTAL,))


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("word", words(OTHER_VIEWS))
def test_other_views_are_objected_to(word: str) -> None:
    assert "not frontal" in read(ViewPosition=word).objection


@pytest.mark.parametrize("modality", ["OT", "DR", "XR", "SC", "", "HC"])
def test_a_modality_that_may_be_a_radiograph_is_noted(modality: str) -> None:
    result = read(Modality=modality)
    assert (result.objection, result.notes) == ("", (examination.NO_RADIOGRAPH,))


@pytest.mark.parametrize(
    "code", ["T-D8700", "85562004", "T-D4000", "818981001", "T-11502", "122495006", "T-D9200", "89546000"]
)
def test_codes_of_other_parts_are_known_without_their_meaning(code: str) -> None:
    for scheme in ("SCT", "SRT", "99SDM"):
        assert "not chest" in read(BodyPartExamined="", AnatomicRegionSequence=coded(code, scheme, "")).objection


@pytest.mark.parametrize("code", ["R-102CD", "399067008", "399173006", "R-10210", "399182000"])
def test_codes_of_other_views_are_known_without_their_meaning(code: str) -> None:
    assert "not frontal" in read(ViewPosition="", ViewCodeSequence=coded(code, "SRT", "")).objection


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_an_objection_quotes_nothing_of_the_header() -> None:
    for fields in ({"BodyPartExamined": "FOOT DOE JANE"}, {"ViewPosition": "LATERAL DOE JANE"}):
        assert "DOE" not in read(**fields).objection


def test_broken_elements_are_as_if_absent() -> None:
    examination = read(
        BodyPartExamined=["", "CHEST"], ViewPosition=["PA", "LL"], AnatomicRegionSequence=[], Modality=["CR", "DX"]
    )
    assert (examination.objection, examination.body_part, examination.view, examination.modality) == (
        "",
        "CHEST",
        "PA",
        "CR",
    )


def test_what_the_header_does_not_say_stands_in_the_result() -> None:
    from covidnet_lite import classify

    result = classify(
        make_dicom(stored(200, 200), Modality="OT", BodyPartExamined="", WindowCenter="7", WindowWidth="0")
    )
    assert result.to_dict()["notes"] == [
        examination.NO_CHEST,
        examination.NO_RADIOGRAPH,
        "WindowCenter in its header cannot be used and is ignored",
    ]
    assert classify(make_dicom(stored(200, 200))).notes == ()
