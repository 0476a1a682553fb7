from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite.box import WHOLE
from covidnet_lite.dataset import read_dataset
from covidnet_lite.errors import DatasetError
from covidnet_lite.network.input_spec import InputSpec
from training.data import prepared

SPEC = InputSpec(32, 32)


def test_films_are_read_and_fitted(chests: Path) -> None:
    shown, views = prepared.prepare_all(read_dataset(chests)[:3], SPEC)
    assert shown.shape == (3, 32, 32)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(views, [WHOLE] * 3)


def test_of_the_frame_all_is_shown_but_the_lungs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared.lungs, "view", lambda image, spec: (0.25, 0.25, 0.75, 1.0))
    film = Image.new("L", (64, 64), 120)
    shown, view = prepared.without_lungs(film, SPEC)
    assert view == WHOLE
    assert (shown[10:, 10:22] == 0).all()
    assert (shown[:6] == 120).all()
    assert (shown[:, :6] == 120).all()
    assert np.asarray(film).min() == 120  # the film itself is left alone


def test_every_unreadable_picture_is_named(chests: Path) -> None:
    cases = read_dataset(chests)[:3]
    for name in ("0.png", "2.png"):
        (chests / name).write_text("no picture")
    with pytest.raises(DatasetError) as caught:
        prepared.prepare_all(cases, SPEC)
    assert "0.png" in str(caught.value)
    assert "2.png" in str(caught.value)
