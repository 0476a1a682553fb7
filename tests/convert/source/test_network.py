from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflites import Net

from convert.source import network
from covidnet_lite.errors import ConversionError, ModelError
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import Manifest, seal

FINDER = (Path(__file__).resolve().parents[3] / "training/checkpoints/lungs.tflite").read_bytes()
SPEC = InputSpec(4, 4, 1, (0.0,), (255.0,))


def dense(bias: tuple[float, ...] = (0.5, -0.5), softmax: bool = False, weight: float = 1.0) -> bytes:
    """Flat picture -> one score a class."""
    net = Net()
    image, answer = net.tensor(1, 4, 4, 1, kind="FLOAT32", scales=0), net.tensor(1, len(bias), kind="FLOAT32", scales=0)
    weights = np.full((len(bias), 16), weight, np.float32)
    net.op(
        "FULLY_CONNECTED", [image, net.constant(weights, scales=0), net.constant(np.float32(bias), scales=0)], [answer]
    )
    if softmax:  # twice, so that one is left when the last is taken off
        first, second = (net.tensor(1, len(bias), kind="FLOAT32", scales=0) for _ in range(2))
        net.op("SOFTMAX", [answer], [first], options=beta())
        net.op("SOFTMAX", [first], [second], options=beta())
        answer = second
    return net.bytes([image], [answer])


def beta() -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.SoftmaxOptionsT(beta=1.0)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    (tmp_path / "net.tflite").write_bytes(dense())
    return tmp_path / "net.tflite"


def keras_file(path: Path, told: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(network.ENTRY, told if isinstance(told, str) else json.dumps(told))
    return path


def test_a_tflite_of_anothers_takes_what_it_is_told(given: Path) -> None:
    net = network.load(given, ("a", "b"), (-1, 1))
    assert (net.labels, net.outputs, net.facts, net.model) == (("a", "b"), {"logits": 0}, {}, None)
    assert net.spec == InputSpec(4, 4, 1, (127.5,), (127.5,))
    assert net.output_tensors == {"logits": "t1"}
    assert network.load(given, ("a", "b"), (0, 255), equalise=True).spec == InputSpec(4, 4, 1, (0.0,), (1.0,), True)


def test_a_tflite_of_ours_says_it_itself(given: Path) -> None:
    spec = InputSpec(4, 4, 1, (3.0,), (5.0,), equalise=True)
    given.write_bytes(seal(dense(), Manifest("chest", ("a", "b"), spec, version="3", licence="CC0")))
    net = network.load(given)
    assert (net.labels, net.spec) == (("a", "b"), spec)
    assert (net.facts["name"], net.facts["version"], net.facts["licence"]) == ("chest", "3", "CC0")
    assert network.load(given, ("x", "y")).labels == ("x", "y")
    assert network.load(given, input_range=(0, 1)).spec == InputSpec(4, 4, 1, (0.0,), (255.0,), equalise=True)


def test_equalising_may_be_asked_for_in_addition(given: Path) -> None:
    given.write_bytes(seal(dense(), Manifest("chest", ("a", "b"), SPEC)))
    assert network.load(given).spec == SPEC
    assert network.load(given, equalise=True).spec == InputSpec(4, 4, 1, (0.0,), (255.0,), equalise=True)


def test_what_finds_the_lungs_comes_along_and_is_tried(given: Path) -> None:
    spec = replace(SPEC, lungs=FINDER)
    given.write_bytes(seal(dense(), Manifest("chest", ("a", "b"), spec)))
    assert network.load(given).spec == spec
    assert network.load(given, input_range=(0, 1)).spec.lungs == FINDER
    given.write_bytes(seal(dense(), Manifest("chest", ("a", "b"), replace(SPEC, lungs=FINDER[:-1] + b"x"))))
    with pytest.raises(ModelError, match="that finds the lungs cannot be used"):
        network.load(given)


def test_what_a_tflite_of_ours_says_must_be_true(given: Path) -> None:
    given.write_bytes(seal(dense(), Manifest("chest", ("a", "b"), InputSpec(8, 4, 1, (0.0,), (255.0,)))))
    with pytest.raises(ConversionError, match=r"\(8, 4, 1\), but the network takes \(4, 4, 1\)"):
        network.load(given)
    given.write_bytes(seal(dense(), Manifest("chest", ("a", "b", "c"), SPEC)))
    with pytest.raises(ConversionError, match=r"shape \(1, 2\) but 3 labels"):
        network.load(given)
    given.write_bytes(given.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="do not match their own SHA-256"):
        network.load(given)


@pytest.mark.parametrize(
    ("told", "message"),
    [("{", "Expecting"), ([1], "no table"), ({"labels": "ab"}, "no table"), ({"labels": [1, 2]}, "no names"), ("[" * 10**5, "recursion")],
)  # fmt: skip
def test_damaged_facts_in_a_keras_file_are_refused(told: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=f"what it says of itself is damaged .*{message}"):
        network.read_facts(keras_file(tmp_path / "net.keras", told))


def test_facts_are_read_from_a_keras_file(tmp_path: Path) -> None:
    told = {"labels": ["a", "b"], "recipe": "base"}
    assert network.read_facts(keras_file(tmp_path / "net.keras", told)) == told
    (tmp_path / "text.keras").write_text("none")
    assert network.read_facts(tmp_path / "text.keras") == network.read_facts(tmp_path) == {}


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_a_keras_file_of_ours_that_is_cut_short_is_no_crash(cut: float, tmp_path: Path) -> None:
    path = keras_file(tmp_path / "net.keras", {"labels": ["a", "b"]})
    data = bytearray(path.read_bytes())
    data[int(cut * len(data))] ^= 0xFF
    path.write_bytes(data)
    said = "save it again"
    try:
        network.read_facts(path)
    except ConversionError as error:  # any other exception fails
        said = str(error)
    assert "save it again" in said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dense(softmax=True), "puts out probabilities by something else than a softmax at its very end"),
        (dense(weight=3e38), "answers NaN or infinity to noise"),
        (dense((0.1, 0.2, 0.3)), r"shape \(1, 3\) but 2 labels"),
    ],
    ids=["probabilities", "infinity", "three classes"],
)
def test_answers_that_are_no_logits_are_refused(data: bytes, message: str, given: Path) -> None:
    given.write_bytes(data)
    with pytest.raises(ConversionError, match=message):
        network.load(given, ("a", "b"), (0, 1))


def test_one_output_is_two_classes_and_needs_their_names(given: Path) -> None:
    given.write_bytes(dense((0.5,)))
    assert (
        "its one output is the logit or the probability of 'yes'"
        in network.load(given, ("no", "yes"), (0, 1)).assumed[0]
    )
    with pytest.raises(ConversionError, match="--labels no,yes"):
        network.load(given, ("a", "b", "c"), (0, 1))


@pytest.mark.parametrize("ends", [(1, 0), (0, 0), (0, float("inf")), (float("nan"), 1), (0, 1e-9), (0, 1e300)])
def test_a_range_of_gray_levels_that_is_none_is_refused(ends: tuple[float, float], given: Path) -> None:
    with pytest.raises(ConversionError, match="--input-range: "):
        network.load(given, ("a", "b"), ends)


def test_what_is_missing_is_asked_for(given: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="pass --labels a,b,c"):
        network.load(given)
    with pytest.raises(ConversionError, match="pass --input-range LOW HIGH"):
        network.load(given, ("a", "b"))
    with pytest.raises(ConversionError, match="no such network"):
        network.load(tmp_path / "none.tflite", ("a", "b"), (0, 1))


def test_named_outputs_are_found_in_any_order(given: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    net = Net()
    image = net.tensor(1, 4, 4, 1, kind="FLOAT32", scales=0)
    ends = [net.tensor(1, n, kind="FLOAT32", scales=0) for n in (5, 2)]
    for end, n in zip(ends, (5, 2)):
        net.op("FULLY_CONNECTED", [image, net.constant(np.eye(n, 16, dtype=np.float32), scales=0)], [end])
    net.contents.signatureDefs = [
        schema.SignatureDefT(
            inputs=[schema.TensorMapT(name=b"radiograph", tensorIndex=image)],
            outputs=[
                schema.TensorMapT(name=name, tensorIndex=end) for name, end in zip((b"embedding", b"logits"), ends)
            ],
            signatureKey=b"serving_default",
        )
    ]
    given.write_bytes(net.bytes([image], ends))
    assert network.load(given, ("a", "b"), (0, 1)).outputs == {"embedding": 0, "logits": 1}
    net.contents.signatureDefs = None
    given.write_bytes(net.bytes([image], ends))
    with pytest.raises(ConversionError, match="2 outputs, none called logits"):
        network.load(given, ("a", "b"), (0, 1))
