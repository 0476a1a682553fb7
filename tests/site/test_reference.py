"""What is kept of the radiographs of a fit."""

from __future__ import annotations

import numpy as np
import pytest

from covidnet_lite.site.reference import MAX_DISTANCES, Reference, reference


def test_answers_are_counted_and_distances_sorted() -> None:
    result = reference("usual", ["negative", "negative", "refused"], [2.0, 1.23456])
    assert result.answers == {"negative": 2, "positive": 0, "unsure": 0, "refused": 1}
    assert result.distances == (1.235, 2.0)
    assert Reference.from_dict(result.to_dict()) == result


def test_of_many_distances_quantiles_are_kept() -> None:
    distances = np.random.default_rng(0).random(1000)
    quantiles = reference("normals", [], distances.tolist()).distances
    assert len(quantiles) == MAX_DISTANCES
    assert np.quantile(quantiles, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(distances, [0.1, 0.5, 0.9]), abs=0.01)
