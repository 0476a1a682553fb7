from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchers import ROOT, line_of, until, watching

import covidnet_lite
from covidnet_lite import watch
from covidnet_lite.errors import InputError, OutputError
from covidnet_lite.watch import Folder, Settled, Stamp, Watch


@pytest.fixture(scope="module")
def classifier() -> covidnet_lite.Classifier:
    return covidnet_lite.Classifier("nano", threads=1)


def results(folder: Path) -> dict[str, dict[str, object]]:
    return {str(p.relative_to(folder)): json.loads(p.read_text()) for p in sorted(folder.rglob("*.json"))}


# What is in the folder.


def test_radiographs_in_all_folders_are_found_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.png", "deep/er/b.DCM", "c.txt", ".hidden.png", ".git/d.png", "a.png.json", "a.evidence.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    found = dict(Folder(tmp_path, tmp_path).radiographs())
    assert sorted(found) == ["a.png", "deep/er/b.DCM"]
    assert found["a.png"].size == 3


def test_a_folder_that_is_away_is_told() -> None:
    with pytest.raises(InputError, match="mount"):
        list(Folder(Path("/nowhere/at/all"), Path("/tmp")).radiographs())


def test_a_file_is_whole_when_it_has_not_changed_for_long_enough() -> None:
    settled, one, two = Settled(2), Stamp(1, 1), Stamp(2, 2)
    assert settled.whole({"a": one}, 0) == []
    assert settled.whole({"a": one}, 1.9) == []
    assert settled.whole({"a": two}, 2) == []  # it grew: begin anew
    assert settled.whole({"a": two, "b": one}, 4) == ["a"]
    assert settled.whole({"b": one}, 5) == []
    assert settled.whole({"a": two, "b": one}, 6) == ["b"]  # a was away: it may be another


# What is made of it.


def test_each_radiograph_gets_a_result_and_a_bad_one_costs_only_itself(
    classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path
) -> None:
    root, said = tmp_path / "in", []
    (root / "ward").mkdir(parents=True)
    shutil.copy(film_png, root / "ward/film.png")
    (root / "bad.png").write_bytes(b"no picture")
    seen = Watch(Folder(root, root, settle=0, heatmap=True), classifier, said.append)
    assert seen.look(0) == (2, 0)
    found = results(root)
    assert sorted(found) == ["bad.png.json", "ward/film.png.json"]
    film, bad = found["ward/film.png.json"], found["bad.png.json"]
    assert film["probabilities"] == classifier.classify(film_png).to_dict()["probabilities"]
    assert film["name"] == "ward/film.png"
    assert film["network"] == classifier.model.sha256
    assert bad["status"] == "failed"
    assert str(root) not in json.dumps(found)  # where it lies is nobody's business
    assert (root / "ward/film.png.evidence.png").is_file()
    assert len(said) == 2
    assert seen.look(1) == (0, 0)  # neither the results nor the pictures are taken for radiographs


def test_what_was_answered_is_not_done_again_after_a_new_start(
    classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path
) -> None:
    root, out = film_png.parent, tmp_path / "out"
    assert Watch(Folder(root, out, settle=0), classifier, print).look(0) == (1, 0)
    assert Watch(Folder(root, out, settle=0), classifier, print).look(0) == (0, 0)
    assert sorted(results(out)) == ["film.png.json"]


def test_a_changed_file_and_another_network_are_done_again(
    classifier: covidnet_lite.Classifier, film_png: Path
) -> None:
    folder = Folder(film_png.parent, film_png.parent, settle=0)
    seen = Watch(folder, classifier, print)
    assert seen.look(0) == (1, 0)
    film_png.write_bytes(b"changed")
    assert seen.look(1) == (1, 0)
    assert results(film_png.parent)["film.png.json"]["status"] == "failed"
    kept = json.loads((film_png.parent / "film.png.json").read_text())
    (film_png.parent / "film.png.json").write_text(json.dumps({**kept, "network": "another"}))
    assert Watch(folder, classifier, print).look(2) == (1, 0)


def test_a_result_cut_in_half_or_of_another_program_is_no_result(
    classifier: covidnet_lite.Classifier, film_png: Path
) -> None:
    folder = Folder(film_png.parent, film_png.parent, settle=0)
    for text in ('{"na', "[]", "{}", ""):
        (film_png.parent / "film.png.json").write_text(text)
        assert Watch(folder, classifier, print).look(0) == (1, 0)


def test_a_file_that_changes_while_it_is_classified_waits(
    classifier: covidnet_lite.Classifier, film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Watch(Folder(film_png.parent, film_png.parent, settle=0), classifier, print)
    many = classifier.classify_many

    def meanwhile(paths: list[str]) -> Iterator[object]:
        answers = list(many(paths))
        film_png.write_bytes(film_png.read_bytes() + b" ")
        yield from answers

    monkeypatch.setattr(classifier, "classify_many", meanwhile)
    assert seen.look(0) == (0, 1)
    assert not results(film_png.parent)
    monkeypatch.undo()
    assert seen.look(1) == (1, 0)


def test_trouble_is_told_once_and_what_was_to_be_done_is_done_when_it_is_over(
    classifier: covidnet_lite.Classifier, film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, said, stop = [True] * 3, [], threading.Event()
    write = watch.files.write

    def writes(path: Path, data: bytes | str) -> Path:
        if full:
            full.pop()
            raise OutputError("the disk is full")
        stop.set()
        return write(path, data)

    monkeypatch.setattr(watch.files, "write", writes)
    seen = Watch(Folder(film_png.parent, film_png.parent, settle=0), classifier, print)
    assert watch.run(seen, said.append, stop, interval=0.01)
    assert said == ["the disk is full"]
    assert sorted(results(film_png.parent)) == ["film.png.json"]


# The command.


def test_once_does_what_is_there_and_ends(film_png: Path, tmp_path: Path) -> None:
    with watching(film_png.parent, "--once", "--settle", "0.1", "--out", tmp_path / "out") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "film.png: " in out
    assert "Research use only" in err
    assert sorted(results(tmp_path / "out")) == ["film.png.json"]


def test_a_file_is_answered_as_it_arrives_and_sigterm_ends_it_well(film_png: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    with watching(root, "--settle", "0.3") as process:
        line_of(process.stderr, "watching")
        whole = film_png.read_bytes()
        with open(root / "late.png", "wb") as file:  # as a modality writes over a slow network
            for start in range(0, len(whole), len(whole) // 5):
                file.write(whole[start : start + len(whole) // 5])
                file.flush()
                time.sleep(0.15)
                assert not results(root)
        until(lambda: results(root))
        assert results(root)["late.png.json"]["status"] != "failed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_killed_in_the_middle_nothing_is_lost_and_nothing_is_done_twice(film_png: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for number in range(30):
        shutil.copy(film_png, root / f"{number:02}.png")
    told = []
    with watching(root, "--settle", "0.1") as process:
        told.append(line_of(process.stdout, ".png: "))
        process.send_signal(signal.SIGKILL)
        told += process.communicate()[0].splitlines()
    done = len(results(root))
    assert 1 <= done < 30
    with watching(root, "--settle", "0.1", "--once") as process:
        out, _ = process.communicate(timeout=120)
    again = [line for line in out.splitlines() if ".png: " in line]
    assert len(again) == 30 - done
    assert len(results(root)) == 30
    assert not [p for p in root.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["/nowhere/at/all"], "no such folder"),
        ([".", "--mqtt", "host:port"], "HOST:PORT"),
        ([".", "--mqtt", "host", "--topic", "a/#"], "topic"),
        ([".", "--mqtt", "host", "--ca", "/nowhere.pem"], "PEM"),
        ([".", "--interval", "0"], "seconds"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(options: list[str], words: str) -> None:
    command = [sys.executable, "-m", "covidnet_lite", "watch", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
