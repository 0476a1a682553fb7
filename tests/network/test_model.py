from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import covidnet_lite
from covidnet_lite.errors import ModelError
from covidnet_lite.network import manifest, model
from covidnet_lite.network.interpreter import Interpreter

BASE = model.SHIPPED / "base.tflite"


def flatbuffer() -> bytes:
    """The shipped network without the archive at its end."""
    with zipfile.ZipFile(BASE) as archive:
        return BASE.read_bytes()[: min(entry.header_offset for entry in archive.infolist())]


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        covidnet_lite.Classifier(path, unsigned="allow")
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_shipped_networks_are_those_pinned() -> None:
    assert "base" in model.shipped()
    for name, digest in model.shipped().items():
        loaded = model.load(name)
        assert loaded.sha256 == digest == hashlib.sha256(loaded.path.read_bytes()).hexdigest()
        assert len(loaded.data) <= 5_000_000
        assert loaded.manifest.labels == ("normal", "pneumonia", "covid")
        assert "not a medical device" in loaded.manifest.intended_use


def test_a_shipped_network_that_was_replaced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "shipped", lambda: {"base": "0" * 64})
    with pytest.raises(ModelError, match="reinstall covidnet-lite"):
        model.load("base")


def test_a_copy_of_a_shipped_network_is_hashed_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "copy.tflite"
    path.write_bytes(BASE.read_bytes())
    hashed, sha256 = [], hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda data=b"": (hashed.append(len(data)), sha256(data))[1])
    assert model.load(path).is_shipped
    assert sum(length > 1_000_000 for length in hashed) == 1


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ModelError, match="no such model.*base"):
        model.load("huge")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        model.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 100, 10_000, -100_000, -1])
def test_a_truncated_model_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes(BASE.read_bytes()[:keep])
    refused(path)


def test_a_model_with_one_byte_flipped_is_refused(tmp_path: Path) -> None:
    data, path = BASE.read_bytes(), tmp_path / "flipped.tflite"
    for position in (20, 1000, len(data) // 2, len(data) - 70_000, len(data) - 100, len(data) - 70, len(data) - 1):
        flipped = bytearray(data)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        refused(path)


def test_a_text_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "notes.tflite"
    path.write_text("this is not a network, whatever it is called\n")
    assert "no TFLite file" in refused(path)


def test_a_model_without_a_manifest_is_refused_unless_one_is_passed(tmp_path: Path, film: Path) -> None:
    path = tmp_path / "bare.tflite"
    path.write_bytes(flatbuffer())
    assert "no manifest" in refused(path)
    classifier = covidnet_lite.Classifier(path, manifest=model.load("base").manifest, unsigned="allow")
    assert classifier.classify(film).probabilities == covidnet_lite.classify(film).probabilities


CONTRADICTIONS = {  # of a manifest without the rules that depend on labels and outputs
    "labels": lambda m: replace(m, labels=("normal", "covid"), correction=()),
    "size": lambda m: replace(m, input=replace(m.input, height=128)),
    "channels": lambda m: replace(m, input=replace(m.input, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)),
    "position": lambda m: replace(m, outputs={"logits": 7}),
    "swapped": lambda m: replace(m, outputs={**m.outputs, "logits": m.outputs["embedding"]}),
    "guard": lambda m: replace(m, outputs={"logits": m.outputs["logits"]}),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_manifest_that_contradicts_the_graph_is_refused(tmp_path: Path, what: str) -> None:
    wrong = CONTRADICTIONS[what](replace(model.load("base").manifest, operating_point=None, extent=None))
    path = tmp_path / "contradiction.tflite"
    path.write_bytes(manifest.seal(flatbuffer(), wrong))
    assert "contradicts its graph" in refused(path)


def test_sealing_the_bare_network_again_gives_the_shipped_file() -> None:
    loaded = model.load("base")
    with zipfile.ZipFile(model.SHIPPED / "base.tflite") as archive:
        card = archive.read("MODEL_CARD.md")
    assert manifest.seal(flatbuffer(), loaded.manifest, {"MODEL_CARD.md": card}) == loaded.data


def test_the_manifest_says_where_the_network_comes_from() -> None:
    provenance = json.loads(model.load("base").manifest.to_json())["provenance"]
    assert len(provenance["network_sha256"]) == 64
    assert "siim_bimcv" in provenance["sources"]
    assert "tensorflow" in provenance["packages"]


def test_the_archive_at_the_end_does_not_disturb_the_interpreter() -> None:
    assert Interpreter(model.load("base")).input_shape == (1, 224, 224, 1)
