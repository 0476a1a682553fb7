from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from covidnet_lite.fit import InputSpec
from training import readout
from training.augment import Strength
from training.recipe import Readout

SPEC = InputSpec(32, 32, 1, (127.0,), (128.0,), False)
HOW = Readout(ridge=1e-3, alignment=0.0, align=("sick",))


def hospitals(count: int = 400) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Two labels from two hospitals: feature 0 tells them apart a little, feature 2 very well, but in the south only."""
    rng = np.random.default_rng(0)
    targets = np.arange(count) % 2
    sources = ["north" if i % 4 < 2 else "south" for i in range(count)]
    features = rng.normal(0, 1, (count, 3)).astype(np.float32)
    features[:, 0] += targets
    south = np.array([s == "south" for s in sources])
    features[:, 2] = rng.normal(0, 0.1, count) + south * 3 * (targets == 1)
    return features, targets, sources


def logits(found: tuple[np.ndarray, np.ndarray], features: np.ndarray) -> np.ndarray:
    return features @ found[0] + found[1]


def fitted(how: Readout, smoothing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    features, targets, sources = hospitals()
    return readout.fit(features, targets, sources, np.ones(len(targets)), ("well", "sick"), how, smoothing)


def test_the_fit_is_the_logistic_regression_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    features, targets, _ = hospitals()
    features = ((features - features.mean(0)) / features.std(0)).astype(np.float32)
    ours = readout.fit(
        features, targets, [""] * len(targets), np.full(len(targets), 5.0), ("well", "sick"), replace(HOW, ridge=0.01)
    )
    # Two logits with a ridge of r each are one with r / 2; scikit-learn's C multiplies the summed loss.
    theirs = LogisticRegression(C=2 / (0.01 * len(targets)), tol=1e-8).fit(features, targets)
    difference = ours[0][:, 1] - ours[0][:, 0]
    np.testing.assert_allclose(difference, theirs.coef_[0], atol=0.01)


def test_alignment_makes_a_label_look_alike_in_its_sources() -> None:
    features, targets, sources = hospitals()
    south = np.array([s == "south" for s in sources])

    def apart(how: Readout) -> float:
        said = logits(fitted(how), features)[:, 1] - logits(fitted(how), features)[:, 0]
        return float(said[south & (targets == 1)].mean() - said[~south & (targets == 1)].mean())

    assert apart(HOW) > 1.5
    assert abs(apart(replace(HOW, alignment=100.0))) < 0.1


def test_a_label_that_is_not_to_be_aligned_keeps_what_tells_its_sources_apart() -> None:
    free, other = fitted(HOW), fitted(replace(HOW, alignment=100.0, align=("well", "unheard of")))
    assert other[0][2] == pytest.approx(free[0][2], rel=0.2)


def test_a_source_with_a_handful_of_films_says_nothing_about_its_mean() -> None:
    features, targets, _ = hospitals()
    few = ["north"] * len(targets)
    few[: 2 * (readout.LEAST - 1)] = ["south"] * (2 * (readout.LEAST - 1))
    assert not readout.between_sources(features, targets, few, [0, 1]).any()
    few[: 2 * readout.LEAST] = ["south"] * (2 * readout.LEAST)
    assert readout.between_sources(features, targets, few, [0, 1]).any()


def test_heavier_rows_count_more_whatever_their_scale() -> None:
    features, targets, sources = hospitals()

    def bias(weights: np.ndarray) -> float:
        found = readout.fit(features, targets, sources, weights, ("well", "sick"), HOW)
        return float(found[1][1] - found[1][0])

    sick = np.where(targets == 1, 3.0, 1.0)
    assert bias(sick) > bias(np.ones(len(targets))) + 0.5
    assert bias(sick * 100) == pytest.approx(bias(sick), abs=1e-3)


def test_smoothed_labels_make_smaller_logits() -> None:
    features = hospitals()[0]
    assert np.abs(logits(fitted(HOW, 0.2), features)).mean() < np.abs(logits(fitted(HOW), features)).mean()


def test_a_channel_that_never_moves_does_no_harm() -> None:
    features, targets, sources = hospitals()
    features[:, 1] = 7.0
    kernel, bias = readout.fit(features, targets, sources, np.ones(len(targets)), ("well", "sick"), HOW)
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()


def test_films_are_seen_as_they_are_and_in_variants_that_a_seed_repeats() -> None:
    images = [Image.fromarray(np.full((40, 40), 40 * i, np.uint8)) for i in range(5)]
    x = keras.Input((32, 32, 1))
    mean = keras.Model(x, keras.layers.GlobalAveragePooling2D()(x))
    features, films = readout.gather(mean, images, SPEC, Strength(), variants=3, seed=1)
    again, _ = readout.gather(mean, images, SPEC, Strength(), variants=3, seed=1)
    assert np.bincount(films).tolist() == [4] * 5
    np.testing.assert_allclose(features[:5, 0], (np.arange(5) * 40 - 127) / 128, atol=1e-5)
    assert np.abs(features[5:] - features[films[5:]]).max() > 0.01
    np.testing.assert_array_equal(features, again)
