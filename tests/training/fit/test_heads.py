from __future__ import annotations

import keras
import numpy as np
import pytest

from covidnet_lite.errors import ModelError
from training.fit import backbones, heads

LABELS = ("normal", "pneumonia", "covid")


def network(taps: tuple[str, ...] = ("block10_add", "block14_add"), side: int = 64) -> keras.Model:
    keras.utils.set_random_seed(1)
    backbone = backbones.build("EfficientNetLite0", side=side, weights="none")
    return heads.with_evidence(backbone.network, taps, LABELS, 0.2)


def test_the_map_is_fine_and_the_embedding_holds_all_taps() -> None:
    result = network()(np.zeros((2, 64, 64, 1), np.float32))
    assert result["evidence"].shape == (2, 4, 4, 3)
    assert result["logits"].shape == (2, 3)
    assert result["embedding"].shape == (2, 112 + 192)


def test_the_logits_are_a_function_of_the_map_alone() -> None:
    created = network()
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 1)).astype(np.float32)
    result = {name: np.asarray(values) for name, values in created(image).items()}
    evidence = result["evidence"][0]
    strongest = evidence.reshape(2, 2, 2, 2, 3).max((1, 3)).mean((0, 1))
    np.testing.assert_allclose(result["logits"][0], (evidence.mean((0, 1)) + strongest) / 2, atol=1e-5)


def test_layers_that_nobody_reads_are_gone() -> None:
    assert "head" not in {layer.name for layer in network().layers}


def test_one_tap_is_enough() -> None:
    assert network(("block8_project_bn",)).output["embedding"].shape == (None, 112)


@pytest.mark.parametrize(
    ("taps", "side", "said"),
    [
        (("block99",), 64, "has no layer 'block99'"),
        (("block10_add", "block14_add"), 80, "do not divide one another"),
    ],
)
def test_taps_that_cannot_be_are_named(taps: tuple[str, ...], side: int, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        network(taps, side)
