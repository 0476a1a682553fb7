from __future__ import annotations

import pytest
from judged import cases, reading, told

from training.judge import reliability


def test_as_sure_as_it_is_right() -> None:
    films = [*cases("normal", 8), *cases("covid", 2), *cases("covid", 8, "b"), *cases("normal", 2, "b")]
    said = reading(films, told("normal", 10, 0.8) + told("covid", 10, 0.6))
    result = reliability.calibration(said)
    # Sure to 0.8 that it is normal, right on 8 of 10; sure to 0.8 that it is not, though covid has but 0.6.
    assert result["normal or not"]["value"] == pytest.approx(0, abs=1e-6)
    assert result["which class"]["value"] == pytest.approx(0.1, abs=1e-6)


def test_a_film_whose_class_is_open_is_no_test_of_which_class() -> None:
    films = [*cases("normal", 5), *cases("covid", 5)]
    said = told("normal", 5) + told("covid", 5)
    result = reliability.calibration(reading(films, said))
    with_open = reliability.calibration(reading([*films, *cases("indeterminate", 5)], said + told("normal", 5)))
    assert with_open["which class"] == result["which class"]
    assert with_open["normal or not"]["value"] > result["normal or not"]["value"]
    assert reliability.calibration(reading(films[:5], said[:5]))["which class"]["kind"] == "missing"


def test_bins_leave_out_the_empty_ones() -> None:
    films = [*cases("normal", 3), *cases("covid", 1)]
    result = reliability.bins(reading(films, told("normal", 2, 0.92) + told("covid", 2, 0.9)))
    assert [(b["count"], b["total"]) for b in result] == [(0, 2), (1, 2)]
    assert result[1]["probability"] == pytest.approx(0.95)
