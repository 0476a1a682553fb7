"""Networks in ONNX."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx_networks import SIDE, Graph, mobile, onnx, reference, residual
from PIL import Image

import covidnet_lite
from convert import quantize
from convert.source import network, onnx_network
from convert.source.scaling import PRESETS
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError, MissingExtraError

LABELS = ("a", "b", "c")
PICTURES = np.random.default_rng(1).uniform(-2, 2, (3, 3, SIDE, SIDE)).astype(np.float32)
F = np.float32


def load(path: Path) -> network.FloatNetwork:
    return network.load(path, LABELS, scaled=PRESETS["imagenet-torch"])


def answers(tflite: bytes, pictures: Any = PICTURES) -> Any:
    """To pictures with channels first."""
    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    rows = []
    for image in pictures:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image.transpose(1, 2, 0)[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(rows)


def kinds(tflite: bytes) -> list[str]:
    editor = Editor(tflite)
    return [editor.kind(operator) for operator in editor.operators]


def behind(make: Callable[[Graph, str], str]) -> Callable[[Graph], str]:
    """Something behind a convolution of 6 channels, whose values are of both signs, and in front of the head."""
    return lambda graph: graph.head(make(graph, graph.convolution("image", 3, 6)), 6)


def each(kind: str, **attributes: Any) -> Callable[[Graph], str]:
    return behind(lambda graph, x: graph.add(kind, x, **attributes))


def vgg(graph: Graph) -> str:
    """A map, flattened as it lies with channels first."""
    x = graph.convolution("image", 3, 4, strides=[4, 4], pads=[1, 0, 1, 2])
    return graph.add("Gemm", graph.add("Flatten", x), graph.weights(4 * 6 * 6, 3), graph.weights(3))


def shuffle(graph: Graph, x: str) -> str:
    """Channels in two groups, exchanged, as in ShuffleNet."""
    parted = graph.add("Reshape", x, graph.constant(np.array([0, 2, 3, SIDE, SIDE])))
    turned = graph.add("Transpose", parted, perm=[0, 2, 1, 3, 4])
    return graph.add("Reshape", turned, graph.constant(np.array([1, -1, SIDE, SIDE])))


def squeeze_and_excite(graph: Graph, x: str) -> str:
    share = graph.convolution(graph.add("GlobalAveragePool", x), 6, 6, 1)
    return graph.add("Mul", x, graph.add("HardSigmoid", share, alpha=1 / 6))


def view_of_shape(graph: Graph) -> str:
    """``x.view(x.shape[0], -1)`` as PyTorch's old exporter writes it: constants computed on the way."""
    x = graph.add("GlobalAveragePool", graph.convolution("image", 3, 6))
    count = graph.add("Gather", graph.add("Shape", x), graph.constant(np.array(0)))
    parts = [graph.add("Unsqueeze", n, graph.constant(np.array([0]))) for n in (count, graph.constant(np.array(-1)))]
    flat = graph.add("Reshape", x, graph.add("Concat", *parts, axis=0))
    return graph.add("MatMul", flat, graph.weights(6, 3))


def norm_of_channels(graph: Graph, x: str) -> str:
    """Layer normalisation over channels by transpositions, as in ConvNeXt."""
    last = graph.add("Transpose", x, perm=[0, 2, 3, 1])
    centred = graph.add("Sub", last, graph.add("ReduceMean", last, graph.constant(np.array([-1]))))
    power = graph.add("Pow", centred, graph.constant(F(2)))
    mean = graph.add("ReduceMean", power, graph.constant(np.array([3])))
    wide = graph.add("Sqrt", graph.add("Add", mean, graph.constant(F(1e-3))))
    scaled = graph.add("Mul", graph.add("Div", centred, wide), graph.weights(6))
    return graph.add("Transpose", scaled, perm=[0, 3, 1, 2])


def halves(graph: Graph, x: str) -> str:
    """Cut along channels, and put together the other way round."""
    ends = [(0, 2), (2, 9)]
    cut = [graph.add("Slice", x, *(graph.constant(np.array([n])) for n in (low, high, 1))) for low, high in ends]
    return graph.add("Concat", *cut[::-1], axis=1)


def resized(**attributes: Any) -> Callable[[Graph], str]:
    nothing = np.zeros(0, F)
    return behind(
        lambda graph, x: graph.add(
            "Resize", x, graph.constant(nothing), graph.constant(np.array([1, 1, 2, 2], F)), **attributes
        )
    )


THREE = {"kernel_shape": [3, 3], "strides": [2, 2]}
NETWORKS: dict[str, Callable[[Graph], str]] = {
    "mobile": mobile,
    "residual": residual,
    "vgg": vgg,
    "view of shape": view_of_shape,
    "shuffle": behind(shuffle),
    "squeeze and excite": behind(squeeze_and_excite),
    "norm of channels": behind(norm_of_channels),
    "halves": behind(halves),
    "grouped": behind(lambda graph, x: graph.convolution(x, 6, 6, group=2)),
    "wide by channel": behind(lambda graph, x: graph.add("Add", graph.convolution(x, 6, 6, group=6), x)),
    "dilated": behind(lambda graph, x: graph.convolution(x, 6, 6, dilations=[2, 2], pads=[2, 2, 2, 2])),
    "auto_pad": behind(lambda graph, x: graph.add("Conv", x, graph.weights(6, 6, 4, 4), auto_pad="SAME_LOWER")),
    "maximum of both signs": each("MaxPool", **THREE, pads=[1, 1, 1, 1]),
    "maximum rounded up": each("MaxPool", **THREE, ceil_mode=1),
    "mean of fewer at the edge": each("AveragePool", **THREE, pads=[1, 1, 1, 1]),
    "mean with padding": each("AveragePool", **THREE, pads=[1, 1, 1, 1], count_include_pad=1),
    "global maximum": behind(lambda graph, x: graph.add("GlobalMaxPool", x)),
    "mean without axes": behind(
        lambda g, x: g.add(
            "Unsqueeze", g.add("ReduceMean", x, g.constant(np.array([2, 3])), keepdims=0), g.constant(np.array([2, 3]))
        )
    ),
    "prelu": behind(lambda graph, x: graph.add("PRelu", x, graph.weights(6, 1, 1))),
    "channels scaled": behind(lambda graph, x: graph.add("Mul", graph.weights(6, 1, 1), x)),
    "padded": behind(lambda g, x: g.add("Pad", x, g.constant(np.array([0, 0, 1, 2, 0, 0, 3, 0])), g.constant(F(0.5)))),
    "clipped": behind(lambda graph, x: graph.add("Clip", x, graph.constant(F(-0.5)), graph.constant(F(0.7)))),
    "nearest": resized(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "bilinear": resized(mode="linear", coordinate_transformation_mode="half_pixel"),
    **{
        kind: each(kind)
        for kind in ("Elu", "Gelu", "HardSwish", "LeakyRelu", "Mish", "Selu", "Sigmoid", "Softplus", "Tanh")
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_as_the_reference_does(tmp_path: Path, name: str) -> None:
    graph = Graph()
    path = graph.save(tmp_path / "net.onnx", NETWORKS[name](graph))

    result = answers(load(path).tflite)

    expected = reference(path, PICTURES)
    assert np.ptp(expected) > 1e-2  # it says something
    assert result == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize("name", ["mobile", "residual", "squeeze and excite", "norm of channels"])
def test_no_transposition_is_left(tmp_path: Path, name: str) -> None:
    graph = Graph()
    net = load(graph.save(tmp_path / "net.onnx", NETWORKS[name](graph)))

    assert "TRANSPOSE" not in kinds(net.tflite)
    assert (net.spec.height, net.spec.width, net.spec.channels) == (SIDE, SIDE, 3)


def test_files_are_answered_as_onnx_answers_them(tmp_path: Path) -> None:
    graph, rng = Graph(), np.random.default_rng(2)
    path = graph.save(tmp_path / "net.onnx", mobile(graph))
    levels = rng.integers(0, 256, (12, SIDE, SIDE, 3), np.uint8) // rng.integers(1, 5, (12, 1, 1, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    for i, pixels in enumerate(levels):
        Image.fromarray(pixels).save(tmp_path / f"pictures/{i}.png")
    told = ["--labels", "a,b,c", "--preset", "imagenet-torch", "--calibration", str(tmp_path / "pictures")]

    assert quantize.main([str(path), *told, "--schemes", "float32,int8", "-o", str(tmp_path / "out.tflite")]) == 0

    mean, std = (np.array(v, F) for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))  # torchvision's
    logits = reference(path, ((levels - mean) / std).astype(F).transpose(0, 3, 1, 2))
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for scheme, near in (("float32", 1e-4), ("int8", 0.03)):
        classifier = covidnet_lite.Classifier(tmp_path / f"out_{scheme}.tflite")
        result = [[*classifier.classify(tmp_path / f"pictures/{i}.png").probabilities.values()] for i in range(12)]
        assert np.array(result) == pytest.approx(expected, abs=near)


def test_layers_keep_their_names(tmp_path: Path) -> None:
    graph = Graph()
    editor = Editor(load(graph.save(tmp_path / "net.onnx", residual(graph))).tflite)

    assert any(editor.name(int(o.outputs[0])).startswith("layer2_MaxPool") for o in editor.operators)


def test_a_softmax_is_taken_off_and_an_open_batch_becomes_one(tmp_path: Path) -> None:
    graph = Graph()
    logits = mobile(graph)
    path = graph.save(tmp_path / "net.onnx", graph.add("Softmax", logits), shape=("batch", 3, SIDE, SIDE))
    bare = graph.save(tmp_path / "bare.onnx", logits)

    assert answers(load(path).tflite) == pytest.approx(reference(bare, PICTURES), abs=1e-4)


def test_a_network_with_channels_last_is_one_too(tmp_path: Path) -> None:
    graph = Graph()
    first = graph.add("Transpose", "image", perm=[0, 3, 1, 2])
    path = graph.save(tmp_path / "net.onnx", graph.head(graph.convolution(first, 3, 6), 6), shape=(1, SIDE, SIDE, 3))
    net = load(path)

    assert "TRANSPOSE" not in kinds(net.tflite)
    assert answers(net.tflite) == pytest.approx(reference(path, PICTURES.transpose(0, 2, 3, 1)), abs=1e-4)


def test_named_outputs_are_known(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.convolution("image", 3, 3, 1)
    ends = [graph.add("Identity", x), graph.add("Flatten", graph.add("GlobalAveragePool", x))]
    model = graph.model(*ends)
    for node in model.graph.node:
        for old, new in zip(ends, ("evidence", "logits")):
            node.output[:] = [new if o == old else o for o in node.output]
    for output, new in zip(model.graph.output, ("evidence", "logits")):
        output.name = new
    onnx.save(model, str(tmp_path / "net.onnx"))

    net = load(tmp_path / "net.onnx")

    assert set(net.outputs) == {"evidence", "logits"}
    interpreter = Interpreter(model_content=net.tflite)
    assert list(interpreter.get_output_details()[net.outputs["evidence"]]["shape"]) == [1, SIDE, SIDE, 3]


def refused(graph: Graph, tmp_path: Path, *ends: str, **more: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        load(graph.save(tmp_path / "net.onnx", *ends, **more))
    return str(caught.value)


def test_an_operation_that_is_not_translated_is_named(tmp_path: Path) -> None:
    graph = Graph()
    end = graph.head(graph.add("InstanceNormalization", graph.convolution("image", 3, 6), *[graph.weights(6)] * 2), 6)

    assert "InstanceNormalization is not translated from ONNX" in refused(graph, tmp_path, end)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"shape": (1, 3, "height", "width")}, "any size"),
        ({"shape": (4, 3, SIDE, SIDE)}, "4 images at a time"),
        ({"shape": (1, 7, SIDE, SIDE)}, "an image classifier takes"),
        ({"kind": onnx.TensorProto.FLOAT16}, "takes FLOAT16"),
    ],
)
def test_what_is_no_picture_is_told(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    graph = Graph()
    assert said in refused(graph, tmp_path, residual(graph), **more)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no network at all")

    with pytest.raises(ConversionError, match="is no ONNX network"):
        load(tmp_path / "net.onnx")


def test_a_wrong_translation_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph()
    path = graph.save(tmp_path / "net.onnx", NETWORKS["Tanh"](graph))
    monkeypatch.setitem(onnx_network.OPERATIONS, "Tanh", onnx_network.OPERATIONS["Sigmoid"])

    with pytest.raises(ConversionError, match="differs by .* from ONNX's own reference"):
        load(path)


def test_the_extra_is_named_where_onnx_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnx", None)

    with pytest.raises(MissingExtraError, match=r"covidnet-lite\[onnx\]"):
        load(tmp_path / "net.onnx")
