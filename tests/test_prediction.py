"""The network's numbers -> what is told to a person or a program."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from covidnet_lite.errors import CovidNetLiteError, InputError
from covidnet_lite.fit import InputSpec
from covidnet_lite.guard import Guard
from covidnet_lite.manifest import Manifest
from covidnet_lite.prediction import DISCLAIMER, Failure, Prediction, judge

LABELS = ("normal", "pneumonia", "covid")
GUARD = Guard(np.zeros(4), np.eye(4)[:2], np.ones(2), 1.0, limit=2.5)


def manifest(**fields):
    return Manifest("tiny", LABELS, InputSpec(96, 96), **fields)


def logits(*shares):
    return np.log(np.float32(shares))


def prediction(**fields):
    given = Prediction(
        name="a.png",
        status="answered",
        label="covid",
        reason=None,
        probabilities={"normal": 0.1, "pneumonia": 0.20004, "covid": 0.69996},
        timings={"read": 1.23456, "run": 4.0},
        model="tiny",
        sha256="ab" * 32,
        distance=1.23456,
    )
    return replace(given, **fields)


def radiograph():
    return np.tile(np.linspace(20, 220, 120).astype(np.uint8), (100, 1))


def evidence():
    made = np.zeros((4, 4, 3), np.float32)
    made[0, 0, 2], made[-1, -1, 0] = 6, 6
    return made


def test_the_most_probable_label_is_the_answer():
    status, label, reason, probabilities = judge(logits(0.1, 0.2, 0.7), 1.0, manifest(guard=GUARD, threshold=0.6))
    assert (status, label, reason) == ("answered", "covid", None)
    assert list(probabilities) == list(LABELS)
    assert list(probabilities.values()) == pytest.approx([0.1, 0.2, 0.7])
    assert {type(p) for p in probabilities.values()} == {float}


def test_the_temperature_calibrates_the_probabilities():
    _, _, _, probabilities = judge(logits(1, 4, 16), None, manifest(temperature=2.0))
    assert list(probabilities.values()) == pytest.approx([1 / 7, 2 / 7, 4 / 7])


def test_below_the_threshold_it_abstains_and_says_what_it_is_most_like():
    status, label, reason, probabilities = judge(logits(0.1, 0.5, 0.4), 1.0, manifest(guard=GUARD, threshold=0.6))
    assert (status, label) == ("unsure", None)
    assert reason == "unsure: most like pneumonia, but at 50%, below the 60% from which the network answers"
    assert probabilities["pneumonia"] == pytest.approx(0.5)


def test_the_guard_speaks_first():
    status, label, reason, probabilities = judge(logits(0.1, 0.5, 0.4), 3.14, manifest(guard=GUARD, threshold=0.6))
    assert (status, label, probabilities) == ("refused", None, {})
    assert "does not look like the frontal chest radiographs" in reason
    assert "distance 3.14, limit 2.50" in reason


def test_a_radiograph_shown_wrongly_is_refused_and_told_how():
    status, label, reason, probabilities = judge(logits(0.1, 0.2, 0.7), 1.0, manifest(guard=GUARD), "upside down")
    assert (status, label, probabilities) == ("refused", None, {})
    assert reason == "looks like a radiograph upside down; show it upright, with white bones"


@pytest.mark.parametrize(("distance", "guard"), [(2.5, GUARD), (None, GUARD), (1e9, None)])
def test_up_to_the_limit_or_without_a_guard_nothing_is_refused(distance, guard):
    assert judge(logits(0.1, 0.2, 0.7), distance, manifest(guard=guard))[:2] == ("answered", "covid")


@pytest.mark.parametrize(("threshold", "status"), [(0.0, "answered"), (1.01, "unsure")])
def test_a_threshold_of_nothing_never_abstains_and_one_above_one_always_does(threshold, status):
    assert judge(logits(0.34, 0.33, 0.33), None, manifest(threshold=threshold))[0] == status
    assert judge(np.float32([0, 0, 900]), None, manifest(threshold=threshold))[0] == status


def test_exactly_at_the_threshold_it_answers():
    assert judge(np.zeros(3, np.float32), None, manifest(threshold=1 / 3))[:2] == ("answered", "normal")


def test_a_prediction_is_json_with_plain_rounded_numbers():
    fields = json.loads(prediction(evidence=evidence(), source=radiograph()).to_json())
    assert fields == {
        "name": "a.png",
        "status": "answered",
        "label": "covid",
        "reason": None,
        "probabilities": {"normal": 0.1, "pneumonia": 0.2, "covid": 0.7},
        "distance": 1.235,
        "view": [0.0, 0.0, 1.0, 1.0],
        "timings_ms": {"read": 1.235, "run": 4.0},
        "model": "tiny",
        "sha256": "ab" * 32,
        "note": "Research use only; not a medical device.",
    }


def test_json_is_one_line_and_keeps_accents():
    line = prediction(name="é\n.png").to_json()
    assert "\n" not in line
    assert "é" in line


def test_the_most_likely_label_is_known_also_when_unsure_but_not_when_refused():
    unsure = prediction(status="unsure", label=None, reason="unsure: because")
    assert (unsure.most_likely, unsure.confidence) == ("covid", 0.69996)
    refused = prediction(status="refused", label=None, probabilities={})
    assert (refused.most_likely, refused.confidence) == (None, None)


def test_text_for_people_says_resembles_and_research_use_only():
    assert str(prediction()) == f"a.png: resembles covid  (normal 10%  pneumonia 20%  covid 70%)  [{DISCLAIMER}]"
    refused = prediction(status="refused", label=None, reason="blank", probabilities={}, distance=None)
    assert str(refused) == f"a.png: no answer: blank  [{DISCLAIMER}]"
    assert "Research use only" in DISCLAIMER


def test_a_failure_stands_in_the_place_of_a_prediction():
    failure = Failure("b.png", InputError("b.png: no such file; check the path"))
    assert (failure.status, failure.label) == ("failed", None)
    assert failure.reason == "b.png: no such file; check the path"
    assert str(failure) == "b.png: failed: b.png: no such file; check the path"
    assert json.loads(failure.to_json()) == {
        "name": "b.png",
        "status": "failed",
        "label": None,
        "reason": "b.png: no such file; check the path",
        "note": DISCLAIMER,
    }


def test_a_heatmap_shows_the_most_likely_label_or_the_one_asked_for():
    made = prediction(evidence=evidence(), source=radiograph())
    likely, normal = (np.asarray(made.heatmap(label), int) for label in (None, "normal"))
    assert likely.shape == (100, 120, 3)
    assert np.ptp(likely[2, 2]) > 30
    assert np.ptp(likely[-3, -3]) == 0
    assert np.ptp(normal[2, 2]) == 0
    assert np.ptp(normal[-3, -3]) > 30


def test_a_heatmap_may_be_drawn_on_another_picture_and_more_or_less_strongly():
    made = prediction(evidence=evidence(), source="gone.png")
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        made.heatmap()
    plain = np.asarray(made.heatmap(image=radiograph(), opacity=0.0))
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
    made = prediction(**{"evidence": evidence(), "source": radiograph(), **fields})
    with pytest.raises(CovidNetLiteError) as caught:
        made.heatmap(label)
    assert str(caught.value) == words
