from __future__ import annotations

from pathlib import Path

import pytest

from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import DatasetError
from training.data.lung_boxes import lung_boxes


def test_a_case_without_boxes_has_none() -> None:
    assert lung_boxes(LabelledImage(Path("x.png"))) == []
    boxed = LabelledImage(Path("x.png"), fields={"lung_boxes": "0.1 0.2 0.4 0.8;0.6 0.2 0.9 0.8"})
    assert lung_boxes(boxed) == [(0.1, 0.2, 0.4, 0.8), (0.6, 0.2, 0.9, 0.8)]


@pytest.mark.parametrize("text", ["0.1 0.2 0.4", "a b c d", "0.5 0.2 0.4 0.8", "0 0 1.2 1", "nan 0 1 1"])
def test_boxes_that_are_none_are_said(text: str) -> None:
    with pytest.raises(DatasetError, match="x.png: lung_boxes is"):
        lung_boxes(LabelledImage(Path("x.png"), fields={"lung_boxes": text}))
