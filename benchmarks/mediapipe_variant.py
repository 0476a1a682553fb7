"""A network of ours with the ends that MediaPipe's ImageClassifier wants: uint8, three channels, the logits alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from convert.tflite_file.flatbuffer import pack, portable, unpack


def variant(data: bytes, logits: int = 0) -> bytes:
    """The bare flatbuffer between two conversions of its 8-bit ends; inside it computes what it did.

    Of three channels a network for gray takes the first. Metadata of the other ends is left behind.
    """
    model = unpack(portable(data), "the model")
    model.metadata, model.signatureDefs = None, None
    graph = model.subgraphs[0]
    inside, scores = int(graph.inputs[0]), int(graph.outputs[logits])
    head = tail = []
    shape = [int(n) for n in graph.tensors[inside].shape]
    gray = _uint8_copy(graph, inside, schema.TensorType.UINT8, shape)
    image = gray if shape[3] == 3 else _uint8_copy(graph, inside, schema.TensorType.UINT8, [*shape[:3], 3])
    if shape[3] == 1:
        window = [_constant(model, row) for row in ([0] * 4, shape, [1] * 4)]
        head = [_operator(model, "STRIDED_SLICE", [image, *window], gray, "StridedSliceOptions", 2)]
    head = [*head, _operator(model, "QUANTIZE", [gray], inside, "QuantizeOptions", 2)]
    answer = _uint8_copy(graph, scores, schema.TensorType.UINT8, list(graph.tensors[scores].shape))
    tail = [_operator(model, "QUANTIZE", [scores], answer, "QuantizeOptions", 2)]
    graph.operators = [*head, *graph.operators, *tail]
    graph.inputs, graph.outputs = [image], [answer]
    return pack(model)


def _uint8_copy(graph: Any, index: int, kind: int, shape: list[int]) -> int:
    """A new tensor that holds the same values as another, 128 higher."""
    source = graph.tensors[index].quantization
    quantization = schema.QuantizationParametersT(scale=list(source.scale), zeroPoint=[int(source.zeroPoint[0]) + 128])
    name = b"%s_%d" % (graph.tensors[index].name, len(graph.tensors))
    graph.tensors.append(
        schema.TensorT(shape=shape, type=kind, buffer=0, name=name, quantization=quantization, hasRank=True)
    )
    return len(graph.tensors) - 1


def _constant(model: Any, row: list[int]) -> int:
    tensors = model.subgraphs[0].tensors
    model.buffers.append(schema.BufferT(data=np.frombuffer(np.array(row, "<i4").tobytes(), np.uint8)))
    place, name = len(model.buffers) - 1, b"window_%d" % len(tensors)
    tensors.append(
        schema.TensorT(shape=[len(row)], type=schema.TensorType.INT32, buffer=place, name=name, hasRank=True)
    )
    return len(tensors) - 1


def _operator(model: Any, name: str, inputs: list[int], output: int, options: str, version: int) -> Any:
    builtin = getattr(schema.BuiltinOperator, name)
    code = schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=builtin, version=version)
    model.operatorCodes.append(code)
    return schema.OperatorT(
        opcodeIndex=len(model.operatorCodes) - 1,
        inputs=inputs,
        outputs=[output],
        builtinOptionsType=getattr(schema.BuiltinOptions, options),
        builtinOptions=getattr(schema, f"{options}T")(),
    )
