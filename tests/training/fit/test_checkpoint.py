from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from convert.quantisation import synthetic
from convert.source.network import read_facts
from covidnet_lite.network.input_spec import InputSpec
from training.fit import checkpoint


def test_a_network_keeps_its_weights_to_half_precision_and_says_what_it_is(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    network = keras.Model(image, keras.layers.Conv2D(4, 3, name="c")(image))
    spec = InputSpec(8, 8, equalise=True)
    checkpoint.save(network, tmp_path / "n.keras", ("a", "b"), spec, {"name": "n"})
    assert [p.name for p in tmp_path.iterdir()] == ["n.keras"]
    again = keras.models.load_model(tmp_path / "n.keras")
    for old, new in zip(network.get_weights(), again.get_weights()):
        assert new.dtype == np.float32
        np.testing.assert_array_equal(new, old.astype(np.float16).astype(np.float32))
    facts = read_facts(tmp_path / "n.keras")
    assert facts["labels"] == ["a", "b"]
    assert InputSpec.from_dict(facts["input"]) == spec


def test_a_network_carries_what_finds_its_lungs(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    network = keras.Model(image, keras.layers.Conv2D(4, 3, name="c")(image))
    spec = InputSpec(8, 8, lungs=b"a finder")
    checkpoint.save(network, tmp_path / "n.keras", ("a", "b"), spec, {})
    facts = read_facts(tmp_path / "n.keras")
    assert InputSpec.from_dict(facts["input"], facts["lungs"]) == spec
    keras.models.load_model(tmp_path / "n.keras")


def test_a_network_carries_its_statistics(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    network = keras.Model(image, keras.layers.Conv2D(4, 3, name="c")(image))
    kept = synthetic.record(network, np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32))
    checkpoint.save(network, tmp_path / "one.keras", ("a", "b"), InputSpec(8, 8), {}, kept)
    mean, std = (synthetic.read_statistics(tmp_path / "one.keras") or {})["c"]
    np.testing.assert_allclose([mean, std], kept["c"], rtol=1e-3, atol=1e-3)
    keras.models.load_model(tmp_path / "one.keras")
    assert read_facts(tmp_path / "one.keras")["labels"] == ["a", "b"]
