from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from float_networks import answers, of_keras, plain
from tflites import Net

from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError


@pytest.fixture(scope="module")
def net() -> FloatNetwork:
    return of_keras(plain())


def by_kind(editor: Editor, kind: str, place: int = 0) -> object:
    return [o for o in editor.operators if editor.kind(o) == kind][place]


def two_convolutions() -> bytes:
    """Two fully connected layers that share their weights' buffer and their bias."""
    net = Net()
    x, y, z = (net.tensor(1, 2, kind="FLOAT32", scales=0) for _ in range(3))
    weights = [net.constant(np.float32([[1, 2], [3, 4]]), scales=0) for _ in range(2)]
    net.graph.tensors[weights[1]].buffer = net.graph.tensors[weights[0]].buffer
    bias = net.constant(np.float32([5, 6]), scales=0)
    net.op("FULLY_CONNECTED", [x, weights[0], bias], [y], options=schema.FullyConnectedOptionsT())
    net.op(
        "FULLY_CONNECTED", [y, weights[1], bias], [z], options=schema.FullyConnectedOptionsT(fusedActivationFunction=1)
    )
    return net.bytes([x], [z])


def test_operations_tensors_and_constants_are_told(net: FloatNetwork) -> None:
    editor = Editor(net.tflite)
    assert [editor.kind(o) for o in editor.operators] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert editor.activation(editor.operators[0]) == "RELU6"
    assert editor.activation(editor.operators[2]) == "NONE"
    assert editor.activation(by_kind(editor, "MEAN")) == "NONE"
    (given,), (end,) = editor.inputs, editor.outputs
    assert editor.producer(given) is None
    assert editor.readers(given) == [editor.operators[0]]
    assert editor.producer(end) is editor.operators[-1]
    two = int(editor.operators[2].outputs[0])
    assert editor.readers(two) == [editor.operators[3], editor.operators[4]]
    weights = int(editor.operators[0].inputs[1])
    assert (editor.is_constant(weights), editor.is_constant(given)) == (True, False)
    assert editor.shape(weights) == editor.constant(weights).shape == (8, 3, 3, 1)
    assert editor.name(end) == net.output_tensors["logits"]
    assert editor.scales(weights).shape == (0,)


def test_an_untouched_network_computes_the_same_and_packs_to_the_same_bytes(net: FloatNetwork) -> None:
    again = Editor(net.tflite).finish()
    assert Editor(again).finish() == again
    np.testing.assert_array_equal(answers(net)[0], answers(net, again)[0])


def test_a_constant_is_a_copy_until_it_is_set() -> None:
    editor = Editor(two_convolutions())
    weights = int(editor.operators[0].inputs[1])
    editor.constant(weights)[:] = 0
    np.testing.assert_array_equal(editor.constant(weights), [[1, 2], [3, 4]])
    editor.set_constant(weights, np.array([[1.0, 0.0], [0.0, 1.0]]))
    again = Editor(editor.finish())
    assert again.constant(weights).dtype == np.float32
    np.testing.assert_array_equal(again.constant(weights), np.eye(2))


def test_a_constant_that_shares_its_bytes_with_another_leaves_the_other_alone() -> None:
    editor = Editor(two_convolutions())
    one, two = (int(o.inputs[1]) for o in editor.operators)
    editor.set_constant(one, np.zeros((2, 2)))
    again = Editor(editor.finish())
    np.testing.assert_array_equal(again.constant(one), 0)
    np.testing.assert_array_equal(again.constant(two), [[1, 2], [3, 4]])


def test_a_constant_of_its_own_is_made_for_an_operation_that_shares_one() -> None:
    editor = Editor(two_convolutions())
    first, second = editor.operators
    own = editor.own_constant(first, 2)
    assert own != int(second.inputs[2])
    assert editor.own_constant(second, 2) == int(second.inputs[2])  # now it's the only reader
    editor.set_constant(own, np.array([7, 8]))
    again = Editor(editor.finish())
    first, second = again.operators
    np.testing.assert_array_equal(again.constant(int(first.inputs[2])), [7, 8])
    np.testing.assert_array_equal(again.constant(int(second.inputs[2])), [5, 6])
    assert len({again.name(i) for i in range(len(again.tensors))}) == len(again.tensors)


def test_replaced_weights_do_not_stay_in_the_file(net: FloatNetwork) -> None:
    editor = Editor(net.tflite)
    before = len(editor.finish())
    for _ in range(3):
        for operator in editor.operators:
            weights = int(operator.inputs[1])
            if editor.is_constant(weights):
                editor.set_constant(weights, editor.constant(weights))
    assert len(editor.finish()) == before
    np.testing.assert_array_equal(answers(net)[0], answers(net, editor.finish())[0])


def test_an_operation_becomes_another_with_a_new_constant(net: FloatNetwork) -> None:
    editor = Editor(net.tflite)
    mean = by_kind(editor, "MEAN")
    add = by_kind(editor, "ADD")
    two = editor.add_constant(np.float32([2.0]), "two")
    editor.replace_operation(add, "MUL", [int(add.inputs[0]), two], schema.MulOptionsT())  # type: ignore[attr-defined]
    again = Editor(editor.finish())
    assert [again.kind(o) for o in again.operators].count("MUL") == 1
    assert again.kind(by_kind(again, "MEAN")) == editor.kind(mean)
    assert again.constant(two) == [2.0]
    assert np.isfinite(answers(net, editor.finish())[0]).all()


def test_an_output_is_taken_from_another_tensor_in_the_signature_too(net: FloatNetwork) -> None:
    editor = Editor(net.tflite)
    pool = int(by_kind(editor, "MEAN").outputs[0])  # type: ignore[attr-defined]
    editor.rename_output(editor.outputs[0], pool)
    editor.operators.pop()
    again = Editor(editor.finish())
    assert again.outputs == [pool]
    assert [e.tensorIndex for s in again._model.signatureDefs for e in s.outputs] == [pool]
    assert answers(net, editor.finish())[0].shape == (6, 8)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ConversionError, match="mine: is no TFLite file"):
        Editor(b"PK" * 40, "mine")
