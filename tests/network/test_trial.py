from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import covidnet_lite
from covidnet_lite.errors import BackendError, ModelError
from covidnet_lite.network import model, trial
from covidnet_lite.network.manifest import seal

NANO = model.load("nano")


@pytest.fixture(autouse=True)
def _nothing_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trial.CACHE, str(tmp_path / "cache"))


def graph() -> bytes:
    """Nano's flatbuffer without the archive at its end."""
    with zipfile.ZipFile(io.BytesIO(NANO.data)) as archive:
        return NANO.data[: min(entry.header_offset for entry in archive.infolist())]


def sealed(folder: Path, flatbuffer: bytes) -> Path:
    path = folder / "own.tflite"
    path.write_bytes(seal(flatbuffer, NANO.manifest))
    return path


def greedy() -> bytes:
    """A flatbuffer whose input claims a side of 20000, for which TFLite would take all the memory of a machine."""
    size = NANO.manifest.input.height
    shape = struct.pack("<4i", 1, size, size, 1)
    assert graph().count(shape) == 1
    return graph().replace(shape, struct.pack("<4i", 1, 20000, 20000, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_what_would_take_all_memory_is_refused_and_the_caller_lives_on(tmp_path: Path) -> None:
    with pytest.raises((ModelError, BackendError), match="own.tflite"):
        covidnet_lite.Classifier(sealed(tmp_path, greedy()), unsigned="allow")
    assert not (tmp_path / "cache").exists()


def test_what_was_survived_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tried = sealed(tmp_path, graph()), []
    run = trial._run
    monkeypatch.setattr(trial, "_run", lambda question: tried.append(1) or run(question))
    for _ in range(2):
        covidnet_lite.Classifier(path, unsigned="allow")
    assert tried == [1]
    path.write_bytes(seal(graph(), replace(NANO.manifest, version="another")))
    covidnet_lite.Classifier(path, unsigned="allow")
    assert tried == [1, 1]


def test_what_is_signed_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_run", lambda _: pytest.fail("it was tried"))
    covidnet_lite.Classifier("nano")
    covidnet_lite.Classifier("nano", manifest=replace(NANO.manifest, name="own"))


def test_a_network_that_no_runtime_takes_is_told_as_ever(tmp_path: Path) -> None:
    contradicted = replace(NANO.manifest, input=replace(NANO.manifest.input, height=96))
    path = tmp_path / "own.tflite"
    path.write_bytes(seal(graph(), contradicted))
    with pytest.raises(ModelError, match="contradicts its graph"):
        covidnet_lite.Classifier(path, unsigned="allow")
    with pytest.raises(BackendError, match="is none of"):
        covidnet_lite.Classifier(path, runtime="none", unsigned="allow")


def test_one_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.01)
    with pytest.raises(ModelError, match=r"took longer than 0.01 s"):
        covidnet_lite.Classifier(sealed(tmp_path, graph()), unsigned="allow")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.parametrize(
    ("burden", "words"),
    [
        ("bytearray(1 << 31)", "took too much memory"),
        ("os.kill(os.getpid(), 11)", "with signal 11"),
        ("while True: pass", "s of processor"),
        ("1 / 0", "foreseen"),
    ],
)
def test_the_limits_hold(monkeypatch: pytest.MonkeyPatch, burden: str, words: str) -> None:
    script = (
        "import os, resource; from covidnet_lite.network import trial; trial.CPU_SECONDS = 1\n"
        f"os.write(1, b'ready\\n'); trial._limit(64 << 20)\n{burden}"
    )
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **more: run([sys.executable, "-c", script], **more))
    assert words in str(trial._run(b""))


def test_where_no_process_can_be_started_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/nowhere/python", "/bin/true"):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(ModelError, match="could not be tried"):
            covidnet_lite.Classifier(sealed(tmp_path, graph()), unsigned="allow")


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(trial.CACHE, str(tmp_path / "file"))
    assert covidnet_lite.Classifier(sealed(tmp_path, graph()), unsigned="allow").labels


def test_no_flip_cut_or_splice_of_a_shipped_file_is_taken(tmp_path: Path) -> None:
    for i in range(300):
        data = damaged(NANO.data, random.Random(i))
        with pytest.raises(ModelError):
            model.verify(data, tmp_path / "damaged.tflite")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A file with some bits flipped, a part cut out, or a part of it put elsewhere; never as it was."""
    first, second = sorted(rng.sample(range(len(data)), 2))
    kind = rng.choice(("flip", "cut", "splice"))
    if kind == "cut":
        return data[:first] + data[second:]
    if kind == "splice":
        return data[:first] + data[second : second + 1 + rng.randrange(1000)] + data[first:]
    flipped = bytearray(data)
    flipped[first] ^= 1 << rng.randrange(8)
    return bytes(flipped)


@pytest.mark.slow
def test_no_flip_with_a_new_seal_ends_the_caller(tmp_path: Path) -> None:
    for i in range(100):
        data = bytearray(graph())
        rng = random.Random(i)
        for _ in range(1 + i % 3):
            data[rng.randrange(len(data) if i % 2 else 4096)] ^= 1 << rng.randrange(8)
        try:
            covidnet_lite.Classifier(sealed(tmp_path, bytes(data)), unsigned="allow")
        except covidnet_lite.CovidNetLiteError:
            pass


def test_a_file_larger_than_any_network_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tflite"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(ModelError, match="larger than any TFLite file"):
        model.load(path)
