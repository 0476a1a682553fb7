from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert import calibration
from convert.network import FloatNetwork
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import ConversionError, DatasetError
from covidnet_lite.fit import InputSpec


def network() -> FloatNetwork:
    return FloatNetwork(
        b"",
        ("a", "b"),
        InputSpec(8, 8, 1, (127.0,), (128.0,)),
        {"logits": 0},
        {"logits": "StatefulPartitionedCall:0"},
        {},
    )


def test_the_choice_is_level_over_labels_and_sources_and_repeats() -> None:
    cases = [Case(Path(f"{i}"), "normal", source="big", split="train") for i in range(100)]
    cases += [Case(Path(f"s{i}"), "covid", source="small", split="train") for i in range(12)]
    chosen = calibration.choose(cases, 20)
    assert Counter(c.label for c in chosen) == {"normal": 10, "covid": 10}
    assert chosen == calibration.choose(cases, 20)
    assert len(calibration.choose(cases, 500)) == 112


def test_what_is_judged_on_never_calibrates(chests: Path) -> None:
    cases = read_cases(chests)
    assert {c.split for c in calibration.choose(cases, 40)} == {"train"}
    with pytest.raises(DatasetError, match="must not calibrate"):
        calibration.choose([replace(c, split="test") for c in cases], 10)


def test_tensors_are_named_by_the_layer_they_come_from() -> None:
    tensors = [
        "serving_default_radiograph:0",
        "functional_1/EfficientNetLite0_1/stem_relu_1/Relu6;functional_1/EfficientNetLite0_1/stem_1/BiasAdd",
        "functional_1/net_1/block2_add_1/Add",
        "functional_1/net_1/block2_add_1/Add_1",
        "StatefulPartitionedCall:0",
    ]
    assert list(calibration.layers_of(tensors, network()).values()) == [
        "radiograph", "stem_relu", "block2_add", "block2_add#2", "logits",
    ]  # fmt: skip


def test_the_range_of_the_input_follows_from_its_spec() -> None:
    matched = calibration.match(
        {"logits": (-1.0, 2.0)}, ["serving_default_radiograph:0", "StatefulPartitionedCall:0"], network()
    )
    assert matched["serving_default_radiograph:0"] == (-127 / 128, 1.0)
    assert matched["StatefulPartitionedCall:0"] == (-1.0, 2.0)


def test_ranges_of_another_network_are_refused() -> None:
    with pytest.raises(ConversionError, match="lack 1 of 1 activations \\(logits\\)"):
        calibration.match({"stem": (0.0, 1.0)}, ["StatefulPartitionedCall:0"], network())


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"a": 1}', '{"a": [1]}', '{"a": ["x", "y"]}'])
def test_a_file_without_ranges_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ConversionError, match="r.json"):
        calibration.read_ranges(path)


def test_pictures_are_read_and_fitted_as_on_the_device(chests: Path) -> None:
    spec = InputSpec(40, 32, equalise=True)
    pictures = calibration.pixels(read_cases(chests)[:3], spec)
    assert pictures.shape == (3, 40, 32)
    assert pictures.dtype == np.uint8
    (chests / "1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1\.png"):
        calibration.pixels(read_cases(chests)[:3], spec)
