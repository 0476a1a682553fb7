from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from convert.judge import disagreement
from convert.judge.disagreement import Disagreement, draw, largest
from covidnet_lite.network.input_spec import InputSpec

FLOATS = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])
QUANTISED = np.array([[0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.49, 0.51]])
NAMES = ("a.png", "b.png", "c.png", "d.png")
PICTURES = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
RGB, BGR = (InputSpec(8, 8, 3, (0.0,) * 3, (1.0,) * 3, colour=colour) for colour in ("rgb", "bgr"))


def found(spec: InputSpec = RGB) -> list[Disagreement]:
    return largest(NAMES, PICTURES, spec, ("no", "yes"), FLOATS, QUANTISED)


def test_the_largest_come_first_and_what_nobody_would_see_is_left_out() -> None:
    assert [(d.name, d.float_answer, d.quantised_answer, d.is_another_class) for d in found()] == [
        ("b.png", ("no", 0.6), ("yes", 0.7), True),
        ("a.png", ("no", 0.9), ("no", 0.8), False),
    ]
    assert found()[0].moved == pytest.approx(0.3)


def test_there_are_no_more_than_a_person_looks_at() -> None:
    many = np.tile([[0.9, 0.1]], (30, 1))
    assert len(largest([""] * 30, np.zeros((30, 8, 8), np.uint8), InputSpec(8, 8), ("a", "b"), many, 1 - many)) == 8


def test_colours_are_shown_as_people_see_them() -> None:
    np.testing.assert_array_equal(found(BGR)[0].image, PICTURES[1][..., ::-1])


def test_both_answers_stand_above_each_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[tuple[str, str]] = []
    real = Axes.set_title

    def noted(axes: Axes, label: str, **more: Any) -> Any:
        titles.append((label, more["color"]))
        return real(axes, label, **more)

    monkeypatch.setattr(Axes, "set_title", noted)
    png = draw(found(), "int8")
    assert titles == [
        ("b.png\nfloat: no 60%\nint8: yes 70%", disagreement.VERMILION),
        ("a.png\nfloat: no 90%\nint8: no 80%", disagreement.INK),
    ]
    with Image.open(io.BytesIO(png)) as image:
        assert image.size[0] > 1000
    assert draw(found(), "int8") == png
