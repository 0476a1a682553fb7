"""What the commands tell the shell."""

from __future__ import annotations

import itertools

import pytest

from covidnet_lite import exit_codes
from covidnet_lite.errors import InputError
from covidnet_lite.prediction import STATUSES, Failure, Prediction


def result(status):
    if status == "failed":
        return Failure("a.png", InputError("a.png: no picture"))
    return Prediction("a.png", status, (), None, {}, {}, "tiny", "ab" * 32)


def code(*statuses):
    results = exit_codes.OK
    for status in statuses:
        results = exit_codes.after(results, result(status))
    return results


@pytest.mark.parametrize(
    ("status", "expected"), [("answered", 0), ("narrowed", 0), ("unsure", 3), ("refused", 3), ("failed", 1)]
)
def test_an_answer_of_one_label_or_several_is_well_and_the_rest_is_told(status, expected):
    assert code(status) == expected
    assert f"  {expected}  " in exit_codes.MEANINGS


def test_what_is_worse_stays_in_whatever_order_it_comes():
    for some in itertools.permutations(STATUSES):
        assert code(*some) == exit_codes.BAD_FILE
    for some in itertools.permutations(("answered", "unsure", "narrowed")):
        assert code(*some) == exit_codes.NO_ANSWER
