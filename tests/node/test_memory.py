"""What a queue remembers, while clocks jump."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from disks import READ_ONLY, failing

from covidnet_lite.errors import OutputError
from covidnet_lite.node.layout import CLOCK, Folders
from covidnet_lite.node.memory import HOUR, Memory

DAY = 86400.0


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / "sent").mkdir()
    return Folders(tmp_path, ("pacs",))


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, to be set."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def send(folders: Folders, memory: Memory, key: str, made: float) -> None:
    path = folders.sent / f"{key}.json"
    path.touch()
    os.utime(path, (made, made))  # of the wall clock
    memory.add(key)


def remembered(folders: Folders) -> list[str]:
    return sorted(path.stem for path in folders.sent.iterdir())


@pytest.mark.parametrize("wrong", [0.0, time.time() + 3650 * DAY], ids=["1970", "ten years ahead"])
def test_a_file_that_was_made_while_the_clock_was_wrong_is_remembered_as_long_as_any(
    folders: Folders, running: list[float], wrong: float
) -> None:
    memory = Memory(folders, 90)
    send(folders, memory, "a", wrong)
    running[0] += 89 * DAY
    memory.forget()
    assert remembered(folders) == ["a"]
    running[0] += 2 * DAY
    memory.forget()
    assert remembered(folders) == []


def test_a_wall_clock_a_year_ahead_has_nothing_forgotten_neither_now_nor_after_a_restart(
    folders: Folders, running: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(folders, 90)
    send(folders, memory, "a", time.time())
    wall = time.time() + 365 * DAY
    monkeypatch.setattr(time, "time", lambda: wall)
    memory.forget()
    again = Memory(folders, 90)
    again.forget()
    assert remembered(folders) == ["a"]


def test_the_time_of_the_queue_goes_on_from_run_to_run(folders: Folders, running: list[float]) -> None:
    memory = Memory(folders, 90)
    send(folders, memory, "a", time.time())
    for _ in range(91):
        running[0] += DAY
        memory.forget()
        memory = Memory(folders, 90)
    memory.forget()
    assert remembered(folders) == []


def test_it_is_looked_through_once_an_hour_and_again_at_once_where_that_failed(
    folders: Folders, running: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(folders, 0)
    with failing(monkeypatch, READ_ONLY), pytest.raises(OutputError, match="Read-only"):
        memory.forget()
    memory.forget()
    send(folders, memory, "a", time.time())
    running[0] += HOUR - 1
    memory.forget()
    assert remembered(folders) == ["a"]
    running[0] += 2
    memory.forget()
    assert remembered(folders) == []
    assert (folders.root / CLOCK).stat().st_size == 0


def test_a_folder_that_is_gone_is_an_error_of_the_disk(folders: Folders) -> None:
    memory = Memory(folders, 90)
    folders.sent.rmdir()
    with pytest.raises(OutputError, match=f"{folders.sent}: "):
        memory.forget()


def test_only_what_was_sent_is_removed(folders: Folders) -> None:
    memory = Memory(folders, 0)
    for name in ("notes.txt", ".unfinished-1-2"):
        (folders.sent / name).touch()
        os.utime(folders.sent / name, (0, 0))
    memory.forget()
    assert len(list(folders.sent.iterdir())) == 2
