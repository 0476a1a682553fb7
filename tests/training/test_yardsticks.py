from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judged import answers, cases, sure

from training import yardsticks


def test_covid_is_told_from_pneumonia_within_a_source_that_has_both() -> None:
    given = [*cases("covid", 6), *cases("pneumonia", 6), *cases("covid", 9, "there"), *cases("normal", 9, "there")]
    told = sure("covid", 5) + sure("pneumonia", 1) + sure("pneumonia", 6) + sure("normal", 18)
    found = yardsticks.yardsticks(answers(given, told))
    assert list(found) == ["covid against pneumonia within here", "normal against pneumonia, matched pairs"]
    within = found["covid against pneumonia within here"]
    assert within["value"] == pytest.approx((30 + 3) / 36)
    assert (within["positive"], within["negative"]) == (6, 6)
    assert found["normal against pneumonia, matched pairs"]["why"] == "no image has a matched_pair"


def test_only_matched_pairs_count() -> None:
    paired = [*cases("normal", 6, matched_pair="m"), *cases("pneumonia", 6, matched_pair="m")]
    given = [*paired, *cases("normal", 20, "there")]
    told = sure("normal", 6) + sure("pneumonia", 6) + sure("covid", 20)
    found = yardsticks.yardsticks(answers(given, told))
    assert found["normal against pneumonia, matched pairs"]["value"] == 1
    assert found["covid against pneumonia within a source"]["why"] == "no source has both"


def test_a_network_without_such_labels_is_not_measured() -> None:
    other = replace(answers(cases("normal", 2), sure("normal", 2)), labels=("normal", "b", "c"))
    for measure in (yardsticks.yardsticks, yardsticks.false_covid, yardsticks.predictive_values):
        found = measure(other)
        assert {f["kind"] for f in found.values()} == {"missing"}
        assert all("covid" in f["why"] or "pneumonia" in f["why"] for f in found.values())


def test_a_line_asks_for_its_own_labels_only() -> None:
    given = [*cases("covid", 6), *cases("pneumonia", 6, matched_pair="m"), *cases("normal", 6, matched_pair="m")]
    told = answers(given, sure("covid", 6) + sure("pneumonia", 6) + sure("normal", 6))
    without_normal = replace(told, labels=("else", "pneumonia", "covid"))
    found = list(yardsticks.yardsticks(without_normal).values())
    assert [f["value"] for f in found] == [1, None]
    assert found[1]["why"] == "the network has no label normal"
    found = list(yardsticks.yardsticks(replace(told, labels=("normal", "pneumonia", "else"))).values())
    assert [f["value"] for f in found] == [None, 1]
    assert found[0]["why"] == "the network has no label covid"


def test_normal_films_called_covid_by_source() -> None:
    given = [*cases("normal", 4), *cases("normal", 2, "there"), *cases("covid", 3)]
    told = sure("covid", 1) + sure("normal", 3) + sure("covid", 2) + sure("covid", 3)
    found = yardsticks.false_covid(answers(given, told))
    assert [(f["count"], f["total"]) for f in found.values()] == [(3, 6), (1, 4), (2, 2)]


def test_predictive_values_by_bayes() -> None:
    given = [*cases("covid", 10), *cases("normal", 20)]
    told = sure("covid", 8) + sure("normal", 2) + sure("covid", 1) + sure("normal", 19)
    found = yardsticks.predictive_values(answers(given, told))
    right = found['"covid" is right where 5% have it']
    assert right["value"] == pytest.approx(0.8 * 0.05 / (0.8 * 0.05 + 0.05 * 0.95))
    assert right["interval"][0] < right["value"] < right["interval"][1]
    not_covid = found['"not covid" is right where 20% have it']
    assert not_covid["value"] == pytest.approx(0.95 * 0.8 / (0.95 * 0.8 + 0.2 * 0.2))
    assert not_covid["interval"][0] < not_covid["value"] < not_covid["interval"][1]


def test_accuracy_has_a_line_for_each_source() -> None:
    given = [*cases("covid", 2), *cases("normal", 2, "there")]
    found = yardsticks.accuracy(answers(given, sure("covid", 4)))
    assert found["accuracy"]["value"] == 0.5
    assert found["accuracy in here"]["value"] == 1
    assert found["accuracy in there"]["value"] == 0
    assert found["covid: specificity"]["value"] == 0


def test_one_source_is_no_yardstick_where_it_has_no_name() -> None:
    nameless = [replace(c, source="") for c in (*cases("covid", 6), *cases("pneumonia", 6))]
    found = yardsticks.yardsticks(answers(nameless, np.ones((12, 3)) / 3))
    assert found["covid against pneumonia within a source"]["kind"] == "missing"
