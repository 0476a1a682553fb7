from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_films import films

from covidnet_lite.network.input_spec import InputSpec
from training.data.augmentation import Strength
from training.fit import backbones, frozen
from training.fit.batches import batch_indices

SPEC = InputSpec(32, 32)


@pytest.fixture(scope="module")
def low() -> object:
    network = backbones.build("EfficientNetLite0", side=32, weights="none", blocks=4).network
    return backbones.below(network, "block2_add")


def test_the_frozen_layers_are_run_as_keras_runs_them(low: object) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (32, 32, 1)).astype(np.float32)
    expected = np.asarray(low(image[None]))[0]
    np.testing.assert_allclose(frozen.Below(low)(image), expected, atol=1e-4 * np.abs(expected).max())


def test_features_are_made_once_and_kept(low: object, tmp_path: Path) -> None:
    result = frozen.compute_features(low, films(), SPEC, 4, Strength(), 3, 1, tmp_path)
    assert result.features.shape == (12, 3, 8, 8, 24)
    assert result.covered.shape == (12, 3, 4, 4)
    assert not np.array_equal(result.features[0, 0], result.features[0, 1])  # variants differ
    kept = (tmp_path / "frozen.npy").stat().st_mtime_ns
    again = frozen.compute_features(low, films(), SPEC, 4, Strength(), 3, 1, tmp_path)
    assert (tmp_path / "frozen.npy").stat().st_mtime_ns == kept
    np.testing.assert_array_equal(result.features, again.features)
    assert not (tmp_path / "frozen.part.npy").exists()


def test_batches_of_features_follow_the_same_draw_as_batches_of_pixels(low: object, tmp_path: Path) -> None:
    result = frozen.compute_features(low, films(), SPEC, 4, Strength(), 2, 1, tmp_path)
    one, other = (list(result.batches(films(), 7, 0)) for _ in range(2))
    assert one[0].inputs.shape == (3, 8, 8, 24)
    np.testing.assert_array_equal(one[0].inputs, other[0].inputs)
    np.testing.assert_array_equal(one[0].allowed, films().lesson.allowed[next(batch_indices(films().lesson, 7, 0))])
