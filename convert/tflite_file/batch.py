"""The same network for several images at a time, for runtimes that are faster so; ours takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.tflite_file.editor import Editor
from covidnet_lite.errors import ConversionError


def name_beside(model: Path, count: int) -> Path:
    """The file that belongs to a ``.tflite`` of one image."""
    return model.with_name(f"{model.stem}_batch{count}{model.suffix}")


def with_batch(graph: bytes, count: int) -> bytes:
    """A flatbuffer of one image -> one of ``count``, tried by running it.

    Raises:
        ConversionError: the network mixes images, or says the number of them where it cannot be changed.
    """
    editor = Editor(graph)
    computed = {int(t) for o in editor.operators for t in o.outputs} | set(editor.inputs)
    for tensor in computed:
        shape = editor.shape(tensor)
        if len(shape) > 1 and shape[0] == 1:
            editor.tensors[tensor].shape = np.array([count, *shape[1:]], np.int32)
    for operator in editor.operators:
        if editor.kind(operator) != "RESHAPE":
            continue
        shape = editor.shape(int(operator.outputs[0]))
        if len(operator.inputs) > 1 and editor.is_constant(int(operator.inputs[1])):
            editor.set_constant(editor.own_constant(operator, 1), np.array(shape))
        if operator.builtinOptions is not None:
            operator.builtinOptions.newShape = np.array(shape, np.int32)
    batched = editor.finish()
    _check(graph, batched, count)
    return batched


def _check(one: bytes, many: bytes, count: int) -> None:
    """Whether each image is answered as it is by itself, on noise."""
    from ai_edge_litert.interpreter import Interpreter

    single, batched = Interpreter(model_content=one), Interpreter(model_content=many)
    details = single.get_input_details()[0]
    rng = np.random.default_rng(0)
    images: npt.NDArray[Any] = rng.normal(size=(count, *details["shape"][1:]))
    if details["dtype"] != np.float32:
        limits = np.iinfo(details["dtype"])
        images = rng.integers(limits.min, limits.max + 1, images.shape)
    images = images.astype(details["dtype"])
    try:
        answers = [_run(batched, images)]
        answers += [[np.concatenate(end) for end in zip(*(_run(single, image[None]) for image in images))]]
    except (RuntimeError, ValueError) as error:
        cause = str(error).strip().split("\n")[0]
        raise ConversionError(f"--batch {count}: LiteRT cannot run this network on several images ({cause})") from error
    for actual, expected in zip(*answers):
        if actual.shape != expected.shape or not np.allclose(actual, expected, rtol=1e-3, atol=1e-3):
            raise ConversionError(f"--batch {count}: this network answers images otherwise together than one by one")


def _run(interpreter: Any, images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return [interpreter.get_tensor(end["index"]) for end in interpreter.get_output_details()]
