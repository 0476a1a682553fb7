from __future__ import annotations

import numpy as np
import pytest

from training.fit import losses

LOG2 = float(np.log(2))


def test_opacity_is_zero_where_all_classes_have_the_same_evidence_and_rises_with_any_but_the_first() -> None:
    evidence = np.zeros((1, 2, 2, 3), np.float32)
    np.testing.assert_allclose(losses.opacity(evidence), 0, atol=1e-6)
    evidence[0, 0, 0] = (0, 0, 3)
    evidence[0, 0, 1] = (3, 0, 0)
    result = np.asarray(losses.opacity(evidence))[0]
    assert result[0, 0] > 2
    assert result[0, 1] == pytest.approx(-3)


def test_an_open_label_does_not_care_how_its_classes_share() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [0.2, 0.1, 0.7]], np.float32)
    loss = losses.open_cross_entropy(np.log(probabilities), np.array([[0, 1, 1]] * 2, np.float32), 0.0)
    assert float(loss) == pytest.approx(-np.log(0.8), abs=1e-5)


def test_a_film_that_allows_every_class_has_no_say() -> None:
    logits = np.array([[5.0, 0, 0], [0, 0, 0]], np.float32)
    allowed = np.array([[0, 0, 1], [1, 1, 1]], np.float32)
    assert float(losses.open_cross_entropy(logits, allowed, 0.1)) == pytest.approx(
        float(losses.open_cross_entropy(logits[:1], allowed[:1], 0.1))
    )
    assert float(losses.open_cross_entropy(logits[1:], allowed[1:], 0.1)) == 0


def test_smoothing_punishes_certainty() -> None:
    sure = np.array([[30.0, 0, 0]], np.float32)
    allowed = np.array([[1, 0, 0]], np.float32)
    assert float(losses.open_cross_entropy(sure, allowed, 0.1)) > 1
    assert float(losses.open_cross_entropy(sure, allowed, 0.0)) < 1e-5


def test_the_map_is_asked_for_only_where_it_is_known() -> None:
    evidence = np.zeros((2, 2, 2, 3), np.float32)
    evidence[1, ..., 2] = 9
    covered = np.zeros((2, 2, 2), np.float32)
    assert float(losses.map_cross_entropy(evidence, covered, np.array([1.0, 0.0]))) == pytest.approx(LOG2, abs=1e-5)
    assert float(losses.map_cross_entropy(evidence, covered, np.array([0.0, 1.0]))) > 5
    assert float(losses.map_cross_entropy(evidence, covered, np.zeros(2))) == 0


def test_where_boxes_may_be_missing_the_map_is_asked_for_inside_them_alone() -> None:
    covered = np.zeros((1, 2, 2), np.float32)
    covered[0, 0, 0] = 1
    evidence = np.zeros((1, 2, 2, 3), np.float32)
    evidence[0, 1, 1, 2] = 9  # an opacity outside the box: perhaps nobody drew it
    assert float(losses.map_cross_entropy(evidence, covered, np.zeros(1))) == pytest.approx(LOG2, abs=1e-5)
    assert float(losses.map_cross_entropy(evidence, covered, np.ones(1))) > 2


def test_ranking_wants_the_order_of_the_grades_and_nothing_of_ungraded_films() -> None:
    evidence = np.zeros((3, 2, 2, 3), np.float32)
    evidence[0, ..., 2], evidence[1, ..., 2], evidence[2, ..., 2] = 2, -2, 5
    right = float(losses.ranking(evidence, np.array([6.0, 1.0, -1.0], np.float32)))
    wrong = float(losses.ranking(evidence, np.array([1.0, 6.0, -1.0], np.float32)))
    assert right < 0.1 < 1 < wrong
    assert float(losses.ranking(evidence, np.array([2.0, 2.1, -1.0], np.float32))) == 0  # graded alike
