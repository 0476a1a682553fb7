"""Which radiograph is worked on next, and who may add to the same folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from covidnet_lite.errors import OutputError, QueueFullError
from covidnet_lite.node import layout
from covidnet_lite.node.inbox import Arrival, Inbox, Priority, Turns
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits

LIMITS = Limits(free_mb=0)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(tmp_path / "queue", LIMITS, ("pacs",))
    yield opened
    opened.close()


def drained(queue: Queue) -> Iterator[str]:
    while arrival := queue.next():
        yield arrival.path.read_text()
        queue.finish(queue.begin(arrival), {}, {})


def add(queue: Queue, name: str, priority: Priority) -> None:
    queue.add(name, name.encode(), priority)
    time.sleep(0.02)  # the clock of the file system ticks slowly


def test_a_higher_priority_goes_first_and_within_one_the_oldest(queue: Queue) -> None:
    for name, priority in (("l", Priority.LOW), ("m1", Priority.MEDIUM), ("h", Priority.HIGH), ("m2", Priority.MEDIUM)):
        add(queue, name, priority)
    assert list(drained(queue)) == ["h", "m1", "m2", "l"]


def test_every_fifth_is_the_one_that_has_waited_longest(queue: Queue) -> None:
    add(queue, "old", Priority.LOW)
    for i in range(6):
        add(queue, f"h{i}", Priority.HIGH)
    assert list(drained(queue)) == ["h0", "h1", "h2", "h3", "old", "h4", "h5"]


def test_none_waits_for_ever_however_many_come() -> None:
    turns, waiting, picked = Turns(), [(9, 0)], []
    for made in range(1, 50):
        waiting.append((0, made))
        picked.append(turns.pick(waiting, lambda one: one[0]))
        waiting.remove(picked[-1])
    assert (9, 0) in picked


@pytest.mark.parametrize(
    ("number", "priority"), [(0, "MEDIUM"), (1, "HIGH"), (2, "LOW"), (None, "MEDIUM"), (7, "MEDIUM")]
)
def test_the_priority_of_a_request_is_that_of_the_standard(number: int | None, priority: str) -> None:
    assert Priority.of_request(number).name == priority


@pytest.mark.parametrize("priority", Priority)
def test_the_priority_outlasts_restarts_and_attempts(tmp_path: Path, priority: Priority) -> None:
    for begun in range(3):
        queue = Queue(tmp_path, LIMITS, ("pacs",))
        queue.add("1.2", b"film", priority)
        arrival = queue.next()
        assert arrival
        assert (arrival.priority, arrival.begun) == (priority, begun)
        assert queue.begin(arrival) == queue.next()
        queue.close()


def test_what_else_lies_there_is_left_alone(queue: Queue) -> None:
    for name in ("notes.txt", "abc.dcm", "abc.1.urgent.dcm", "abc.1.high.dcm.part"):
        (queue.folder / "received" / name).write_text(name)
    assert queue.next() is None


def test_two_processes_that_add_the_same_radiograph_add_it_once(tmp_path: Path) -> None:
    queue = Queue(tmp_path, LIMITS, ("pacs",))
    code = f"""
from pathlib import Path
from covidnet_lite.node.inbox import Inbox
from covidnet_lite.node.layout import Folders
from covidnet_lite.node.settings import Limits
inbox = Inbox(Folders(Path({str(tmp_path)!r}), ("pacs",)), Limits(free_mb=0))
print(sum(inbox.add(f"1.{{i}}", b"film") for i in range(60)))
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    ours = 0
    while other.poll() is None or ours == 0:
        ours += sum(queue.add(f"1.{i}", b"film") for i in range(60))
        if arrival := queue.next():
            queue.put_back(queue.begin(arrival))  # its name changes meanwhile
    theirs = int(other.communicate()[0])
    assert ours + theirs == 60
    assert queue.counts["received"] == 60
    queue.close()


def test_a_queue_of_another_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = layout.Folders(tmp_path, ("pacs",))
    for folder in folders.all:
        folder.mkdir(exist_ok=True)

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(
        OutputError, match="exclusive.lock: cannot be changed .Permission denied.; check disk and owner"
    ):
        Inbox(folders, LIMITS).add("1.2", b"film")


def test_an_arrival_that_is_gone_was_finished(queue: Queue) -> None:
    gone = Arrival("abc", queue.folder / "received/abc.1.dcm", 1)
    assert queue.put_back(gone) == gone
    with pytest.raises(OutputError, match=f"^{gone.path}: cannot be changed"):
        queue.begin(gone)


def test_a_radiograph_that_leaves_less_room_on_the_disk_than_it_should_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(tmp_path, Limits(free_mb=500), ("pacs",))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=500_000_100))
    assert queue.objection is None
    words = f"^{tmp_path}: its disk would have 500 MB left; make room on it$"
    with pytest.raises(QueueFullError, match=words):
        queue.add("1.2", bytes(101))
    assert queue.add("1.2", bytes(100))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=499_999_999))
    assert queue.objection is not None
    assert re.match(words, queue.objection)
    queue.close()


def test_a_disk_that_does_not_say_how_much_room_there_is_is_named(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: os.stat(folder / "nothing"))
    with pytest.raises(OutputError, match=f"^{queue.folder}: cannot be changed"):
        queue.add("1.2", b"film")
