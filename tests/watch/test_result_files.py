from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from covidnet_lite import files
from covidnet_lite.errors import OutputError
from covidnet_lite.watch.result_files import ResultFiles, Stamp, load

TOLD = {"status": "answered", "label": "normal"}


@pytest.fixture
def results(tmp_path: Path) -> ResultFiles:
    return ResultFiles(tmp_path)


def stored_fields(path: Path) -> dict[str, object]:
    fields: dict[str, object] = json.loads(path.read_text())
    return fields


def test_a_result_is_of_one_state_of_a_file_and_one_network(results: ResultFiles) -> None:
    assert not results.is_answered("a/b.png", Stamp(1, 2), "x")
    assert results.write("a/b.png", TOLD, Stamp(1, 2), "x", deliver=False)
    assert results.is_answered("a/b.png", Stamp(1, 2), "x")
    assert not results.is_answered("a/b.png", Stamp(1, 3), "x")
    assert not results.is_answered("a/b.png", Stamp(2, 2), "x")
    assert not results.is_answered("a/b.png", Stamp(1, 2), "y")
    assert stored_fields(results.path("a/b.png")) == {
        **TOLD,
        "name": "a/b.png",
        "file": {"size": 1, "changed_ns": 2},
        "network": "x",
    }


def test_the_same_result_is_not_written_nor_delivered_again(results: ResultFiles) -> None:
    assert results.write("a.png", TOLD, None, "x", deliver=True)
    path = results.path("a.png")
    assert results.mark_delivered(path, path.read_bytes())
    assert not results.write("a.png", TOLD, None, "x", deliver=True)
    assert stored_fields(path)["delivered"] is True
    assert results.write("a.png", {"status": "failed"}, None, "x", deliver=True)
    assert stored_fields(path)["delivered"] is False


@pytest.mark.parametrize("text", ['{"na', "[]", "{}", '{"file": 1}', "[" * 100_000])
def test_a_file_of_another_program_is_left_as_it_is(results: ResultFiles, text: str) -> None:
    path = results.path("a.png")
    path.write_text(text)
    assert load(path) is None
    with pytest.raises(OutputError, match="--out"):
        results.write("a.png", TOLD, Stamp(1, 1), "x", deliver=False)
    assert path.read_text() == text
    path.write_text("")  # what a share leaves when the power fails
    assert results.write("a.png", TOLD, Stamp(1, 1), "x", deliver=False)


def test_undelivered_results_come_oldest_first_and_others_not_at_all(results: ResultFiles, tmp_path: Path) -> None:
    for age, name in enumerate(("c.png", "ward/a.png", "IM0001")):
        results.write(name, TOLD, Stamp(1, 1), "x", deliver=True)
        os.utime(results.path(name), ns=(age, age))
    results.write("early.png", TOLD, Stamp(1, 1), "x", deliver=False)
    (tmp_path / "other.json").write_text('{"delivered": false}')
    assert results.undelivered() == [results.path(name) for name in ("c.png", "ward/a.png", "IM0001")]
    data = results.path("c.png").read_bytes()
    assert results.mark_delivered(results.path("c.png"), data)
    assert results.undelivered() == [results.path("ward/a.png"), results.path("IM0001")]


def test_a_result_written_anew_while_the_old_one_was_sent_is_not_marked(results: ResultFiles) -> None:
    results.write("a.png", TOLD, Stamp(1, 1), "x", deliver=True)
    path = results.path("a.png")
    data = path.read_bytes()
    results.write("a.png", TOLD, Stamp(2, 2), "x", deliver=True)
    assert not results.mark_delivered(path, data)
    assert stored_fields(path)["file"] == {"size": 2, "changed_ns": 2}
    assert stored_fields(path)["delivered"] is False


def test_while_a_result_is_marked_no_other_is_written(results: ResultFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the mark would put the old result in the place of the new one."""
    results.write("a.png", TOLD, Stamp(1, 1), "x", deliver=True)
    path, held = results.path("a.png"), []
    monkeypatch.setattr(files, "write", lambda *_: held.append(results._lock.locked()))
    results.mark_delivered(path, path.read_bytes())
    results.write("a.png", TOLD, Stamp(2, 2), "x", deliver=True)
    assert held == [True, True]


def test_one_that_was_taken_away_needs_no_mark(results: ResultFiles, tmp_path: Path) -> None:
    assert results.mark_delivered(tmp_path / "gone.json", b"{}")
    assert not list(tmp_path.iterdir())


def test_one_that_cannot_be_read_is_told(results: ResultFiles, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be read"):
        results.mark_delivered(tmp_path, b"{}")


def test_a_share_that_cannot_make_a_rename_safe_is_written_to_all_the_same(
    results: ResultFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def refuse(folder: Path) -> None:
        synced.append(folder)
        raise OutputError("cannot be written through to the disk")

    monkeypatch.setattr(files, "sync", refuse)
    assert results.write("a.png", TOLD, Stamp(1, 1), "x", deliver=False)
    assert synced == [results.path("a.png").parent]


def test_old_halves_of_files_are_removed_and_nothing_else(results: ResultFiles, tmp_path: Path) -> None:
    (tmp_path / "ward").mkdir()
    old, new, other = (tmp_path / "ward" / name for name in (".covidnet-lite-1", ".covidnet-lite-2", ".other"))
    for path in (old, new, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (1, 1))
    results.tidy()
    assert [path.exists() for path in (old, new, other)] == [False, True, True]
    assert files.LEFTOVER > 600
    shutil.rmtree(tmp_path / "ward")
    results.tidy()
