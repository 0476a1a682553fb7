"""Networks in ONNX for the tests of ``convert``, as PyTorch's exporter writes them: channels first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the extra onnx")
pytest.importorskip("onnx.reference")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
SIDE = 24


class Graph:
    """Nodes one behind the other; each method returns the name of what it writes."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant((self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32))

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"/layer{len(self.nodes)}/{kind}_output_0"
        self.nodes.append(helper.make_node(kind, inputs, [name], f"/layer{len(self.nodes)}/{kind}", **attributes))
        return name

    def convolution(self, x: str, channels: int, filters: int, side: int = 3, group: int = 1, **more: Any) -> str:
        more.setdefault("pads", [side // 2] * 4)
        weights = self.weights(filters, channels // group, side, side)
        return self.add("Conv", x, weights, self.weights(filters), group=group, **more)

    def normalisation(self, x: str, channels: int) -> str:
        kinds = [self.rng.uniform(0.5, 1.5, channels), self.rng.normal(size=channels), self.rng.normal(size=channels)]
        kinds.append(self.rng.uniform(0.5, 1.5, channels))
        return self.add("BatchNormalization", x, *(self.constant(v.astype(np.float32)) for v in kinds))

    def head(self, x: str, channels: int, classes: int = 3) -> str:
        flat = self.add("Flatten", self.add("GlobalAveragePool", x))
        return self.add("Gemm", flat, self.weights(classes, channels), self.weights(classes), transB=1)

    def model(self, *ends: str, shape: Sequence[Any] = (1, 3, SIDE, SIDE), opset: int = 20, kind: int = FLOAT) -> Any:
        outputs = [helper.make_tensor_value_info(end, FLOAT, ["rows", "columns"]) for end in ends]
        inputs = [helper.make_tensor_value_info("image", kind, shape)]
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)

    def save(self, path: Path, *ends: str, **more: Any) -> Path:
        onnx.save(self.model(*ends, **more), str(path))
        return path


def reference(path: Path, pictures: Any) -> Any:
    """What ONNX's own reference answers to ``(n, channels, height, width)``, one by one."""
    runner = onnx.reference.ReferenceEvaluator(str(path))
    return np.concatenate([runner.run(None, {"image": picture[None]})[0] for picture in pictures])


def mobile(graph: Graph) -> str:
    """An inverted residual block, as in MobileNetV2."""
    six = {"min": graph.constant(np.float32(0)), "max": graph.constant(np.float32(6))}
    x = graph.add("Clip", graph.convolution("image", 3, 8, strides=[2, 2]), *six.values())
    y = graph.add("Clip", graph.normalisation(graph.convolution(x, 8, 16, 1), 16), *six.values())
    y = graph.add("Clip", graph.convolution(y, 16, 16, group=16), *six.values())
    return graph.head(graph.add("Add", x, graph.convolution(y, 16, 8, 1)), 8)


def residual(graph: Graph) -> str:
    """A stem with padded maximum pooling and a block, as in ResNet."""
    x = graph.add("Relu", graph.convolution("image", 3, 8, 7, strides=[2, 2]))
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = graph.convolution(graph.add("Relu", graph.convolution(x, 8, 16, strides=[2, 2])), 16, 16)
    return graph.head(graph.add("Relu", graph.add("Add", y, graph.convolution(x, 8, 16, 1, strides=[2, 2]))), 16)
