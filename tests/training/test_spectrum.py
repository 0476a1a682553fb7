from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from training import spectrum


def film(seed: int, side: int = 96) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 200, (12, 12)).astype(np.uint8)).resize((side, side), 3)
    return np.clip(np.asarray(coarse, float) + rng.normal(0, 4, (side, side)), 0, 255).astype(np.uint8)


def soft(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)))


def test_a_soft_picture_has_less_of_the_high_bands_and_as_much_of_the_low() -> None:
    sharp, blurred = spectrum.radial(film(0)), spectrum.radial(soft(film(0)))
    assert (blurred[20:40] < 0.5 * sharp[20:40]).all()
    assert blurred[1] == pytest.approx(sharp[1], rel=0.1)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_picture_gets_the_grain_of_another(share: float) -> None:
    one, target = soft(film(0)), spectrum.radial(film(1))
    before = np.abs(np.log(spectrum.radial(one) / target))[5:40].mean()
    after = np.abs(np.log(spectrum.radial(spectrum.impose(one, target, share)) / target))[5:40].mean()
    assert after < before * (1.2 - share)


def test_what_it_shows_stays() -> None:
    one = film(0)
    changed = spectrum.impose(one, spectrum.radial(soft(film(1))))
    assert np.corrcoef(one.ravel(), changed.ravel())[0, 1] > 0.9
    assert changed.dtype == np.uint8
    assert changed.mean() == pytest.approx(one.mean(), abs=2)


def test_its_own_spectrum_changes_nothing() -> None:
    one = film(0)
    assert np.abs(spectrum.impose(one, spectrum.radial(one)).astype(int) - one).max() <= 1


def test_small_pictures_are_no_trouble():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    changed = spectrum.impose(picture, spectrum.radial(picture[::-1].copy()))
    assert np.isfinite(spectrum.radial(picture)).all()
    assert changed.std() > 30
