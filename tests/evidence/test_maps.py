"""The evidence map in numbers."""

from __future__ import annotations

import numpy as np
import pytest

from covidnet_lite.evidence.maps import local_probabilities, merge_others, overlaps


def test_all_other_labels_stand_against_the_negative_as_one():
    evidence = np.random.default_rng(0).normal(0, 3, (4, 5, 3)).astype(np.float32)
    shares = np.exp(evidence.astype(float))
    others = shares[..., [0, 2]].mean(axis=-1)
    np.testing.assert_allclose(local_probabilities(evidence, 1), others / (others + shares[..., 1]), rtol=1e-6)
    np.testing.assert_allclose(merge_others(evidence, 1)[..., 1], np.log(others), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(merge_others(evidence, 1)[..., 0], evidence[..., 1])


def test_nothing_for_either_side_is_one_half_however_many_labels_there_are():
    for labels in (2, 3, 7):
        np.testing.assert_allclose(local_probabilities(np.full((2, 2, labels), 4.0, np.float32), 0), 0.5)


def test_the_offset_shifts_the_logits():
    assert local_probabilities(np.zeros((1, 1, 3), np.float32), 0, np.log(3.0))[0, 0] == pytest.approx(0.75)


def test_logits_of_any_size_give_probabilities():
    wild = np.float32([[[900, -900, 0], [-900, 900, 0]]])
    assert local_probabilities(wild, 0).tolist() == [[0.0, 1.0]]


def test_cells_are_covered_by_as_much_of_them_as_lies_between_the_edges():
    np.testing.assert_allclose(overlaps(4, (0.125, 0.5, 1.0)), [[0.5, 1, 0, 0], [0, 0, 1, 1]])
    np.testing.assert_allclose(overlaps(3, (0.4, 0.6)), [[0, 0.6, 0]])
    np.testing.assert_allclose(overlaps(5, (0, 1)), [[1] * 5])


def test_bands_side_by_side_cover_each_cell_once():
    np.testing.assert_allclose(overlaps(14, (0, 1 / 3, 2 / 3, 1)).sum(axis=0), 1)
