"""A TensorFlow function of one image -> its graph with the weights in it, and the float flatbuffer of that.

SavedModels and networks of Keras 2 come this way: what else their files hold, such as an optimizer's state, stays
behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.quiet import quiet
from convert.source.scaling import Step
from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError

# Of TensorFlow's operations: those that pass an image on, and those that scale it.
_PASSING = ("Identity", "StridedSlice", "ReverseV2", "EnsureShape")
_SHAPING = ("Identity", "Cast", "Squeeze", "Reshape", "ExpandDims")  # what may lie between a constant and its reader
_SCALING = {"Mul": "MUL", "AddV2": "ADD", "Add": "ADD", "BiasAdd": "ADD", "Sub": "SUB", "RealDiv": "DIV"}


@dataclass(frozen=True, eq=False)
class Frozen:
    """A frozen function of one image.

    Attributes:
        function: the ``ConcreteFunction``, without variables.
        outputs: name -> shape, in the order of the function's outputs.
    """

    function: Any
    outputs: dict[str, tuple[int, ...]]


def freeze(call: Callable[[Any], Any], shape: tuple[int, int, int], path: Path) -> Frozen:
    """A function of ``(1, *shape)`` float32 with its variables turned to constants.

    Named outputs keep their names; an only one, also within a list or a dict, is called ``logits``.

    Raises:
        ConversionError: TensorFlow cannot trace it.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    names: list[str] = []

    def named(radiograph: Any) -> Any:
        out = only(call(radiograph))
        out = out if isinstance(out, dict) else {"logits": out}
        if any(isinstance(value, (list, tuple, dict)) for value in out.values()):
            count = sum(len(value) for value in out.values())
            raise ValueError(f"it has {count} unnamed outputs; name them with a dict")
        names[:] = sorted(out)  # as TensorFlow flattens a dict
        return out

    image = tf.TensorSpec((1, *shape), tf.float32, name="radiograph")
    try:
        traced = tf.function(named, autograph=False).get_concrete_function(image)
        function = convert_variables_to_constants_v2(traced)
    except (ValueError, TypeError, RuntimeError, AttributeError, NotImplementedError, tf.errors.OpError) as error:
        raise ConversionError(f"{path}: TensorFlow cannot run it ({first_cause(error)})") from error
    shapes = [tuple(tensor.shape.as_list()) if tensor.shape.rank else () for tensor in function.outputs]
    # One image makes one row; TensorFlow loses count behind what Keras 3 compiles, such as convolutions in groups.
    shapes = [(1, *shape[1:]) if shape[:1] == (None,) else shape for shape in shapes]
    return Frozen(function, dict(zip(names, shapes)))


def run(frozen: Frozen, image: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """What it makes of ``(1, height, width, channels)`` float32, by the names of its outputs.

    As the graph is: what TensorFlow's optimiser makes of convolutions in groups does not run on every processor.
    """
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    function = frozen.function
    with tf.compat.v1.Session(graph=function.graph, config=config) as session:
        return dict(zip(frozen.outputs, session.run(function.outputs, {function.inputs[0].name: image})))


def only(out: Any) -> Any:
    """The one value of a list or dict that has no other, however deep; else what was given."""
    while isinstance(out, (list, tuple, dict)) and len(out) == 1:
        (out,) = out.values() if isinstance(out, dict) else out
    return out


def to_tflite(frozen: Frozen, path: Path) -> bytes:
    """The float flatbuffer, with a signature that names the outputs.

    Raises:
        ConversionError: TensorFlow cannot convert it.
    """
    import tensorflow as tf

    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen.function])
    editor = Editor(converted(converter, path), str(path))
    editor.sign(list(frozen.outputs))
    return editor.finish()


def converted(converter: Any, path: Path) -> bytes:
    """What a ``TFLiteConverter`` makes.

    Raises:
        ConversionError: it fails.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        with quiet():
            return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError, TypeError) as error:
        raise ConversionError(
            f"{path}: TensorFlow cannot convert it; replace by layers that TFLite has, in float32: "
            f"{_missing_operations(error)}"
        ) from error


def _missing_operations(error: Exception) -> str:
    """The operations that TFLite lacks, out of pages of text; or the cause."""
    matches = re.findall(r'fused\["(\w+):", "([^"@]+)@', str(error))
    missing = dict.fromkeys(f"{kind} ({layer})" for kind, layer in matches if not kind.endswith("PartitionedCall"))
    return ", ".join([*missing][:5]) or first_cause(error)


def first_cause(error: BaseException) -> str:
    """What went wrong first, in one line and in full: Keras wraps it in pages of the network's settings."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    inside = text.rsplit("Exception encountered: ", 1)[-1].split("Full object config:")[0].strip()
    return (inside.splitlines() or [type(error).__name__])[0]


def steps(frozen: Frozen) -> list[Step]:
    """What is done to an image first; see :func:`convert.source.scaling.of_steps`."""
    operations = frozen.function.graph.get_operations()
    (tensor,) = frozen.function.inputs
    scaling_steps: list[Step] = []
    while True:
        reader = _reader(operations, tensor)
        if reader is None:
            return scaling_steps
        if reader.type in _SCALING:
            constants = [_constant(t.op) for t in reader.inputs if t is not tensor]
            if len(constants) != 1 or constants[0] is None:
                return scaling_steps
            scaling_steps.append(Step(_SCALING[reader.type], constants[0], reader.inputs[0] is not tensor))
        elif reader.type not in (*_PASSING, "Pack") or reader.outputs[0].shape != tensor.shape:
            return scaling_steps
        tensor = reader.outputs[0]


def _reader(operations: list[Any], tensor: Any) -> Any:
    """What alone reads a tensor, or puts its slices together again, as the exchange of red and blue does."""
    readers = [o for o in operations if any(t is tensor for t in o.inputs)]
    if len(readers) > 1 and all(o.type == "StridedSlice" for o in readers):
        slices = [o.outputs[0] for o in readers]
        packs = [o for o in operations if any(t is s for t in o.inputs for s in slices)]
        return packs[0] if len(packs) == 1 and packs[0].type == "Pack" else None
    return readers[0] if len(readers) == 1 else None


def _constant(operation: Any) -> Any:
    """The array behind an operand; ``None`` where it depends on the image."""
    from tensorflow import make_ndarray

    while operation.type in _SHAPING:
        operation = operation.inputs[0].op
    return make_ndarray(operation.get_attr("value")) if operation.type == "Const" else None
