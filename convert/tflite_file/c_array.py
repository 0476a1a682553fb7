"""A network as a C header, for TFLite Micro, which has no files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from convert.tflite_file.editor import Editor
from convert.tflite_file.flatbuffer import Graph, Tensor, read
from covidnet_lite.network.manifest import Manifest

BYTES = {"FLOAT32": 4, "INT32": 4, "INT64": 8, "INT16": 2, "FLOAT16": 2, "INT8": 1, "UINT8": 1, "BOOL": 1}
ALIGNMENT = 16  # of TFLite Micro, for the network and for whatever lies in its arena
PER_LINE = 20


def name_beside(model: Path) -> Path:
    """The header that belongs to a ``.tflite``."""
    return model.with_suffix(".h")


def header(graph: bytes, manifest: Manifest, file: str) -> str:
    """C11 and C++: the flatbuffer without the archive at its end, and what must be known to feed and to read it.

    Args:
        graph: the flatbuffer.
        manifest: of the network.
        file: name of the header, from which those in it are made.
    """
    stem = re.sub(r"\W", "_", Path(file).stem)
    stem = f"_{stem}" if stem[0].isdigit() else stem
    parsed, upper = read(graph, file), stem.upper()
    spec, kinds = manifest.input, sorted({node.name for node in parsed.nodes})
    lines = [
        f"/* {_comment(manifest.name)}: {_comment(', '.join(manifest.labels))}",
        f" * {_comment(manifest.intended_use)}",
        " *",
        f" * Give it (level - mean) / std of levels 0 to 255, channels {spec.colour},"
        f" mean {_numbers(spec.mean)}, std {_numbers(spec.std)}"
        + (", gray levels equalised first" if spec.equalise else "")
        + (", cropped to the lungs first" if spec.lungs else "")
        + "; stored as real / SCALE + ZERO_POINT.",
        f" * Its softmax is taken with a temperature of {manifest.temperature:g}"
        + (f", after adding {_numbers(manifest.correction)}" if manifest.correction else "")
        + ".",
        f" * Operations for MicroMutableOpResolver<{len(kinds)}>: {', '.join(kinds)}",
        " *",
        " * ACTIVATION_BYTES live at the same time at most. The arena of TFLite Micro holds them, and what its kernels",
        " * and its own tables need: give more, and ask MicroInterpreter::arena_used_bytes() on the device.",
        " */",
        f"#ifndef {upper}_H_",
        f"#define {upper}_H_",
        "",
        f"#define {upper}_ACTIVATION_BYTES {peak(parsed)}",
        *_ends(graph, manifest, upper),
        "",
        "#ifdef __cplusplus",
        f"alignas({ALIGNMENT})",
        "#else",
        f"_Alignas({ALIGNMENT})",
        "#endif",
        f"static const unsigned char {stem}[{len(graph)}] = {{",
        *(f"  {','.join(map(str, graph[i : i + PER_LINE]))}," for i in range(0, len(graph), PER_LINE)),
        "};",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def peak(graph: Graph) -> int:
    """The most bytes of activations that live at the same time, each rounded up to 16: no arena can be smaller."""
    first_use = {t.index: 0 for t in graph.inputs}
    last_use = {t.index: len(graph.nodes) for t in graph.outputs}
    sizes = {t.index: _size(t) for t in graph.inputs}
    for i, node in enumerate(graph.nodes):
        for tensor in node.activations:
            sizes[tensor.index] = _size(tensor)
            first_use.setdefault(tensor.index, i)
            last_use[tensor.index] = max(i, last_use.get(tensor.index, 0))
    return max(
        sum(size for index, size in sizes.items() if first_use[index] <= i <= last_use.get(index, 0))
        for i in range(len(graph.nodes))
    )


def _size(tensor: Tensor) -> int:
    return -(-math.prod(tensor.shape) * BYTES.get(tensor.type, 4) // ALIGNMENT) * ALIGNMENT


def _ends(graph: bytes, manifest: Manifest, upper: str) -> Iterator[str]:
    """Sizes of the image, and scale and zero point of what goes in and comes out."""
    editor, spec = Editor(graph), manifest.input
    for name, value in (("HEIGHT", spec.height), ("WIDTH", spec.width), ("CHANNELS", spec.channels)):
        yield f"#define {upper}_{name} {value}"
    yield f"#define {upper}_CLASSES {len(manifest.labels)}"
    logits = editor.outputs[manifest.outputs["logits"]]
    for name, tensor in (("INPUT", editor.inputs[0]), ("LOGITS", logits)):
        quantization = editor.tensors[tensor].quantization
        if quantization is not None and quantization.scale is not None and len(quantization.scale) == 1:
            yield f"#define {upper}_{name}_SCALE {float(quantization.scale[0]):.9g}"
            yield f"#define {upper}_{name}_ZERO_POINT ({int(quantization.zeroPoint[0])})"
    yield f"#define {upper}_LOGITS {manifest.outputs['logits']} /* which output */"


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{v:g}" for v in values)


def _comment(text: str | Sequence[str]) -> str:
    """Text that cannot end a comment."""
    return str(text).replace("*/", "* /")
