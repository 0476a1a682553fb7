from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import Float32Flags
from flatbuffers.table import Table
from network.test_model import flatbuffer
from tflites import results, unpacked

from convert.tflite_file import metadata
from covidnet_lite.errors import ConversionError
from covidnet_lite.network import model
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.manifest import Manifest, seal

MANIFEST = model.load("base").manifest


def entry(data: bytes) -> bytes:
    """The one standard entry of a file."""
    contents = unpacked(data)
    (result,) = [e for e in contents.metadata if e.name == b"TFLITE_METADATA"]
    return bytes(bytearray(contents.buffers[result.buffer].data))


class Fields:
    """A table of a flatbuffer, field by field, as the schema numbers them."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def _at(self, field: int) -> int:
        return int(self.table.Offset(4 + 2 * field))

    def byte(self, field: int) -> int:
        return self.table.Bytes[self.table.Pos + self._at(field)] if self._at(field) else 0

    def count(self, field: int) -> int:
        place = self.table.Pos + self._at(field)
        return int.from_bytes(self.table.Bytes[place : place + 4], "little")

    def text(self, field: int) -> str | None:
        return self.table.String(self.table.Pos + self._at(field)).decode() if self._at(field) else None

    def floats(self, field: int) -> list[float]:
        return [float(v) for v in self.table.GetVectorAsNumpy(Float32Flags, self._at(field))]

    def inner(self, field: int) -> Fields:
        assert self._at(field), f"there is no field {field}"
        return Fields(Table(self.table.Bytes, self.table.Indirect(self.table.Pos + self._at(field))))

    def several(self, field: int) -> list[Fields]:
        if not self._at(field):
            return []
        start, count = self.table.Vector(self._at(field)), self.table.VectorLen(self._at(field))
        return [Fields(Table(self.table.Bytes, self.table.Indirect(start + 4 * i))) for i in range(count)]


def described(manifest: Manifest) -> Fields:
    content = entry(metadata.attach(flatbuffer(), manifest))
    assert content[4:8] == b"M001"
    return Fields(Table(content, int.from_bytes(content[:4], "little")))


def test_it_says_of_the_network_what_the_manifest_says() -> None:
    root = described(MANIFEST)
    assert root.text(0) == MANIFEST.name
    for word in (*MANIFEST.labels, "Research use only; not a medical device.", "manifest.json"):
        assert word in root.text(1)
    assert (root.text(2), root.text(4), root.text(5)) == (MANIFEST.version, None, MANIFEST.licence)
    assert root.text(7) == "1.0.0"
    assert described(replace(MANIFEST, version="")).text(2) is None


def test_the_input_is_a_gray_image_with_its_normalisation() -> None:
    (given,) = described(MANIFEST).several(3)[0].several(2)
    assert given.text(0) == "radiograph"
    of_pictures = replace(
        MANIFEST,
        guard=None,
        operating_point=None,
        extent=None,
        input=replace(MANIFEST.input, equalise=False, lungs=b""),
    )
    assert described(of_pictures).several(3)[0].several(2)[0].text(0) == "image"
    content = given.inner(3)
    assert content.byte(0) == 2  # an image
    assert content.inner(1).byte(0) == 2  # gray
    assert [content.inner(1).inner(1).count(i) for i in (0, 1)] == [224, 224]
    (unit,) = given.several(4)
    assert unit.byte(0) == 1  # a normalisation
    assert (unit.inner(1).floats(0), unit.inner(1).floats(1)) == ([127], [128])
    assert (given.inner(5).floats(0), given.inner(5).floats(1)) == ([1], [-127 / 128])  # highest, lowest


def test_three_channels_are_rgb_each_with_its_normalisation() -> None:
    spec = InputSpec(60, 40, 3, (124, 116, 104), (58, 57, 56))
    (given,) = described(replace(MANIFEST, input=spec)).several(3)[0].several(2)
    image = given.inner(3).inner(1)
    assert (image.byte(0), image.inner(1).count(0), image.inner(1).count(1)) == (1, 40, 60)
    options = given.several(4)[0].inner(1)
    assert (options.floats(0), options.floats(1)) == ([124, 116, 104], [58, 57, 56])
    assert "same in all three" in given.text(1)


@pytest.mark.parametrize("equalise", [True, False])
def test_what_the_standard_cannot_express_is_said_in_words(equalise: bool) -> None:
    spec = replace(MANIFEST.input, equalise=equalise)
    (given,) = described(replace(MANIFEST, input=spec)).several(3)[0].several(2)
    assert ("equalise" in given.text(1)) == equalise
    assert ("covidnet_lite.fit.fit" in given.text(1)) == (equalise or bool(spec.lungs))
    (given,) = described(replace(MANIFEST, input=replace(spec, lungs=b"finder"))).several(3)[0].several(2)
    assert "crop it to the lungs, which lungs.tflite in the archive finds" in given.text(1)


def test_outputs_come_in_the_order_of_the_graph_and_labels_belong_to_the_logits() -> None:
    outputs = described(MANIFEST).several(3)[0].several(3)
    assert [o.text(0) for o in outputs] == sorted(MANIFEST.outputs, key=MANIFEST.outputs.__getitem__)
    files = {o.text(0): [(f.text(0), f.byte(2)) for f in o.several(6)] for o in outputs}
    assert files == {"logits": [("labels.txt", 2)], "evidence": [], "embedding": []}
    assert {o.inner(3).byte(0) for o in outputs} == {1}  # features


def test_an_output_that_the_manifest_does_not_name_keeps_the_graph_s_name() -> None:
    manifest = replace(MANIFEST, outputs={"logits": MANIFEST.outputs["logits"]}, guard=None, extent=None)
    names = [o.text(0) for o in described(manifest).several(3)[0].several(3)]
    assert names[MANIFEST.outputs["logits"]] == "logits"
    assert len(set(names)) == 3
    assert all(names)


def test_the_same_input_gives_the_same_bytes_and_a_second_time_changes_nothing() -> None:
    bare = flatbuffer()
    result = metadata.attach(bare, MANIFEST)
    assert result == metadata.attach(bare, MANIFEST) == metadata.attach(result, MANIFEST)
    other = metadata.attach(result, replace(MANIFEST, name="a much longer name than before"))
    assert other != result
    assert metadata.attach(other, MANIFEST) == result
    assert len(unpacked(other).buffers) == len(unpacked(result).buffers)


def test_the_network_computes_the_same_and_its_constants_stay_aligned() -> None:
    bare = flatbuffer()
    result = metadata.attach(bare, MANIFEST)
    for seed in range(3):
        for before, after in zip(results(bare, seed), results(result, seed), strict=True):
            assert np.array_equal(before, after)
    raw = schema.Model.GetRootAs(result, 0)
    tables = [raw.Buffers(i)._tab for i in range(raw.BuffersLength())]
    assert {t.Vector(t.Offset(4)) % 16 for t in tables if t.Offset(4)} == {0}


def test_what_the_file_said_of_itself_before_stays() -> None:
    contents = unpacked(flatbuffer())
    before = {e.name for e in contents.metadata}
    assert {e.name for e in unpacked(metadata.attach(flatbuffer(), MANIFEST)).metadata} == before | {b"TFLITE_METADATA"}


def test_sealed_it_loads_with_its_manifest(tmp_path: Path) -> None:
    path = tmp_path / "described.tflite"
    path.write_bytes(seal(metadata.attach(flatbuffer(), MANIFEST), MANIFEST))
    loaded = model.load(path)
    assert loaded.manifest.to_json() == MANIFEST.to_json()
    values = np.zeros((1, 224, 224, 1), np.int8)
    for a, b in zip(Interpreter(loaded).run(values), Interpreter(model.load("base")).run(values), strict=True):
        np.testing.assert_array_equal(a, b)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "an output that is not there": (
        lambda: metadata.attach(flatbuffer(), replace(MANIFEST, outputs={"logits": 3}, guard=None, extent=None)),
        "base: its manifest says that output 3 holds the logits, but the network has outputs 0 to 2",
    ),
    "no flatbuffer": (lambda: metadata.attach(b"%PDF-1.7" * 10, MANIFEST), "base: is no TFLite file"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_described_is_refused(what: str) -> None:
    make, message = WRONG[what]
    with pytest.raises(ConversionError, match=message):
        make()
