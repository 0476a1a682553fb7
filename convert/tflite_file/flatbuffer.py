"""The TFLite flatbuffer: what the tools here look at, as small dataclasses, and a form that any reader reads."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covidnet_lite.errors import ConversionError, MissingExtraError

NO_OLD_NAME = 127  # PLACEHOLDER_FOR_GREATER_OP_CODES: the old field is a signed byte
# The lowest version that TFLite itself gives to int8; litert-quantizer leaves float's 1.
INT8_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "EXP": 2,
    "FULLY_CONNECTED": 4,
    "GREATER": 2,
    "GREATER_EQUAL": 2,
    "LEAKY_RELU": 2,
    "LESS": 2,
    "LESS_EQUAL": 2,
    "LOG": 2,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MUL": 2,
    "PAD": 2,
    "REDUCE_MAX": 2,
    "RELU6": 2,
    "SOFTMAX": 2,
    "SUB": 2,
}


@dataclass(frozen=True, eq=False)
class Tensor:
    """What an operation reads or writes.

    Attributes:
        index: place among the graph's tensors.
        dynamic: whether its shape is left open.
        type: as TFLite calls it, such as ``INT8``.
        scales: how many; 0 where it is not quantised.
        constant: whether it is part of the file, not computed.
        state: whether it is the state of a recurrent network.
        values: of a constant of integers.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dynamic: bool
    type: str
    scales: int
    zero_point: int
    constant: bool
    state: bool
    values: npt.NDArray[Any] | None

    @property
    def is_8_bit(self) -> bool:
        """Whether it is quantised to 8 bits."""
        return self.type in ("INT8", "UINT8") and self.scales > 0


@dataclass(frozen=True, eq=False)
class Node:
    """One operation; ``name`` and ``version`` are as TFLite calls it."""

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any

    def option(self, name: str) -> int:
        """A number or flag of the operation; 0 where it has none of that name."""
        return int(getattr(self.options, name, 0))

    def input(self, position: int) -> Tensor | None:
        """An input that may be left out."""
        return self.inputs[position] if position < len(self.inputs) else None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it reads and writes."""
        return tuple(t for t in (*self.inputs, *self.outputs) if t is not None)

    @property
    def activations(self) -> tuple[Tensor, ...]:
        """Those that are computed."""
        return tuple(t for t in self.tensors if not (t.constant or t.state))


@dataclass(frozen=True, eq=False)
class Graph:
    """The first graph of a file, its operations in order.

    Attributes:
        parameter_bytes: of all constants.
        weights_behind: how many constants lie behind the flatbuffer instead of in it.
        other_graphs: how many further graphs there are.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameter_bytes: int
    weights_behind: int
    other_graphs: int


def read(data: bytes, name: str) -> Graph:
    """The first graph of a flatbuffer.

    Raises:
        ConversionError: there is none, or the file is damaged.
    """
    return _read(unpack(data, name), data, name)


def portable(data: bytes, name: str = "the model") -> bytes:
    """The bare flatbuffer in a form that older and other readers read too; it computes the same.

    Constants that lie behind the flatbuffer are moved into it, since older schemas know no such place; int8
    operations get the versions that TFLite gives them; and every operation is named where OpenVINO and tf2onnx look
    first, without which they took QUANTIZE for ADD. What is portable already stays as it is, to the byte.

    Raises:
        ConversionError: the file is no TFLite file, or damaged.
    """
    return pack(unpack_portable(data, name))


def unpack_portable(data: bytes, name: str) -> Any:
    """What :func:`unpack` gives of :func:`portable`, without packing in between.

    Raises:
        ConversionError: the file is no TFLite file, or damaged.
    """
    model = unpack(data, name)
    graph = _read(model, data, name)
    for buffer in model.buffers:
        content = _content(buffer, data)
        buffer.data = np.frombuffer(content, np.uint8) if content else None
        buffer.offset = buffer.size = 0
    for code in model.operatorCodes:
        code.builtinCode = builtin(code)
        code.deprecatedBuiltinCode = min(code.builtinCode, NO_OLD_NAME)
    for node, operator in zip(graph.nodes, model.subgraphs[0].operators):
        if any(t.type == "INT8" for t in node.activations):
            code = model.operatorCodes[operator.opcodeIndex]
            code.version = max(code.version, INT8_VERSIONS.get(node.name, 1))
    return model


def builtin(code: Any) -> int:
    """The number of an operation, in whichever of the two fields it stands."""
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def pack(model: Any) -> bytes:
    """The reverse of :func:`unpack`; the same bytes for the same objects."""
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        """Vectors at multiples of 16, as the schema wants constants, and equal ones once.

        The generated code leaves out both. A network quantised per channel names a zero point of 0 for every channel
        of every weight and bias: a tenth of an int8 file.
        """

        def __init__(self) -> None:
            super().__init__(2**16)
            self._written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # its name is the library's
            key = x.dtype.str, x.tobytes()
            if key not in self._written:
                self.Prep(16, x.nbytes)
                self._written[key] = int(super().CreateNumpyVector(x))
            return self._written[key]

    builder = Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def unpack(data: bytes, name: str) -> Any:
    """The flatbuffer as objects.

    Raises:
        ConversionError: it is none, or damaged.
    """
    tables = schema()
    if len(data) < 16 or data[4:8] != b"TFL3":
        raise ConversionError(f"{name}: is no TFLite file; give an int8 .tflite, as covidnet-lite convert makes it")
    try:
        model = tables.ModelT.InitFromObj(tables.Model.GetRootAs(data, 0))
        for buffer in model.buffers:
            if buffer.offset > 1 and buffer.offset + buffer.size > len(data):
                raise ValueError(f"a constant lies at byte {buffer.offset}, behind the file's end")
        return model
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, OverflowError, MemoryError) as error:
        raise ConversionError(f"{name}: is damaged ({error}); copy or convert it again") from error


def schema() -> Any:
    """The generated classes of the TFLite schema."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingExtraError(
            f"reading a .tflite needs LiteRT: pip install 'covidnet-lite[convert]' ({error})"
        ) from error
    return schema_py_generated


def _read(model: Any, data: bytes, name: str) -> Graph:
    """The first graph of an unpacked flatbuffer.

    Raises:
        ConversionError: there is none, or the file is damaged.
    """
    try:
        if not model.subgraphs or not model.subgraphs[0].operators:
            raise ConversionError(f"{name}: holds no operation; convert the network again")
        return _graph(model, data)
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, OverflowError) as error:
        raise ConversionError(f"{name}: is damaged ({error}); copy or convert it again") from error


def _graph(model: Any, data: bytes) -> Graph:
    tables = schema()
    codes = {value: key for key, value in vars(tables.BuiltinOperator).items() if isinstance(value, int)}
    types = {value: key for key, value in vars(tables.TensorType).items() if isinstance(value, int)}
    graph = model.subgraphs[0]
    computed = {int(i) for i in graph.inputs} | {int(i) for o in graph.operators for i in o.outputs}
    contents = [_content(buffer, data) for buffer in model.buffers]

    def tensor(index: int) -> Tensor:
        raw = graph.tensors[_within(index, graph.tensors, "tensor")]
        content = contents[_within(raw.buffer, contents, "buffer")]
        kind = types[raw.type]
        quantization = raw.quantization
        scales = [] if quantization is None or quantization.scale is None else list(quantization.scale)
        zero_points = [] if quantization is None or quantization.zeroPoint is None else list(quantization.zeroPoint)
        constant = index not in computed and not raw.isVariable
        is_integer = kind in ("INT8", "UINT8", "INT32", "INT64")
        return Tensor(
            index,
            (raw.name or b"").decode("utf-8", "replace"),
            tuple(int(n) for n in (raw.shape if raw.shape is not None else ())),
            raw.shapeSignature is not None and any(int(n) < 0 for n in raw.shapeSignature),
            kind,
            len(scales),
            int(zero_points[0]) if zero_points else 0,
            constant,
            bool(raw.isVariable),
            np.frombuffer(content, kind.lower()) if constant and is_integer else None,
        )

    tensors = [tensor(i) for i in range(len(graph.tensors))]

    def pick(indices: Any) -> list[Tensor]:
        return [tensors[_within(i, tensors, "tensor")] for i in (indices if indices is not None else ())]

    nodes = []
    for operator in graph.operators:
        code = model.operatorCodes[_within(operator.opcodeIndex, model.operatorCodes, "operator code")]
        name = codes[builtin(code)]
        if name == "CUSTOM":
            name = (code.customCode or b"").decode("utf-8", "replace") or name
        inputs = tuple(
            None if int(i) == -1 else pick([i])[0] for i in (operator.inputs if len(operator.inputs) else ())
        )
        nodes.append(Node(name, code.version, inputs, tuple(pick(operator.outputs)), operator.builtinOptions))
    constants = {graph.tensors[t.index].buffer for node in nodes for t in node.tensors if t.constant}
    return Graph(
        tuple(nodes),
        tuple(pick(graph.inputs)),
        tuple(pick(graph.outputs)),
        sum(len(contents[i]) for i in constants),
        sum(model.buffers[i].offset > 1 for i in constants),
        len(model.subgraphs) - 1,
    )


def _within(index: int, items: Sequence[Any], kind: str) -> int:
    if not 0 <= index < len(items):
        raise ValueError(f"there is no {kind} {index}")
    return int(index)


def _content(buffer: Any, data: bytes) -> bytes:
    if buffer.offset > 1:
        return data[buffer.offset : buffer.offset + buffer.size]
    return b"" if buffer.data is None else bytes(bytearray(buffer.data))
