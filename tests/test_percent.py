"""Shares in words, with enough digits that two different numbers do not read alike."""

from __future__ import annotations

import pytest

from covidnet_lite.percent import distinct_numbers, distinct_percents, percent


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.847, "84.7%"), (1.0, "100.0%"), (0.9996, ">99.9%"), (0.9994, "99.9%"), (0.0, "0.0%"), (0.0004, "<0.1%")],
)
def test_what_is_not_quite_nothing_or_everything_is_not_rounded_to_it(share, words):
    assert percent(share) == words


def test_whole_percent_too():
    assert (percent(0.312, 0), percent(0.001, 0), percent(0.999, 0)) == ("31%", "<1%", ">99%")


@pytest.mark.parametrize(
    ("share", "threshold", "words"),
    [
        (0.5, 0.6, ("50.0%", "60.0%")),
        (0.847, 0.85, ("84.7%", "85.0%")),
        (0.84996, 0.85, ("84.996%", "85.000%")),
        (0.85, 0.85, ("85.0%", "85.0%")),
        (0.99999, 1.0, (">99.9%", "100.0%")),
    ],
)
def test_a_share_and_its_threshold_read_alike_only_when_they_are(share, threshold, words):
    assert distinct_percents(share, threshold) == words


def test_a_share_is_told_from_each_of_its_thresholds():
    assert distinct_percents(0.29999, 0.8, 0.3) == ("29.999%", "80.000%", "30.000%")


@pytest.mark.parametrize(
    ("value", "limit", "words"),
    [
        (1.0, 2.5, ("1.00", "2.50")),
        (2.504, 2.5, ("2.504", "2.500")),
        (2.5, 2.5, ("2.50", "2.50")),
        (2.50000001, 2.5, ("2.500000", "2.500000")),
    ],
)
def test_a_number_does_not_read_like_the_limit_beyond_which_it_is(value, limit, words):
    assert distinct_numbers(value, limit) == words
