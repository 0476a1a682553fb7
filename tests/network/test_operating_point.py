"""From which probabilities on a network answers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from covidnet_lite.network.operating_point import NEVER, OperatingPoint

LABELS = ("normal", "pneumonia", "covid")
POINT = OperatingPoint("normal", 0.8, 0.7, {"pneumonia": 0.75, "covid": 0.6})


def answer(point, *shares, labels=LABELS):
    return point.answer(dict(zip(labels, shares, strict=True)))


def test_each_threshold_is_reached_exactly():
    assert answer(POINT, 0.8, 0.1, 0.1) == ("normal",)
    assert answer(POINT, 0.7999, 0.1, 0.1001) == ()
    assert answer(replace(POINT, positive_from=0.75), 0.25, 0.375, 0.375) == ("pneumonia", "covid")
    assert answer(POINT, 0.31, 0.34, 0.35) == ()
    assert answer(POINT, 0.25, 0.5625, 0.1875) == ("pneumonia",)  # 0.75 of what is not normal
    assert answer(POINT, 0.25, 0.56, 0.19) == LABELS[1:]


def test_of_several_labels_that_pass_the_larger_share_is_given():
    easy = replace(POINT, alone_from={"pneumonia": 0.3, "covid": 0.3})
    assert answer(easy, 0.1, 0.4, 0.5) == ("covid",)
    assert answer(easy, 0.1, 0.5, 0.4) == ("pneumonia",)


def test_every_film_gets_one_answer_and_certainty_only_adds():
    rng = np.random.default_rng(0)
    for shares in rng.dirichlet((1, 1, 1), 500):
        labels = answer(POINT, *shares)
        assert ("normal" in labels) == (shares[0] >= 0.8)
        assert bool(labels) == (shares[0] >= 0.8 or 1 - shares[0] >= 0.7)


def test_with_two_labels_it_never_narrows():
    point = OperatingPoint("clear", 0.9, 0.6, {"clouded": NEVER})
    for share in np.linspace(0, 1, 101):
        assert len(answer(point, share, 1 - share, labels=("clear", "clouded"))) < 2
    assert answer(point, 0.1, 0.9, labels=("clear", "clouded")) == ("clouded",)


def test_with_many_labels_the_rest_is_left_in_the_order_of_the_network():
    labels = ("a", "b", "c", "none", "d")
    point = OperatingPoint("none", 0.9, 0.5, dict.fromkeys("abcd", 0.9))
    assert answer(point, 0.2, 0.2, 0.2, 0.2, 0.2, labels=labels) == ("a", "b", "c", "d")


def test_a_threshold_above_one_is_never_reached():
    never = OperatingPoint("normal", NEVER, NEVER, {"pneumonia": NEVER, "covid": NEVER})
    for shares in itertools.permutations((1.0, 0.0, 0.0)):
        assert answer(never, *shares) == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"negative_from": 0.2, "positive_from": 0.7}, "positive_from must be at least 1 - negative_from"),
        ({"negative_from": 0}, "negative_from must be above 0"),
        ({"positive_from": 1.5}, "positive_from must be above 0 and at most 1.01"),
        ({"negative_from": float("nan")}, "negative_from"),
        ({"negative_from": "high"}, "negative_from"),
        ({"negative_from": True}, "negative_from"),
        ({"alone_from": {"covid": -1}}, "alone_from of covid"),
        ({"alone_from": [0.5]}, "alone_from must map"),
        ({"inside_from": 1.1}, "inside_from must be between 0 and 1"),
        ({"risks": "few"}, "risks must map"),
        ({"accuracy": {"right": 94}}, "accuracy of right must be between 0 and 1"),
        ({"accuracy": {"by_answer": {"covid": "often"}}}, "accuracy of covid must be between 0 and 1"),
        ({"accuracy": {"data": 5}}, "accuracy must map"),
    ],
)
def test_an_impossible_one_says_why(fields, words):
    with pytest.raises(ValueError, match=words):
        replace(POINT, **fields)


def test_thresholds_that_just_meet_fit_in_spite_of_rounding():
    for tenths in range(1, 100):
        OperatingPoint("normal", tenths / 100, 1 - tenths / 100, {"covid": 0.5})


@pytest.mark.parametrize("labels", [("pneumonia", "covid"), ("normal", "covid"), (*LABELS, "other")])
def test_it_must_speak_of_every_label(labels):
    POINT.check(LABELS)
    with pytest.raises(ValueError, match=r"none of pneumonia, covid|alone_from must have one share for each of"):
        POINT.check(labels)


def test_the_track_record_is_one_line_and_that_of_the_very_answer_where_there_is_one():
    facts = {"answered": 0.71, "right": 0.94, "by_answer": {"pneumonia or covid": 0.97}, "data": "500 films"}
    point = replace(POINT, accuracy=facts)
    ending = "; 29% of radiographs get no answer (500 films)"
    assert point.track_record(("covid",)) == f"such an answer was right on 94% of radiographs{ending}"
    assert point.track_record(("pneumonia", "covid")) == f"such an answer was right on 97% of radiographs{ending}"
    assert POINT.track_record(("covid",)) is None
    assert replace(POINT, accuracy={"answered": 0.5}).track_record(("covid",)) == "50% of radiographs get no answer"


def test_it_comes_back_from_json():
    assert OperatingPoint(**POINT.to_dict()) == POINT
