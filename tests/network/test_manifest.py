"""What a .tflite says of itself, and the archive at its end that says it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from covidnet_lite.errors import ModelError
from covidnet_lite.evidence.extent import ExtentScale
from covidnet_lite.network.guard import Guard
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import MAX_DIRECTORY, MAX_MANIFEST, SEAL, Manifest, is_sealed, seal, unseal
from covidnet_lite.network.operating_point import OperatingPoint

FLATBUFFER = b"\x1c\x00\x00\x00TFL3" + np.random.default_rng(0).bytes(700)
POINT = OperatingPoint("normal", 0.8, 0.7, {"pneumonia": 0.75, "covid": 0.6}, risks={"ill called normal": 0.05})
SCALE = ExtentScale((0.1, 0.9), (0.0, 1.0), 0.09, -0.25)


def guard(features=6):
    rng = np.random.default_rng(1)
    mean, directions = (rng.normal(size=s).astype(np.float16).astype(np.float32) for s in (features, (2, features)))
    return Guard(mean, directions, np.array([2, 1], np.float32), 0.3, 2.5)


def manifest(**fields):
    defaults = {
        "name": "tiny",
        "labels": ("normal", "pneumonia", "covid"),
        "input": InputSpec(96, 128, equalise=True),
        "outputs": {"logits": 1, "evidence": 0, "embedding": 2},
        "version": "3",
        "correction": (0.5, -0.25, 0.0),
        "temperature": 1.7,
        "threshold": 0.55,
        "guard": guard(),
        "provenance": {"data": "Élan Hospital", "auroc": 0.91},
        "licence": "CC0-1.0",
    }
    return Manifest(**{**defaults, **fields})


def changed(**fields):
    return json.dumps({**json.loads(manifest().to_json()), **fields})


def test_sealing_and_unsealing_gives_the_same_manifest():
    ours = manifest()
    theirs = unseal(seal(FLATBUFFER, ours), "tiny.tflite")
    assert theirs.to_json() == ours.to_json()
    assert replace(theirs, guard=None) == replace(ours, guard=None)
    assert (theirs.guard.residual, theirs.guard.limit) == (0.3, 2.5)
    for name in ("mean", "directions", "variance"):
        np.testing.assert_array_equal(getattr(theirs.guard, name), getattr(ours.guard, name))


def test_a_manifest_without_a_guard_comes_back_without_one():
    assert unseal(seal(FLATBUFFER, manifest(guard=None)), "tiny.tflite").guard is None


def test_sealing_twice_gives_the_same_bytes():
    assert seal(FLATBUFFER, manifest()) == seal(FLATBUFFER, manifest())
    assert seal(FLATBUFFER, manifest()) != seal(FLATBUFFER, manifest(version="4"))


def test_the_bytes_of_a_sealed_file_do_not_change_from_version_to_version():
    """The shipped files stay the same."""
    ours = manifest(input=InputSpec(96, 128, lungs=b"finder"), operating_point=POINT, extent=SCALE)
    assert hashlib.sha256(seal(FLATBUFFER, ours)).hexdigest()[:16] == "57caa7f924dcbaf1"


def test_a_manifest_is_text_for_people_too():
    text = manifest().to_json()
    assert text.startswith('{\n "format": 1,\n "name": "tiny",\n')
    assert "Élan Hospital" in text
    assert text.endswith("\n}\n")


def test_the_flatbuffer_stays_where_it_was():
    sealed = seal(FLATBUFFER, manifest())
    assert sealed.startswith(FLATBUFFER)
    assert is_sealed(sealed)
    assert not is_sealed(FLATBUFFER)


def test_a_sealed_file_is_a_zip_archive_people_can_look_into():
    with zipfile.ZipFile(io.BytesIO(seal(FLATBUFFER, manifest(), {"NOTICE": b"hello"}))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "labels.txt", "guard.npz", "NOTICE"]
        assert archive.read("labels.txt") == b"normal\npneumonia\ncovid\n"
        assert archive.read("NOTICE") == b"hello"
        fields = json.loads(archive.read("manifest.json"))
    assert (fields["format"], fields["name"], fields["threshold"]) == (1, "tiny", 0.55)
    assert fields["intended_use"] == "Research use only; not a medical device."


def test_any_flipped_byte_is_noticed():
    sealed = seal(FLATBUFFER, manifest())
    rng = np.random.default_rng(2)
    everywhere = np.linspace(0, len(sealed) - 1, 200).astype(int)
    for at in {*everywhere.tolist(), *range(len(sealed) - SEAL - 30, len(sealed))}:
        broken = bytearray(sealed)
        broken[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(ModelError, match=r"^tiny\.tflite: "):
            unseal(bytes(broken), "tiny.tflite")


NO_MANIFEST = (
    "^tiny.tflite: has no manifest at its end: cut short, or not made by covidnet-lite convert. "
    "Copy it again, or pass manifest= if you know how to feed it$"
)


@pytest.mark.parametrize("cut", [1, SEAL - 1, SEAL, SEAL + 22, SEAL + 200, 900])
def test_a_file_cut_short_is_noticed(cut):
    with pytest.raises(ModelError, match=NO_MANIFEST):
        unseal(seal(FLATBUFFER, manifest())[:-cut], "tiny.tflite")


def test_a_file_whose_beginning_is_missing_or_that_has_grown_is_noticed():
    sealed = seal(FLATBUFFER, manifest())
    with pytest.raises(ModelError, match=r"tiny\.tflite: damaged: .* copy it again"):
        unseal(sealed[1:], "tiny.tflite")
    with pytest.raises(ModelError, match=NO_MANIFEST):
        unseal(sealed + b"\n", "tiny.tflite")


@pytest.mark.parametrize("data", [b"", b"PK", FLATBUFFER])
def test_a_file_without_a_manifest_says_what_to_do(data):
    with pytest.raises(ModelError, match=NO_MANIFEST):
        unseal(data, "tiny.tflite")


@pytest.mark.parametrize("data", [b"nonsense", b"PK\x03\x04 cut short", guard().to_npz()[:300]])
def test_a_guard_that_is_no_guard_is_a_model_error(data):
    sealed = seal(FLATBUFFER, manifest(guard=None), {"guard.npz": data})
    with pytest.raises(ModelError, match=r"tiny\.tflite: its manifest cannot be read .*convert it again"):
        unseal(sealed, "tiny.tflite")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed(format=4), "its format is none of 1, 2, 3; upgrade covidnet-lite"),
        (changed(format=None), "its format is none of 1"),
        ("{}", "its format is none of 1, 2, 3; upgrade covidnet-lite"),
        (changed(labels=["covid"]), "labels must be two or more different names"),
        (changed(labels=["covid", "covid"]), "labels must be two or more different names"),
        (changed(labels=None), "labels must be a list, not None"),
        (changed(labels="covid"), "labels must be a list, not 'covid'"),
        (changed(outputs={"embedding": 0}), "which output holds the logits"),
        (changed(temperature=0), "temperature must be positive"),
        (changed(temperature=float("nan")), "temperature must be positive"),
        (changed(threshold=1.5), "threshold must be between 0 and 1, not 1.5"),
        (changed(threshold=-0.1), "threshold must be between 0 and 1"),
        (changed(threshold="high"), "cannot be used"),
        (changed(input={"height": 96}), "width"),
        (changed(input={"height": 0, "width": 96}), "height and width must be positive"),
        (changed(input=None), "cannot be used"),
        (changed(colour="blue"), "colour"),
        ("[]", "cannot be used"),
        ("{", "cannot be used"),
        (b"\xff\xfe\x00", "cannot be used"),
    ],
)
def test_a_manifest_out_of_range_is_a_model_error_that_says_why(text, words):
    with pytest.raises(ModelError, match="the manifest cannot be used: ") as caught:
        Manifest.from_json(text)
    assert words in str(caught.value)


def test_a_missing_label_list_is_a_model_error():
    fields = json.loads(manifest().to_json())
    del fields["labels"]
    with pytest.raises(ModelError, match="labels"):
        Manifest.from_json(json.dumps(fields))


DIFFERENT, NEEDS = "labels must be two or more different names, not ", "extent needs an operating_point and an output"
TEMPERATURE, THRESHOLD = "temperature must be positive (0.001 to 1000), not ", "threshold must be between 0 and 1, not "


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": 5}, "name must be text, not 5"),
        ({"version": None}, "version must be text, not None"),
        ({"licence": b"MIT"}, "licence must be text, not b'MIT'"),
        ({"intended_use": ()}, "intended_use must be text, not ()"),
        ({"labels": ("covid",)}, DIFFERENT + "('covid',)"),
        ({"labels": ("covid", "covid")}, DIFFERENT + "('covid', 'covid')"),
        ({"labels": ("covid", "")}, "labels must be names, not ('covid', '')"),
        ({"labels": ("covid", 5)}, "labels must be names, not ('covid', 5)"),
        ({"labels": ("covid", "\n")}, "labels must be names, not ('covid', '\\n')"),
        ({"outputs": [0]}, "outputs must map names to positions, not [0]"),
        ({"outputs": {"logits": True}}, "outputs must map names to positions, not {'logits': True}"),
        ({"outputs": {"evidence": 0}}, "outputs must say which output holds the logits"),
        ({"correction": (1.0,)}, "correction needs one value per label, not 1"),
        ({"correction": (1, 1, "2")}, "correction must be small numbers, not (1, 1, '2')"),
        ({"correction": (1, 1, -100)}, "correction must be small numbers, not (1, 1, -100)"),
        ({"temperature": 0.0009}, TEMPERATURE + "0.0009"),
        ({"temperature": 1000.5}, TEMPERATURE + "1000.5"),
        ({"threshold": -0.01}, THRESHOLD + "-0.01"),
        ({"threshold": 1.02}, THRESHOLD + "1.02"),
        ({"extent": SCALE}, NEEDS + " with the evidence map"),
        ({"extent": SCALE, "operating_point": POINT, "outputs": {"logits": 0}}, NEEDS + " with the evidence map"),
    ],
)
def test_a_manifest_is_checked_when_it_is_made(fields, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        manifest(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": ("normal", "covid"), "correction": ()},
        {"correction": (99.5, -99.5, 0)},
        {"temperature": 1e-3},
        {"temperature": 1e3},
        {"threshold": 0},
        {"threshold": 1.01},  # a network that never answers
    ],
)
def test_what_lies_just_within_its_range_comes_back(fields):
    again = Manifest.from_json(manifest(**fields).to_json())
    assert {name: getattr(again, name) for name in fields} == fields


def test_fields_that_an_older_file_does_not_have_are_those_of_a_new_manifest():
    fields = {"format": 1, "name": "tiny", "labels": ["a", "b"], "input": {"height": 8, "width": 8}}
    assert Manifest.from_json(json.dumps(fields)) == Manifest("tiny", ("a", "b"), InputSpec(8, 8))


def test_a_file_whose_own_hash_was_checked_is_not_hashed_again():
    sealed = seal(FLATBUFFER, manifest())[:-SEAL] + b"0" * SEAL
    assert unseal(sealed, "tiny.tflite", hash_checked=True).name == "tiny"


def archived(packed=(), **entries):
    """A file with an archive of entries, of which some are packed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            kind = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
            archive.writestr(name.replace("_", "."), data, kind)
        archive.comment = b"0" * SEAL
    return file.getvalue()


def test_what_the_runtime_needs_is_refused_where_it_is_packed_before_it_is_unpacked():
    text = manifest().to_json()
    with pytest.raises(ModelError, match="is packed"):
        unseal(archived(["manifest_json"], manifest_json=text + " " * 100_000_000), "tiny.tflite", hash_checked=True)
    for_people = archived(["notes_txt"], manifest_json=text, notes_txt=b"hello " * 100)
    assert unseal(for_people, "tiny.tflite", hash_checked=True).name == "tiny"


def unreadable(words):
    """The whole message of a file that holds no manifest that can be read."""
    return pytest.raises(
        ModelError, match=f"^tiny.tflite: its manifest cannot be read \\({words}\\); convert it again$"
    )


def test_a_manifest_longer_than_any_is_refused():
    room = MAX_MANIFEST - len(manifest(provenance={"x": ""}).to_json().encode())
    assert unseal(seal(FLATBUFFER, manifest(provenance={"x": "y" * room})), "tiny.tflite").name == "tiny"
    with unreadable("manifest.json has more than 1 MB"):
        unseal(seal(FLATBUFFER, manifest(provenance={"x": "y" * (room + 1)})), "tiny.tflite")


def test_a_list_of_entries_longer_than_any_is_refused():
    room = MAX_DIRECTORY - sum(46 + len(name) for name in ("manifest.json", "labels.txt", "guard.npz", ""))
    assert unseal(seal(FLATBUFFER, manifest(), {"x" * room: b""}), "tiny.tflite").name == "tiny"
    with unreadable("its list of entries is too long"):
        unseal(seal(FLATBUFFER, manifest(), {"x" * (room + 1): b""}), "tiny.tflite")
    claims = bytearray(seal(FLATBUFFER, manifest()))
    struct.pack_into("<L", claims, len(claims) - SEAL - 10, 1 << 31)
    with unreadable("its list of entries is too long"):
        unseal(bytes(claims), "tiny.tflite", hash_checked=True)


def test_an_archive_of_more_than_four_gigabytes_is_refused():
    """Such an archive says the length of its list of entries elsewhere."""
    sealed = seal(FLATBUFFER, manifest())
    end = len(sealed) - SEAL - 22
    with unreadable("its list of entries is too long"):
        unseal(sealed[:end] + b"PK\x06\x07" + bytes(16) + sealed[end:], "tiny.tflite", hash_checked=True)


def test_an_archive_without_a_manifest_is_refused():
    with unreadable("there is no manifest.json"):
        unseal(archived(labels_txt="a\nb\n"), "tiny.tflite", hash_checked=True)


def test_the_network_that_finds_the_lungs_travels_along():
    carrying = manifest(input=InputSpec(64, 64, lungs=b"finder"))
    again = unseal(seal(FLATBUFFER, carrying), "x.tflite")
    assert again.input == carrying.input
    assert again.input.lungs == b"finder"


def test_a_manifest_whose_finder_is_missing_or_another_is_refused():
    text = manifest(input=InputSpec(64, 64, lungs=b"finder")).to_json()
    for held in (b"", b"another"):
        with pytest.raises(ModelError, match="finds the lungs is missing, or is another"):
            Manifest.from_json(text, lungs=held)
    with pytest.raises(ModelError, match="finds the lungs"):
        Manifest.from_json(manifest().to_json(), lungs=b"finder")


def test_operating_point_and_extent_travel_along():
    carrying = manifest(operating_point=POINT, extent=SCALE)
    again = unseal(seal(FLATBUFFER, carrying), "x.tflite")
    assert (again.operating_point, again.extent, again.negative) == (POINT, SCALE, "normal")
    assert again.to_json() == carrying.to_json()


def test_without_them_a_manifest_is_as_it_was():
    fields = json.loads(manifest().to_json())
    assert fields["format"] == 1
    assert not {"operating_point", "extent"} & set(fields)
    again = Manifest.from_json(json.dumps(fields))
    assert (again.operating_point, again.extent, again.negative) == (None, None, None)


def test_a_runtime_that_does_not_know_them_is_told_by_the_format():
    assert json.loads(manifest(operating_point=POINT).to_json())["format"] == 2


def test_a_guard_that_knows_synthetic_outliers_has_a_format_of_its_own():
    plain = Guard(np.zeros(3, np.float32), np.eye(3, dtype=np.float32)[:1], np.ones(1, np.float32), 0.1, 2.0)
    assert json.loads(manifest(guard=plain).to_json())["format"] == 1
    knowing = replace(plain, foreign=np.ones(3, np.float32), foreign_offset=0.5)
    carrying = manifest(guard=knowing, operating_point=POINT)
    assert json.loads(carrying.to_json())["format"] == 3
    again = unseal(seal(FLATBUFFER, carrying), "x.tflite").guard
    assert again is not None
    assert (again.foreign.tolist(), again.foreign_offset) == ([1.0, 1.0, 1.0], 0.5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"operating_point": {}}, "negative"),
        ({"operating_point": [1]}, "cannot be used"),
        ({"operating_point": {**POINT.to_dict(), "negative": "healthy"}}, "none of normal, pneumonia, covid"),
        ({"operating_point": {**POINT.to_dict(), "colour": 1}}, "colour"),
        ({"operating_point": {**POINT.to_dict(), "positive_from": 0.1}}, "positive_from must be at least"),
        ({"extent": SCALE.to_dict()}, "extent needs an operating_point"),
        ({"operating_point": POINT.to_dict(), "extent": {**SCALE.to_dict(), "raw": [0.9, 0.1]}}, "raw must rise"),
        ({"operating_point": POINT.to_dict(), "extent": 5}, "cannot be used"),
        (
            {"operating_point": POINT.to_dict(), "extent": SCALE.to_dict(), "outputs": {"logits": 0}},
            "an output with the evidence map",
        ),
    ],
)
def test_parts_that_make_no_sense_are_a_model_error(fields, words):
    with pytest.raises(ModelError) as caught:
        Manifest.from_json(changed(**fields))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [{"guard": guard()}, {"input": InputSpec(8, 8, equalise=True)}, {"input": InputSpec(8, 8, lungs=b"finder")}],
)
def test_what_only_radiographs_need_tells_a_network_of_radiographs(statement):
    assert manifest(**{"guard": None, "input": InputSpec(8, 8), **statement}).is_of_radiographs


def test_any_other_network_is_one_of_pictures():
    assert not manifest(guard=None, input=InputSpec(8, 8)).is_of_radiographs
    spec = InputSpec(8, 8, 3, (0.0,) * 3, (1.0,) * 3, colour="rgb")
    assert not manifest(guard=guard(), input=spec).is_of_radiographs
