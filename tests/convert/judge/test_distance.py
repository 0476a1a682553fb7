from __future__ import annotations

import numpy as np
import pytest
from float_networks import known, of_keras, pictures, plain, ranges

from convert.judge.distance import distance_on
from convert.quantisation.scheme import quantise
from covidnet_lite.network.manifest import Manifest


def test_rounding_that_leaves_no_class_apart_is_far_from_float() -> None:
    network = of_keras(plain("relu"))
    distance = distance_on(pictures(), network, Manifest("net", network.labels, network.spec, network.outputs))
    whole = ranges(known(network))
    useless = {name: (1e4 * low, 1e4 * high) for name, (low, high) in whole.items()}
    assert distance(network.tflite) == 0
    assert distance(quantise(network.tflite, "int8", whole)) < distance(quantise(network.tflite, "int8", useless)) / 3


def test_images_are_also_shown_mirrored() -> None:
    network = of_keras(plain("relu"))
    manifest = Manifest("net", network.labels, network.spec, network.outputs)
    distance, of_mirrored = (
        distance_on(shown, network, manifest) for shown in (pictures(), np.ascontiguousarray(pictures()[:, :, ::-1]))
    )
    int8 = quantise(network.tflite, "int8", ranges(known(network)))
    assert distance(int8) == pytest.approx(of_mirrored(int8))
