"""A TFLite flatbuffer that can be changed: its first graph, operation by operation, constant by constant."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.tflite_file import flatbuffer


class Editor:
    """The first graph of a file. Operations and tensors are the schema's own objects, tensors are told by index.

    Attributes:
        operators: in the order of execution; a list that may be changed.
        tensors: by index.
    """

    def __init__(self, data: bytes, name: str = "the network") -> None:
        """Unpacks a file.

        Raises:
            ConversionError: it is no TFLite file, or damaged.
        """
        self._schema = flatbuffer.schema()
        self._model = flatbuffer.unpack_portable(data, name)
        self._graph = self._model.subgraphs[0]
        self._codes = {v: k for k, v in vars(self._schema.BuiltinOperator).items() if isinstance(v, int)}
        self._types = {v: k for k, v in vars(self._schema.TensorType).items() if isinstance(v, int)}
        self.operators: list[Any] = list(self._graph.operators)
        self.tensors: list[Any] = list(self._graph.tensors)

    def finish(self) -> bytes:
        """The changed file."""
        self._graph.operators = self.operators
        return flatbuffer.pack(self._model)

    def name(self, tensor: int) -> str:
        """A tensor's name."""
        return (self.tensors[tensor].name or b"").decode("utf-8", "replace")

    def shape(self, tensor: int) -> tuple[int, ...]:
        """A tensor's shape; empty for a single number."""
        shape = self.tensors[tensor].shape
        return () if shape is None else tuple(int(n) for n in shape)

    def kind(self, operator: Any) -> str:
        """What an operation is, as TFLite calls it, such as ``CONV_2D``."""
        return str(self._codes[flatbuffer.builtin(self._model.operatorCodes[operator.opcodeIndex])])

    def activation(self, operator: Any) -> str:
        """The activation fused behind an operation: ``NONE``, ``RELU``, ``RELU6``, ..."""
        fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
        names = {v: k for k, v in vars(self._schema.ActivationFunctionType).items() if isinstance(v, int)}
        return str(names[fused])

    def producer(self, tensor: int) -> Any | None:
        """The operation that computes a tensor, or ``None`` for an input or a constant."""
        return next((o for o in self.operators if tensor in o.outputs), None)

    def readers(self, tensor: int) -> list[Any]:
        """The operations that read a tensor."""
        return [o for o in self.operators if tensor in o.inputs]

    @property
    def inputs(self) -> list[int]:
        """The graph's inputs."""
        return [int(i) for i in self._graph.inputs]

    @property
    def outputs(self) -> list[int]:
        """The graph's outputs."""
        return [int(i) for i in self._graph.outputs]

    def rename_output(self, old: int, new: int) -> None:
        """Makes another tensor an output in the place of one, in the signature too."""
        self._graph.outputs = np.array([new if i == old else i for i in self.outputs], np.int32)
        for signature in self._model.signatureDefs or ():
            for entry in signature.outputs:
                if entry.tensorIndex == old:
                    entry.tensorIndex = new

    def sign(self, outputs: list[str]) -> None:
        """Names the graph's outputs, in order, in a signature of its own."""
        tables = self._schema
        entries = [tables.TensorMapT(name=name.encode(), tensorIndex=i) for name, i in zip(outputs, self.outputs)]
        image = tables.TensorMapT(name=b"radiograph", tensorIndex=self.inputs[0])
        signature = tables.SignatureDefT(inputs=[image], outputs=entries, signatureKey=b"serving_default")
        self._model.signatureDefs = [signature]

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor is part of the file and not computed."""
        return len(self._buffer(tensor)) > 0

    def constant(self, tensor: int) -> npt.NDArray[Any]:
        """The values of a constant, a copy."""
        raw = self.tensors[tensor]
        values = np.frombuffer(self._buffer(tensor), self._types[raw.type].lower())
        return np.array(values.reshape(self.shape(tensor)))

    def set_constant(self, tensor: int, values: npt.NDArray[Any]) -> None:
        """Replaces the values of a constant, of the type it has; other tensors that shared them keep theirs."""
        raw = self.tensors[tensor]
        values = np.ascontiguousarray(values, self._types[raw.type].lower())
        buffer = self._schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8))
        if raw.buffer and self._buffer_users(raw.buffer) < 2:  # what nothing reads must not stay in the file
            self._model.buffers[raw.buffer] = buffer
        else:
            raw.buffer = len(self._model.buffers)
            self._model.buffers.append(buffer)

    def own_constant(self, operator: Any, position: int) -> int:
        """The constant that an operation reads at a position; a copy of its own where others read it too."""
        old = int(operator.inputs[position])
        if len(self.readers(old)) < 2:
            return old
        own = copy(self.tensors[old])
        own.name = f"{self.name(old)};{self.name(int(operator.outputs[0]))}".encode()
        self._add(own)
        operator.inputs = np.array(operator.inputs, np.int32)
        operator.inputs[position] = len(self.tensors) - 1
        return len(self.tensors) - 1

    def add_constant(self, values: npt.NDArray[np.float32], name: str) -> int:
        """A new constant of float32; returns its index."""
        tensor = self._schema.TensorT(
            shape=list(values.shape), type=self._schema.TensorType.FLOAT32, name=name.encode(), hasRank=True
        )
        self._add(tensor)
        self.set_constant(len(self.tensors) - 1, values)
        return len(self.tensors) - 1

    def add_activation(self, shape: tuple[int, ...], name: str) -> int:
        """A new tensor of float32 that an operation is to write; returns its index."""
        self._add(
            self._schema.TensorT(
                shape=list(shape), type=self._schema.TensorType.FLOAT32, name=name.encode(), hasRank=True
            )
        )
        return len(self.tensors) - 1

    def add_operation(
        self,
        kind: str,
        inputs: list[int],
        outputs: list[int],
        options: Any,
        before: Any | None = None,
        behind: Any | None = None,
    ) -> None:
        """A new operation before or behind another, or behind all; ``options`` is an object of the schema."""
        operator = self._schema.OperatorT(outputs=np.array(outputs, np.int32))
        self.replace_operation(operator, kind, inputs, options)
        neighbour = behind if before is None else before
        at = next((i for i, o in enumerate(self.operators) if o is neighbour), len(self.operators))
        self.operators.insert(at + 1 if behind is not None else at, operator)

    def replace_operation(self, operator: Any, kind: str, inputs: list[int], options: Any) -> None:
        """Makes an operation another one, with the same outputs; ``options`` is an object of the schema."""
        builtin = getattr(self._schema.BuiltinOperator, kind)
        old = min(builtin, flatbuffer.NO_OLD_NAME)
        code = self._schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=old, version=1)
        operator.opcodeIndex = len(self._model.operatorCodes)
        self._model.operatorCodes.append(code)
        operator.inputs = np.array(inputs, np.int32)
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__.removesuffix("T"))

    def scales(self, tensor: int) -> npt.NDArray[np.float64]:
        """The quantisation scales, one or one a channel; empty where it is not quantised."""
        quantization = self.tensors[tensor].quantization
        scale = None if quantization is None else quantization.scale
        return np.array([] if scale is None else scale, np.float64)

    def range(self, tensor: int) -> tuple[float, float] | None:
        """The lowest and highest value that a tensor with one scale can hold; ``None`` where it has none or many."""
        scales, raw = self.scales(tensor), self.tensors[tensor]
        if len(scales) != 1:
            return None
        limits = np.iinfo(self._types[raw.type].lower())
        zero = int(raw.quantization.zeroPoint[0]) if raw.quantization.zeroPoint is not None else 0
        return float((limits.min - zero) * scales[0]), float((limits.max - zero) * scales[0])

    def set_8_bits(self, tensor: int, scale: float, zero_point: int) -> None:
        """Makes an activation one of int8."""
        self.tensors[tensor].type = self._schema.TensorType.INT8
        self.tensors[tensor].quantization = self._schema.QuantizationParametersT(
            scale=np.array([scale], np.float32), zeroPoint=np.array([zero_point], np.int64)
        )

    def _add(self, tensor: Any) -> None:
        self.tensors.append(tensor)
        self._graph.tensors = self.tensors

    def _buffer_users(self, buffer: int) -> int:
        tensors = [t for graph in self._model.subgraphs for t in graph.tensors]
        return sum(user.buffer == buffer for user in (*tensors, *(self._model.metadata or ())))

    def _buffer(self, tensor: int) -> Any:
        data = self._model.buffers[self.tensors[tensor].buffer].data
        return b"" if data is None else np.asarray(data, np.uint8)
