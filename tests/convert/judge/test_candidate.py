from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from convert.judge.agreement import Agreement
from convert.judge.candidate import Candidate, agree, dominated
from convert.judge.held_out import HeldOut
from covidnet_lite.errors import DatasetError
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import Manifest


def candidate(
    scheme: str, right: int | None = 80, size: int = 100, latency: float = 2.0, labelled: int = 100
) -> Candidate:
    told = None
    if right is not None:
        told = Agreement(100, right / 100, 0.0, labelled, 80, right if labelled else 0, 0, 0, ())
    model: Any = SimpleNamespace(data=b"x" * size)
    return Candidate(scheme, model, told, 1.0, latency, 8.0)


BASE = candidate("base")


@pytest.mark.parametrize(
    "other",
    [
        candidate("other", right=81),
        candidate("other", size=99),
        candidate("other", latency=1.5),
        candidate("other", right=90, size=50, latency=1.0),
        candidate("other", right=81, latency=2.05),  # no slower than noise
    ],
)
def test_one_that_is_better_in_one_and_worse_in_nothing_dominates(other: Candidate) -> None:
    assert dominated([BASE, other]) == ["base"]
    assert dominated([other, BASE]) == ["base"]


@pytest.mark.parametrize(
    "other",
    [
        candidate("other"),
        candidate("other", latency=1.95),  # within noise
        candidate("other", right=81, size=101),
        candidate("other", right=79, latency=1.0),
        candidate("other", size=50, latency=3.0),
    ],
)
def test_equal_ones_and_those_that_pay_for_it_dominate_nobody(other: Candidate) -> None:
    assert dominated([BASE, other]) == []


def test_several_may_be_dominated_and_one_alone_is_not() -> None:
    best = candidate("best", right=90, size=10, latency=1.0)
    assert dominated([candidate("a"), best, candidate("b", right=70)]) == ["a", "b"]
    assert dominated([best]) == dominated([]) == []


def test_without_images_size_and_speed_decide() -> None:
    small = candidate("small", right=None, size=50)
    assert dominated([candidate("large", right=None), small]) == ["large"]
    assert small.quality is None


def test_quality_is_accuracy_where_there_are_labels_and_agreement_where_not() -> None:
    assert candidate("a", right=83).quality == pytest.approx(0.83)
    assert candidate("a", right=40, labelled=50).quality == pytest.approx(0.8)
    assert candidate("a", right=97, labelled=0).quality == pytest.approx(0.97)


def test_speed_is_told_against_float() -> None:
    assert candidate("a", latency=2.0).speed == 4.0


MANIFEST = Manifest("n", ("a", "b"), InputSpec(8, 8, 1, (127.0,), (128.0,)), {"logits": 0})
FLOATS = np.float32([[2, 0], [0, 2], [2, 0], [0, 2]])
FOUND = np.float32([[2, 0], [0, 2], [0, 2], [2, 0]])


def held_out(*reported: bool) -> HeldOut:
    return HeldOut(
        ("w", "x", "y", "z"), np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, -1]), np.array(reported), "t"
    )


def test_the_report_is_about_its_own_images_and_all_are_counted_beside_it() -> None:
    told, everywhere = agree(held_out(False, True, True, False), FLOATS, MANIFEST, FOUND, MANIFEST)
    assert everywhere == 0.5
    assert (told.images, told.top1, told.labelled, told.float_correct, told.correct) == (2, 0.5, 2, 2, 1)
    assert told.differing == ("y",)
    assert told.float_only == 1


def test_answers_are_compared_as_each_manifest_tells_them() -> None:
    everyone = held_out(True, True, True, True)
    own = replace(MANIFEST, correction=(-3.0, 3.0))
    told, everywhere = agree(everyone, FLOATS, MANIFEST, FLOATS, own)
    assert everywhere == told.top1 == 0.5  # the correction makes every answer b
    cooler = replace(MANIFEST, temperature=4.0)
    told, everywhere = agree(everyone, FLOATS, MANIFEST, FLOATS, cooler)
    assert everywhere == 1.0
    assert told.drift > 0.2


def test_a_report_about_no_image_is_refused() -> None:
    with pytest.raises(DatasetError, match="no image"):
        agree(held_out(False, False, False, False), FLOATS, MANIFEST, FOUND, MANIFEST)
