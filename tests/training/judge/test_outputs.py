from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from judged import sided_network

from covidnet_lite.dataset import read_dataset
from training.data.prepared import without_lungs
from training.judge import outputs


def test_a_network_is_asked_once_about_each_film(chests: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(outputs, "BATCH", 5)
    asked: list[int] = []
    plain = sided_network()

    def run(pictures):
        asked.append(len(pictures))
        return plain.run(pictures)

    network, cases, folder = replace(plain, run=run), read_dataset(chests)[:12], tmp_path / "out"
    first = outputs.outputs(network, cases, folder)
    assert asked == [5, 5, 2]
    assert {name: values.shape[0] for name, values in first.items()} == dict.fromkeys(first, 12)
    assert all(values.dtype == np.float32 for values in first.values())
    again = outputs.outputs(network, cases, folder)
    assert asked == [5, 5, 2]
    assert all((again[name] == values).all() for name, values in first.items())
    # Another network, other films, other pictures of them, or a film that changed.
    outputs.outputs(replace(network, sha256="1" * 64), cases, folder)
    outputs.outputs(network, cases[:5], folder)
    outputs.outputs(network, cases[:5], folder, without_lungs)
    assert asked[3:] == [5, 5, 2, 5, 5]
    cases[0].path.write_bytes(cases[1].path.read_bytes() + b"\0")
    outputs.outputs(network, cases[:5], folder)
    assert asked[8:] == [5]
