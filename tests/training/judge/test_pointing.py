from __future__ import annotations

import numpy as np
import pytest
from judged import cases, reading, told

from training.judge.pointing import covered, pointing


def said(hottest: tuple[int, int], box: str, view: tuple[float, ...] = (0, 0, 1, 1), column: str = "opacity_boxes"):
    films = [*cases("covid", 5, **{column: box}), *cases("normal", 5, "b")]
    evidence = np.zeros((10, 4, 4, 3))
    evidence[:, hottest[0], hottest[1], 2] = 5
    return reading(films, told("covid", 10), evidence, views=[view] * 10)


def test_the_hottest_place_in_a_box_and_the_share_of_places_that_is() -> None:
    result = pointing(said((3, 3), "0.5 0.5 1 1"))
    assert (result["hottest place in a box"]["count"], result["hottest place in a box"]["total"]) == (5, 5)
    assert result["random place in a box"]["value"] == 0.25
    assert pointing(said((0, 3), "0.5 0.5 1 1"))["hottest place in a box"]["count"] == 0
    assert pointing(said((3, 3), "Infiltrate 0.5 0.5 1 1", column="boxes"))["hottest place in a box"]["count"] == 5


def test_the_map_lies_over_what_the_network_saw() -> None:
    # The lower right quarter of the view is the middle of the film.
    result = pointing(said((3, 3), "0.5 0.5 0.75 0.75", (0.25, 0.25, 0.75, 0.75)))
    assert result["hottest place in a box"]["count"] == 5
    assert result["random place in a box"]["value"] == 0.25
    assert not covered(((0.0, 0.0, 0.2, 0.2),), np.float32([0.25, 0.25, 0.75, 0.75]), 4, 4).any()


def test_what_speaks_for_a_normal_film_is_not_hot() -> None:
    films = cases("covid", 5, opacity_boxes="0 0 0.5 0.5")
    evidence = np.zeros((5, 2, 2, 3))
    evidence[:, 1, 1] = (9, 1, 1)
    evidence[:, 0, 0] = (0, 0.5, 0.5)
    assert pointing(reading(films, told("covid", 5), evidence))["hottest place in a box"]["count"] == 5


@pytest.mark.parametrize(("boxes", "evidence"), [({}, True), ({"opacity_boxes": "0 0 1 1"}, False)])
def test_without_boxes_or_a_map_it_is_not_measured(boxes: dict[str, str], evidence: bool) -> None:
    films = cases("covid", 5, **boxes)
    result = pointing(reading(films, told("covid", 5), np.zeros((5, 2, 2, 3)) if evidence else None))
    assert result["hottest place in a box"]["kind"] == "missing"
