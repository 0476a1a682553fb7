from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidnet_lite.errors import ModelError
from covidnet_lite.network import model
from covidnet_lite.prediction import calibrated
from training.judge import network


def test_a_shipped_network_tells_what_the_device_tells() -> None:
    loaded, asked = model.load("base"), network.load("base")
    logits = np.array([[1.0, -2.0, 0.5]], np.float32)
    np.testing.assert_array_equal(asked.probabilities(logits), calibrated(logits, loaded.manifest))
    assert (asked.sha256, asked.manifest.to_json()) == (loaded.sha256, loaded.manifest.to_json())
    assert asked.name == "base"


def test_it_gives_every_output_of_every_picture() -> None:
    asked = network.load("base")
    images = np.zeros((2, asked.spec.height, asked.spec.width), np.uint8)
    result = asked.run(images)
    assert {name: values.shape[0] for name, values in result.items()} == {"logits": 2, "evidence": 2, "embedding": 2}


def test_a_file_of_another_origin_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.keras").write_bytes(b"no zip")
    with pytest.raises(ModelError, match="no network that training/finetune.py wrote"):
        network.load(str(tmp_path / "other.keras"))
