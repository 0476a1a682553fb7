from __future__ import annotations

import numpy as np
import pytest

from convert import metrics
from training.judge import figure


def test_a_share_and_how_it_reads() -> None:
    result = figure.share(2, 3)
    assert figure.to_text(result) == "66.7% (20.8%-93.9%), 2/3"
    assert figure.to_text(result, counts=False) == "66.7% (20.8%-93.9%)"


def test_a_rate_draws_whole_patients() -> None:
    chosen = np.arange(40) % 4 == 0
    alone, together = figure.rate(chosen, np.arange(40)), figure.rate(np.tile(chosen, 9), np.tile(np.arange(40), 9))
    assert (alone["value"], together["value"], together["total"]) == (0.25, 0.25, 360)
    assert np.ptp(together["interval"]) == pytest.approx(np.ptp(alone["interval"]), rel=0.05)
    # Where every draw is the same, Wilson's interval for as many as there are patients.
    assert figure.rate(np.ones(30, bool), np.arange(30) // 3)["interval"] == figure.share(10, 10)["interval"]
    assert figure.rate(np.zeros(30, bool), np.arange(30) // 3)["interval"] == figure.share(0, 10)["interval"]


def test_the_quick_interval_of_a_mean_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(1)
    values, groups = rng.random(90), rng.integers(0, 30, 90)
    expected = metrics.bootstrap(lambda v: float(v.mean()), values, groups=groups)
    assert figure.mean(values, groups)["interval"] == pytest.approx(expected, abs=0.01)


def test_within_strata_only_pairs_of_one_stratum_count() -> None:
    # In either stratum the positive ones score lower, but one stratum scores higher and holds most of them.
    positive = np.array([True] * 6 + [False] * 2 + [True] * 2 + [False] * 6)
    scores = np.array([10.0] * 6 + [11.0] * 2 + [0.0] * 2 + [1.0] * 6)
    strata, patients = np.array([0] * 8 + [1] * 8), np.arange(16)
    result = figure.within(positive, scores, strata, patients)
    assert (result["value"], result["pairs"], result["strata"]) == (0, 24, 2)
    assert figure.auroc(positive, scores, patients)["value"] > 0.5
    assert "24 pairs in 2" in figure.to_text(result)
    assert figure.within(positive, scores, np.arange(16), patients)["kind"] == "missing"


def test_the_area_and_its_interval_are_those_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    positive, groups = rng.random(80) < 0.5, rng.integers(0, 40, 80)
    scores = (rng.random(80) + 0.4 * positive).round(1)  # with ties
    result = figure.auroc(positive, scores, groups)
    assert result["value"] == pytest.approx(metrics.auroc(positive, scores))
    expected = metrics.bootstrap(metrics.auroc, positive, scores, groups=groups)
    assert result["interval"] == pytest.approx(expected, abs=0.02)


def test_two_areas_of_the_same_images_are_compared_draw_by_draw() -> None:
    positive, groups = np.arange(40) % 2 == 0, np.arange(40)
    scores = np.random.default_rng(0).random(40) + 0.3 * positive
    result = figure.auroc_difference(positive, scores, scores, groups)
    assert (result["value"], result["interval"]) == (0, [0, 0])
    assert figure.auroc_difference(positive, scores, -scores, groups)["value"] > 0.1


def test_what_does_not_vary_has_no_number() -> None:
    result = figure.number(lambda v: float("nan"), np.ones(9), groups=np.arange(9))
    assert figure.to_text(result) == "not measured: all images are alike"
    assert figure.to_text(figure.number(np.mean, np.ones(2), groups=np.arange(2))) == "not measured: only 2 images"


def test_a_share_of_nothing_is_not_measured() -> None:
    assert figure.to_text(figure.share(0, 0)) == "not measured: no image"


def test_an_area_draws_whole_patients() -> None:
    rng = np.random.default_rng(0)
    positive, scores = np.arange(60) % 2 == 0, rng.random(60) + 0.5 * (np.arange(60) % 2 == 0)
    alone = figure.auroc(positive, scores, np.arange(60))
    together = figure.auroc(np.tile(positive, 8), np.tile(scores, 8), np.tile(np.arange(60), 8))
    assert alone["value"] == pytest.approx(together["value"])
    assert np.ptp(together["interval"]) == pytest.approx(np.ptp(alone["interval"]), rel=0.2)
    assert figure.to_text(alone).endswith("30 v 30")


def test_an_area_of_too_few_says_which_are_few() -> None:
    result = figure.auroc(np.array([True] * 9 + [False] * 2), np.arange(11.0), np.arange(11), ("covid", "normal"))
    assert figure.to_text(result) == "not measured: only 2 normal images"


def test_many_images_of_few_patients_are_too_few() -> None:
    positive, scores, patients = np.arange(40) < 20, np.arange(40.0), np.arange(40)
    patients[positive] %= 4
    result = figure.auroc(positive, scores, patients, ("covid", "normal"))
    assert figure.to_text(result) == "not measured: only 20 covid images of 4 patients"
    patients[19] = 99
    assert figure.auroc(positive, scores, patients)["value"] == 0


@pytest.mark.parametrize(
    ("few", "patients", "why"), [(1, 1, "only 1 b images"), (9, 3, "only 9 b images of 3 patients"), (5, 5, "")]
)
def test_a_macro_auroc_needs_enough_of_every_class_that_is_there(few: int, patients: int, why: str) -> None:
    targets, groups = np.array([0] * 20 + [1] * few), np.array([*range(20), *(99 - i % patients for i in range(few))])
    result = figure.macro_auroc(targets, np.eye(3)[targets], groups, "abc")
    assert result.get("why", "") == why
    assert (result["value"] == 1) is not bool(why)


def test_one_patient_has_no_interval_but_its_value() -> None:
    result = figure.mean(np.array([0.2, 0.4]), np.array(["p", "p"]))
    assert result["value"] == pytest.approx(0.3)
    assert result["interval"] == [result["value"]] * 2


def test_one_class_has_no_macro_auroc() -> None:
    assert figure.macro_auroc(np.zeros(9, int), np.ones((9, 2)) / 2, np.arange(9), "ab")["why"] == "only one class"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (figure.count(3), "3"),
        ({"kind": "number", "value": 0.12345, "interval": [0.1, 0.2]}, "0.123 (0.100-0.200)"),
        ({"kind": "percent", "value": 0.5, "interval": [0.25, 0.75]}, "50.0% (25.0%-75.0%)"),
        (figure.missing("no boxes"), "not measured: no boxes"),
    ],
)
def test_how_the_others_read(given: figure.Figure, text: str) -> None:
    assert figure.to_text(given) == text
