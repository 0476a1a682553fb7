from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from conftest import ROOT
from network.test_model import BASE
from tflites import Net, packed, unpacked

from convert.edgetpu import lint as edgetpu
from convert.edgetpu.ops import refusal_of
from convert.tflite_file.flatbuffer import portable, read
from covidnet_lite.errors import ConversionError, CovidNetLiteError

# name -> how many operations the real compiler left on the CPU
PAIRS = {
    "mobilenet_v1_0.25_128_quant": 0,
    "mobilenet_v1_0.5_160_quant": 0,
    "keras_lstm_mnist_ptq": 0,
    "deeplabv3_mnv2_dm05_pascal_quant": 8,
    "movenet_single_pose_lightning_ptq": 59,
}
KINDS = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


@pytest.fixture(scope="session")
def coral() -> Path:
    """Coral's models, with what the real compiler made of them."""
    folder = Path(os.environ.get("COVIDNET_LITE_PHOTOGRAPHS", ROOT.parent / "shared/data/coral"))
    if not (folder / f"{next(iter(PAIRS))}_edgetpu.tflite").is_file():
        pytest.skip(f"needs Coral's models: none in {folder} (set COVIDNET_LITE_PHOTOGRAPHS)")
    return folder


def operations(data: bytes) -> list[tuple[str, str]]:
    """Kind and name of the first output of each operation, read without the code under test."""
    contents = unpacked(data)
    graph = contents.subgraphs[0]
    result = []
    for operator in graph.operators:
        code = contents.operatorCodes[operator.opcodeIndex]
        kind = (code.customCode or KINDS[max(code.builtinCode, code.deprecatedBuiltinCode)].encode()).decode()
        result.append((kind, graph.tensors[operator.outputs[0]].name.decode()))
    return result


# --- real models


def test_what_spreads_features_over_a_picture_maps_as_the_real_compiler_says() -> None:
    name, folder = "deeplab_mobilenet_edgetpu_slim_cityscapes_quant", ROOT.parent / "shared/faults/convert"
    if not (folder / f"{name}.tflite").is_file():
        pytest.skip(f"needs a model of Coral's with its compiled twin: none in {folder}")
    left = [o for o in operations((folder / f"{name}_edgetpu.tflite").read_bytes()) if o[0] != "edgetpu-custom-op"]
    result = edgetpu.lint((folder / f"{name}.tflite").read_bytes())
    assert [op.name for op in result.on_cpu] == [kind for kind, _ in left]


@pytest.mark.parametrize(
    ("times", "why"),
    [((1, 4, 4, 1), ""), ((2, 1, 1, 1), "only the 3 innermost dimensions may be above 1, not [2, 1, 1, 8]")],
)
def test_a_tile_maps_unless_it_repeats_the_batch(times: tuple[int, ...], why: str) -> None:
    net = Net()
    image = net.tensor(1, 1, 1, 8)
    out = net.tensor(times[0], *times[1:3], 8)
    net.op("TILE", [image, net.constant(np.array(times, np.int32), scales=0)], [out])
    (node,) = read(net.bytes([image], [out]), "net").nodes
    assert refusal_of(node) == why


def test_an_activation_as_large_as_was_seen_to_be_mapped_is_not_refused() -> None:
    net = Net()
    image, out = net.tensor(1, 1024, 704, 16), net.tensor(1, 1024, 704, 16)  # 11 MiB
    net.op("ADD", [image, image], [out], version=2)
    (node,) = read(net.bytes([image], [out]), "net").nodes
    assert refusal_of(node) == ""


@pytest.mark.parametrize("name", PAIRS)
def test_the_operations_left_on_the_cpu_are_those_the_real_compiler_left_there(coral: Path, name: str) -> None:
    source = (coral / f"{name}.tflite").read_bytes()
    left = [o for o in operations((coral / f"{name}_edgetpu.tflite").read_bytes()) if o[0] != "edgetpu-custom-op"]
    result = edgetpu.lint(source, name)
    names = operations(source)
    assert Counter(names[op.index] for op in result.on_cpu) == Counter(left)
    assert Counter(op.name for op in result.on_cpu) == Counter(kind for kind, _ in left)
    assert len(left) == PAIRS[name]
    assert (result.first_unmapped is None) == (not left)
    assert all(bool(op.reason) != op.mapped for op in result.ops)


def test_what_ends_the_mapped_part_is_named(coral: Path) -> None:
    deeplab, movenet = (edgetpu.lint((coral / f"{n}.tflite").read_bytes()) for n in list(PAIRS)[3:])
    assert deeplab.first_unmapped == deeplab.ended_by == 64
    assert deeplab.ops[64].name == "RESIZE_BILINEAR"
    assert "64 (RESIZE_BILINEAR)" in deeplab.ops[67].reason
    # A cast before the network stays on the CPU, and the Edge TPU begins after it.
    assert movenet.first_unmapped == 0
    assert not movenet.ops[1].mapped
    assert movenet.ops[2].mapped
    assert movenet.ended_by == 89
    assert movenet.ops[89].name == "ARG_MAX"
    assert movenet.ops[111].mapped  # later in order, but on another branch


def test_a_model_of_coral_s_for_the_edge_tpu_maps(coral: Path) -> None:
    result = edgetpu.lint((coral / "tf2_mobilenet_v2_1.0_224_ptq.tflite").read_bytes())
    assert not result.on_cpu
    assert result.advice == ()
    assert 3_000_000 < result.parameter_bytes < 4_070_174


@pytest.mark.parametrize("name", PAIRS)
def test_a_compiled_model_is_not_linted(coral: Path, name: str) -> None:
    with pytest.raises(ConversionError, match="compiled for the Edge TPU already"):
        edgetpu.lint((coral / f"{name}_edgetpu.tflite").read_bytes())


def test_a_model_without_buffers_is_damaged(coral: Path) -> None:
    with pytest.raises(ConversionError, match="broken: is damaged .there is no buffer 0."):
        edgetpu.lint((coral / "invalid_model_invoking_error.tflite").read_bytes(), "broken")


def test_the_shipped_network_maps_but_for_its_fully_connected_layer() -> None:
    result = edgetpu.lint(BASE.read_bytes())
    (left,) = result.on_cpu
    assert left.name == "FULLY_CONNECTED"
    assert "a scale for each channel" in left.reason
    assert result.first_unmapped == result.ended_by == left.index
    assert result.fits_on_chip
    assert 2_000_000 < result.parameter_bytes < 3_000_000
    assert not result.failure


def test_weights_behind_the_flatbuffer_are_told() -> None:
    net = Net()
    x, y = net.tensor(1, 8), net.tensor(1, 4)
    net.op("FULLY_CONNECTED", [x, net.constant(np.ones((4, 8), np.int8))], [y])
    inside = net.bytes([x], [y])
    for buffer in net.contents.buffers:
        if buffer.data is not None:
            buffer.data, buffer.offset, buffer.size = None, 16, 32
    behind = edgetpu.lint(net.bytes([x], [y]))
    assert behind.on_cpu == ()
    assert "1 constants lie behind" in behind.advice[0]
    assert edgetpu.lint(inside).advice == ()


# --- made-up models


def ints(*values: Any) -> Any:
    return np.array(values, np.int32)


def one(
    name: str,
    shape: tuple[int, ...] = (1, 8, 8, 4),
    out: tuple[int, ...] | None = None,
    constants: list[Any] | None = None,
    *,
    version: int = 1,
    options: Any = None,
    scales: int = 1,
    first: bool = False,
    kind: str = "INT8",
) -> edgetpu.Op:
    """The verdict on one operation on its own."""
    net = Net()
    x = net.tensor(*shape, kind=kind)
    y = net.tensor(*(out or shape), kind=kind)
    held = [net.constant(c, scales if c.dtype != np.int32 else 1) for c in constants or []]
    net.op(name, [*held, x] if first else [x, *held], [y], version, options)
    return edgetpu.lint(net.bytes([x], [y])).ops[0]


def int16() -> edgetpu.Op:
    """An addition in 16 bits in a network of 8."""
    net = Net()
    x, y, wide = net.tensor(1, 4), net.tensor(1, 4), net.tensor(1, 4, kind="INT16")
    net.op("RELU", [x], [y])
    net.op("ADD", [wide, wide], [net.tensor(1, 4, kind="INT16")])
    return edgetpu.lint(net.bytes([x, wide], [y])).ops[1]


FILTER = np.ones((4, 3, 3, 4), np.int8)
BIAS = np.ones(4, np.int32)
MATRIX = np.ones((4, 8), np.int8)


@pytest.mark.parametrize(
    "verdict",
    [
        lambda: one("ADD", constants=[np.ones((), np.int8)], version=2),
        lambda: one("AVERAGE_POOL_2D", out=(1, 4, 4, 4), options=schema.Pool2DOptionsT()),
        lambda: one("CONCATENATION", out=(1, 9, 8, 4), constants=[np.zeros((1, 1, 8, 4), np.int8)], version=2),
        lambda: one("CONV_2D", constants=[FILTER, BIAS], scales=4, version=3, options=schema.Conv2DOptionsT()),
        lambda: one("CONV_2D", constants=[FILTER]),
        lambda: one("EXPAND_DIMS", (8, 4), (1, 8, 4), [ints(0)]),
        lambda: one("FULLY_CONNECTED", (1, 8), (1, 4), [MATRIX, BIAS], version=4),
        lambda: one("MEAN", out=(1, 4), constants=[ints(1, 2)], version=2),
        lambda: one("MEAN", out=(1, 8, 8, 1), constants=[ints(-1)], version=2),
        lambda: one("PACK", (1, 8, 4), (1, 8, 4, 1), options=schema.PackOptionsT(axis=3, valuesCount=1)),
        lambda: one("PAD", out=(1, 10, 10, 4), constants=[ints([0, 0], [1, 1], [1, 1], [0, 0])]),
        lambda: one("PRELU", constants=[np.ones((1, 1, 4), np.int8)]),
        lambda: one("QUANTIZE"),
        lambda: one("RELU6", kind="UINT8"),
        lambda: one("RESHAPE", out=(1, 256), constants=[ints(1, 256)]),
        lambda: one("RESIZE_BILINEAR", out=(1, 16, 16, 4), constants=[ints(16, 16)], version=3),
        lambda: one("SOFTMAX", (1, 1001), version=2),
        lambda: one("SPLIT", constants=[ints(3)], first=True),
        lambda: one("STRIDED_SLICE", constants=[ints(0, 0, 0, 0), ints(1, 8, 8, 4), ints(1, 1, 1, 1)], options=schema.StridedSliceOptionsT()),
        lambda: one("SUM", out=(1, 4), constants=[ints(1, 2)]),
        lambda: one("TRANSPOSE_CONV", constants=[ints(1, 8, 8, 4), FILTER], first=True, version=3),
        lambda: one("UNIDIRECTIONAL_SEQUENCE_LSTM", (1, 28, 28)),
    ],
)  # fmt: skip
def test_an_operation_in_its_limits_is_mapped(verdict: Callable[[], edgetpu.Op]) -> None:
    op = verdict()
    assert (op.mapped, op.reason) == (True, ""), op.name


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (lambda: one("HARD_SWISH"), "no such operation"),
        (lambda: one("GELU"), "no such operation"),  # a code above 127
        (lambda: one("CONV_2D", constants=[FILTER], version=6), "version 6 is not known to compile .up to 3"),
        (lambda: one("TRANSPOSE_CONV", constants=[ints(1, 8, 8, 4), FILTER], first=True, version=4), "version 4"),
        (lambda: int16(), "works on int16"),
        (lambda: one("ADD", (2, 8, 8, 4)), r"3 innermost dimensions.*\[2, 8, 8, 4\]"),
        (lambda: one("ADD", (1, 2048, 2048, 4)), "16 MiB may not fit on the chip; up to 12 MiB"),
        (lambda: one("ADD", constants=[np.ones(4, np.float32)]), "constant of float32"),
        (lambda: one("AVERAGE_POOL_2D", options=schema.Pool2DOptionsT(fusedActivationFunction=3)), "fused activation"),
        (lambda: one("MAX_POOL_2D", options=schema.Pool2DOptionsT(fusedActivationFunction=1)), "fused activation"),
        (lambda: one("CONCATENATION", constants=[np.ones((1, 1, 8, 4), np.int8)]), "joins a constant"),
        (lambda: one("CONCATENATION", constants=[np.zeros((1, 1, 8, 4), np.int8)] * 2), "joins a constant"),
        (lambda: one("CONV_2D", constants=[FILTER], options=schema.Conv2DOptionsT(dilationWFactor=2, dilationHFactor=1)), "dilation differs"),
        (lambda: one("CONV_2D"), "weights are not constant"),
        (lambda: one("CONV_2D", constants=[FILTER.astype(np.int32)]), "weights are int32"),
        (lambda: one("CONV_2D", constants=[FILTER, BIAS.astype(np.int8)]), "bias is not constant int32"),
        (lambda: one("FULLY_CONNECTED", (1, 8), (1, 4), [MATRIX], scales=4), "scale for each channel"),
        (lambda: one("FULLY_CONNECTED", (2, 8), (2, 4), [MATRIX]), "one dimension"),
        (lambda: one("FULLY_CONNECTED", (1, 8), (1, 4), [MATRIX], options=schema.FullyConnectedOptionsT(weightsFormat=1)), "shuffled"),
        (lambda: one("MEAN", constants=[ints(0)]), "reduces the batch"),
        (lambda: one("MEAN", (1, 8, 8, 3), (1, 8, 8, 1), [ints(3)]), "3 channels"),
        (lambda: one("MEAN"), "axes are not constant"),
        (lambda: one("REDUCE_MAX", constants=[ints(0, 1)]), "reduces the batch"),
        (lambda: one("PACK", out=(1, 1, 8, 8, 4), options=schema.PackOptionsT(axis=0, valuesCount=1)), "packs in the batch"),
        (lambda: one("PAD", constants=[ints([0, 1], [0, 0], [0, 0], [0, 0])]), "pads the batch"),
        (lambda: one("PRELU", constants=[np.ones((8, 8, 4), np.int8)]), "slope varies"),
        (lambda: one("RESIZE_BILINEAR", (1, 1, 1, 4), (1, 33, 33, 4), [ints(33, 33)]), "1x1 to 33x33"),
        (lambda: one("RESIZE_BILINEAR", (1, 128, 128, 4), (1, 256, 256, 4), [ints(256, 256)]), "128x128 to 256x256"),
        (lambda: one("RESIZE_NEAREST_NEIGHBOR", (8, 4), (8, 4)), "something else than an image"),
        (lambda: one("SOFTMAX", (1, 16_001)), "at most 16,000"),
        (lambda: one("SOFTMAX", (2, 10)), r"not \[2, 10\]"),
        (lambda: one("SPLIT", constants=[ints(0)], first=True), "splits the batch"),
        (lambda: one("STRIDED_SLICE", constants=[ints(0), ints(1), ints(2)]), "strides are not all 1"),
        (lambda: one("STRIDED_SLICE", constants=[ints(0), ints(1), ints(1)], options=schema.StridedSliceOptionsT(newAxisMask=1)), "new axis"),
        (lambda: one("UNIDIRECTIONAL_SEQUENCE_LSTM", (1, 28, 28), options=schema.UnidirectionalSequenceLSTMOptionsT(timeMajor=True)), "time-major"),
    ],
)  # fmt: skip
def test_an_operation_out_of_its_limits_stays_on_the_cpu(verdict: Callable[[], edgetpu.Op], reason: str) -> None:
    op = verdict()
    assert not op.mapped
    assert re.search(reason, op.reason), op.reason


def test_what_comes_after_an_unmapped_operation_stays_with_it() -> None:
    net = Net()
    t = [net.tensor(1, 4) for _ in range(6)]
    net.op("RELU", [t[0]], [t[1]])
    net.op("HARD_SWISH", [t[1]], [t[2]])
    net.op("RELU", [t[2]], [t[3]])
    net.op("RELU", [t[1]], [t[4]])
    net.op("ADD", [t[3], t[4]], [t[5]])
    result = edgetpu.lint(net.bytes([t[0]], [t[5]]))
    assert [op.mapped for op in result.ops] == [True, False, False, True, False]
    assert result.first_unmapped == result.ended_by == 1
    assert all("operation 1 (HARD_SWISH) ends it" in result.ops[i].reason for i in (2, 4))
    assert "ReLU6" in result.advice[0]


def test_float_ends_cost_their_conversion_only() -> None:
    net = Net()
    a, b, c, d = (
        net.tensor(1, 4, kind="FLOAT32", scales=0),
        net.tensor(1, 4),
        net.tensor(1, 4),
        net.tensor(1, 4, kind="FLOAT32", scales=0),
    )
    net.op("QUANTIZE", [a], [b])
    net.op("RELU", [b], [c])
    net.op("DEQUANTIZE", [c], [d], version=2)
    result = edgetpu.lint(net.bytes([a], [d]))
    assert [op.mapped for op in result.ops] == [False, True, False]
    assert (result.first_unmapped, result.ended_by) == (0, 2)
    assert "works on float32" in result.ops[0].reason
    assert [("QUANTIZE" in a) for a in result.advice] == [True, True]


def test_a_network_that_starts_with_what_the_edge_tpu_lacks_may_map_nothing() -> None:
    net = Net()
    x, y = net.tensor(1, 4), net.tensor(1, 4)
    net.op("HARD_SWISH", [x], [y])
    result = edgetpu.lint(net.bytes([x], [y]))
    assert (result.first_unmapped, result.ended_by) == (0, 0)


def test_open_shapes_and_floats_do_not_compile_at_all() -> None:
    net = Net()
    x, y = net.tensor(1, 4, signature=[-1, 4]), net.tensor(1, 4)
    net.op("RELU", [x], [y])
    result = edgetpu.lint(net.bytes([x], [y]))
    assert "the shape of 't0' is not fixed" in result.failure
    assert result.on_cpu == result.ops
    assert "batch_shape=(1," in result.advice[0]

    net = Net()
    x, y = net.tensor(1, 4, kind="FLOAT32", scales=0), net.tensor(1, 4, kind="FLOAT32", scales=0)
    net.op("RELU", [x], [y])
    result = edgetpu.lint(net.bytes([x], [y]))
    assert "not quantised" in result.failure
    assert len(result.advice) == 1


def test_parameters_above_the_memory_on_the_chip_are_told() -> None:
    net = Net()
    x, y = net.tensor(1, 4096), net.tensor(1, 2049)
    net.op("FULLY_CONNECTED", [x, net.constant(np.ones((2049, 4096), np.int8))], [y])
    result = edgetpu.lint(net.bytes([x], [y]))
    assert (result.on_cpu, result.fits_on_chip, result.parameter_bytes) == ((), False, 2049 * 4096)
    assert "streamed" in result.advice[0]


def test_further_graphs_are_told() -> None:
    net = Net()
    x, y = net.tensor(1, 4), net.tensor(1, 4)
    net.op("RELU", [x], [y])
    net.contents.subgraphs.append(net.graph)
    assert "1 more are in the file" in edgetpu.lint(net.bytes([x], [y])).advice[0]


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_a_network_converted_as_tutorials_do_is_told_what_to_change() -> None:
    import keras
    import tensorflow as tf

    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu6")(image)
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, logits))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [np.random.default_rng(i).random((1, 8, 8, 3), np.float32)] for i in range(4)
    )
    data = converter.convert()
    assert "not fixed" in edgetpu.lint(data).failure

    contents = unpacked(data)
    for tensor in contents.subgraphs[0].tensors:
        tensor.shapeSignature = None
    result = edgetpu.lint(packed(contents))
    assert [op.name for op in result.ops if not op.mapped] == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE"]
    assert result.ops[result.ended_by or 0].name == "FULLY_CONNECTED"


def test_a_damaged_model_is_a_typed_error() -> None:
    whole = portable(BASE.read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for keep in rng.integers(8, len(whole), 20):
        with pytest.raises(ConversionError, match="is damaged|is no TFLite"):
            edgetpu.lint(whole[:keep])
    for _ in range(100):
        data = bytearray(whole)
        for at in rng.integers(len(data) - 30_000, len(data), 20):
            data[at] = rng.integers(256)
        try:
            edgetpu.lint(bytes(data))
        except CovidNetLiteError:
            refused += 1
    assert refused


# --- before it is compiled


def test_what_cannot_be_compiled_is_an_error_that_says_what_to_change() -> None:
    for kind, name, why in (
        ("FLOAT32", "RELU", "not quantised.*covidnet-lite convert"),
        ("INT8", "ELU", "no operation maps.*ReLU6"),
    ):
        net = Net()
        x, y = (net.tensor(1, 4, kind=kind, scales=int(kind == "INT8")) for _ in range(2))
        net.op(name, [x], [y])
        with pytest.raises(ConversionError, match=f"mine: .*{why}"):
            edgetpu.check(net.bytes([x], [y]), "mine")
    whole = BASE.read_bytes()
    assert edgetpu.check(whole, "mine") == edgetpu.lint(whole)


# --- the command


def test_the_command_reports_and_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    t = [net.tensor(1, 4) for _ in range(3)]
    for x, y in pairwise(t):
        net.op("RELU", [x], [y])
    path = tmp_path / "mine.tflite"
    path.write_bytes(net.bytes(t[:1], t[2:]))
    assert edgetpu.main([str(path)]) == 0
    said = capsys.readouterr().out
    assert "mine.tflite: 2 of 2 operations map to the Edge TPU, 0 stay on the CPU" in said
    assert "fit into the 8 MiB" in said


def test_the_command_tells_what_the_shipped_network_leaves_to_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert edgetpu.main([str(BASE)]) == 3
    said = capsys.readouterr().out
    assert "base.tflite: 68 of 69 operations map to the Edge TPU, 1 stay on the CPU" in said
    assert "fit into the 8 MiB" in said


def test_the_command_exits_with_3_when_some_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    t = [net.tensor(1, 4) for _ in range(4)]
    for name, x, y in zip(("RELU", "HARD_SWISH", "RELU"), t, t[1:]):
        net.op(name, [x], [y])
    path = tmp_path / "mine.tflite"
    path.write_bytes(net.bytes(t[:1], t[3:]))
    assert edgetpu.main([str(path)]) == 3
    said = capsys.readouterr().out
    assert "1 HARD_SWISH v1: the Edge TPU has no such operation" in said
    assert "2 RELU v1: the Edge TPU gets one part of the graph, and operation 1 (HARD_SWISH) ends it" in said
    assert "use ReLU6 in place of hard-swish" in said
    assert edgetpu.main([str(path), "--json"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert [op["mapped"] for op in result["ops"]] == [True, False, False]
    assert result["ended_by"] == 1


def test_the_command_exits_with_1_on_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(BASE.read_bytes()[:1_000_000] + b"\0" + BASE.read_bytes()[1_000_001:])
    for path, why in ((tmp_path / "none.tflite", "cannot be read"), (tmp_path, "cannot be read"), (damaged, "damaged")):
        assert edgetpu.main([str(path)]) == 1
        assert why in capsys.readouterr().err
