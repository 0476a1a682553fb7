from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tflites import Net, packed, unpacked

from convert.source.tflite_network import canonical
from convert.tflite_file import flatbuffer
from covidnet_lite.errors import ConversionError


class Floats(Net):
    """A graph of float32 that begins with a picture of 4 x 4."""

    def __init__(self, kind: str = "FLOAT32", shape: tuple[int, ...] = (1, 4, 4, 1), signature: Any = None) -> None:
        super().__init__()
        self.image = self.tensor(*shape, kind=kind, scales=0, signature=signature)

    def then(self, name: str, inputs: list[int], *shape: int, options: Any = None) -> int:
        out = self.tensor(*shape, kind="FLOAT32", scales=0)
        self.op(name, inputs, [out], options=options)
        return out

    def dense(self, image: int, classes: int = 2) -> int:
        weights = np.random.default_rng(0).normal(0, 1, (classes, 16)).astype(np.float32)
        return self.then("FULLY_CONNECTED", [image, self.constant(weights, scales=0)], 1, classes)

    def softmax(self, image: int, beta: float = 1.0) -> int:
        return self.then("SOFTMAX", [image], 1, 2, options=schema.SoftmaxOptionsT(beta=beta))


def answers(data: bytes) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    image = np.random.default_rng(1).uniform(0, 1, (1, 4, 4, 1)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def kinds(data: bytes) -> list[str]:
    return [node.name for node in flatbuffer.read(data, "net").nodes]


def test_a_softmax_at_the_end_is_taken_off() -> None:
    net = Floats()
    logits = net.dense(net.image)
    data = net.bytes([net.image], [net.softmax(logits)])
    stripped = canonical(data, "net")
    assert kinds(stripped) == ["FULLY_CONNECTED"]
    (before,), (after,) = answers(data), answers(stripped)
    np.testing.assert_allclose(np.exp(after) / np.exp(after).sum(), before, rtol=1e-5)


def test_a_softmax_that_is_read_inside_stays() -> None:
    net = Floats()
    probabilities = net.softmax(net.dense(net.image))
    features = net.then("NEG", [probabilities], 1, 2, options=schema.NegOptionsT())
    data = net.bytes([net.image], [probabilities, features])
    for before, after in zip(answers(data), answers(canonical(data, "net"))):
        np.testing.assert_array_equal(before, after)


def test_a_softmax_of_another_temperature_stays() -> None:
    net = Floats()
    data = net.bytes([net.image], [net.softmax(net.dense(net.image), beta=3.0)])
    assert kinds(canonical(data, "net")) == ["FULLY_CONNECTED", "SOFTMAX"]


def test_a_negation_becomes_a_product() -> None:
    net = Floats()
    data = net.bytes([net.image], [net.then("NEG", [net.dense(net.image)], 1, 2, options=schema.NegOptionsT())])
    result = canonical(data, "net")
    assert kinds(result) == ["FULLY_CONNECTED", "MUL"]
    np.testing.assert_array_equal(answers(result)[0], answers(data)[0])


def test_an_open_batch_is_closed() -> None:
    net = Floats(signature=[-1, 4, 4, 1])
    result = unpacked(canonical(net.bytes([net.image], [net.dense(net.image)]), "net"))
    assert all(tensor.shapeSignature is None for tensor in result.subgraphs[0].tensors)


@pytest.mark.parametrize("name", [b"", b"same", None])
def test_every_tensor_gets_a_name_of_its_own(name: bytes | None) -> None:
    net = Floats()
    contents = unpacked(net.bytes([net.image], [net.softmax(net.dense(net.dense(net.image, 16)))]))
    kept = [tensor.name for tensor in contents.subgraphs[0].tensors]
    if name is not None:
        for tensor in contents.subgraphs[0].tensors:
            tensor.name = name
    names = [tensor.name for tensor in unpacked(canonical(packed(contents), "net")).subgraphs[0].tensors]
    assert len(set(names)) == len(names)
    assert all(names)
    assert name is not None or names == kept


def of_shape(*shape: int, kind: str = "FLOAT32", signature: Any = None) -> bytes:
    net = Floats(kind, shape, signature)
    return net.bytes([net.image], [net.dense(net.image)])


@pytest.mark.parametrize("sigmoid", [False, True])
def test_one_output_becomes_two_logits_that_say_the_same(sigmoid: bool) -> None:
    net = Floats()
    logit = net.dense(net.image, classes=1)
    plain = net.bytes([net.image], [logit])
    result = canonical(net.bytes([net.image], [net.then("LOGISTIC", [logit], 1, 1)]) if sigmoid else plain, "net")
    np.testing.assert_array_equal(answers(result)[0], [[0, answers(plain)[0][0, 0]]])
    assert kinds(result) == ["FULLY_CONNECTED", "MUL"]


def with_sigmoid() -> bytes:
    net = Floats()
    return net.bytes([net.image], [net.then("LOGISTIC", [net.dense(net.image)], 1, 2)])


def with_constant(values: np.ndarray) -> bytes:
    net = Floats()
    weights = net.constant(values, scales=0)
    return net.bytes([net.image], [net.then("FULLY_CONNECTED", [net.image, weights], 1, 2)])


def with_two_inputs() -> bytes:
    net = Floats()
    other = net.tensor(1, 4, 4, 1, kind="FLOAT32", scales=0)
    return net.bytes(
        [net.image, other], [net.dense(net.then("ADD", [net.image, other], 1, 4, 4, 1, options=schema.AddOptionsT()))]
    )


REFUSED = {
    "two inputs": (with_two_inputs, "has 2 inputs"),
    "int8": (lambda: with_constant(np.ones((2, 16), np.int8)), "is quantised already"),
    "float16": (lambda: with_constant(np.ones((2, 16), np.float16)), "half precision"),
    "float64": (lambda: with_constant(np.ones((2, 16), np.float64)), "computes in float64"),
    "NaN": (lambda: with_constant(np.full((2, 16), np.nan, np.float32)), "the weights t1 hold NaN"),
    "integers in": (lambda: of_shape(1, 4, 4, 1, kind="INT32"), "takes INT32"),
    "no picture": (lambda: of_shape(1, 16), r"takes FLOAT32 of \(1, 16\)"),
    "two channels": (lambda: of_shape(1, 4, 2, 2), r"takes FLOAT32 of \(1, 4, 2, 2\)"),
    "eight pictures": (lambda: of_shape(8, 4, 4, 1), r"takes FLOAT32 of \(8, 4, 4, 1\)"),
    "any size": (lambda: of_shape(1, 1, 1, 1, signature=[-1, -1, -1, 1]), r"images of any size \(-1, -1, 1\)"),
    "a sigmoid": (with_sigmoid, "ends in 2 sigmoids"),
    "nothing": (lambda: b"", "is no TFLite file; give a float .tflite"),
    "garbage": (lambda: b"\x1c\0\0\0TFL3" + bytes(500), "net: "),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_float_classifier_of_one_image_is_refused(what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(ConversionError, match=message):
        canonical(make(), "net")


def test_a_damaged_file_is_never_more_than_refused() -> None:
    net = Floats()
    data = net.bytes([net.image], [net.softmax(net.dense(net.image))])
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(300):
        broken = bytearray(data)
        for position in rng.integers(8, len(data), 3):
            broken[position] = int(rng.integers(0, 256))
        try:
            canonical(bytes(broken), "net")
        except ConversionError as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert all(said.startswith("net: ") for said in refused)
