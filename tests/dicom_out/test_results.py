"""A prediction -> DICOM objects: what they say, whom they belong to, and what validators make of them."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicoms import IDENTITY, make_dicom, stored
from PIL import Image
from sites import site

from covidnet_lite import Classifier
from covidnet_lite.codes import Code, Note
from covidnet_lite.dicom_out import results as dicom_results
from covidnet_lite.dicom_out import secondary_capture
from covidnet_lite.errors import InputError, MissingExtraError, OutputError
from covidnet_lite.evidence.place import OUTSIDE, ZONES, Place
from covidnet_lite.prediction import Prediction

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

ROOT = Path(__file__).resolve().parent.parent.parent
SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"
NOWHERE = dict.fromkeys(ZONES, 0.0)
DISEASES = ("pneumonia", "233604007", "covid-19", "840539006", "class covid", "class normal", "17621005")


@pytest.fixture(scope="module")
def unsure(film: Path) -> Prediction:
    """What `base` makes of the real film: it abstains, by a hair; said here, lest another machine's rounding matter."""
    prediction = Classifier().classify(film)
    return replace(prediction, status="unsure", labels=(), reason="unsure: by a hair")


@pytest.fixture(scope="module")
def answered(unsure: Prediction) -> Prediction:
    return replace(unsure, status="answered", labels=(str(unsure.most_likely),), reason=None)


@pytest.fixture(scope="module")
def narrowed(unsure: Prediction) -> Prediction:
    """What a network with an operating point would make of it."""
    zones = dict.fromkeys(ZONES, 0.0) | {"right lower": 0.5, "left lower": 0.4}
    return replace(
        unsure,
        status="narrowed",
        labels=("pneumonia", "covid"),
        negative="normal",
        extent=0.312,
        extent_error=0.09,
        place=Place(0.9, zones, "both lower zones"),
        track_record="such an answer was right on 94% of radiographs",
    )


@pytest.fixture(scope="module")
def refused(unsure: Prediction) -> Prediction:
    return replace(
        unsure,
        status="refused",
        reason="does not look like a chest (distance 9.99, limit 3.75)",
        probabilities={},
        evidence=None,
    )


def group(report: Any) -> list[Any]:
    """The content items of the one measurement group."""
    (measurements,) = [i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010"]
    (only,) = measurements.ContentSequence
    return list(only.ContentSequence)


def contents_of(report: Any) -> dict[str, list[Any]]:
    """Name of each content item of the group -> its values."""
    results: dict[str, list[Any]] = {}
    for item in group(report):
        value = item.get("TextValue") or item.get("UID")
        if item.ValueType == "CODE":
            value = item.ConceptCodeSequence[0].CodeValue
        elif item.ValueType == "NUM":
            value = float(item.MeasuredValueSequence[0].NumericValue)
        elif item.ValueType == "IMAGE":
            value = item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        results.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, []).append(value)
    return results


# What is said.


def test_an_answer_is_a_report_with_codes_and_a_capture(answered: Prediction, film: Path) -> None:
    report, capture = dicom_results.make(answered, film)
    assert (report.SOPClassUID, report.Modality, report.ContentTemplateSequence[0].TemplateIdentifier) == (
        SR,
        "SR",
        "1500",
    )
    assert (capture.SOPClassUID, capture.Modality) == (SC, "OT")
    contents = contents_of(report)
    assert contents["Status of the classification"] == ["ANSWERED"]
    codes = {"normal": "17621005", "pneumonia": "233604007", "covid": "840539006"}
    assert contents["Resembles training class"] == [codes[str(answered.label)]]
    for label, share in answered.probabilities.items():
        assert contents[f"Probability of training class {label}"] == [pytest.approx(share * 100, abs=0.05)]
    numbers = [item for item in group(report) if item.ValueType == "NUM"]
    shares, measured = numbers[: len(codes)], numbers[len(codes) :]
    assert [n.ContentSequence[0].ConceptCodeSequence[0].CodeValue for n in shares] == list(codes.values())
    assert [n.ConceptNameCodeSequence[0].CodeValue for n in measured] == ["EXTENT", "EXTENT-ERROR"]
    assert {n.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue for n in numbers} == {"%"}
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert report.ContentQualification == capture.ContentQualification == "RESEARCH"


@pytest.mark.parametrize("status", ["answered", "narrowed", "unsure", "refused"])
def test_every_report_tells_the_source_the_algorithm_and_the_purpose(
    status: str, film: Path, request: pytest.FixtureRequest
) -> None:
    prediction = request.getfixturevalue(status)
    contents = contents_of(dicom_results.make(prediction, film)[0])
    assert contents["Source of Measurement"] == [pydicom.dcmread(film).SOPInstanceUID]
    assert contents["Algorithm Name"] == ["covidnet-lite"]
    assert prediction.model in contents["Algorithm Version"][0]
    assert prediction.sha256 in contents["Algorithm Parameters"][0]
    assert contents["Status of the classification"] == [status.upper()]
    assert "Research use only; not a medical device." in contents["Comment"]
    assert "By its header the image is: modality CR, body part CHEST, view PA." in contents["Comment"]


def test_a_report_names_the_site_and_another_site_gives_other_instances(answered: Prediction, film: Path) -> None:
    results = [
        dicom_results.make(replace(answered, site=at), film)[0] for at in (None, site(), site(positive_from=0.9))
    ]
    parameters = [contents_of(report)["Algorithm Parameters"] for report in results]
    assert parameters[0] == [f"network SHA-256 {answered.sha256}", "network signed by covidnet-lite"]
    assert parameters[1][2] == f"thresholds of site St. Elsewhere, fitted 2026-11-30, SHA-256 {site().digest}"
    assert len({report.SOPInstanceUID for report in results}) == 3


def test_a_report_tells_what_was_left_aside_in_reading(answered: Prediction, film: Path) -> None:
    noted = replace(answered, notes=(Note(Code.CHEST_NOT_NAMED),))
    (contents,) = [
        text for text in contents_of(dicom_results.make(noted, film)[0])["Comment"] if text.startswith("By its header")
    ]
    assert contents.endswith("Note: its header does not name the chest.")


def test_an_abstention_names_no_class_and_no_disease(unsure: Prediction, film: Path) -> None:
    measured = replace(
        unsure, negative="normal", extent=0.3, place=Place(0.9, {**NOWHERE, "right lower": 0.9}, "right")
    )
    (report,) = dicom_results.make(measured, film)  # and no capture, whose hot spot would be a finding
    assert [word for word in (*DISEASES, "opacity", "lower") if word in text(report)] == []
    assert [item for item in group(report) if item.ValueType == "NUM"] == []
    assert contents_of(report)["Comment"][0].startswith("No answer: the network is not sure enough.")
    outside = replace(unsure, place=Place(0.2, NOWHERE, OUTSIDE))
    assert "mostly outside the lungs" in contents_of(dicom_results.make(outside, film)[0])["Comment"][0]


def test_an_abstention_may_have_a_capture_on_demand_which_shows_no_map(unsure: Prediction, film: Path) -> None:
    pictured = replace(unsure, code=Code.UNSURE, image=Image.new("L", (600, 700), 128))
    _, capture = dicom_results.make(pictured, film, capture=True)
    assert (capture.SOPClassUID, capture.SeriesDescription) == (SC, "covidnet-lite no answer - research use only")
    shown = np.asarray(capture.pixel_array)[200:700]
    assert (shown == shown[0, 0]).all()  # the radiograph, which is gray all over, and nothing on it
    assert "BodyPartExamined" not in capture or not capture.BodyPartExamined
    assert secondary_capture.lines(pictured)[0] == "No answer: the network is not sure enough to answer"
    assert len(dicom_results.make(unsure, film, capture=True)) == 1  # whose image is not there


def test_an_answer_has_no_capture_where_none_is_wanted(answered: Prediction, film: Path) -> None:
    assert len(dicom_results.make(answered, film, capture=False)) == 1
    assert len(dicom_results.make(answered, film, capture=True)) == 2
    assert len(dicom_results.make(replace(answered, evidence=None), film, capture=True)) == 1


def test_a_narrowed_answer_is_coded_as_what_is_ruled_out_and_what_is_not(narrowed: Prediction, film: Path) -> None:
    report, capture = dicom_results.make(narrowed, film)
    contents = contents_of(report)
    assert contents["Status of the classification"] == ["NARROWED"]
    assert "Resembles training class" not in contents
    assert contents["Training class ruled out"] == ["17621005"]
    assert contents["Training class not ruled out"] == ["233604007", "840539006"]
    assert [name for name in contents if name.startswith("Probability")] == ["Probability of training class normal"]
    assert contents["Comment"][0].startswith("Not normal; pneumonia or covid: ")
    assert "right on 94% of radiographs" in contents["Comment"][0]
    assert capture.SOPClassUID == SC
    assert secondary_capture.lines(narrowed)[:4] == [
        "Not normal; pneumonia or covid (training classes)",
        "opacity in about 31% of the lungs (off by 9% of the lungs on average)",
        "evidence: both lower zones",
        "such an answer was right on 94% of radiographs",
    ]


def test_extent_and_zones_are_numbers_with_units_and_codes(narrowed: Prediction, film: Path) -> None:
    report = dicom_results.make(narrowed, film)[0]
    contents = contents_of(report)
    assert contents["Extent of opacity in the lungs, estimated"] == [31.2]
    assert contents["Mean absolute error of the extent"] == [9.0]
    assert contents["Zone of the lungs with evidence"] == ["RIGHT-LOWER", "LEFT-LOWER"]
    units = {
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodingSchemeDesignator
        for item in group(report)
        if item.ValueType == "NUM"
    }
    assert units == {"UCUM"}
    everywhere = replace(narrowed, place=Place(0.9, dict.fromkeys(ZONES, 0.15), "diffuse"))
    assert contents_of(dicom_results.make(everywhere, film)[0])["Zone of the lungs with evidence"] == ["DIFFUSE"]


def test_of_a_normal_film_no_extent_and_no_zone_is_told(narrowed: Prediction, film: Path) -> None:
    normal = replace(narrowed, status="answered", labels=("normal",), reason=None)
    contents = contents_of(dicom_results.make(normal, film)[0])
    assert contents["Resembles training class"] == ["17621005"]
    assert not [name for name in contents if "xtent" in name or "Zone" in name]


def test_a_probability_is_not_rounded_to_certainty(answered: Prediction, film: Path) -> None:
    sure = replace(answered, probabilities={"normal": 1e-5, "pneumonia": 0.0, "covid": 0.99999})
    contents = contents_of(dicom_results.make(sure, film)[0])
    assert contents["Probability of training class covid"] == [99.999]
    assert contents["Probability of training class normal"] == [0.001]
    assert contents["Probability of training class pneumonia"] == [0.0]


def test_a_refusal_is_a_report_alone_with_its_reason(refused: Prediction, film: Path) -> None:
    (report,) = dicom_results.make(replace(refused, code=Code.UNLIKE_TRAINING), film)
    assert [word for word in DISEASES if word in text(report)] == []
    assert Code.UNLIKE_TRAINING.public in contents_of(report)["Comment"][0]


def test_a_label_of_another_network_gets_a_code_of_its_own(answered: Prediction, film: Path) -> None:
    label = "tubercule \\ größer als vierundsechzig Zeichen, " + "x" * 60
    other = replace(answered, labels=(label,), probabilities={label: 0.75, "clear": 0.2, "d": 0.05})
    report = pydicom.dcmread(write_to_memory(dicom_results.make(other, film)[0]))
    item = next(i for i in group(report) if i.ConceptNameCodeSequence[0].CodeMeaning == "Resembles training class")
    code = item.ConceptCodeSequence[0]
    assert code.CodingSchemeDesignator == "99CNLITE"
    assert code.LongCodeValue == label.replace("\\", "/")
    assert len(code.CodeMeaning) == 64


def text(data: Any) -> str:
    """All that a file says, as text in small letters."""
    return str(write_to_memory(data).read().decode("utf-8", "replace").lower())


def write_to_memory(data: Any) -> Any:
    import io

    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return buffer


# The picture.


def test_the_capture_shows_the_evidence_map_between_banner_and_lines(answered: Prediction, film: Path) -> None:
    capture = dicom_results.make(answered, film)[1]
    page, picture = capture.pixel_array, np.asarray(answered.heatmap())
    top = next(row for row in range(len(page)) if np.array_equal(page[row : row + 50], picture[:50]))
    np.testing.assert_array_equal(page[top : top + len(picture)], picture)
    assert top >= page.shape[1] // 14  # room for letters that can be read across a room
    banner = page[:top]
    assert (banner == (255, 214, 0)).all(axis=2).mean() > 0.5
    assert 0.05 < (banner.max(axis=2) < 60).mean() < 0.4  # black letters
    assert (page[top + len(picture) :].min(axis=2) > 200).mean() > 0.02  # white ones
    assert secondary_capture.BANNER == "RESEARCH USE ONLY"


@pytest.mark.parametrize("size", [(64, 64), (90, 700), (1024, 300)])
def test_words_fit_and_stay_large_enough_beside_any_picture(size: tuple[int, int]) -> None:
    page = secondary_capture.add_captions(Image.new("RGB", size), ["A" * 70])
    assert page.width >= 512
    line = np.asarray(page.convert("L"))[-page.width // 40 :]
    assert line.max() > 200
    assert line[:, :5].max() == line[:, -5:].max() == 0


def test_the_capture_refers_to_its_source_and_keeps_its_orientation_and_losses(
    answered: Prediction, film: Path
) -> None:
    lossy = film.with_name("RG1_J2KI.dcm")
    source, capture = pydicom.dcmread(lossy), dicom_results.make(answered, lossy)[1]
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert capture.PatientOrientation == source.PatientOrientation == ["L", "F"]
    assert capture.LossyImageCompression == source.LossyImageCompression == "01"
    assert answered.sha256 in capture.DerivationDescription
    assert "LossyImageCompression" not in dicom_results.make(answered, film)[1]


# Whose it is.


def test_results_stay_with_patient_and_study_in_series_of_their_own(answered: Prediction, film: Path) -> None:
    source, results = pydicom.dcmread(film), dicom_results.make(answered, film)
    for data in results:
        for keyword in (*IDENTITY, "StudyDescription"):
            if keyword != "SeriesInstanceUID":
                assert data.get(keyword) == source.get(keyword), keyword
    assert len({source.SeriesInstanceUID, *(data.SeriesInstanceUID for data in results)}) == 3


def test_the_same_film_and_network_give_the_same_instances(
    answered: Prediction, unsure: Prediction, film: Path
) -> None:
    def uids(prediction: Prediction, source: Any) -> list[str]:
        return [uid for d in dicom_results.make(prediction, source) for uid in (d.SOPInstanceUID, d.SeriesInstanceUID)]

    first = uids(answered, film)
    assert len(set(first)) == 4
    assert uids(answered, film.read_bytes()) == first
    assert uids(unsure, film.read_bytes()) == first[:2]
    assert not set(uids(replace(answered, sha256="0" * 64), film)) & set(first)
    assert not set(uids(answered, film.with_name("RG1_J2KR.dcm"))) & set(first)


@pytest.mark.parametrize(
    ("charset", "name"),
    [("ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"), ("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 144", "Люкceмбypг")],
)
def test_names_survive_their_character_set(charset: str, name: str, refused: Prediction) -> None:
    source = make_dicom(
        stored(),
        **{**IDENTITY, "PatientName": name},
        SpecificCharacterSet=["", charset] if "2022" in charset else charset,
    )
    (report,) = dicom_results.make(refused, source)
    again = pydicom.dcmread(write_to_memory(report))
    assert str(again.PatientName) == name
    assert again.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.filterwarnings("error")
def test_a_name_in_one_piece_brings_no_warning(answered: Prediction) -> None:
    source = make_dicom(stored(), **{**IDENTITY, "PatientName": "ward", "ReferringPhysicianName": "who"})
    assert [str(data.PatientName) for data in dicom_results.make(answered, source)] == ["ward", "ward"]


@pytest.mark.parametrize(
    ("keyword", "odd", "kept"),
    [
        ("PatientBirthDate", "19501399", ""),
        ("PatientBirthDate", "1950.01.01", ""),
        ("StudyTime", "25:00", ""),
        ("StudyDate", ["20200101", "20200102"], ""),
        ("StudyTime", ["101112", "101113"], ""),
        ("PatientBirthDate", ["19500101", "19500102"], ""),
        ("PatientAge", ["030Y", "031Y"], None),
        ("PatientSex", "X", ""),
        ("PatientAge", "old", None),
        ("PatientID", "a" * 70, "a" * 70),
        ("PatientID", ["A", "B"], ["A", "B"]),
        ("AccessionNumber", "12345678901234567890", "12345678901234567890"),
        ("PatientID", None, ""),
        ("StudyDescription", "x" * 100, "x" * 64),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:The value length")
def test_odd_fields_are_kept_where_they_identify_and_left_empty_where_they_break(
    keyword: str, odd: Any, kept: Any, answered: Prediction
) -> None:
    for data in dicom_results.make(answered, make_dicom(stored(), **{**IDENTITY, keyword: odd})):
        again = pydicom.dcmread(write_to_memory(data))
        assert (again.get(keyword) or kept) == kept
        assert ("" if again.get(keyword) is None else again.get(keyword)) == ("" if kept is None else kept)


@pytest.mark.filterwarnings("ignore")
def test_no_odd_header_makes_it_raise(answered: Prediction) -> None:
    odd = ["", " ", "0", "\\", "A\\B", "^=^", "99999999", "20240231", "1e9", "ÄÖ", "x" * 200, "\x1b[0m\n", "-1", None]
    fields = [k for k in (*IDENTITY, "PatientAge", "PatientSize", "PatientWeight", "IssuerOfPatientID", "LossyImageCompression",
              "LossyImageCompressionRatio", "LossyImageCompressionMethod", "PatientOrientation", "StudyDescription",
              "BurnedInAnnotation", "Manufacturer", "SoftwareVersions") if not k.endswith("InstanceUID")]  # fmt: skip
    rng = random.Random(0)
    for _ in range(60):
        header = {
            **IDENTITY,
            **{k: rng.choice(odd) for k in rng.sample(fields, 6)},
            "SpecificCharacterSet": "ISO_IR 100",
        }
        try:
            source = make_dicom(stored(), **header)
        except (ValueError, TypeError, OverflowError, AttributeError):
            continue  # pydicom itself does not write it
        for data in dicom_results.make(answered, source):
            pydicom.dcmread(write_to_memory(data))


def test_a_private_class_is_referred_to_as_it_is(answered: Prediction) -> None:
    private = "1.2.840.113619.4.26"
    for data in dicom_results.make(answered, make_dicom(stored(), **{**IDENTITY, "SOPClassUID": private})):
        named: set[str] = set()
        data.walk(lambda _, one: named.add(str(one.value)) if one.keyword == "ReferencedSOPClassUID" else None)  # noqa: B023
        assert named == {private}


# What cannot be.


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_without_a_uid_to_refer_to_there_is_a_clear_error(keyword: str, answered: Prediction) -> None:
    for value in ("", "1.2.banana", "1." * 40):
        source = make_dicom(stored(), **{**IDENTITY, keyword: value})
        with pytest.raises(InputError, match=f"has no valid {keyword}, so no DICOM result can refer to it"):
            dicom_results.make(answered, source)


def test_what_is_no_dicom_file_is_a_clear_error(answered: Prediction, film_png: Path) -> None:
    with pytest.raises(InputError, match="is no DICOM file"):
        dicom_results.make(answered, film_png)
    with pytest.raises(InputError, match="is no radiograph"):
        dicom_results.make(answered, Image.new("L", (99, 99)))  # type: ignore[arg-type]


def test_without_highdicom_the_error_names_the_extra(
    answered: Prediction, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'covidnet-lite\[dicom-out\]'"):
        dicom_results.make(answered, film)


# Files.


def test_files_are_named_after_the_source_and_again_the_same(answered: Prediction, film: Path, tmp_path: Path) -> None:
    paths = dicom_results.write(answered, film, tmp_path)
    assert [path.name[:9] + path.name[-7:] for path in paths] == ["RG1_UNCR..sr.dcm", "RG1_UNCR..sc.dcm"]
    assert dicom_results.write(answered, film, tmp_path) == paths
    assert len(list(tmp_path.iterdir())) == 2
    other = dicom_results.write(answered, film.with_name("RG1_J2KR.dcm"), tmp_path)  # another film, the same name
    assert not set(other) & set(paths)


def test_a_folder_that_cannot_be_written_is_an_output_error(refused: Prediction, film: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        dicom_results.write(refused, film, tmp_path / "file")


def test_the_command_writes_results_and_goes_on_where_there_are_none(
    film: Path, film_png: Path, answering: Path, tmp_path: Path
) -> None:
    anonymous, out = tmp_path / "anonymous.dcm", tmp_path / "out"
    data = pydicom.dcmread(film)
    del data.StudyInstanceUID
    data.save_as(anonymous)
    hand = film.with_name("RG3_UNCR.dcm")
    command = [sys.executable, "-m", "covidnet_lite", "classify", film_png, anonymous, film, hand, "--dicom-out", out]
    command += ["--model", answering]
    process = subprocess.run([str(word) for word in command], capture_output=True, cwd=ROOT, timeout=120, text=True)
    assert process.returncode == 1
    errors = [line for line in process.stderr.splitlines() if "error" in line]
    assert len(errors) == 2
    assert errors[0].startswith(f"covidnet-lite: error: {film_png}: is no DICOM file")
    assert errors[1].startswith(f"covidnet-lite: error: {anonymous}: has no valid StudyInstanceUID")
    names = sorted(path.name.split(".")[0] + path.name[-7:] for path in out.iterdir())
    assert names == ["RG1_UNCR.sc.dcm", "RG1_UNCR.sr.dcm", "RG3_UNCR.sr.dcm"]
    assert len(process.stdout.splitlines()) >= 5  # every film has its answer all the same


def test_a_folder_is_not_searched_for_results_of_ours(answered: Prediction, film: Path, tmp_path: Path) -> None:
    from covidnet_lite.inputs import find

    dicom_results.write(answered, film, tmp_path)
    shutil.copy(film, tmp_path / "film.dcm")
    assert list(find([str(tmp_path)])) == [str(tmp_path / "film.dcm")]


# Other people's programs.


def run(*command: object) -> str:
    if not shutil.which(str(command[0])):
        pytest.skip(f"needs {command[0]} (Debian: dcmtk, dicom3tools)")
    process = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60)
    return f"exit {process.returncode}\n{process.stdout}{process.stderr}"


SOURCES = {"plain": {}, "Japanese": {"PatientName": "Yamada^Tarou=山田^太郎", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]},
           "nameless": dict.fromkeys(set(IDENTITY) - {"StudyInstanceUID", "SeriesInstanceUID"}), "DX": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "Modality": "DX"}}  # fmt: skip


@pytest.mark.parametrize("fields", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("status", ["answered", "narrowed", "unsure", "refused"])
def test_dciodvfy_finds_no_error(status: str, fields: dict[str, Any], tmp_path: Path, request: Any) -> None:
    source = make_dicom(stored(), **{**IDENTITY, **fields})
    paths = dicom_results.write(request.getfixturevalue(status), source, tmp_path)
    for path, iod in zip(paths, ("ComprehensiveSR", "SCImage")):
        lines = run("dciodvfy", "-new", path).splitlines()
        assert iod in lines
        assert [line for line in lines if "Error" in line or "Abort" in line] == []
        # Codes of ours are what they are, and an unknown patient stays one.
        known = ("<99CNLITE>", "PatientName", "needed to build DICOMDIR")
        assert [line for line in lines if "Warning" in line and not any(word in line for word in known)] == []


@pytest.mark.parametrize("status", ["answered", "narrowed", "unsure", "refused"])
def test_dcmtk_reads_the_report(status: str, film: Path, tmp_path: Path, request: Any) -> None:
    report, *_ = dicom_results.write(request.getfixturevalue(status), film, tmp_path)
    text = run("dsrdump", "+Pl", report)
    assert text.startswith("exit 0\n")
    assert 'CONTAINER:(,,"Imaging Measurement Report")' in text
    assert ("Probability of training class covid" in text) == (status == "answered")
    assert 'TEXT:(,,"Comment")="Research use only; not a medical device."' in text


def test_dcmtk_shows_the_capture(answered: Prediction, film: Path, tmp_path: Path) -> None:
    _, capture = dicom_results.write(answered, film, tmp_path)
    assert run("dcm2pnm", "--write-bmp", capture, tmp_path / "x.bmp").startswith("exit 0\n")
    pixels = np.asarray(Image.open(tmp_path / "x.bmp").convert("RGB"))
    np.testing.assert_array_equal(pixels, pydicom.dcmread(capture).pixel_array)


@pytest.mark.parametrize("status", ["answered", "refused"])
def test_results_are_read_again_by_highdicom(status: str, film: Path, tmp_path: Path, request: Any) -> None:
    import highdicom

    report, *_ = dicom_results.write(request.getfixturevalue(status), film, tmp_path)
    result = highdicom.sr.srread(report)
    (results,) = result.content.get_image_measurement_groups()
    shares_and_extent = 3 + 2
    assert len(results.get_measurements()) == (shares_and_extent if status == "answered" else 0)
