from __future__ import annotations

import io
from typing import Any

import pytest
from judged import answers, cases, sure
from PIL import Image

from training import audit_plots, reliability
from training.audit import lines
from training.figure import share

pytest.importorskip("matplotlib")


def figures() -> dict[str, Any]:
    told = answers(cases("normal", 12), sure("normal", 6) + sure("covid", 6, 0.6))
    area = {"kind": "auroc", "value": 0.7, "interval": [0.5, 0.8]}
    steady = {
        "untouched: accuracy": share(9, 12),
        "mirrored: accuracy": share(8, 12),
        "mirrored: same answer": share(11, 12),
    }
    both = {"int8": told, "float": told}
    return {
        "sections": {
            "yardsticks": lines({"int8": {"covid": area}, "float": {"covid": area}}),
            "trifles": lines({"any": {"covid": area, "accuracy": share(1, 2)}}),
            "left_out": {},
            "lungs": {},
            "threshold": lines({"int8": reliability.threshold(told)}),
            "invariances": lines({"int8": steady, "float": steady}),
        },
        "bins": {column: reliability.bins(a) for column, a in both.items()},
        "risk_coverage": {column: reliability.risk_coverage(a) for column, a in both.items()},
    }


def test_every_picture_is_drawn_and_the_same_again() -> None:
    pictures = audit_plots.draw(figures())
    assert list(pictures) == ["aurocs.png", "reliability.png", "risk_coverage.png", "invariances.png"]
    assert pictures == audit_plots.draw(figures())
    for png in pictures.values():
        assert min(Image.open(io.BytesIO(png)).size) > 200


def test_rows_are_the_areas_alone() -> None:
    assert list(audit_plots._areas(figures())) == ["covid", "thumbnail baseline: covid"]


def test_without_an_area_there_is_no_such_picture() -> None:
    given = figures()
    given["sections"] |= {"yardsticks": {}, "trifles": {}}
    assert "aurocs.png" not in audit_plots.draw(given)
