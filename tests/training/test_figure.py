from __future__ import annotations

import numpy as np
import pytest

from training import figure


def test_a_share_and_how_it_reads() -> None:
    found = figure.share_of(np.array([True, True, False, True]), np.array([True, True, True, False]))
    assert (found["count"], found["total"]) == (2, 3)
    assert figure.told(found) == "66.7% (20.8%-93.9%), 2/3"


def test_a_share_of_nothing_is_not_measured() -> None:
    assert figure.told(figure.share(0, 0)) == "not measured: no image"


def test_an_area_draws_whole_patients() -> None:
    rng = np.random.default_rng(0)
    positive, scores = np.arange(60) % 2 == 0, rng.random(60) + 0.5 * (np.arange(60) % 2 == 0)
    alone = figure.auroc(positive, scores, np.arange(60))
    together = figure.auroc(np.tile(positive, 8), np.tile(scores, 8), np.tile(np.arange(60), 8))
    assert alone["value"] == pytest.approx(together["value"])
    assert np.ptp(together["interval"]) == pytest.approx(np.ptp(alone["interval"]), rel=0.2)
    assert figure.told(alone).endswith("30 v 30")


def test_an_area_of_too_few_says_which_are_few() -> None:
    found = figure.auroc(np.array([True] * 9 + [False] * 2), np.arange(11.0), np.arange(11), ("covid", "normal"))
    assert figure.told(found) == "not measured: only 2 normal images"


def test_many_images_of_few_patients_are_too_few() -> None:
    positive, scores, patients = np.arange(40) < 20, np.arange(40.0), np.arange(40)
    patients[positive] %= 4
    found = figure.auroc(positive, scores, patients, ("covid", "normal"))
    assert figure.told(found) == "not measured: only 20 covid images of 4 patients"
    patients[19] = 99
    assert figure.auroc(positive, scores, patients)["value"] == 0


@pytest.mark.parametrize(
    ("few", "patients", "why"), [(1, 1, "only 1 b images"), (9, 3, "only 9 b images of 3 patients"), (5, 5, "")]
)
def test_a_macro_auroc_needs_enough_of_every_class_that_is_there(few: int, patients: int, why: str) -> None:
    targets, groups = np.array([0] * 20 + [1] * few), np.array([*range(20), *(99 - i % patients for i in range(few))])
    found = figure.macro_auroc(targets, np.eye(3)[targets], groups, "abc")
    assert found.get("why", "") == why
    assert (found["value"] == 1) is not bool(why)


def test_one_patient_has_no_interval_but_its_value() -> None:
    found = figure.mean(np.array([0.2, 0.4]), np.array(["p", "p"]))
    assert found["value"] == pytest.approx(0.3)
    assert found["interval"] == [found["value"]] * 2


def test_one_class_has_no_macro_auroc() -> None:
    assert figure.macro_auroc(np.zeros(9, int), np.ones((9, 2)) / 2, np.arange(9), "ab")["why"] == "only one class"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (figure.count(3), "3"),
        (figure.number(0.12345), "0.123"),
        (figure.percent(0.5), "50.0%"),
        (figure.percent(0.5, (0.25, 0.75)), "50.0% (25.0%-75.0%)"),
        (figure.missing("no boxes"), "not measured: no boxes"),
    ],
)
def test_how_the_others_read(given: figure.Figure, text: str) -> None:
    assert figure.told(given) == text
