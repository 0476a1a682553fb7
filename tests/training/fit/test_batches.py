from __future__ import annotations

import time

import numpy as np
import pytest
from training_films import films, lesson

from covidnet_lite.network.input_spec import InputSpec
from training.data.augmentation import Strength
from training.fit import batches


def test_batches_repeat_for_a_seed_and_epoch_and_differ_between_epochs() -> None:
    def first(seed: int, epoch: int) -> np.ndarray:
        return next(batches.pixel_batches(films(), InputSpec(64, 64), 4, Strength(), seed, epoch)).inputs

    assert first(1, 0).shape == (3, 64, 64, 1)
    np.testing.assert_array_equal(first(1, 0), first(1, 0))
    assert not np.array_equal(first(1, 0), first(1, 1))
    assert not np.array_equal(first(1, 0), first(2, 0))


def test_every_batch_holds_what_the_recipe_says() -> None:
    known = lesson(12)
    chosen = list(batches.batch_indices(known, 1, 0))
    assert len(chosen) == batches.steps(known) == 4
    assert all((films % 2).tolist() == [0, 0, 1] for films in chosen)
    seen = np.concatenate([films[:2] for films in chosen])
    assert set(seen.tolist()) == {0, 2, 4, 6, 8, 10}  # gone through before anything comes twice


def test_ranked_films_do_not_make_an_epoch_longer() -> None:
    assert batches.steps(lesson(12)) == batches.steps(lesson(24, ranked=12))


def test_a_batch_tells_where_opacities_are() -> None:
    batch = next(batches.pixel_batches(films(), InputSpec(64, 64), 4, Strength(scale=0.1, flip=0.0), 3, 0))
    assert batch.covered.shape == (3, 4, 4)
    assert batch.covered[:2].max() == 0
    assert batch.covered[2, :, 0].min() > 0.8 > 0.2 > batch.covered[2, :, -1].max()


def test_items_made_ahead_are_the_same_and_errors_arrive() -> None:
    assert list(batches.prefetch(lambda: range(20), capacity=2)) == list(range(20))

    def failing():
        yield 1
        raise ValueError("broken")

    items = batches.prefetch(failing)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_who_stops_early_leaves_no_thread_at_work() -> None:
    result = []

    def endless():
        while True:
            result.append(1)
            yield 1

    items = batches.prefetch(endless, capacity=1)
    next(items)
    items.close()
    time.sleep(1.2)
    count = len(result)
    time.sleep(0.7)
    assert len(result) == count
