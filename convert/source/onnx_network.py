"""A network in ONNX: read by the package ``onnx``, and built again with TensorFlow's operations, channels last.

The widely used converters cannot be installed beside the TensorFlow that converting needs, or guess where channels
are. Here every activation knows how its axes lie, and what is built is compared with ONNX's own reference.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from convert.source import onnx_operations
from convert.source.frozen import Frozen, first_cause, freeze, run
from convert.source.keras_file import check_kinds, check_outputs, missing
from convert.source.onnx_operations import CHANNELS_LAST, OPERATIONS, Node, Unsupported, Value
from covidnet_lite.errors import ConversionError, MissingExtraError

TOLERANCE = 1e-3  # of the largest output: more than rounding in another order makes


def load(path: Path) -> Frozen:
    """Its function of one image, channels last.

    Raises:
        ConversionError: it cannot be read, is no classifier of one image, or has an operation that is not translated.
        MissingExtraError: the package ``onnx``, or TensorFlow, is not installed.
    """
    onnx = _onnx()
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's DecodeError, the checker's ValidationError, a missing file of weights
        raise ConversionError(f"{path}: is no ONNX network ({first_cause(error)}); export it again") from error
    return of_model(model, path)


def of_model(model: Any, path: Path) -> Frozen:
    """The same of a loaded ``onnx.ModelProto``.

    Raises:
        ConversionError: as :func:`load`.
        MissingExtraError: as :func:`load`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise missing(error) from error
    name, shape, order = _image_input(model, path)
    outputs = [output.name for output in model.graph.output]
    names = ["logits"] if len(outputs) == 1 else outputs
    check_outputs(names, path)
    check_kinds(_kinds(model), path)

    def call(radiograph: Any) -> dict[str, Any]:
        values = _run(model, name, Value(tf.ensure_shape(radiograph, (1, *shape)), order))
        activations = [values[output] for output in outputs]
        # A map, such as evidence, is told with its channels last, as everywhere.
        results = [
            activation.in_order(CHANNELS_LAST) if len(activation.order) == 4 else activation.plain
            for activation in activations
        ]
        return dict(zip(names, results))

    try:
        frozen = freeze(call, shape, path)
    except Unsupported as error:
        raise ConversionError(
            f"{path}: {error} is not translated from ONNX; replace that layer and export it again, or give a Keras "
            "network, a SavedModel or a float .tflite"
        ) from error
    _check(model, name, order, shape, frozen, dict(zip(names, outputs)), path)
    return frozen


def _onnx() -> Any:
    try:
        import onnx
        import onnx.reference  # an attribute only once it is imported
    except ImportError as error:
        raise MissingExtraError(
            f"reading ONNX needs another package: pip install 'covidnet-lite[onnx]' ({error})"
        ) from error
    return onnx


def _image_input(model: Any, path: Path) -> tuple[str, tuple[int, int, int], tuple[int, ...]]:
    """The input's name, ``(height, width, channels)``, and the order of its axes."""
    constants = {c.name for c in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise ConversionError(f"{path}: has {len(inputs)} inputs; only networks of one image can be converted")
    tensor = inputs[0].type.tensor_type
    sides = tuple(int(d.dim_value) for d in tensor.shape.dim)
    kind = _onnx().TensorProto.DataType.Name(tensor.elem_type)
    if kind != "FLOAT":
        raise ConversionError(f"{path}: takes {kind}; an image classifier takes FLOAT; export it again in float32")
    if len(sides) != 4 or not {sides[1], sides[3]} & {1, 3}:
        raise ConversionError(f"{path}: takes {sides}; an image classifier takes (1, 1 or 3, height, width)")
    if 0 in sides[1:]:
        raise ConversionError(
            f"{path}: takes images of any size {sides[1:]}; int8 needs one: export it again with a fixed input size"
        )
    if sides[0] > 1:
        raise ConversionError(f"{path}: takes {sides[0]} images at a time; export it again with one")
    first = sides[1] in (1, 3)  # as PyTorch has them
    height, width, channels = (*sides[2:], sides[1]) if first else sides[1:]
    return inputs[0].name, (height, width, channels), CHANNELS_LAST if first else (0, 1, 2, 3)


def _kinds(model: Any) -> list[str]:
    kinds = {"FLOAT16": "float16", "BFLOAT16": "bfloat16", "DOUBLE": "float64"}
    large = (c for c in model.graph.initializer if len(c.dims) > 1)
    return [kinds.get(_onnx().TensorProto.DataType.Name(c.data_type), "float32") for c in large]


def _run(model: Any, name: str, image: Value) -> dict[str, Any]:
    """The outputs by name. On the way, what does not depend on the image stays an array."""
    import tensorflow as tf

    onnx = _onnx()
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    values: dict[str, Any] = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    values[name] = image
    for position, node in enumerate(model.graph.node):
        operands = tuple(values[i] if i else None for i in node.input)
        if node.op_type == "Shape" and isinstance(operands[0], Value):
            values[node.output[0]] = np.array(operands[0].shape, np.int64)
        elif not any(isinstance(value, Value) for value in operands):
            values.update(_constants(model, node, dict(zip(node.input, operands))))
        elif node.op_type in OPERATIONS and node.domain in ("", "ai.onnx"):
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            with tf.name_scope(_scope(node, position)):
                values[node.output[0]] = OPERATIONS[node.op_type](Node(node.op_type, operands, attributes, opset))
        else:
            raise Unsupported(node.op_type)
    return {o.name: _activation(values[o.name]) for o in model.graph.output}


def _activation(value: Any) -> Value:
    import tensorflow as tf

    return value if isinstance(value, Value) else onnx_operations.plain(tf.constant(value))


def _scope(node: Any, position: int) -> str:
    """What the layer is called in reports."""
    name = (node.name or node.output[0] or f"{node.op_type}_{position}").removeprefix("node_").strip("/")
    return re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_.") or f"{node.op_type}_{position}"


def _constants(model: Any, node: Any, operands: dict[str, Any]) -> dict[str, Any]:
    """What an operation makes of constants alone, by ONNX's reference."""
    onnx = _onnx()
    inputs = [onnx.helper.make_tensor_value_info(i, 1, None) for i in operands if i]
    outputs = [onnx.helper.make_tensor_value_info(o, 1, None) for o in node.output if o]
    graph = onnx.helper.make_graph([node], "constants", inputs, outputs)
    node_alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    results = onnx.reference.ReferenceEvaluator(node_alone).run(None, {k: v for k, v in operands.items() if k})
    return dict(zip([o for o in node.output if o], results))


def _check(
    model: Any,
    name: str,
    order: tuple[int, ...],
    shape: tuple[int, int, int],
    frozen: Frozen,
    outputs: dict[str, str],
    path: Path,
) -> None:
    """Compares with ONNX's own reference on an image of noise.

    Raises:
        ConversionError: they differ.
    """
    image = np.random.default_rng(0).uniform(-1, 1, (1, *shape)).astype(np.float32)
    expected_outputs = (
        _onnx()
        .reference.ReferenceEvaluator(model)
        .run(list(outputs.values()), {name: image.transpose(np.argsort(order))})
    )
    actual_outputs = run(frozen, image)
    for output, expected in zip(outputs, expected_outputs):
        expected = expected.transpose(CHANNELS_LAST) if expected.ndim == 4 else expected
        difference = float(np.abs(actual_outputs[output] - expected).max())
        if not difference <= TOLERANCE * max(float(np.abs(expected).max()), 1e-3):
            raise ConversionError(
                f"{path}: translated from ONNX, {output} differs by {difference:.3g} from ONNX's own reference; "
                "please report it, and give a Keras network, a SavedModel or a float .tflite meanwhile"
            )
