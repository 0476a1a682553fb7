from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
from conftest import ROOT, drawn_chest
from PIL import Image

from covidnet_lite.cases import read_cases
from covidnet_lite.fit import WHOLE, InputSpec
from training import dataset
from training.augment import Strength
from training.batches import Batches, _jittered


def test_batches_repeat_for_a_seed_and_epoch_and_differ_between_epochs(chests: Path) -> None:
    cases = read_cases(chests)
    images = dataset.decode(cases, 96)
    targets = np.eye(2, dtype=np.float32)[[i % 2 for i in range(48)]]

    def batches(seed: int, epoch: int) -> np.ndarray:
        made = Batches(images, targets, np.ones(48, np.float32), InputSpec(64, 64), Strength(), 8, seed, epoch)
        return made[1][0]

    assert batches(1, 0).shape == (8, 64, 64, 1)
    np.testing.assert_array_equal(batches(1, 0), batches(1, 0))
    assert not np.array_equal(batches(1, 0), batches(1, 1))
    assert not np.array_equal(batches(1, 0), batches(2, 0))


def films(count: int = 8) -> list[Image.Image]:
    return [drawn_chest(i, opaque=bool(i % 2), side=120) for i in range(count)]


def first_batch(spec: InputSpec, strength: Strength) -> np.ndarray:
    made = Batches(films(), np.eye(2, dtype=np.float32)[[0, 1] * 4], np.ones(8, np.float32), spec, strength, 8, 1)
    return made[0][0]


def test_the_grain_of_another_film_can_be_given_to_one() -> None:
    off = {field.name: 0.0 for field in fields(Strength)}
    plain, swapped = (first_batch(InputSpec(64, 64), Strength(**{**off, "spectrum": share})) for share in (0.0, 1.0))
    assert np.abs(plain - swapped).max() > 0.02
    assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9 for a, b in zip(plain, swapped))


def test_films_are_cropped_to_the_lungs_not_quite_the_same_way_each_time() -> None:
    finder = (ROOT / "training/checkpoints/lungs.tflite").read_bytes()
    off = Strength(**{field.name: 0.0 for field in fields(Strength)})
    whole, cropped = (first_batch(InputSpec(64, 64, lungs=data), off) for data in (b"", finder))
    views = [_jittered((0.2, 0.2, 0.8, 0.8), np.random.default_rng(seed)) for seed in range(200)]
    assert np.abs(whole - cropped).mean() > 0.02
    assert 5 < views.count(WHOLE) < 50
    near = np.array([view for view in views if view != WHOLE])
    assert np.abs(near - (0.2, 0.2, 0.8, 0.8)).max() < 0.2
    assert near.std(axis=0).min() > 0.01
