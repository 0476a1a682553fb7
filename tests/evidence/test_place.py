"""Where the evidence lies."""

from __future__ import annotations

import numpy as np
import pytest

from covidnet_lite.evidence.place import DIFFUSE, OUTSIDE, ZONES, locate

WHOLE = (0.0, 0.0, 1.0, 1.0)


def local(shares):
    """Rows of cells with this much positive evidence (up to 0.5) -> ``(h, w)`` local probabilities."""
    return 0.5 + np.asarray(shares, float)


def placed(shares, box=WHOLE, **options):
    result = locate(local(shares), box, **options)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("shares", "main"),
    [
        ([[0, 0], [0, 0], [0.4, 0]], "right lower zone"),
        ([[0, 0.4], [0, 0], [0, 0]], "left upper zone"),
        ([[0, 0], [0, 0], [0.4, 0.3]], "both lower zones"),
        ([[0, 0], [0.4, 0.3], [0.4, 0.3]], "both middle and lower zones"),
        ([[0.1, 0], [0.4, 0], [0.3, 0]], "right middle and lower zones"),
        ([[0.4, 0], [0, 0], [0, 0.4]], "right upper zone and left lower zone"),
        ([[0, 0], [0.4, 0], [0.4, 0.4]], "right middle and lower zones and left lower zone"),
        ([[0, 0.3], [0, 0.3], [0, 0.3]], "left lung"),
        ([[0.3, 0.3], [0.3, 0.3], [0.3, 0.3]], DIFFUSE),
        ([[0.4, 0.4], [0.4, 0], [0, 0.4]], DIFFUSE),
        ([[0.4, 0.19], [0.19, 0.19], [0.19, 0.19]], DIFFUSE),  # one is fullest, but most lies elsewhere
        ([[0.4, 0.1], [0, 0], [0, 0]], "right upper zone"),
    ],
)
def test_the_zones_are_told_in_words(shares, main):
    assert placed(shares).main == main


def test_the_patients_right_is_on_the_pictures_left_unless_the_header_says_otherwise():
    right_lower = [[0, 0], [0, 0], [0.4, 0]]
    for orientation, main in {
        "": "right lower zone", "L\\F": "right lower zone", "R\\F": "left lower zone",
        "L\\H": "right upper zone", "LF\\FP": "right lower zone",
    }.items():  # fmt: skip
        assert placed(right_lower, orientation=orientation).main == main


def test_zones_and_inside_are_shares_of_all_positive_evidence():
    place = placed([[0.4, 0, 0, 0], [0, 0.1, 0, 0], [0, 0, 0.3, 0], [0, 0, 0, 0]], (0.25, 0.25, 0.75, 0.75))
    assert place.inside == pytest.approx(0.5)
    assert sum(place.zones.values()) == pytest.approx(place.inside)
    assert tuple(place.zones) == ZONES
    assert place.zones["right upper"] + place.zones["right middle"] == pytest.approx(0.1 / 0.8)


def test_mostly_outside_is_told_by_the_share_that_is_asked_for():
    shares, box = [[0.3, 0], [0, 0.2]], (0.5, 0.5, 1.0, 1.0)
    assert placed(shares, box).main == OUTSIDE
    assert placed(shares, box).main_zones == ()
    assert placed(shares, box, inside_from=0.39).main != OUTSIDE
    assert placed([[0.3, 0], [0, 0]], box, inside_from=0).main == OUTSIDE  # nothing inside has no zone


def test_the_zones_that_are_named_are_those_of_the_words():
    assert placed([[0, 0], [0.4, 0], [0.4, 0.4]]).main_zones == ("right middle", "right lower", "left lower")
    assert placed([[0.3, 0.3]] * 3).main_zones == ()


def test_without_positive_evidence_there_is_no_place():
    assert locate(local([[0, 0], [0, 0]]), WHOLE) is None
    assert locate(local([[-0.3, 0], [-0.1, 0]]), WHOLE) is None


def test_in_json_its_numbers_are_rounded():
    fields = placed([[0.1, 0.2], [0.3, 0.1], [0.1, 0.4]]).to_dict()
    assert set(fields) == {"inside", "zones", "main"}
    assert all(round(share, 4) == share for share in fields["zones"].values())
