from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from conftest import drawn_chest

from covidnet_lite.fit import fit
from covidnet_lite.network.input_spec import InputSpec
from training.data import augmentation
from training.data.augmentation import Strength

OFF = Strength(**{field.name: 0.0 for field in fields(Strength)})
BOX = (0.2, 0.1, 0.9, 0.8)


def chest(side: int = 160) -> np.ndarray:
    return np.asarray(drawn_chest(3, opaque=True, side=side))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_variant_repeats_for_a_seed() -> None:
    one, other = (augmentation.variant(chest(), BOX, 64, rng(5), Strength())[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, augmentation.variant(chest(), BOX, 64, rng(6), Strength())[0])
    assert one.shape == (64, 64)
    assert one.dtype == np.uint8


def test_without_any_change_it_is_what_the_runtime_shows_the_network() -> None:
    from PIL import Image

    still = Strength(**{**{field.name: 0.0 for field in fields(Strength)}, "scale": 0.0})
    image = chest(150)
    seen, _ = augmentation.variant(image, BOX, 100, rng(), still)
    spec = InputSpec(100, 100, equalise=True)
    shipped = fit(Image.fromarray(image), spec, BOX).astype(int)
    assert np.corrcoef(seen.ravel(), shipped.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", sorted(augmentation.CHANGES))
def test_each_change_changes_grey_levels_and_keeps_the_size(name: str) -> None:
    image = chest(96)
    changed = [augmentation.CHANGES[name](image, rng(seed), 1.0) for seed in range(6)]
    assert all(c.shape == image.shape and c.dtype == np.uint8 for c in changed)
    assert any(not np.array_equal(c, image) for c in changed)
    assert all(np.corrcoef(c.ravel(), image.ravel())[0, 1] > 0.3 for c in changed)


def test_strength_names_every_change() -> None:
    assert set(augmentation.CHANGES) < {field.name for field in fields(Strength)}


def test_coverage_follows_the_crop_and_the_mirror() -> None:
    shape, side = (200, 100), 64
    right_half = (0.5, 0.0, 1.0, 1.0)
    plain = augmentation.plain(shape, (0.0, 0.0, 1.0, 1.0), side)
    result = augmentation.coverage([right_half], shape, plain, side, 8)
    np.testing.assert_allclose(result, np.tile([0] * 4 + [1] * 4, (8, 1)), atol=0.01)
    mirrored = plain * np.array([[-1, 1, 1], [1, 1, 1]]) + np.array([[0, 0, shape[1] - 1], [0, 0, 0]])
    mirrored[0, 2] = shape[1] - 1 - plain[0, 2]
    np.testing.assert_allclose(
        augmentation.coverage([right_half], shape, mirrored, side, 8), result[:, ::-1], atol=0.01
    )
    lower = augmentation.coverage(
        [(0.0, 0.5, 1.0, 1.0)], shape, augmentation.plain(shape, (0.0, 0.5, 1.0, 1.0), side), side, 8
    )
    assert lower.min() == 1


def test_what_a_box_marks_is_where_the_picture_shows_it() -> None:
    """A bright square and its box stay together through every turn, shift, zoom and mirror."""
    image = np.full((240, 200), 40, np.uint8)
    image[60:120, 30:90] = 250
    box = (30 / 200, 60 / 240, 90 / 200, 120 / 240)
    still = Strength(**{**{field.name: 0.0 for field in fields(Strength)}, "scale": 1.0, "flip": 0.5})
    for seed in range(12):
        seen, matrix = augmentation.variant(image, (0.1, 0.1, 0.95, 0.9), 128, rng(seed), still, equalised=False)
        covered = augmentation.coverage([box], image.shape, matrix, 128, 16)
        bright = (seen > 145).reshape(16, 8, 16, 8).mean((1, 3))
        assert np.abs(bright - covered).mean() < 0.03, seed


def test_equalising_is_the_runtimes_own() -> None:
    from PIL import Image

    image = chest(64)
    np.testing.assert_array_equal(
        augmentation.equalise(image), fit(Image.fromarray(image), InputSpec(64, 64, equalise=True))
    )
