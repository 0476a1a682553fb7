from __future__ import annotations

import pytest
from judged import cases, reading, told

from training.judge.answers import answer_rates, operating_curve, status_rates

NARROWED, UNSURE = [0.1, 0.45, 0.45], [0.5, 0.25, 0.25]


def test_what_films_are_called() -> None:
    said = reading(cases("covid", 6), [NARROWED, NARROWED, UNSURE, *told("covid", 1), *told("normal", 2)])
    counts = {name: figure["count"] for name, figure in answer_rates(said).items()}
    assert counts == {"called normal": 2, "called covid": 1, "called not normal": 3}


def test_answers_by_status_and_how_often_they_are_right() -> None:
    said = reading(cases("covid", 6), [NARROWED, NARROWED, UNSURE, *told("covid", 1), *told("normal", 2)])
    row = {name: (figure.get("count"), figure.get("total")) for name, figure in status_rates(said).items()}
    assert row == {
        "answered": (3, 6),
        "narrowed": (2, 6),
        "unsure": (1, 6),
        "refused": (0, 6),
        "answered or narrowed": (5, 6),
        "right when answered or narrowed": (3, 5),
        "right when answered": (1, 3),
        "right when narrowed": (2, 2),
    }
    assert status_rates(reading(cases("covid", 2), [UNSURE] * 2))["right when answered"]["kind"] == "missing"


def test_the_operating_curve() -> None:
    films = [*cases("normal", 2), *cases("covid", 2)]
    points = operating_curve(
        reading(films, [[0.9, 0.05, 0.05], [0.5, 0.25, 0.25], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]]), points=5
    )
    assert [p[0] for p in points] == [0, 0.25, 0.5, 0.75, 1]
    assert points[0][1:] == [1, 1]
    assert points[3][1:] == pytest.approx([0.5, 0])
    assert points[4][1:] == [0, 0]
