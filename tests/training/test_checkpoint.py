from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from convert.network import read_facts
from covidnet_lite.fit import InputSpec
from training import checkpoint


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
