from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from convert.judge.shown_wrongly import WRONG

PLAIN = np.arange(12, dtype=np.uint8).reshape(3, 4)


def shown(name: str) -> np.ndarray:
    return np.asarray(WRONG[name](Image.fromarray(PLAIN)))


def test_a_radiograph_is_turned_and_inverted() -> None:
    assert shown("turned by 90 degrees to the left").tolist() == np.rot90(PLAIN).tolist()
    assert shown("turned by 90 degrees to the right").tolist() == np.rot90(PLAIN, -1).tolist()
    assert shown("upside down").tolist() == np.rot90(PLAIN, 2).tolist()
    assert shown("inverted, with black bones").tolist() == (255 - PLAIN).tolist()


def test_several_radiographs_fill_one_image() -> None:
    assert shown("beside another").tolist() == np.hstack([PLAIN, PLAIN]).tolist()
    assert shown("above another").tolist() == np.vstack([PLAIN, PLAIN]).tolist()
    assert shown("among others").tolist() == np.tile(PLAIN, (2, 2)).tolist()


@pytest.mark.parametrize("size", [(300, 400), (900, 200), (64, 64)])
def test_a_screenshot_holds_the_whole_radiograph_in_a_bright_window(size: tuple[int, int]) -> None:
    image = Image.new("L", size, 7)
    window = np.asarray(WRONG["in a screenshot"](image))
    assert (window == 7).sum() == size[0] * size[1]
    assert window.shape[0] == round(size[1] / 0.6)
    assert window.mean() > 80


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_image_keeps_its_mode(name: str, mode: str) -> None:
    assert WRONG[name](Image.new(mode, (30, 20), 9)).mode == mode
