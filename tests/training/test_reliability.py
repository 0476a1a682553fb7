from __future__ import annotations

import numpy as np
import pytest
from judged import answers, cases, sure

from covidnet_lite import metrics
from training import reliability


def test_the_temperature_is_taken_out_again() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 3))
    found = reliability.untempered(metrics.softmax(logits, 2.5), 2.5)
    np.testing.assert_allclose(found, metrics.softmax(logits), rtol=1e-9)


def test_calibration_before_and_after() -> None:
    told = answers(cases("normal", 10), sure("normal", 7, 0.7) + sure("covid", 3, 0.7))
    found = reliability.calibration(told, 2.0)
    assert found["calibration error as shipped"]["value"] == pytest.approx(0, abs=1e-9)
    before = metrics.softmax(2 * np.log([0.7, 0.15, 0.15])).max()
    assert found["calibration error at temperature 1"]["value"] == pytest.approx(before - 0.7)


def test_abstained_images_do_not_count() -> None:
    given = [*cases("normal", 6), *cases("covid", 4)]
    told = sure("normal", 4) + sure("covid", 2, 0.5) + sure("covid", 3) + sure("normal", 1)
    found = reliability.threshold(answers(given, told, threshold=0.8))
    assert (found["share answered"]["count"], found["share answered"]["total"]) == (8, 10)
    assert found["accuracy when answered"]["value"] == 7 / 8
    assert (found["covid: sensitivity when answered"]["count"], found["covid: sensitivity when answered"]["total"]) == (
        3,
        4,
    )
    assert found["covid: specificity when answered"]["value"] == 1
    assert found["normal: specificity when answered"]["value"] == 3 / 4
    assert found["pneumonia: sensitivity when answered"]["value"] is None


def test_risk_by_coverage_and_its_area() -> None:
    told = answers(cases("normal", 4), sure("normal", 1, 0.9) + sure("covid", 1, 0.8) + sure("normal", 2, 0.7))
    assert reliability.risk_coverage(told) == [(0.25, 0.0), (0.5, 0.5), (1.0, 0.25)]
    assert reliability.risk_area(told) == pytest.approx(0.25 * 0 + 0.25 * 0.5 + 0.5 * 0.25)


def test_bins_leave_out_the_empty_ones() -> None:
    told = answers(cases("normal", 3), sure("normal", 1, 0.95) + sure("covid", 1, 0.95) + sure("normal", 1, 0.55))
    found = reliability.bins(told)
    assert [(b["count"], b["total"]) for b in found] == [(1, 1), (1, 2)]
    assert found[1]["confidence"] == pytest.approx(0.95)
