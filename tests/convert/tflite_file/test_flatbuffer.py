from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from network.test_model import BASE, flatbuffer
from tflites import Net, packed, results, unpacked

from convert.edgetpu import lint as edgetpu
from convert.quantisation import activations, scheme
from convert.source import network
from convert.tflite_file.flatbuffer import pack, portable, read, unpack
from covidnet_lite.errors import ConversionError


def test_what_the_compiler_gets_holds_its_weights_and_computes_the_same() -> None:
    sealed = BASE.read_bytes()
    bare = portable(sealed)
    contents = unpacked(bare)
    assert not any(b.offset or b.size for b in contents.buffers)
    assert not any("behind" in a for a in edgetpu.lint(bare).advice)
    raw = schema.Model.GetRootAs(bare, 0)
    tables = [raw.Buffers(i)._tab for i in range(raw.BuffersLength())]
    assert {t.Vector(t.Offset(4)) % 16 for t in tables if t.Offset(4)} == {0}
    assert {(op.name, op.version) for op in edgetpu.lint(bare).ops} == {
        ("CONV_2D", 3), ("DEPTHWISE_CONV_2D", 3), ("ADD", 2), ("MEAN", 2),
        ("MAX_POOL_2D", 2), ("CONCATENATION", 2), ("RESIZE_BILINEAR", 3), ("FULLY_CONNECTED", 4),
    }  # fmt: skip
    assert edgetpu.lint(bare).parameter_bytes == edgetpu.lint(sealed).parameter_bytes
    for before, after in zip(results(sealed), results(bare)):
        assert np.array_equal(before, after)
    assert portable(bare) == bare


def test_the_quantised_network_is_portable_and_computes_what_the_quantiser_s_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.utils.set_random_seed(0)
    x = image = keras.Input((24, 24, 1))
    for stride in (2, 1):
        x = keras.layers.Conv2D(8, 3, stride, "same", activation="relu6")(x)
    x = keras.layers.Add()([x, keras.layers.DepthwiseConv2D(3, 1, "same")(x)])
    keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))).save(tmp_path / "own.keras")
    net = network.load(tmp_path / "own.keras", ("a", "b"), (0, 1))
    images = np.random.default_rng(0).integers(0, 256, (4, 24, 24), np.uint8)
    known = activations.by_tensor(activations.record(net, images), net)
    ranges = {name: a.range("min-max") for name, a in known.items()}
    raw: list[bytes] = []
    monkeypatch.setattr(scheme, "portable", lambda data, name: raw.append(data) or portable(data, name))
    result, again = (scheme.quantise(net.tflite, "int8", ranges) for _ in range(2))
    assert raw[0] != result
    assert result == again == portable(raw[0]) == portable(result)
    for seed in range(8):
        for before, after in zip(results(raw[0], seed), results(result, seed), strict=True):
            assert before.dtype == np.int8
            assert np.array_equal(before, after)


def test_the_shipped_network_stays_the_same_in_its_portable_form() -> None:
    bare = flatbuffer()
    result = portable(bare)
    assert portable(bare) == portable(result) == result
    for seed in range(3):
        for before, after in zip(results(bare, seed), results(result, seed), strict=True):
            assert np.array_equal(before, after)
    assert outside(bare) == outside(result)


def outside(data: bytes) -> Any:
    """What callers see of a network: its signature, and each input and output with its scale."""
    interpreter = Interpreter(model_content=data)
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    facts = [(d["name"], d["index"], d["shape"].tolist(), d["dtype"], d["quantization"]) for d in ends]
    return facts, interpreter.get_signature_list()


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 4 + b"TFL2" + b"\0" * 20, b"%PDF-1.7" * 10])
def test_what_is_no_tflite_is_refused(data: bytes) -> None:
    with pytest.raises(ConversionError, match="mine: is no TFLite file"):
        read(data, "mine")


def test_a_model_without_operations_is_refused() -> None:
    with pytest.raises(ConversionError, match="holds no operation"):
        read(Net().bytes([], []), "mine")


def test_a_constant_behind_the_end_of_the_file_is_damage() -> None:
    net = Net()
    x, y = net.tensor(1, 8), net.tensor(1, 4)
    net.op("FULLY_CONNECTED", [x, net.constant(np.ones((4, 8), np.int8))], [y])
    net.contents.buffers[1] = schema.BufferT(offset=2**40, size=32)
    with pytest.raises(ConversionError, match="behind the file's end"):
        read(net.bytes([x], [y]), "mine")


def test_every_operation_is_named_in_the_old_field_too() -> None:
    """What reads the old field first took a QUANTIZE without it for an ADD, whose number is 0."""
    bare = unpack(BASE.read_bytes(), "base")
    for code in bare.operatorCodes:
        code.deprecatedBuiltinCode = 0
    result = unpack(portable(pack(bare)), "base")
    assert [c.builtinCode for c in result.operatorCodes] == [c.builtinCode for c in bare.operatorCodes]
    assert [c.deprecatedBuiltinCode for c in result.operatorCodes] == [c.builtinCode for c in bare.operatorCodes]
    assert max(c.builtinCode for c in result.operatorCodes) < 127


def test_equal_vectors_stand_in_the_file_once_and_each_tensor_keeps_its_own() -> None:
    """A zero point of 0 for every channel was a tenth of an int8 file."""
    bare = portable(flatbuffer())
    zeros = sum(vector.nbytes for vector in zero_points(bare))
    assert zeros > len(bare) / 10
    assert len(packed(unpack(bare, "base"))) - len(bare) > 0.9 * zeros  # as the generated code packs it

    changed = unpack(bare, "base")
    one = next(t for t in changed.subgraphs[0].tensors if t.quantization is not None and len(t.quantization.scale) > 1)
    one.quantization.zeroPoint = one.quantization.zeroPoint + 1
    pairs = list(zip(zero_points(bare), zero_points(pack(changed)), strict=True))
    assert sum(not np.array_equal(before, after) for before, after in pairs) == 1


def zero_points(data: bytes) -> list[Any]:
    given = (t.quantization for t in unpacked(data).subgraphs[0].tensors)
    return [q.zeroPoint for q in given if q is not None and q.zeroPoint is not None]
