"""How a float network can be stored and computed: int8, int16, float16, dynamic range, or as it is."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np

from convert.quantisation.equalise import CONVOLUTIONS
from convert.quantisation.ranges import Range
from convert.quantisation.remaining_float import complete
from convert.quiet import quiet
from convert.tflite_file.editor import Editor
from convert.tflite_file.flatbuffer import portable, read
from covidnet_lite.errors import ConversionError

SCHEMES = {
    "int8": "weights and activations in 8 bits, 8 bits in and out: the fastest and smallest, for any accelerator",
    "int16": "weights in 8 bits, activations in 16: nearly exact, but slow, as runtimes have plain kernels only",
    "float16": "weights in half precision, arithmetic in single: half the size, no faster",
    "dynamic": "weights in 8 bits, activations rounded anew at each layer: needs no calibration",
    "weights8": "weights in 8 bits, made float again before they are used: a quarter of the size, no faster",
    "weights4": "weights in 4 bits, made float again before they are used: the smallest, least precise, no faster",
    "float32": "as it was trained",
}
NARROWEST = 1e-9  # range that the quantiser gives to an activation; a narrower one becomes this
CALIBRATED = ("int8", "int16")  # those that need the range of every activation


def quantise(
    tflite: bytes,
    scheme: str,
    ranges: dict[str, Range] | None = None,
    wide: Collection[str] = (),
    floats: Collection[str] = (),
) -> bytes:
    """The flatbuffer of a float network in one scheme, readable by old and new readers.

    Args:
        tflite: the float flatbuffer.
        scheme: a key of ``SCHEMES``.
        ranges: by tensor, for int8 and int16.
        wide: for int8, the tensors whose operations keep 16 bits.
        floats: for int8, the tensors whose operations stay in float.

    Raises:
        ConversionError: an operation has no kernel in this scheme.
    """
    if scheme == "float32":
        return portable(tflite, "the float network")
    from litert_quantizer import quantizer

    statistics = None
    if scheme in CALIBRATED:
        tflite = _with_room_for_biases(tflite, ranges or {}, None if scheme == "int16" else wide)
        statistics = {name: _statistics(low, high) for name, (low, high) in (ranges or {}).items()}
    engine = quantizer.Quantizer(tflite, _recipe(scheme, wide, floats))
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # casts of tensors it then replaces
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all tensors
        try:
            outcome = engine.quantize(statistics, enable_progress_report=False, enable_progress_bar=False)
        except (ValueError, RuntimeError, KeyError, TypeError, IndexError, NotImplementedError) as error:
            raise ConversionError(f"{scheme}: the quantiser does not take this network ({error})") from error
    quantised = bytes(outcome.quantized_model)
    if scheme == "int8":
        quantised = complete(quantised, ranges or {}, floats)
    result = portable(quantised, "the quantised network")
    if scheme in CALIBRATED:
        _check_full_integer(result, scheme, floats)
    return result


def _with_room_for_biases(tflite: bytes, ranges: dict[str, Range], wide: Collection[str] | None) -> bytes:
    """The same network but for output channels whose weights are next to nothing: one weight of theirs is raised.

    A bias is stored in steps of the input's scale times the weights'. Where training has let a channel's weights fade
    away, 32 bits of such steps do not reach its bias, and the quantiser would cut it off. The raised weight is still
    too small to matter.

    Args:
        tflite: the float flatbuffer.
        ranges: by tensor.
        wide: the tensors whose operations keep 16 bits; ``None`` for all.
    """
    editor, changed = Editor(tflite), False
    for operator in editor.operators:
        if editor.kind(operator) not in CONVOLUTIONS or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        image, weights, bias = (int(t) for t in operator.inputs)
        low, high = ranges.get(editor.name(image), (0.0, 0.0))
        if low == high or not (editor.is_constant(weights) and editor.is_constant(bias)):
            continue
        levels = 2**16 if wide is None or editor.name(int(operator.outputs[0])) in wide else 2**8
        step = max(max(high, 0) - min(low, 0), NARROWEST) / levels
        least = 127 * np.abs(editor.constant(bias)) / (step * 2**30)
        axis = -1 if editor.kind(operator) == "DEPTHWISE_CONV_2D" else 0
        values = editor.constant(weights)
        channels = np.moveaxis(values, axis, 0)  # a view
        faded = np.abs(channels).reshape(len(channels), -1).max(axis=1) < least
        if faded.any():
            one = (faded, *[0] * (values.ndim - 1))
            channels[one] = least[faded]
            editor.set_constant(editor.own_constant(operator, 1), values)
            changed = True
    return editor.finish() if changed else tflite


def _statistics(low: float, high: float) -> dict[str, Any]:
    """As the quantiser wants them; what is always 0 may have any scale but one of 0, which no kernel takes."""
    ends = {"min": low, "max": high if (low, high) != (0, 0) else 1.0}
    return {end: np.float32(value).reshape(1, 1, 1, 1) for end, value in ends.items()}


def _recipe(scheme: str, wide: Collection[str], floats: Collection[str]) -> Any:
    from litert_quantizer import algorithm_manager, qtyping, recipe, recipe_manager

    if scheme == "int16":
        return recipe.static_wi8_ai16()
    if scheme == "dynamic":
        return recipe.dynamic_wi8_afp32()
    if scheme.startswith("weights"):
        return recipe.weight_only_wi8_afp32() if scheme == "weights8" else recipe.weight_only_wi4_afp32()
    rules = recipe_manager.RecipeManager()
    every = qtyping.TFLOperationName.ALL_SUPPORTED
    if scheme == "float16":
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        )
        rules.add_quantization_config(".*", every, config, algorithm_manager.AlgorithmName.FLOAT_CASTING)
        return rules.get_quantization_recipe()
    rules.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
    for name in sorted(wide):
        rules.add_static_config(f"^{re.escape(name)};", every, activation_num_bits=16, weight_num_bits=8)
    for name in sorted(floats):
        key = algorithm_manager.AlgorithmName.NO_QUANTIZE
        rules.add_quantization_config(f"^{re.escape(name)};", every, algorithm_key=key)
    return rules.get_quantization_recipe()


def _check_full_integer(data: bytes, scheme: str, floats: Collection[str]) -> None:
    """Names the layers that would be computed in float though nobody asked for it.

    Raises:
        ConversionError: there are any.
    """
    graph = read(data, "the quantised network")
    float_nodes = [
        node
        for node in graph.nodes
        if node.name not in ("QUANTIZE", "DEQUANTIZE")
        and any(t.type == "FLOAT32" for t in node.activations)
        and not any(t.name in floats for t in node.outputs)
    ]
    count = len(float_nodes)
    if float_nodes:
        names = ", ".join(f"{node.name} ({node.outputs[0].name.split(';')[0]})" for node in float_nodes[:5])
        raise ConversionError(
            f"{scheme}: there is no {scheme} kernel for {count} operation{'s' * (count > 1)}: {names}; "
            "keep these layers in float with --keep-float NAME, replace them (convolutions with ReLU or ReLU6, "
            "additions, pooling and sigmoid have one), or convert with --schemes dynamic or float16"
        )
