"""The network's numbers -> what is told to a person or a program."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sites import site

from covidnet_lite.codes import Code, Note
from covidnet_lite.dicom_in.examination import Examination
from covidnet_lite.errors import CovidNetLiteError, InputError, UnforeseenError
from covidnet_lite.evidence import heatmap
from covidnet_lite.evidence.place import OUTSIDE, Place
from covidnet_lite.network.guard import Guard
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import Manifest
from covidnet_lite.network.operating_point import OperatingPoint
from covidnet_lite.prediction import ANSWERS, DISCLAIMER, STATUSES, Failure, Prediction, judge, softmax

LABELS = ("normal", "pneumonia", "covid")
GUARD = Guard(np.zeros(4), np.eye(4)[:2], np.ones(2), 1.0, limit=2.5)


def manifest(**fields):
    return Manifest("tiny", LABELS, InputSpec(96, 96), **fields)


def logits(*shares):
    return np.log(np.float32(shares))


def prediction(**fields):
    defaults = Prediction(
        name="a.png",
        status="answered",
        labels=("covid",),
        reason=None,
        probabilities={"normal": 0.1, "pneumonia": 0.20004, "covid": 0.69996},
        timings={"read": 1.23456, "run": 4.0},
        model="tiny",
        sha256="ab" * 32,
        distance=1.23456,
    )
    return replace(defaults, **fields)


def radiograph():
    return np.tile(np.linspace(20, 220, 120).astype(np.uint8), (100, 1))


def evidence():
    array = np.zeros((4, 4, 3), np.float32)
    array[0, 0, 2], array[-1, -1, 0] = 6, 6
    return array


POINT = OperatingPoint("normal", 0.8, 0.7, {"pneumonia": 0.75, "covid": 0.6})


def test_the_most_probable_label_is_the_answer():
    verdict = judge(logits(0.1, 0.2, 0.7), 1.0, manifest(guard=GUARD, threshold=0.6))
    assert (verdict.status, verdict.labels, verdict.reason) == ("answered", ("covid",), None)
    assert list(verdict.probabilities) == list(LABELS)
    assert list(verdict.probabilities.values()) == pytest.approx([0.1, 0.2, 0.7])
    assert {type(p) for p in verdict.probabilities.values()} == {float}


def test_the_temperature_calibrates_the_probabilities():
    probabilities = judge(logits(1, 4, 16), None, manifest(temperature=2.0)).probabilities
    assert list(probabilities.values()) == pytest.approx([1 / 7, 2 / 7, 4 / 7])


def test_below_the_threshold_it_abstains_and_names_no_class():
    verdict = judge(logits(0.1, 0.5, 0.4), 1.0, manifest(guard=GUARD, threshold=0.6))
    assert (verdict.status, verdict.labels) == ("unsure", ())
    assert verdict.reason == (
        "unsure: the highest probability, 50.0%, is below the 60.0% from which the network answers"
    )
    assert verdict.probabilities["pneumonia"] == pytest.approx(0.5)


def test_a_probability_just_below_the_threshold_does_not_read_like_it():
    reason = judge(logits(0.1, 0.05004, 0.84996), None, manifest(threshold=0.85)).reason
    assert "84.996%" in reason
    assert "85.000%" in reason


def test_the_guard_speaks_first():
    verdict = judge(logits(0.1, 0.5, 0.4), 3.14, manifest(guard=GUARD, threshold=0.6))
    assert (verdict.status, verdict.labels, verdict.probabilities) == ("refused", (), {})
    assert "does not look like the frontal chest radiographs" in verdict.reason
    assert "distance 3.14, limit 2.50" in verdict.reason
    assert judge(logits(0.9, 0.05, 0.05), 3.14, manifest(guard=GUARD, operating_point=POINT)).status == "refused"


def test_a_radiograph_shown_wrongly_is_refused_and_told_how():
    verdict = judge(logits(0.1, 0.2, 0.7), 1.0, manifest(guard=GUARD), "upside down")
    assert (verdict.status, verdict.labels, verdict.probabilities) == ("refused", (), {})
    assert verdict.reason == "looks like a radiograph upside down; show one alone, upright, with white bones"


@pytest.mark.parametrize(("distance", "guard"), [(2.5, GUARD), (None, GUARD), (1e9, None)])
def test_up_to_the_limit_or_without_a_guard_nothing_is_refused(distance, guard):
    assert judge(logits(0.1, 0.2, 0.7), distance, manifest(guard=guard)).labels == ("covid",)


@pytest.mark.parametrize(("threshold", "status"), [(0.0, "answered"), (1.01, "unsure")])
def test_a_threshold_of_nothing_never_abstains_and_one_above_one_always_does(threshold, status):
    assert judge(logits(0.34, 0.33, 0.33), None, manifest(threshold=threshold)).status == status
    assert judge(np.float32([0, 0, 900]), None, manifest(threshold=threshold)).status == status


def test_exactly_at_the_threshold_it_answers():
    assert judge(np.zeros(3, np.float32), None, manifest(threshold=1 / 3)).labels == ("normal",)


@pytest.mark.parametrize(
    ("shares", "status", "labels"),
    [
        ((0.85, 0.05, 0.10), "answered", ("normal",)),
        ((0.10, 0.10, 0.80), "answered", ("covid",)),
        ((0.10, 0.80, 0.10), "answered", ("pneumonia",)),
        ((0.10, 0.45, 0.45), "narrowed", ("pneumonia", "covid")),
        ((0.50, 0.05, 0.45), "unsure", ()),
    ],
)
def test_an_operating_point_answers_with_one_label_with_several_or_not(shares, status, labels):
    verdict = judge(logits(*shares), None, manifest(operating_point=POINT, threshold=1.01))
    assert (verdict.status, verdict.labels) == (status, labels)
    assert (verdict.reason is None) == (status == "answered")
    assert (verdict.status in ANSWERS) == bool(labels)


def test_an_abstention_at_an_operating_point_names_no_finding_and_says_what_was_missing():
    reason = judge(logits(0.5, 0.05, 0.45), None, manifest(operating_point=POINT)).reason
    assert reason == (
        "unsure: the probability of normal is 50.0%; normal is answered from 80.0%, not normal up to 30.0%"
    )
    assert "covid" not in reason
    close = judge(logits(0.79999, 0.1, 0.10001), None, manifest(operating_point=POINT)).reason
    assert "79.999%" in close
    assert "from 80.000%" in close
    never = replace(POINT, negative_from=1.01, positive_from=1.01)
    assert judge(logits(0.5, 0.25, 0.25), None, manifest(operating_point=never)).reason == (
        "unsure: the probability of normal is 50.0%; normal is never answered, not normal never"
    )


@pytest.mark.parametrize("shares", [(0.1, 0.1, 0.8), (0.1, 0.45, 0.45)])
def test_a_positive_answer_whose_evidence_lies_outside_the_lungs_is_withheld(shares):
    outside, inside = Place(0.31, {}, OUTSIDE), Place(0.6, {}, "diffuse")
    verdict = judge(logits(*shares), None, manifest(operating_point=POINT), place=outside)
    assert (verdict.status, verdict.labels) == ("unsure", ())
    assert verdict.reason == "unsure: 69% of the evidence lies outside the lungs"
    assert judge(logits(*shares), None, manifest(operating_point=POINT), place=inside).labels
    assert judge(logits(0.9, 0.05, 0.05), None, manifest(operating_point=POINT), place=outside).labels == ("normal",)


def test_a_prediction_is_json_with_plain_rounded_numbers():
    fields = json.loads(prediction(evidence=evidence(), source=radiograph()).to_json())
    assert fields == {
        "name": "a.png",
        "status": "answered",
        "label": "covid",
        "labels": ["covid"],
        "code": None,
        "reason": None,
        "probabilities": {"normal": 0.1, "pneumonia": 0.20004, "covid": 0.69996},
        "extent": None,
        "extent_error": None,
        "place": None,
        "track_record": None,
        "distance": 1.235,
        "view": [0.0, 0.0, 1.0, 1.0],
        "timings_ms": {"read": 1.235, "run": 4.0},
        "model": "tiny",
        "sha256": "ab" * 32,
        "signed_by": None,
        "note": "Research use only; not a medical device.",
    }


def test_json_has_what_the_header_says_and_the_notes_and_rounds_what_is_measured():
    fields = prediction(
        probabilities={"normal": 0.12345678, "covid": 0.87654322}, extent=0.123456, extent_error=0.09, distance=None,
        view=(0.123456, 0.0, 0.987654, 1.0), examination=Examination("DX", "CHEST", "PA"),
        notes=(Note(Code.VIEW_NOT_NAMED, "in words"),), signed_by="somebody", site=(here := site()),
    ).to_dict()  # fmt: skip
    assert fields["probabilities"] == {"normal": 0.123457, "covid": 0.876543}
    assert (fields["extent"], fields["extent_error"], fields["distance"]) == (
        0.1235,
        0.09,
        None,
    )
    assert fields["view"] == [0.1235, 0.0, 0.9877, 1.0]
    assert fields["examination"] == Examination("DX", "CHEST", "PA").to_dict()
    assert (fields["notes"], fields["note_codes"]) == (["in words"], [Code.VIEW_NOT_NAMED])
    assert fields["signed_by"] == "somebody"
    assert fields["site"] == {"name": "St. Elsewhere", "sha256": here.digest}


def test_a_pickled_prediction_leaves_out_its_image():
    kept = prediction(image=Image.fromarray(radiograph()))
    assert vars(pickle.loads(pickle.dumps(kept))) == {**vars(kept), "image": None}
    assert kept.image is not None


def test_json_is_one_line_and_keeps_accents():
    for result in (prediction(name="é\n.png"), Failure("é\n.png", InputError("x"))):
        assert "\n" not in result.to_json()
        assert "é" in result.to_json()


def test_a_failure_nobody_foresaw_names_the_reference_of_the_log():
    assert Failure("x", UnforeseenError("failed", "abc123")).to_dict()["reference"] == "abc123"
    assert "reference" not in Failure("x", InputError("y")).to_dict()


@pytest.mark.parametrize("opacity", [-0.01, 1.01, 2, "1", None])
def test_an_opacity_out_of_range_is_named(opacity):
    with pytest.raises(CovidNetLiteError, match=r"opacity must be between 0 and 1, not "):
        prediction(evidence=evidence()).heatmap(image=radiograph(), opacity=opacity)


@pytest.mark.parametrize("opacity", [0, 1])
def test_an_opacity_at_either_end_is_taken(opacity):
    assert prediction(evidence=evidence()).heatmap(image=radiograph(), opacity=opacity)


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({}, "evidence for covid"),
        ({"labels": ("pneumonia", "covid"), "status": "narrowed", "negative": "normal"}, "evidence for not normal"),
        ({"labels": (), "status": "unsure"}, "evidence for covid (no answer)"),
    ],
)
def test_the_legend_says_whose_evidence_it_is_and_where_there_is_no_answer(monkeypatch, fields, title):
    titles, legend = [], heatmap.with_legend
    monkeypatch.setattr(
        heatmap, "with_legend", lambda image, words, most: titles.append(words) or legend(image, words, most)
    )
    prediction(evidence=evidence(), **fields).heatmap(image=radiograph())
    assert titles == [title]


def test_a_heat_map_lies_over_the_part_that_the_network_saw():
    whole, part = (
        np.asarray(prediction(evidence=evidence(), view=view).heatmap(image=radiograph(), legend=False))
        for view in ((0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 1.0, 1.0))
    )
    assert np.any(whole[:40, :40, 0] != whole[:40, :40, 2])
    assert np.all(part[:40, :40, 0] == part[:40, :40, 2])


def test_the_most_likely_label_is_known_also_when_unsure_but_not_when_refused():
    unsure = prediction(status="unsure", labels=(), reason="unsure: because")
    assert (unsure.most_likely, unsure.confidence) == ("covid", 0.69996)
    refused = prediction(status="refused", labels=(), probabilities={})
    assert (refused.most_likely, refused.confidence) == (None, None)


def test_text_for_people_says_resembles_and_research_use_only():
    text = str(prediction())
    assert text == f"a.png: resembles covid  (normal 10.0%  pneumonia 20.0%  covid 70.0%)  [{DISCLAIMER}]"
    refused = prediction(status="refused", labels=(), reason="blank", probabilities={}, distance=None)
    assert str(refused) == f"a.png: no answer: blank  [{DISCLAIMER}]"
    assert "Research use only" in DISCLAIMER


ZONES = {
    "right upper": 0.0,
    "right middle": 0.1,
    "right lower": 0.8,
    "left upper": 0,
    "left middle": 0,
    "left lower": 0,
}
NARROWED = {
    "status": "narrowed",
    "labels": ("pneumonia", "covid"),
    "reason": "pneumonia or covid: the network is not sure enough which of them",
    "negative": "normal",
    "extent": 0.312,
    "extent_error": 0.09,
    "place": Place(0.9, ZONES, "right lower zone"),
    "track_record": "such an answer was right on 94% of radiographs",
}


def test_a_narrowed_answer_reads_as_such_everywhere():
    result = prediction(**NARROWED)
    assert (result.label, result.answer) == (None, "not normal; pneumonia or covid")
    assert result.findings == (
        "opacity in about 31% of the lungs (off by 9% of the lungs on average)",
        "evidence: right lower zone",
    )
    assert str(result).startswith(f"a.png: not normal; pneumonia or covid; {'; '.join(result.findings)}  (normal 10.0%")
    assert "  [such an answer was right on 94% of radiographs]  " in str(result)
    fields = result.to_dict()
    assert (fields["label"], fields["labels"], fields["extent"]) == (None, ["pneumonia", "covid"], 0.312)
    assert fields["place"] == {"inside": 0.9, "zones": ZONES, "main": "right lower zone"}


def test_extent_and_place_are_told_of_positive_answers_only():
    normal = prediction(**{**NARROWED, "status": "answered", "labels": ("normal",)})
    unsure = prediction(**{**NARROWED, "status": "unsure", "labels": (), "reason": "unsure: because"})
    assert normal.findings == unsure.findings == ()
    assert str(unsure) == f"a.png: no answer: unsure: because  [{DISCLAIMER}]"
    assert unsure.to_dict()["extent"] == 0.312  # for programs; the status says what it is worth


def test_what_is_no_answer_has_neither_label_nor_words():
    for result in (prediction(status="unsure", labels=()), Failure("a", InputError("b"))):
        assert (result.label, result.labels, result.answer) == (None, (), None)
        assert result.status in STATUSES
        assert result.status not in ANSWERS


def test_a_failure_stands_in_the_place_of_a_prediction():
    failure = Failure("b.png", InputError("b.png: no such file; check the path"))
    assert (failure.status, failure.label) == ("failed", None)
    assert failure.reason == "b.png: no such file; check the path"
    assert str(failure) == "b.png: failed: b.png: no such file; check the path"
    assert json.loads(failure.to_json()) == {
        "name": "b.png",
        "status": "failed",
        "label": None,
        "labels": [],
        "code": "unreadable",
        "reason": "b.png: no such file; check the path",
        "note": DISCLAIMER,
    }


def test_a_heatmap_shows_the_most_likely_label_or_the_one_asked_for():
    result = prediction(evidence=evidence(), source=radiograph())
    likely, normal = (np.asarray(result.heatmap(label, legend=False), int) for label in (None, "normal"))
    assert likely.shape == (100, 120, 3)
    assert np.ptp(likely[2, 2]) > 30
    assert np.ptp(likely[-3, -3]) == 0
    assert np.ptp(normal[2, 2]) == 0
    assert np.ptp(normal[-3, -3]) > 30


def test_a_heatmap_says_whose_evidence_it_shows():
    result = prediction(evidence=evidence(), source=radiograph())
    plain, with_legend = (np.asarray(result.heatmap(legend=legend)) for legend in (False, True))
    np.testing.assert_array_equal(with_legend[: len(plain)], plain)
    assert with_legend.shape[0] > plain.shape[0]
    assert np.asarray(result.heatmap("normal"))[len(plain) :].tolist() != with_legend[len(plain) :].tolist()


def test_the_heatmap_of_a_narrowed_answer_shows_what_speaks_against_normal():
    result = prediction(**NARROWED, evidence=evidence() * [1, 1, 1], source=radiograph())
    both = result.evidence.copy()
    both[0, -1, 1] = 6  # pneumonia at the upper right, covid at the upper left, normal at the lower right
    pixels = np.asarray(replace(result, evidence=both).heatmap(legend=False), int)
    assert np.ptp(pixels[2, 2]) > 30
    assert np.ptp(pixels[2, -3]) > 30
    assert np.ptp(pixels[-3, -3]) == 0


def test_a_heatmap_may_be_drawn_on_another_picture_and_more_or_less_strongly():
    result = prediction(evidence=evidence(), source="gone.png")
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        result.heatmap()
    plain = np.asarray(result.heatmap(image=radiograph(), opacity=0.0, legend=False))
    np.testing.assert_array_equal(plain, np.repeat(radiograph()[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("fields", "label", "words"),
    [
        ({"evidence": None, "reason": "blank"}, None, "a.png: has no evidence map: blank"),
        ({"evidence": None}, None, "a.png: has no evidence map: the network does not make one"),
        ({}, "flu", "'flu' is none of normal, pneumonia, covid"),
        ({"source": None}, None, "a.png: pass the radiograph as image="),
    ],
)
def test_a_heatmap_that_cannot_be_drawn_says_why(fields, label, words):
    result = prediction(**{"evidence": evidence(), "source": radiograph(), **fields})
    with pytest.raises(CovidNetLiteError) as caught:
        result.heatmap(label)
    assert str(caught.value) == words


def test_softmax_of_known_logits():
    np.testing.assert_allclose(softmax([0.0, math.log(3)]), [0.25, 0.75])
    np.testing.assert_allclose(softmax([0.0, 2 * math.log(3)], temperature=2.0), [0.25, 0.75])


def test_softmax_of_huge_logits_does_not_overflow():
    np.testing.assert_allclose(softmax([[1e4, 0.0], [-1e4, -1e4]]), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("shares", "more", "fields", "status", "code", "reason"),
    [
        ((np.nan, 1, 1), {}, {}, "refused", Code.NO_NUMBERS, "the network gave no finite numbers for it"),
        ((1, 1, 8), {"distance": 3.0}, {}, "refused", Code.UNLIKE_TRAINING, "(distance 3"),
        ((1, 1, 8), {"display_fault": "upside down"}, {}, "refused", Code.SHOWN_WRONGLY, "upside down; show one alone, upright"),
        ((3, 3, 4), {}, {"threshold": 0.5}, "unsure", Code.UNSURE, "40.0%, is below the 50.0% from which"),
        ((3, 3, 4), {}, {"threshold": 1.0}, "unsure", Code.UNSURE, "40.0%, is below the 100.0% from which"),
        ((3, 3, 4), {}, {"threshold": 1.01}, "unsure", Code.UNSURE, "40.0%, is too low: no threshold was found at which the "),
        ((1, 1, 8), {}, {}, "answered", None, None),
        ((8, 1, 1), {}, {"operating_point": POINT}, "answered", None, None),
        ((1, 1, 8), {}, {"operating_point": POINT}, "answered", None, None),
        ((1, 5, 5), {}, {"operating_point": POINT}, "narrowed", Code.NARROWED, "pneumonia or covid: the network is not sure enough"),
        ((5, 3, 2), {}, {"operating_point": POINT}, "unsure", Code.UNSURE, "normal is answered from 80.0%, not normal up to"),
        (
            (5, 3, 2), {}, {"operating_point": replace(POINT, negative_from=1.0, positive_from=1.0)}, "unsure", Code.UNSURE,
            "normal is answered from 100.0%, not normal up to 0.0%",
        ),
        (
            (1, 1, 8), {"place": Place(0.25, {}, OUTSIDE)}, {"operating_point": POINT}, "unsure", Code.OUTSIDE_LUNGS,
            "unsure: 75% of the evidence lies outside the lungs",
        ),
    ],
)  # fmt: skip
def test_every_verdict_has_its_status_its_code_its_reason_and_its_probabilities(
    shares, more, fields, status, code, reason
):
    verdict = judge(logits(*shares), manifest=manifest(guard=GUARD, **fields), **{"distance": None, **more})
    assert (verdict.status, verdict.code) == (status, code)
    assert verdict.reason is None if reason is None else reason in verdict.reason
    expected = {} if status == "refused" else dict(zip(LABELS, np.array(shares) / sum(shares)))
    assert verdict.probabilities == pytest.approx(expected)
    assert bool(verdict.labels) == (status in ANSWERS)


def test_the_correction_is_added_to_the_logits():
    verdict = judge(np.zeros(3, np.float32), None, manifest(correction=(0.0, float(np.log(2)), float(np.log(5)))))
    assert tuple(verdict.probabilities.values()) == pytest.approx((1 / 8, 2 / 8, 5 / 8))
    assert verdict.labels == ("covid",)
