"""int8 for operations that the quantiser leaves in float although TFLite has an int8 kernel for them.

The quantiser puts DEQUANTIZE before such an operation and QUANTIZE behind it. Here the operation is made to read and
write the 8 bits themselves, as TFLite's own converter does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.quantisation.ranges import Range
from convert.tflite_file import flatbuffer
from convert.tflite_file.editor import Editor

# Kernels that take any scale in and any scale out, and those that move values about, for which both must be the same:
# https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec and TFLite's kernels.
ANY_SCALE = frozenset(
    "ABS ELU EQUAL EXP GREATER GREATER_EQUAL LEAKY_RELU LESS LESS_EQUAL LOG NOT_EQUAL PRELU RELU RELU6 RELU_N1_TO_1 "
    "SQUARED_DIFFERENCE".split()
)
# These abort at a scale of 1 or more.
COMPARISONS = frozenset("EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL".split())
SAME_SCALE = frozenset(
    "BATCH_TO_SPACE_ND DEPTH_TO_SPACE EXPAND_DIMS MAXIMUM MINIMUM REDUCE_MAX REDUCE_MIN REVERSE_V2 SELECT SELECT_V2 "
    "SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT_V SQUEEZE TILE".split()
)
ZERO_RANGE: Range = (0.0, 0.0)
ZERO_SCALE = 2.0**-8  # of what is always 0; some kernels take no scale of 1 or more


def complete(quantised: bytes, ranges: Mapping[str, Range], floats: Collection[str] = ()) -> bytes:
    """The int8 flatbuffer with as little float left in it as TFLite's kernels allow; unchanged where there was none.

    Args:
        quantised: by ``litert-quantizer``.
        ranges: by tensor of the float network, for activations that lie between two such operations.
        floats: tensors whose operations are to stay in float.
    """
    editor = Editor(quantised)
    conversion = _Conversion(editor, ranges)
    for operator in list(editor.operators):
        if editor.kind(operator) not in ANY_SCALE | SAME_SCALE:
            continue
        stays_float = any(editor.name(int(t)) in floats for t in operator.outputs)
        if not stays_float and conversion.reads_or_writes_float(operator):
            conversion.convert(operator)
    if not conversion.converted:
        return quantised
    conversion.tidy()
    return editor.finish()


class _Conversion:
    """The graph while it is changed."""

    def __init__(self, editor: Editor, ranges: Mapping[str, Range]) -> None:
        self._editor, self._ranges = editor, ranges
        self._float, self._int8 = (getattr(flatbuffer.schema().TensorType, kind) for kind in ("FLOAT32", "INT8"))
        self.converted = 0

    def reads_or_writes_float(self, operator: Any) -> bool:
        return any(self._is_float(int(t)) for t in (*operator.inputs, *operator.outputs))

    def convert(self, operator: Any) -> None:
        """Makes one operation read and write 8 bits; leaves it where a range is not known."""
        inputs, outputs = ([int(t) for t in tensors] for tensors in (operator.inputs, operator.outputs))
        inputs_8_bit = [t for t in inputs if self._is_float(t) or self._is_int8(t)]
        outputs_8_bit = [t for t in outputs if self._is_float(t)]
        if any(self._range_of(t) is None for t in (*inputs_8_bit, *outputs_8_bit)):
            return
        if self._editor.kind(operator) in COMPARISONS and any(
            parameters(self._range_of(t) or ZERO_RANGE)[0] >= 1 for t in inputs_8_bit
        ):
            return
        shared_range = None
        if self._editor.kind(operator) in SAME_SCALE:
            shared_range = self._joint_range(
                inputs_8_bit if len(inputs_8_bit) == 1 else [*inputs_8_bit, *outputs_8_bit]
            )
        operator.inputs = np.array(
            [self._input(t, shared_range, operator) if t in inputs_8_bit else t for t in inputs], np.int32
        )
        operator.outputs = np.array(
            [self._output(t, shared_range, operator) if t in outputs_8_bit else t for t in outputs], np.int32
        )
        self.converted += 1

    def tidy(self) -> None:
        """Takes out what nothing reads any more."""
        editor = self._editor
        for operator in list(editor.operators):
            output = int(operator.outputs[0])
            if editor.kind(operator) == "DEQUANTIZE" and not editor.readers(output) and output not in editor.outputs:
                editor.operators.remove(operator)

    def _is_float(self, tensor: int) -> bool:
        return tensor >= 0 and self._editor.tensors[tensor].type == self._float

    def _is_int8(self, tensor: int) -> bool:
        return tensor >= 0 and self._editor.tensors[tensor].type == self._int8

    def _range_of(self, tensor: int) -> Range | None:
        """The range of a float tensor: a constant's own, or that of the 8 bits it came from, or the recorded one."""
        editor = self._editor
        if self._is_int8(tensor):
            return editor.range(tensor)
        if editor.is_constant(tensor):
            values = editor.constant(tensor)
            return float(values.min()), float(values.max())
        int8_source = self._int8_source(tensor)
        if int8_source is not None:
            return editor.range(int8_source)
        readers = [o for o in editor.readers(tensor) if editor.kind(o) == "QUANTIZE"]
        return editor.range(int(readers[0].outputs[0])) if readers else self._ranges.get(editor.name(tensor))

    def _joint_range(self, tensors: list[int]) -> Range:
        ranges = [span for t in tensors if (span := self._range_of(t)) is not None]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def _int8_source(self, tensor: int) -> int | None:
        """The integers that a float tensor was made of."""
        if self._is_int8(tensor):
            return tensor
        writer = self._editor.producer(tensor)
        if writer is None or self._editor.kind(writer) != "DEQUANTIZE":
            return None
        return int(writer.inputs[0])

    def _input(self, tensor: int, required: Range | None, consumer: Any) -> int:
        """What to read in place of a float tensor, in 8 bits of the span asked for."""
        editor = self._editor
        if editor.is_constant(tensor) and self._is_float(tensor):
            return self._constant(tensor, required or self._range_of(tensor) or ZERO_RANGE)
        int8_source = self._int8_source(tensor)
        target_range = required or self._range_of(tensor) or ZERO_RANGE
        if int8_source is not None and self._has_range(int8_source, target_range):
            return int8_source
        if int8_source is None and tensor in editor.inputs:
            editor.set_8_bits(tensor, *parameters(target_range))
            return tensor
        rescaled = editor.add_activation(editor.shape(tensor), f"{editor.name(tensor)}_rescaled")
        editor.set_8_bits(rescaled, *parameters(target_range))
        source = tensor if int8_source is None else int8_source  # what is float by another's wish, or of another scale
        editor.add_operation("QUANTIZE", [source], [rescaled], flatbuffer.schema().QuantizeOptionsT(), before=consumer)
        return rescaled

    def _output(self, tensor: int, required: Range | None, writer: Any) -> int:
        """What to write in place of a float tensor."""
        editor = self._editor
        readers = editor.readers(tensor)
        if len(readers) == 1 and editor.kind(readers[0]) == "QUANTIZE" and tensor not in editor.outputs:
            target = int(readers[0].outputs[0])
            if self._is_int8(target) and (required is None or self._has_range(target, required)):
                editor.operators.remove(readers[0])
                return target
        scale_and_zero = parameters(required or self._range_of(tensor) or ZERO_RANGE)
        if tensor in editor.outputs:
            editor.set_8_bits(tensor, *scale_and_zero)
            return tensor
        int8 = editor.add_activation(editor.shape(tensor), f"{editor.name(tensor)}_8_bits")
        editor.set_8_bits(int8, *scale_and_zero)
        for reader in readers:
            if editor.kind(reader) == "QUANTIZE":  # which changes the scale then
                reader.inputs = np.array([int8], np.int32)
        # For those that stay in float; where there are none, it is taken out again.
        editor.add_operation("DEQUANTIZE", [int8], [tensor], flatbuffer.schema().DequantizeOptionsT(), behind=writer)
        return int8

    def _has_range(self, tensor: int, span: Range) -> bool:
        low, high = self._editor.range(tensor) or ZERO_RANGE
        tolerance = (high - low) * 1e-4
        ends = min(span[0], 0.0), max(span[1], 0.0)
        return self._is_int8(tensor) and abs(low - ends[0]) <= tolerance and abs(high - ends[1]) <= tolerance

    def _constant(self, tensor: int, span: Range) -> int:
        editor = self._editor
        scale, zero = parameters(span)
        values: npt.NDArray[np.int8] = np.clip(np.rint(editor.constant(tensor) / scale) + zero, -128, 127).astype(
            np.int8
        )
        int8 = editor.add_activation(editor.shape(tensor), f"{editor.name(tensor)}_8_bits")
        editor.set_8_bits(int8, scale, zero)
        editor.set_constant(int8, values)
        return int8


def parameters(span: Range) -> tuple[float, int]:
    """Scale and zero point of 8 bits that hold a range, and 0 exactly."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = (high - low) / 255 or ZERO_SCALE
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))
