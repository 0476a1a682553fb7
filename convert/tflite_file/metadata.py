"""The standard TFLite metadata: what other readers understand of a network of ours.

It is a flatbuffer of its own, ``ModelMetadata`` of tflite-support's
``metadata_schema.fbs``, kept in one buffer of the network's. The packages that
bring code for that schema bring OpenCV or an old NumPy too, and it has not
changed since 2021: so its few tables are written here field by field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from convert.tflite_file.flatbuffer import Graph, pack, portable, read, schema, unpack
from covidnet_lite.errors import ConversionError
from covidnet_lite.network.manifest import Manifest

ENTRY = b"TFLITE_METADATA"
IDENTIFIER = b"M001"
PARSER = "1.0.0"  # the oldest that knows every field used here

MEANING = {
    "logits": "One score a class, in the order of labels.txt, before the softmax.",
    "evidence": "Class activation map: where in the picture it was given each class's score comes from.",
    "embedding": "What the guard judges whether this is a frontal chest radiograph by.",
}


@dataclass(frozen=True)
class Table:
    """A table of the schema: its fields in their order, ``None`` for one that is left out."""

    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Byte:
    """A field of one byte: an enumeration, or which type of a union follows."""

    value: int


@dataclass(frozen=True)
class Count:
    """A field of 32 bits, unsigned."""

    value: int


Field: TypeAlias = str | Byte | Count | Table | Sequence[float] | Sequence[Table] | None

# What the schema calls them.
FEATURE_PROPERTIES, IMAGE_PROPERTIES = Byte(1), Byte(2)
RGB, GRAYSCALE = Byte(1), Byte(2)
NORMALIZATION_OPTIONS = Byte(1)
TENSOR_AXIS_LABELS = Byte(2)


def attach(flatbuffer: bytes, manifest: Manifest) -> bytes:
    """The bare flatbuffer with standard metadata made from its manifest, in place of any that it has.

    To be sealed afterwards: :func:`covidnet_lite.network.manifest.seal` appends the ``labels.txt`` named here. What the
    network computes stays the same.

    Raises:
        ConversionError: the flatbuffer is damaged, or lacks an output that the manifest names.
    """
    bare = portable(flatbuffer, manifest.name)
    content = np.frombuffer(_flatbuffer(describe(manifest, read(bare, manifest.name))), np.uint8)
    model = unpack(bare, manifest.name)
    entry = next((m for m in model.metadata or () if m.name == ENTRY), None)
    if entry is None:
        _add(model, content)
    else:
        model.buffers[entry.buffer].data = content
    return pack(model)


def describe(manifest: Manifest, graph: Graph) -> Table:
    """The ``ModelMetadata`` of a network.

    Raises:
        ConversionError: the graph lacks an output that the manifest names.
    """
    names = {position: name for name, position in manifest.outputs.items()}
    missing = [name for position, name in names.items() if not 0 <= position < len(graph.outputs)]
    if missing:
        raise ConversionError(
            f"{manifest.name}: its manifest says that output {manifest.outputs[missing[0]]} holds the {missing[0]}, "
            f"but the network has outputs 0 to {len(graph.outputs) - 1}; correct the manifest's outputs"
        )
    outputs = [_output(names.get(i, tensor.name)) for i, tensor in enumerate(graph.outputs)]
    subgraph = Table((None, None, [_input(manifest)], outputs))
    return Table(
        (
            manifest.name,
            _description(manifest),
            manifest.version or None,
            [subgraph],
            None,  # the author
            manifest.licence or None,
            None,  # files that belong to no tensor
            PARSER,
        )
    )


def _description(manifest: Manifest) -> str:
    subject = "frontal chest radiograph" if manifest.is_of_radiographs else "image"
    return (
        f"Which of these classes a {subject} resembles: {', '.join(manifest.labels)}. "
        f"{manifest.intended_use} How to judge the scores stands in manifest.json, in the archive at the file's end."
    )


def _input(manifest: Manifest) -> Table:
    spec = manifest.input
    subject = "radiograph" if manifest.is_of_radiographs else "image"
    description = f"A gray {subject}" + (", the same in all three channels" if spec.channels == 3 else "")
    if spec.in_colour:
        description = "An image in colour"
    if spec.colour == "bgr":
        description += ". Its channels are blue, green and red in this order, which this metadata cannot express"
    steps = [
        *(["crop it to the lungs, which lungs.tflite in the archive finds"] if spec.lungs else []),
        *(["equalise its gray levels"] if spec.equalise else []),
    ]
    if steps:
        description += (
            f". Before normalising, {' and '.join(steps)}, which this metadata cannot express: "
            "covidnet_lite.fit.fit does it. Without, the answers are wrong"
        )
    image = Table((RGB if spec.channels == 3 else GRAYSCALE, Table((Count(spec.width), Count(spec.height)))))
    low, high = ([(gray - m) / s for m, s in zip(spec.mean, spec.std)] for gray in (0, 255))
    return Table(
        (
            subject,
            f"{description}.",
            None,  # names of its dimensions
            Table((IMAGE_PROPERTIES, image)),
            [Table((NORMALIZATION_OPTIONS, Table((spec.mean, spec.std))))],
            Table((high, low)),
        )
    )


def _output(name: str) -> Table:
    labels = Table(("labels.txt", "The classes, one a line.", TENSOR_AXIS_LABELS))
    return Table(
        (
            name,
            MEANING.get(name),
            None,  # names of its dimensions
            Table((FEATURE_PROPERTIES, Table(()))),
            None,  # process units
            None,  # statistics
            [labels] if name == "logits" else None,
        )
    )


def _add(model: Any, content: Any) -> None:
    tables = schema()
    model.metadata = [*(model.metadata or ()), tables.MetadataT(name=ENTRY, buffer=len(model.buffers))]
    model.buffers.append(tables.BufferT(data=content))


def _flatbuffer(root: Table) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, root), IDENTIFIER)
    return bytes(builder.Output())


def _write(builder: Any, value: str | Table | Sequence[float] | Sequence[Table]) -> int:
    """Writes what lies behind an offset, and gives the offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, Table):
        return _write_table(builder, value)
    items = [_write(builder, item) if isinstance(item, Table) else item for item in value]
    tables = any(isinstance(item, Table) for item in value)
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        (builder.PrependUOffsetTRelative if tables else builder.PrependFloat32)(item)
    return int(builder.EndVector())


def _write_table(builder: Any, table: Table) -> int:
    # Whatever a table points to must be written before it.
    stored = [f if f is None or isinstance(f, (Byte, Count)) else _write(builder, f) for f in table.fields]
    builder.StartObject(len(stored))
    for slot, field in enumerate(stored):
        if isinstance(field, Byte):
            builder.PrependInt8Slot(slot, field.value, 0)
        elif isinstance(field, Count):
            builder.PrependUint32Slot(slot, field.value, 0)
        elif field is not None:
            builder.PrependUOffsetTRelativeSlot(slot, field, 0)
    return int(builder.EndObject())
