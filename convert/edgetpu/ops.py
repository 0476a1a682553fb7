"""What the Edge TPU compiler maps: the operations it knows, in which versions, and within which limits.

From Coral's table of operations, and from the versions and sizes seen in models that compiled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from convert.tflite_file.flatbuffer import Node, Tensor

ON_CHIP = 8 * 2**20  # bytes of memory on the chip, for parameters, activations and the program
# An activation of 11 MiB was seen to be mapped, with the whole network around it; one of 38 to be refused.
ACTIVATION = 12 * 2**20  # bytes
SIDE = 128  # height and width up to which bilinear enlargement was seen to be mapped

# What the compiler knows, and the highest version of each that counts as known to compile: as seen in Coral's own
# models with a compiled twin, or, where int8 does not occur there, the version that TFLite 2.5 writes for plain int8.
VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 4,
    "L2_NORMALIZATION": 2,
    "LOGISTIC": 2,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MUL": 2,
    "PACK": 2,
    "PAD": 2,
    "PRELU": 1,
    "QUANTIZE": 1,
    "REDUCE_MAX": 2,
    "REDUCE_MIN": 2,
    "RELU": 2,
    "RELU6": 2,
    "RELU_N1_TO_1": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "RSQRT": 2,
    "SLICE": 2,
    "SOFTMAX": 2,
    "SPACE_TO_DEPTH": 2,
    "SPLIT": 3,
    "SQUARED_DIFFERENCE": 2,
    "SQUEEZE": 1,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "SUM": 2,
    "TANH": 2,
    "TILE": 1,
    "TRANSPOSE": 2,
    "TRANSPOSE_CONV": 3,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 1,
}


def refusal_of(node: Node) -> str:
    """Why an operation cannot run on the Edge TPU, by what it is itself; empty where it can."""
    if node.name not in VERSIONS:
        return "the Edge TPU has no such operation"
    for tensor in node.activations:
        if not tensor.is_8_bit:
            return f"works on {tensor.type.lower()}, not on quantised int8 or uint8 ('{tensor.name}')"
        if tensor.scales > 1:
            return f"an activation has a scale for each channel ('{tensor.name}')"
        if any(n > 1 for n in tensor.shape[:-3]):
            return f"only the 3 innermost dimensions may be above 1, not {list(tensor.shape)}"
        if math.prod(tensor.shape) > ACTIVATION:
            return (
                f"an activation of {math.prod(tensor.shape) / 2**20:.0f} MiB may not fit on the chip; "
                f"up to {ACTIVATION / 2**20:.0f} MiB was seen to be mapped"
            )
    for tensor in node.tensors:
        if tensor.constant and tensor.type not in ("INT8", "UINT8", "INT32"):
            return f"has a constant of {tensor.type.lower()} ('{tensor.name}')"
    if node.version > VERSIONS[node.name]:
        return (
            f"version {node.version} is not known to compile (up to {VERSIONS[node.name]} is); "
            "the compiler may refuse the whole model"
        )
    rule = _RULES.get(node.name)
    return rule(node) if rule else ""


def _no_activation(node: Node) -> str:
    return "has a fused activation" if node.option("fusedActivationFunction") else ""


def _concatenation(node: Node) -> str:
    constants = [t for t in node.inputs if t is not None and t.constant]
    if constants and (len(node.inputs) != 2 or any(np.any(t.values != t.zero_point) for t in constants)):
        return "joins a constant other than one block of zeros"
    return _no_activation(node)


def _weights(node: Node) -> str:
    """Constant weights, bias in int32."""
    weights = node.input(1)
    if weights is None or not weights.constant or weights.values is None or not weights.values.size:
        return "its weights are not constant"
    if not weights.is_8_bit:
        return f"its weights are {weights.type.lower()}, not quantised int8 or uint8"
    bias = node.input(3 if node.name == "TRANSPOSE_CONV" else 2)
    if bias is not None and not (bias.constant and bias.type == "INT32"):
        return "its bias is not constant int32"
    return ""


def _convolution(node: Node) -> str:
    if node.option("dilationWFactor") != node.option("dilationHFactor"):
        return "its dilation differs between x and y"
    return _weights(node)


def _fully_connected(node: Node) -> str:
    weights = node.input(1)
    if node.option("weightsFormat"):
        return "its weights are shuffled; only the default format is known"
    if math.prod(node.outputs[0].shape[:-1]) != 1:
        return f"its output must have one dimension, not {list(node.outputs[0].shape)}"
    if weights is not None and weights.scales > 1:
        return "its weights have a scale for each channel; one scale for all, or a 1x1 convolution, is known to compile"
    return _weights(node)


def _axes(tensor: Tensor | None, rank: int) -> set[int] | None:
    """Axes named by a constant, counted from the front."""
    if tensor is None or tensor.values is None:
        return None
    return {int(a) % max(rank, 1) for a in tensor.values}


def _reduction(node: Node) -> str:
    source = node.inputs[0]
    shape = source.shape if source is not None else ()
    axes = _axes(node.input(1), len(shape))
    if axes is None:
        return "its axes are not constant"
    if 0 in axes:
        return "reduces the batch"
    if node.name == "MEAN" and len(shape) - 1 in axes and shape[-1] % 4:
        return f"takes the mean over {shape[-1]} channels, which is no multiple of 4"
    return ""


def _pad(node: Node) -> str:
    paddings = node.input(1)
    if paddings is None or paddings.values is None:
        return "its paddings are not constant"
    return "pads the batch" if paddings.values[:2].any() else ""


def _pack(node: Node) -> str:
    return "packs in the batch" if node.option("axis") % max(len(node.outputs[0].shape), 1) == 0 else ""


def _split(node: Node) -> str:
    axes = _axes(node.inputs[0], len(node.outputs[0].shape))
    return "splits the batch" if axes is None or 0 in axes else ""


def _prelu(node: Node) -> str:
    alpha = node.input(1)
    if alpha is None or not alpha.constant:
        return "its slope is not constant"
    return "its slope varies over more than channels" if any(n > 1 for n in alpha.shape[:-1]) else ""


def _resize(node: Node) -> str:
    """The table names no limit; these are the sizes that were seen to be mapped."""
    source, target = node.inputs[0], node.outputs[0]
    if source is None or len(source.shape) != 4 or len(target.shape) != 4:
        return "resizes something else than an image"
    (h, w), (height, width) = source.shape[1:3], target.shape[1:3]
    if height > 2 * h or width > 2 * w or max(height, width) > SIDE:
        return (
            f"resizes {h}x{w} to {height}x{width}, which may not be precise enough on the Edge TPU; "
            f"up to twice the size, and up to {SIDE}x{SIDE}, was seen to be mapped"
        )
    return ""


def _softmax(node: Node) -> str:
    shape = node.outputs[0].shape
    if math.prod(shape[:-1]) != 1 or shape[-1] > 16_000:
        return f"takes one row of at most 16,000 values, not {list(shape)}"
    return ""


def _strided_slice(node: Node) -> str:
    strides = node.input(3)
    if strides is None or strides.values is None or np.any(strides.values != 1):
        return "its strides are not all 1"
    if node.option("ellipsisMask") or node.option("newAxisMask"):
        return "uses an ellipsis or a new axis"
    return ""


def _tile(node: Node) -> str:
    """Not in the table, but seen to be mapped: features of 1 x 1 spread over an image."""
    multiples = node.input(1)
    return "" if multiples is not None and multiples.constant else "how often it repeats is not constant"


def _lstm(node: Node) -> str:
    return "is time-major" if node.option("timeMajor") else ""


_RULES: dict[str, Callable[[Node], str]] = {
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _reduction,
    "PACK": _pack,
    "PAD": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduction,
    "TILE": _tile,
    "TRANSPOSE_CONV": _weights,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
