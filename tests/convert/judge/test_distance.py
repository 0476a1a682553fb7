from __future__ import annotations

import numpy as np
import pytest
from float_networks import known, of_keras, pictures, plain, ranges

from convert import metrics
from convert.judge.distance import copies, distance_on
from convert.quantisation.scheme import quantise
from covidnet_lite.network.manifest import Manifest


def test_rounding_that_leaves_no_class_apart_is_far_from_float() -> None:
    network = of_keras(plain("relu"))
    distance = distance_on(pictures(), network, Manifest("net", network.labels, network.spec, network.outputs))
    whole = ranges(known(network))
    useless = {name: (1e4 * low, 1e4 * high) for name, (low, high) in whole.items()}
    assert distance(network.tflite) == 0
    assert distance(quantise(network.tflite, "int8", whole)) < distance(quantise(network.tflite, "int8", useless)) / 3


def test_copies_of_the_images_are_shown_mirrored_and_shifted_in_gray_and_in_colour() -> None:
    gray = np.arange(2 * 24 * 36, dtype=np.uint8).reshape(2, 24, 36)
    mirrored, shifted = np.split(copies(gray), 2)
    np.testing.assert_array_equal(mirrored[:, :, 0], gray[:, :, -1])
    np.testing.assert_array_equal(shifted[:, :-2, :-3], gray[:, 2:, 3:])
    np.testing.assert_array_equal(shifted[:, -1], shifted[:, -3])  # its edge goes on
    colour = np.stack([gray, gray, 255 - gray], axis=-1)
    np.testing.assert_array_equal(copies(colour)[..., 0], copies(gray))


def test_both_classes_and_probabilities_count(monkeypatch: pytest.MonkeyPatch) -> None:
    network = of_keras(plain("relu"))
    measure = distance_on(pictures(), network, Manifest("net", network.labels, network.spec, network.outputs))
    int8 = quantise(network.tflite, "int8", ranges(known(network)))
    whole = measure(int8)
    for name in ("lead_moved", "typical_change"):
        real = getattr(metrics, name)
        with monkeypatch.context() as only:
            only.setattr(f"convert.judge.distance.{name}", lambda *answers, real=real: 4 * real(*answers))
            assert measure(int8) == pytest.approx(2 * whole)
