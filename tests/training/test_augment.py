from __future__ import annotations

import numpy as np
import pytest
from conftest import drawn_chest
from PIL import Image

from training import augment as a

CHANGES = sorted(a._CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_changes_a_gray_picture_and_leaves_it_one(name: str) -> None:
    image = drawn_chest(0, opaque=True, side=128)
    before = np.asarray(image).copy()
    changed = [a._CHANGES[name](image, np.random.default_rng(seed), 1.0) for seed in range(8)]
    assert all(c.mode == "L" and min(c.size) >= 32 for c in changed)
    assert any(c.size != image.size or not np.array_equal(np.asarray(c), before) for c in changed)
    np.testing.assert_array_equal(np.asarray(image), before)


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_has_a_strength(name: str) -> None:
    assert 0 <= getattr(a.Strength(), name) <= 1


def test_a_seed_repeats_and_nothing_else_is_drawn_from() -> None:
    image = drawn_chest(1, opaque=False, side=128)
    first, second = (a.augment(image, np.random.default_rng(7), a.Strength()) for _ in range(2))
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_strength_zero_changes_nothing() -> None:
    image = drawn_chest(1, opaque=False, side=128)
    off = a.Strength(**dict.fromkeys(CHANGES, 0.0))
    np.testing.assert_array_equal(np.asarray(a.augment(image, np.random.default_rng(0), off)), np.asarray(image))


def test_corners_leave_the_middle_alone() -> None:
    image = Image.new("L", (200, 200), 100)
    for seed in range(20):
        changed = np.asarray(a.corners(image, np.random.default_rng(seed), 1.0))
        assert (changed[60:140, 80:120] == 100).all()
