"""Which radiographs a site is fitted on, and when it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sites import films, spread

from covidnet_lite.codes import Code
from covidnet_lite.errors import SiteError
from covidnet_lite.site.sample import Observation, check_contradictions, check_labels, check_level, sample

REFUSED = Observation("cat.png", "cat", "refused", code=Code.UNLIKE_TRAINING)


def refused(n: int) -> list[Observation]:
    return [replace(REFUSED, key=f"cat{i}") for i in range(n)]


def test_fewer_than_30_radiographs_are_too_few() -> None:
    assert len(sample(films(spread(0, 30)), "normals").usable) == 30
    with pytest.raises(SiteError, match="there are 29 usable normals; give 30 or more"):
        sample(films(spread(0, 29)), "normals")


def test_a_picture_given_twice_counts_once_and_is_told() -> None:
    observations = films(spread(0, 40))
    result = sample([*observations, observations[0]], "normals")
    assert (len(result.usable), result.remarks) == (40, ("of the normals are left out: 1 given twice",))


def test_a_folder_of_copies_is_refused() -> None:
    observations = films(spread(0, 20))
    with pytest.raises(SiteError, match="20 of the 40 normals are repetitions"):
        sample([*observations, *observations], "normals")


def test_what_is_refused_or_not_readable_is_left_out_and_told() -> None:
    failed = Observation("x.png", "x", "failed")
    result = sample([*films(spread(0, 40)), *refused(2), failed], "normals")
    assert len(result.usable) == 40
    assert "2 refused, 1 not readable (most often: does not look like" in result.remarks[0]


def test_a_site_of_which_much_is_refused_is_refused_with_the_reason() -> None:
    with pytest.raises(
        SiteError, match=r"6 of the 46 normals are refused \(most often: does not look like the frontal"
    ):
        sample([*films(spread(0, 40)), *refused(6)], "normals")


def test_a_label_that_is_none_is_refused() -> None:
    check_labels(films([0], label="not normal"), ("normal", "covid"), "normal")
    with pytest.raises(SiteError, match="'nomral' is none of normal, covid, not normal"):
        check_labels(films([0], label="nomral"), ("normal", "covid"), "normal")


def test_one_picture_with_two_labels_is_refused() -> None:
    normals = films([0.0, 1.0])
    check_contradictions(normals, films([0.0], label="normal"), "normal")
    with pytest.raises(SiteError, match=r"well1.png is the same image as well1.png, but one is labelled covid"):
        check_contradictions(normals, films([0.0, 1.0], label="covid")[1:], "normal")


def test_normals_of_which_many_look_ill_are_refused() -> None:
    check_level(films([*spread(-1, 80), *[4.0] * 20]))
    with pytest.raises(SiteError, match=r"21 of the 101 normals look ill to the network \(at most 20% may\)"):
        check_level(films([*spread(-1, 80), *[4.0] * 21]))
