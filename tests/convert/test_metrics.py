"""How good a classifier is, with intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convert import metrics
from covidnet_lite.prediction import softmax


def scored(n=400, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.2 * np.eye(classes)[targets]
    return targets, softmax(np.round(logits, 1))


def test_confusion_counts_truth_by_row():
    matrix = metrics.confusion(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 0]), 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [2, 0, 0]])


@pytest.mark.parametrize(
    ("successes", "total", "interval"),  # the first four from Newcombe, Stat Med 1998, table I
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (20, 20, (0.8389, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson_gives_the_published_intervals(successes, total, interval):
    assert metrics.wilson(successes, total) == pytest.approx(interval, abs=1e-4)


@pytest.mark.parametrize(
    ("positive", "scores", "area"),
    [
        ([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1], 3 / 4),
        ([1, 1, 0, 0], [0.9, 0.8, 0.7, 0.1], 1),
        ([0, 0, 1, 1], [0.9, 0.8, 0.7, 0.1], 0),
        ([1, 0, 0, 1], [0.5, 0.5, 0.5, 0.5], 1 / 2),
        ([1, 0, 1], [0.5, 0.5, 0.9], 3 / 4),
    ],
)
def test_auroc_is_the_share_of_pairs_in_order_and_ties_count_half(positive, scores, area):
    assert metrics.auroc(np.array(positive), np.array(scores)) == pytest.approx(area)


def test_auroc_equals_counting_every_pair():
    targets, probabilities = scored()
    good, bad = probabilities[targets == 0, 0][:, None], probabilities[targets != 0, 0][None]
    pairs = ((good > bad) + (good == bad) / 2).mean()
    assert metrics.auroc(targets == 0, probabilities[:, 0]) == pytest.approx(pairs)


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_auroc_with_one_class_only_is_nan(positive):
    assert math.isnan(metrics.auroc(np.array(positive), np.array([0.1, 0.9])))


def test_macro_auroc_is_the_mean_over_the_classes_that_are_present():
    targets = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.05, 0.05], [0.3, 0.5, 0.2], [0.2, 0.7, 0.1], [0.4, 0.6, 0.0]])
    assert metrics.macro_auroc(targets, probabilities) == pytest.approx((3 / 4 + 4 / 4) / 2)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_macro_auroc_of_one_class_is_nan():
    assert math.isnan(metrics.macro_auroc(np.zeros(3, int), np.full((3, 2), 0.5)))


def test_auroc_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    targets, probabilities = scored()
    theirs = sklearn.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    assert metrics.macro_auroc(targets, probabilities) == pytest.approx(theirs)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.65, 0.65])  # of class 0; right: once of two, twice of two
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    error = metrics.expected_calibration_error(np.array([0, 1, 0, 0]), probabilities)
    assert error == pytest.approx((abs(1.9 - 1) + abs(1.3 - 2)) / 4)


def test_certain_answers_that_are_right_have_no_calibration_error_and_wrong_ones_all_of_it():
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert metrics.expected_calibration_error(np.array([0, 1]), certain) == 0
    assert metrics.expected_calibration_error(np.array([1, 0]), certain) == 1


def test_bootstrap_covers_the_textbook_interval_of_a_mean_and_repeats_itself():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = metrics.bootstrap(np.mean, values, draws=400)
    assert (low, high) == pytest.approx((values.mean() - 0.196, values.mean() + 0.196), abs=0.05)
    assert metrics.bootstrap(np.mean, values, draws=400) == (low, high)
    assert metrics.bootstrap(np.mean, values, draws=400, seed=1) != (low, high)


def test_bootstrap_by_patient_is_wider_when_patients_repeat():
    patients = np.repeat([f"p{i}" for i in range(25)], 16)
    values = np.repeat(np.random.default_rng(2).normal(size=25), 16)
    narrow = np.diff(metrics.bootstrap(np.mean, values, draws=300))
    wide = np.diff(metrics.bootstrap(np.mean, values, groups=patients, draws=300))
    assert wide / narrow == pytest.approx(4, rel=0.3)  # the square root of 16


def test_bootstrap_keeps_the_rows_of_several_arrays_together():
    values = np.arange(50.0)
    assert metrics.bootstrap(lambda a, b: float(np.abs(a - b).max()), values, values.copy(), draws=20) == (0, 0)


def test_bootstrap_passes_over_draws_with_one_class_only():
    positive, scores = np.array([1, 0, 0, 0, 0]), np.array([0.9, 0.8, 0.95, 0.1, 0.2])
    low, high = metrics.bootstrap(metrics.auroc, positive, scores, draws=100)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_recovered(temperature):
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2 * temperature, (8000, 3))
    drawn = (softmax(logits, temperature).cumsum(axis=1) < rng.random((8000, 1))).sum(axis=1)
    assert metrics.fit_temperature(drawn, logits) == pytest.approx(temperature, rel=0.06)


@pytest.mark.parametrize("target", [0.05, 0.1, 0.2])
def test_the_abstention_threshold_is_the_lowest_that_meets_its_target(target):
    targets, probabilities = scored()
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != targets
    meets = [c for c in np.unique(confidence) if wrong[confidence >= c].mean() <= target]
    threshold = metrics.abstention_threshold(targets, probabilities, target)
    assert 0 < wrong[confidence >= threshold].mean() <= target < wrong.mean()
    assert threshold == min(meets)


def test_no_abstention_where_everything_is_right():
    _, probabilities = scored()
    threshold = metrics.abstention_threshold(probabilities.argmax(axis=1), probabilities, 0.0)
    assert threshold == probabilities.max(axis=1).min()


def test_a_target_that_cannot_be_met_always_abstains():
    _, probabilities = scored()
    assert metrics.abstention_threshold(probabilities.argmin(axis=1), probabilities, 0.1) > 1


def test_answers_with_the_same_confidence_stand_or_fall_together():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2]])
    assert metrics.abstention_threshold(np.array([0, 0, 1]), probabilities, 0.0) == 0.9
    assert metrics.abstention_threshold(np.array([0, 0, 1]), probabilities, 0.34) == 0.8


def test_expected_disagreement_is_what_counting_finds_on_many_images() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    others = logits + rng.normal(0, 0.3, logits.shape)
    counted = (logits.argmax(1) != others.argmax(1)).mean()
    assert metrics.expected_disagreement(logits, others) == pytest.approx(counted, abs=0.01)
    assert metrics.expected_disagreement(logits, logits) == 0
    assert metrics.expected_disagreement(logits, 3 * logits - 7) == 0


def test_expected_disagreement_varies_less_than_counting_on_few_images() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (100, 3))
    counted, expected = [], []
    for _ in range(200):
        others = logits + rng.normal(0, 0.3, logits.shape)
        counted.append((logits.argmax(1) != others.argmax(1)).mean())
        expected.append(metrics.expected_disagreement(logits, others))
    assert np.mean(expected) == pytest.approx(np.mean(counted), abs=0.02)
    assert np.std(expected) < 0.9 * np.std(counted)


def test_clipping_that_changes_no_class_is_no_disagreement_and_a_tie_is_half_a_one() -> None:
    logits = np.array([[0.0, 1.0], [0.0, 30.0], [0.0, 31.0], [0.0, 32.0]] * 20)
    assert metrics.expected_disagreement(logits, logits.clip(0, 5)) == pytest.approx(0, abs=0.05)
    assert metrics.expected_disagreement(logits, np.zeros_like(logits)) == 0.5


def test_leads_near_a_tie_decide_how_far_they_moved() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (200, 4))
    tied = np.sort(logits, axis=1)
    near_tie = tied[:, -1] - tied[:, -2] < 0.5
    noise = rng.normal(0, 0.1, logits.shape)
    of_the_tied, of_the_sure = (logits + noise * rows[:, None] for rows in (near_tie, ~near_tie))
    assert metrics.lead_moved(logits, logits) == 0
    # More of the probability moves where the sure are moved; but it is those near a tie that change class.
    moved = [metrics.probability_moved(softmax(o), softmax(logits)).mean() for o in (of_the_tied, of_the_sure)]
    assert moved[0] < moved[1]
    changed = [(others.argmax(axis=1) != logits.argmax(axis=1)).sum() for others in (of_the_tied, of_the_sure)]
    assert changed[0] > 2 * changed[1]
    assert metrics.lead_moved(logits, of_the_tied) > 1.3 * metrics.lead_moved(logits, of_the_sure)


def test_how_far_leads_moved_has_no_scale_and_extreme_images_do_not_decide_it() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (200, 4))
    others = logits + rng.normal(0, 0.1, logits.shape)
    moved = metrics.lead_moved(logits, others)
    assert metrics.lead_moved(1000 * logits, 1000 * others) == pytest.approx(moved)
    logits[:4, 0], others[:4, 0] = 500, 400
    assert metrics.lead_moved(logits, others) == pytest.approx(moved, rel=0.1)
    assert metrics.lead_moved(np.zeros((3, 2)), np.zeros((3, 2))) == 0


def test_the_typical_change_is_not_that_of_a_few_extreme_images() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (200, 4))
    near, far = (logits + rng.normal(0, size, logits.shape) for size in (0.02, 0.1))
    assert metrics.typical_change(logits, logits) == pytest.approx(0)
    assert 2 < metrics.typical_change(logits, far) / metrics.typical_change(logits, near) < 8
    near[:4] = -20 * logits[:4]  # of which the plain mean would make the worse of the two
    means = [np.abs(softmax(others) - softmax(logits)).sum(axis=1).mean() for others in (near, far)]
    assert means[0] > means[1] / 2
    assert metrics.typical_change(logits, near) < metrics.typical_change(logits, far) / 2
    assert metrics.typical_change(np.array([[0.0, 0.0]]), np.array([[0.0, 500.0]])) == pytest.approx(0.5)
