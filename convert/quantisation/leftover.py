"""int8 for operations that the quantiser leaves in float although TFLite has an int8 kernel for them.

The quantiser puts DEQUANTIZE before such an operation and QUANTIZE behind it. Here the operation is made to read and
write the 8 bits themselves, as TFLite's own converter does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.quantisation.activations import Range
from convert.tflite_file import flatbuffer
from convert.tflite_file.editor import Editor

# Kernels that take any scale in and any scale out, and those that move values about, for which both must be the same:
# https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec and TFLite's kernels.
ANY_SCALE = frozenset(
    "ABS ELU EQUAL EXP GREATER GREATER_EQUAL LEAKY_RELU LESS LESS_EQUAL LOG NOT_EQUAL PRELU RELU RELU6 RELU_N1_TO_1 "
    "SQUARED_DIFFERENCE".split()
)
COMPARING = frozenset("EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL".split())  # abort at a scale of 1 or more
SAME_SCALE = frozenset(
    "BATCH_TO_SPACE_ND DEPTH_TO_SPACE EXPAND_DIMS MAXIMUM MINIMUM REDUCE_MAX REDUCE_MIN REVERSE_V2 SELECT SELECT_V2 "
    "SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT_V SQUEEZE TILE".split()
)
NOTHING: Range = (0.0, 0.0)
SCALE_OF_NOTHING = 2.0**-8  # of what is always 0; some kernels take no scale of 1 or more


def complete(quantised: bytes, ranges: Mapping[str, Range], floats: Collection[str] = ()) -> bytes:
    """The int8 flatbuffer with as little float left in it as TFLite's kernels allow; unchanged where there was none.

    Args:
        quantised: by ``litert-quantizer``.
        ranges: by tensor of the float network, for activations that lie between two such operations.
        floats: tensors whose operations are to stay in float.
    """
    editor = Editor(quantised)
    work = _Work(editor, ranges)
    for operator in list(editor.operators):
        asked = any(editor.name(int(t)) in floats for t in operator.outputs)
        if not asked and editor.kind(operator) in ANY_SCALE | SAME_SCALE and work.reads_or_writes_float(operator):
            work.convert(operator)
    if not work.converted:
        return quantised
    work.tidy()
    return editor.finish()


class _Work:
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
        read = [t for t in inputs if self._is_float(t) or self._is_int8(t)]
        written = [t for t in outputs if self._is_float(t)]
        if any(self._span(t) is None for t in (*read, *written)):
            return
        if self._editor.kind(operator) in COMPARING and any(parameters(self._span(t) or NOTHING)[0] >= 1 for t in read):
            return
        span = None
        if self._editor.kind(operator) in SAME_SCALE:
            span = self._span(read[0]) if len(read) == 1 else self._together([*read, *written])
        operator.inputs = np.array([self._input(t, span, operator) if t in read else t for t in inputs], np.int32)
        operator.outputs = np.array([self._output(t, span, operator) if t in written else t for t in outputs], np.int32)
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

    def _span(self, tensor: int) -> Range | None:
        """The range of a float tensor: a constant's own, or that of the 8 bits it came from, or the recorded one."""
        editor = self._editor
        if self._is_int8(tensor):
            return editor.range(tensor)
        if editor.is_constant(tensor):
            values = editor.constant(tensor)
            return float(values.min()), float(values.max())
        stored = self._stored(tensor)
        if stored is not None:
            return editor.range(stored)
        readers = [o for o in editor.readers(tensor) if editor.kind(o) == "QUANTIZE"]
        return editor.range(int(readers[0].outputs[0])) if readers else self._ranges.get(editor.name(tensor))

    def _together(self, tensors: list[int]) -> Range:
        spans = [span for t in tensors if (span := self._span(t)) is not None]
        return min(low for low, _ in spans), max(high for _, high in spans)

    def _stored(self, tensor: int) -> int | None:
        """The integers that a float tensor was made of."""
        if self._is_int8(tensor):
            return tensor
        writer = self._editor.producer(tensor)
        if writer is None or self._editor.kind(writer) != "DEQUANTIZE":
            return None
        return int(writer.inputs[0])

    def _input(self, tensor: int, span: Range | None, reader: Any) -> int:
        """What to read in place of a float tensor, in 8 bits of the span asked for."""
        editor = self._editor
        if editor.is_constant(tensor) and self._is_float(tensor):
            return self._constant(tensor, span or self._span(tensor) or NOTHING)
        stored = self._stored(tensor)
        known = span or self._span(tensor) or NOTHING
        if stored is not None and self._fits(stored, known):
            return stored
        if stored is None and tensor in editor.inputs:
            editor.set_8_bits(tensor, *parameters(known))
            return tensor
        made = editor.add_activation(editor.shape(tensor), f"{editor.name(tensor)}_rescaled")
        editor.set_8_bits(made, *parameters(known))
        source = tensor if stored is None else stored  # what is float by another's wish, or of another scale
        editor.add_operation("QUANTIZE", [source], [made], flatbuffer.schema().QuantizeOptionsT(), before=reader)
        return made

    def _output(self, tensor: int, span: Range | None, writer: Any) -> int:
        """What to write in place of a float tensor."""
        editor = self._editor
        readers = editor.readers(tensor)
        if len(readers) == 1 and editor.kind(readers[0]) == "QUANTIZE" and tensor not in editor.outputs:
            target = int(readers[0].outputs[0])
            if self._is_int8(target) and (span is None or self._fits(target, span)):
                editor.operators.remove(readers[0])
                return target
        known = parameters(span or self._span(tensor) or NOTHING)
        if tensor in editor.outputs:
            editor.set_8_bits(tensor, *known)
            return tensor
        made = editor.add_activation(editor.shape(tensor), f"{editor.name(tensor)}_8_bits")
        editor.set_8_bits(made, *known)
        for reader in readers:
            if editor.kind(reader) == "QUANTIZE":  # which changes the scale then
                reader.inputs = np.array([made], np.int32)
        # For those that stay in float; where there are none, it is taken out again.
        editor.add_operation("DEQUANTIZE", [made], [tensor], flatbuffer.schema().DequantizeOptionsT(), behind=writer)
        return made

    def _fits(self, tensor: int, span: Range) -> bool:
        low, high = self._editor.range(tensor) or NOTHING
        least = (high - low) * 1e-4
        ends = min(span[0], 0.0), max(span[1], 0.0)
        return self._is_int8(tensor) and abs(low - ends[0]) <= least and abs(high - ends[1]) <= least

    def _constant(self, tensor: int, span: Range) -> int:
        editor = self._editor
        scale, zero = parameters(span)
        values: npt.NDArray[np.int8] = np.clip(np.rint(editor.constant(tensor) / scale) + zero, -128, 127).astype(
            np.int8
        )
        made = editor.add_activation(editor.shape(tensor), f"{editor.name(tensor)}_8_bits")
        editor.set_8_bits(made, scale, zero)
        editor.set_constant(made, values)
        return made


def parameters(span: Range) -> tuple[float, int]:
    """Scale and zero point of 8 bits that hold a range, and 0 exactly."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = (high - low) / 255 or SCALE_OF_NOTHING
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))
