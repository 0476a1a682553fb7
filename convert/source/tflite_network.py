"""A float ``.tflite`` of any origin -> the same function in a form that can be quantised to int8."""

from __future__ import annotations

import numpy as np

from convert.tflite_file import flatbuffer
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError


def canonical(data: bytes, name: str) -> bytes:
    """One image at a time, logits at the end, and no operation that int8 lacks where another says the same.

    Raises:
        ConversionError: the file is no float classifier of one image.
    """
    if data[4:8] != b"TFL3":
        raise ConversionError(f"{name}: is no TFLite file; give a float .tflite, or a Keras network")
    _check(flatbuffer.read(data, name), name)
    editor = Editor(data, name)
    _check_weights(editor, name)
    _make_names_unique(editor)
    _fix_batch(editor, name)
    _strip_softmax(editor)
    _two_logits(editor)
    _multiply_instead_of_negate(editor)
    _multiply_instead_of_relu6(editor)
    return editor.finish()


def _check(graph: flatbuffer.Graph, name: str) -> None:
    if graph.other_graphs:
        raise ConversionError(
            f"{name}: holds {graph.other_graphs + 1} graphs; only a network of one graph can be converted"
        )
    if len(graph.inputs) != 1:
        raise ConversionError(f"{name}: has {len(graph.inputs)} inputs; only networks of one image can be converted")
    (image,) = graph.inputs
    types = {t.type for node in graph.nodes for t in node.tensors} | {image.type}
    if types & {"INT8", "UINT8", "INT16"}:
        raise ConversionError(f"{name}: is quantised already; give the float network that it was made from")
    if "FLOAT64" in types:
        raise ConversionError(f"{name}: computes in float64; convert it again from a network in float32")
    if "FLOAT16" in types:
        raise ConversionError(f"{name}: holds its weights in half precision; convert it again without float16")
    if len(image.shape) != 4 or image.shape[0] != 1 or image.shape[3] not in (1, 3) or image.type != "FLOAT32":
        raise ConversionError(
            f"{name}: takes {image.type} of {image.shape}; "
            "an image classifier takes FLOAT32 of (1, height, width, 1 or 3)"
        )
    builtin = vars(flatbuffer.schema().BuiltinOperator)
    custom = [node for node in graph.nodes if node.name not in builtin]
    if custom:
        raise ConversionError(
            f"{name}: has the operation {custom[0].name} ({custom[0].outputs[0].name}), which no TFLite runtime has by "
            "itself; replace that layer by one that TFLite has and convert it again"
        )
    ends = {t.index for t in graph.outputs}
    sigmoids = [node.outputs[0] for node in graph.nodes if node.name == "LOGISTIC" and node.outputs[0].index in ends]
    if any(tuple(t.shape)[-1] != 1 for t in sigmoids):
        raise ConversionError(
            f"{name}: ends in {sigmoids[0].shape[-1]} sigmoids, one answer each; "
            "only networks that choose one class (softmax or logits, or one sigmoid) can be converted"
        )


def _check_weights(editor: Editor, name: str) -> None:
    for index, tensor in enumerate(editor.tensors):
        if tensor.type == flatbuffer.schema().TensorType.FLOAT32 and editor.is_constant(index):
            try:
                values = editor.constant(index)
            except ValueError as error:
                raise ConversionError(f"{name}: is damaged ({error}); copy or convert it again") from error
            if not np.isfinite(values).all():
                raise ConversionError(f"{name}: the weights {editor.name(index)} hold NaN or infinity; train it again")


def _make_names_unique(editor: Editor) -> None:
    """The quantiser tells tensors by their names; some converters give none, or one twice."""
    names = set()
    for index, tensor in enumerate(editor.tensors):
        name = editor.name(index) or "tensor"
        tensor.name = (f"{name}_{index}" if name in names or not editor.name(index) else name).encode()
        names.add(editor.name(index))


def _fix_batch(editor: Editor, name: str) -> None:
    """The batch that was left open becomes the one image that the shapes already say."""
    (image,) = editor.inputs
    signature = editor.tensors[image].shapeSignature
    if signature is not None and min(signature[1:], default=1) < 1:
        raise ConversionError(
            f"{name}: takes images of any size {tuple(int(n) for n in signature[1:])}; "
            "int8 needs one: convert it again with a fixed input shape"
        )
    for tensor in editor.tensors:
        tensor.shapeSignature = None


def _strip_softmax(editor: Editor) -> None:
    """Softmax is done outside the network, with a temperature; one that is read inside too must stay."""
    for operator in list(editor.operators):
        if editor.kind(operator) != "SOFTMAX" or int(operator.outputs[0]) not in editor.outputs:
            continue
        if operator.builtinOptions.beta == 1 and not editor.readers(int(operator.outputs[0])):
            editor.operators.remove(operator)
            editor.rename_output(int(operator.outputs[0]), int(operator.inputs[0]))


def _two_logits(editor: Editor) -> None:
    """One output for two classes, a logit ``z`` or its sigmoid, becomes the logits ``(0, z)``.

    Their softmax is the sigmoid of ``z``.
    """
    for end in editor.outputs:
        if editor.shape(end) != (1, 1):
            continue
        writer = editor.producer(end)
        logit = end
        if writer is not None and editor.kind(writer) == "LOGISTIC" and not editor.readers(end):
            editor.operators.remove(writer)
            logit = int(writer.inputs[0])
        second_class = editor.add_constant(np.array([[0.0, 1.0]], np.float32), "second_class")
        two_logits = editor.add_activation((1, 2), "two_logits")
        editor.add_operation("MUL", [logit, second_class], [two_logits], flatbuffer.schema().MulOptionsT())
        editor.rename_output(end, two_logits)


def _multiply_instead_of_negate(editor: Editor) -> None:
    """``-x`` is ``x * -1``: int8 has a product, but the quantiser knows no negation."""
    negations = [o for o in editor.operators if editor.kind(o) == "NEG"]
    if negations:
        minus_one = editor.add_constant(np.array([-1.0], np.float32), "minus_one")
        for operator in negations:
            options = flatbuffer.schema().MulOptionsT()
            editor.replace_operation(operator, "MUL", [int(operator.inputs[0]), minus_one], options)


def _multiply_instead_of_relu6(editor: Editor) -> None:
    """A ReLU6 that stands alone is ``x * 1`` with a ReLU6 fused behind: the quantiser knows no other."""
    standalone = [o for o in editor.operators if editor.kind(o) == "RELU6"]
    if standalone:
        one = editor.add_constant(np.array([1.0], np.float32), "one")
        for operator in standalone:
            tables = flatbuffer.schema()
            options = tables.MulOptionsT(fusedActivationFunction=tables.ActivationFunctionType.RELU6)
            editor.replace_operation(operator, "MUL", [int(operator.inputs[0]), one], options)
