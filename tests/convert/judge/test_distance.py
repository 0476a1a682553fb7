from __future__ import annotations

import numpy as np
from float_networks import known, of_keras, pictures, plain, ranges

from convert.judge.distance import between, distance_on
from convert.quantisation.scheme import quantise
from covidnet_lite.network.manifest import Manifest


def test_finer_rounding_is_nearer_to_float() -> None:
    network = of_keras(plain("relu"))
    distance = distance_on(pictures(), network, Manifest("net", network.labels, network.spec, network.outputs))
    whole = ranges(known(network))
    wide = {name: (20 * low, 20 * high) for name, (low, high) in whole.items()}
    assert distance(network.tflite) == 0
    assert 0 < distance(quantise(network.tflite, "int8", whole)) < distance(quantise(network.tflite, "int8", wide))


def test_both_wrong_probabilities_and_wrong_classes_count() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (300, 3))
    less_sure, noisy = 0.8 * logits, logits + rng.normal(0, 0.3, logits.shape)
    assert 0 < between(logits, less_sure) < between(logits, noisy) < between(logits, 0.8 * noisy)
