from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from disks import BROKEN, FULL, READ_ONLY, failing
from watchers import results, until

import covidnet_lite
from covidnet_lite import files, radiograph
from covidnet_lite.errors import OutputError, SettingsError
from covidnet_lite.watch import folder as watch
from covidnet_lite.watch.folder import Folder, Scan, SettledFiles, Stamp, Watch
from covidnet_lite.watch.result_files import ResultFiles


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Ends what blocks for ever."""

    def end(*_: object) -> None:
        raise RuntimeError("it blocks")  # no OSError, which may be taken for one of a file

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def classifier() -> covidnet_lite.Classifier:
    return covidnet_lite.Classifier("nano", threads=1)


# What is in the folder.


def test_radiographs_in_all_folders_are_found_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.png", "deep/er/b.DCM", "c.txt", ".hidden.png", ".git/d.png", "a.png.json", "a.evidence.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    result = dict(Folder(tmp_path).candidates(print))
    assert sorted(result) == ["a.png", "deep/er/b.DCM"]
    assert result["a.png"].size == 3


def test_results_of_this_program_are_left_alone(tmp_path: Path) -> None:
    for name in ("a.dcm", "a.12345678.sr.dcm", "a.12345678.sc.dcm", "a.dcm.evidence.png"):
        (tmp_path / name).touch()
    assert [name for name, _ in Folder(tmp_path).candidates(print)] == ["a.dcm"]


def test_a_folder_that_is_away_is_told() -> None:
    with pytest.raises(SettingsError, match="mount"):
        list(Folder(Path("/nowhere/at/all")).candidates(print))


def test_the_films_of_a_zip_archive_get_a_result_each_and_once(
    classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path
) -> None:
    root, messages = tmp_path / "in", []
    root.mkdir()
    film = film_png.read_bytes()
    with zipfile.ZipFile(root / "ward.zip", "w") as packed:
        for name, data in (("a.png", film), ("sub/b.png", b"no picture"), ("../../c.png", film), ("in.zip", b"PK")):
            packed.writestr(name, data)
    (root / "no.zip").write_bytes(b"no archive")
    folder, kept_in = Folder(root, settle=0), ResultFiles(root)
    watcher = Watch(folder, kept_in, classifier, messages.append)
    assert watcher.scan(0) == Scan(5, 0, 0)
    result = results(root)
    inside = {f"ward.zip.results/{name}.json" for name in ("a.png", "sub/b.png", "c.png", "in.zip")}
    assert set(result) == {"no.zip.json", *inside}  # and nothing above the folder
    assert result["ward.zip.results/a.png.json"]["name"] == "ward.zip/a.png"
    assert result["ward.zip.results/a.png.json"]["status"] != "failed"
    assert result["ward.zip.results/sub/b.png.json"]["status"] == "failed"
    assert "archive within an archive" in result["ward.zip.results/in.zip.json"]["reason"]
    assert str(root) not in json.dumps(result)
    assert watcher.scan(1) == Scan(0, 0, 0)
    assert Watch(folder, kept_in, classifier, messages.append).scan(0) == Scan(0, 0, 0)  # after a start, too
    (root / "ward.zip.results/a.png.json").unlink()
    assert Watch(folder, kept_in, classifier, messages.append).scan(0) == Scan(1, 0, 0)


def test_a_file_is_whole_when_it_has_not_changed_for_long_enough() -> None:
    settled, one, two = SettledFiles(2), Stamp(1, 1), Stamp(2, 2)
    assert settled.complete({"a": one}, 0) == []
    assert settled.complete({"a": one}, 1.9) == []
    assert settled.complete({"a": two}, 2) == []  # it grew: begin anew
    assert settled.complete({"a": two, "b": one}, 4) == ["a"]
    assert settled.complete({"b": one}, 5) == []
    assert settled.complete({"a": two, "b": one}, 6) == ["b"]  # a was away: it may be another


# What is made of it.


def test_each_radiograph_gets_a_result_and_a_bad_one_costs_only_itself(
    film_png: Path, narrowing: Path, tmp_path: Path
) -> None:
    classifier = covidnet_lite.Classifier(narrowing)
    root, messages = tmp_path / "in", []
    (root / "ward").mkdir(parents=True)
    shutil.copy(film_png, root / "ward/film.png")
    (root / "bad.png").write_bytes(b"no picture")
    watcher = Watch(Folder(root, settle=0, heatmap=True), ResultFiles(root), classifier, messages.append)
    assert watcher.scan(0) == Scan(2, 0, 0)
    result = results(root)
    assert sorted(result) == ["bad.png.json", "ward/film.png.json"]
    film, bad = result["ward/film.png.json"], result["bad.png.json"]
    assert film["probabilities"] == classifier.classify(film_png).to_dict()["probabilities"]
    assert film["name"] == "ward/film.png"
    assert film["network"] == classifier.model.sha256
    assert bad["status"] == "failed"
    assert str(root) not in json.dumps(result)  # where it lies is nobody's business
    assert (root / "ward/film.png.evidence.png").is_file()
    assert list(map(str, messages)) == ["bad.png: failed", "ward/film.png: narrowed, not normal; pneumonia or covid"]
    assert watcher.scan(1) == Scan(0, 0, 0)  # neither the results nor the pictures are taken for radiographs


def test_what_was_answered_is_not_done_again_after_a_new_start(
    classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path
) -> None:
    root, out = film_png.parent, tmp_path / "out"
    assert Watch(Folder(root, settle=0), ResultFiles(out), classifier, print).scan(0) == Scan(1, 0, 0)
    assert Watch(Folder(root, settle=0), ResultFiles(out), classifier, print).scan(0) == Scan(0, 0, 0)
    assert sorted(results(out)) == ["film.png.json"]


def test_a_changed_file_and_another_network_are_done_again(
    classifier: covidnet_lite.Classifier, film_png: Path
) -> None:
    folder, kept_in = Folder(film_png.parent, settle=0), ResultFiles(film_png.parent)
    watcher = Watch(folder, kept_in, classifier, print)
    assert watcher.scan(0) == Scan(1, 0, 0)
    film_png.write_bytes(b"changed")
    assert watcher.scan(1) == Scan(1, 0, 0)
    assert results(film_png.parent)["film.png.json"]["status"] == "failed"
    content = json.loads((film_png.parent / "film.png.json").read_text())
    (film_png.parent / "film.png.json").write_text(json.dumps({**content, "network": "another"}))
    assert Watch(folder, kept_in, classifier, print).scan(2) == Scan(1, 0, 0)


def test_a_file_of_another_program_under_the_name_of_a_result_is_told_and_left_alone(
    classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path
) -> None:
    root, messages = tmp_path / "in", []
    root.mkdir()
    shutil.copy(film_png, root / "a.png")
    shutil.copy(film_png, root / "b.png")
    (root / "a.png.json").write_text('{"taken": "by another"}')
    watcher = Watch(Folder(root, settle=0), ResultFiles(root), classifier, print, messages.append)
    assert watcher.scan(0) == Scan(1, 0, 1)  # b all the same
    assert watcher.scan(1) == Scan(0, 0, 1)
    assert (root / "a.png.json").read_text() == '{"taken": "by another"}'
    assert len(messages) == 1
    assert "a.png.json: is no result of this program" in messages[0]
    (root / "a.png.json").unlink()
    assert watcher.scan(2 + watch.RETRY) == Scan(1, 0, 0)


@pytest.mark.parametrize("name", [f"{'a' * 248}.png", "a.png"])
def test_a_result_that_cannot_be_written_costs_only_its_own(
    classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path, name: str
) -> None:
    root, out, messages = tmp_path / "in", tmp_path / "out", []
    root.mkdir()
    (out / "a.png.json").mkdir(parents=True)
    for one in (name, "b.png"):
        shutil.copy(film_png, root / one)
    watcher = Watch(Folder(root, settle=0), ResultFiles(out), classifier, print, messages.append)
    assert watcher.scan(0) == Scan(1, 0, 1)
    assert watcher.scan(1 + watch.RETRY) == Scan(0, 0, 1)
    assert len(messages) == 1
    assert "cannot be written" in messages[0] or "is no result" in messages[0]
    assert (out / "b.png.json").is_file()


@pytest.mark.parametrize("trouble", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_what_could_not_be_read_for_a_fault_not_of_the_file_is_told_and_tried_again(
    classifier: covidnet_lite.Classifier, film_png: Path, monkeypatch: pytest.MonkeyPatch, trouble: OSError
) -> None:
    root, messages, said, deliveries = film_png.parent, [], [], []

    def refuse(*_: object) -> None:
        raise trouble

    def begin() -> Watch:
        return Watch(
            Folder(root, settle=0), ResultFiles(root), classifier, messages.append, said.append, deliveries.append
        )

    monkeypatch.setattr(radiograph, "open", refuse, raising=False)
    watcher = begin()
    for now in (0, 1, 2 + watch.RETRY):
        assert watcher.scan(now) == Scan(0, 0, 1)
    assert begin().scan(0) == Scan(0, 0, 1)
    (stored_result,) = results(root).values()
    assert stored_result["status"] == "failed"
    assert trouble.strerror in str(stored_result["reason"])
    assert (len(messages), len(said), len(deliveries)) == (
        1,
        2,
        1,
    )  # a new start says it again, and sends nothing again
    monkeypatch.undo()
    assert watcher.scan(3 + 2 * watch.RETRY) == Scan(1, 0, 0)
    assert results(root)["film.png.json"]["status"] != "failed"


def test_a_missing_extra_is_no_fault_of_the_file(
    classifier: covidnet_lite.Classifier, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(film, tmp_path)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert Watch(Folder(tmp_path, settle=0), ResultFiles(tmp_path), classifier, print).scan(0) == Scan(0, 0, 1)
    monkeypatch.undo()
    assert Watch(Folder(tmp_path, settle=0), ResultFiles(tmp_path), classifier, print).scan(0) == Scan(1, 0, 0)


def test_a_folder_that_cannot_be_looked_into_is_told_and_costs_only_itself(
    classifier: covidnet_lite.Classifier, film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (film_png.parent / "closed").mkdir()
    scandir, messages = os.scandir, []

    def refuse(path: str) -> object:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    watcher = Watch(Folder(film_png.parent, settle=0), ResultFiles(film_png.parent), classifier, print, messages.append)
    assert watcher.scan(0) == Scan(1, 0, 1)
    assert watcher.scan(1) == Scan(0, 0, 1)
    assert len(messages) == 1
    assert "closed: cannot be searched (Permission denied)" in messages[0]


def test_dicom_without_a_suffix_is_known_by_its_head(
    classifier: covidnet_lite.Classifier, film: Path, tmp_path: Path
) -> None:
    for name in ("IM000001", "1.2.840.7", "DICOMDIR", "film.bak"):
        shutil.copy(film, tmp_path / name)
    (tmp_path / "README").write_text("no radiograph" * 20)
    (tmp_path / "empty").touch()
    watcher = Watch(Folder(tmp_path, settle=0), ResultFiles(tmp_path), classifier, print)
    assert watcher.scan(0) == Scan(2, 0, 0)
    assert sorted(results(tmp_path)) == ["1.2.840.7.json", "IM000001.json"]
    assert watcher.scan(1) == Scan(0, 0, 0)
    shutil.copy(film, tmp_path / "empty")  # it was still to be written
    assert watcher.scan(2) == Scan(1, 0, 0)


def test_pipes_and_sockets_are_left_alone_and_never_opened(
    classifier: covidnet_lite.Classifier, film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, deliveries = film_png.parent, []
    for name in ("pipe.png", "IM000001", "film.png.json", "other.json"):
        os.mkfifo(root / name)
    (root / "link.png").symlink_to(root / "pipe.png")
    monkeypatch.chdir(root)  # the address of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
    with time_limit(20):  # whoever opens a pipe to read waits for ever
        assert ResultFiles(root).undelivered() == []
        watcher = Watch(Folder(root, settle=0), ResultFiles(root), classifier, print, deliveries.append)
        assert watcher.scan(0) == Scan(0, 0, 1)
    assert len(deliveries) == 1
    assert "film.png.json: is no result of this program" in deliveries[0]
    (root / "film.png.json").unlink()
    assert watcher.scan(1 + watch.RETRY) == Scan(1, 0, 0)


def test_an_odd_name_is_no_trouble(classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    odd = os.fsdecode(b"gr\xf6sse\n.png")
    shutil.copy(film_png, root / odd)
    watcher = Watch(Folder(root, settle=0), ResultFiles(root), classifier, print)
    assert watcher.scan(0) == Scan(1, 0, 0)
    assert watcher.scan(1) == Scan(0, 0, 0)
    assert json.loads((root / f"{odd}.json").read_bytes())["status"] != "failed"


def test_told_to_stop_it_does_not_do_all_that_is_there_first(
    classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path
) -> None:
    root, stop = tmp_path / "in", threading.Event()
    root.mkdir()
    for number in range(9):
        shutil.copy(film_png, root / f"{number}.png")
    watcher = Watch(Folder(root, settle=0), ResultFiles(root), classifier, lambda _: stop.set())
    assert watcher.scan(0, stop) == Scan(1, 8, 0)
    assert len(results(root)) == 1


def test_a_file_that_changes_while_it_is_classified_waits(
    classifier: covidnet_lite.Classifier, film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watch(Folder(film_png.parent, settle=0), ResultFiles(film_png.parent), classifier, print)
    many = classifier.classify_many

    def meanwhile(paths: list[str], **options: bool) -> Iterator[object]:
        answers = list(many(paths, **options))
        film_png.write_bytes(film_png.read_bytes() + b" ")
        yield from answers

    monkeypatch.setattr(classifier, "classify_many", meanwhile)
    assert watcher.scan(0) == Scan(0, 1, 0)
    assert not results(film_png.parent)
    monkeypatch.undo()
    assert watcher.scan(1) == Scan(1, 0, 0)


def test_trouble_is_told_once_and_what_was_to_be_done_is_done_when_it_is_over(
    classifier: covidnet_lite.Classifier, film_png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, messages, stop = [True] * 3, [], threading.Event()
    write = files.write

    def writes(path: Path, data: bytes | str) -> Path:
        if full:
            full.pop()
            raise OutputError("the disk is full") from OSError(errno.ENOSPC, "No space left on device")
        stop.set()
        return write(path, data)

    monkeypatch.setattr(files, "write", writes)
    watcher = Watch(Folder(film_png.parent, settle=0), ResultFiles(film_png.parent), classifier, print)
    assert watch.run(watcher, messages.append, stop, interval=0.01)
    assert messages == ["the disk is full"]
    assert sorted(results(film_png.parent)) == ["film.png.json"]


@pytest.mark.parametrize("root", ["a", "pneumonia", ".", "./w/"])
def test_a_reason_names_the_file_below_the_folder_and_keeps_its_words(
    root: str, classifier: covidnet_lite.Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(root)
    monkeypatch.chdir(tmp_path)
    (folder / "ward").mkdir(parents=True)
    (folder / "ward/a.png").write_bytes(b"")
    Watch(Folder(folder, 0), ResultFiles(tmp_path / "out"), classifier, print).scan(0)
    reason = "ward/a.png: the file is empty; copy it again from where it came"
    assert results(tmp_path / "out")["ward/a.png.json"]["reason"] == reason


def test_with_its_evidence_map_a_film_is_decoded_once(
    film: Path, answering: Path, tmp_path: Path, decodings: list[str]
) -> None:
    shutil.copy(film, tmp_path / "film.dcm")
    watch = Watch(
        Folder(tmp_path, settle=0, heatmap=True), ResultFiles(tmp_path), covidnet_lite.Classifier(answering), print
    )
    assert watch.scan(0).classified == 1
    assert (tmp_path / "film.dcm.evidence.png").is_file()
    assert decodings == ["DICOM"]


@pytest.mark.parametrize("number", [FULL, READ_ONLY, BROKEN])
def test_a_disk_that_takes_nothing_is_reported_once_however_many_radiographs_wait(
    number: int, classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        shutil.copy(film_png, film_png.with_name(f"{name}.png"))
    messages, stop, out = [], threading.Event(), tmp_path / "out"
    out.mkdir()
    watcher = Watch(Folder(film_png.parent, settle=0), ResultFiles(out), classifier, print, messages.append)
    running = threading.Thread(target=watch.run, args=(watcher, messages.append, stop, 0.01))
    with failing(monkeypatch, number, ("fsync",), below=out) as failed:
        running.start()
        until(lambda: failed.count("fsync") > 3)
    until(lambda: len(results(out)) == 4)
    stop.set()
    running.join()
    (message,) = messages
    assert os.strerror(number) in message
    assert str(out) in message
    assert sorted(results(out)) == ["a.png.json", "b.png.json", "c.png.json", "film.png.json"]
    assert not list(out.glob(".*"))
