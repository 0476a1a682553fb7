"""What goes into the queue on disk comes out, and where it is meanwhile."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import BROKEN, CHANGES, failing
from queues import PACS, UID, box, first

from covidnet_lite import files
from covidnet_lite.errors import OutputError, QueueFullError
from covidnet_lite.node import layout
from covidnet_lite.node.inbox import Arrival
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits


@pytest.fixture
def limits() -> Limits:
    return Limits(films=3, free_mb=0)


@pytest.fixture
def queue(tmp_path: Path, limits: Limits) -> Iterator[Queue]:
    opened = Queue(tmp_path / "queue", limits, PACS)
    yield opened
    opened.close()


def test_films_come_out_in_the_order_they_went_in_and_their_results_too(queue: Queue) -> None:
    for uid in ("1.9", "1.5", "1.7"):
        assert queue.add(uid, uid.encode())
        time.sleep(0.02)  # the clock of the file system ticks slowly
    seen = []
    while film := queue.next():
        seen.append(film.path.read_text())
        queue.finish(film, {"film": film.path.read_text()}, {"pacs": [b"sr", b"sc"]})
        time.sleep(0.02)
    assert seen == ["1.9", "1.5", "1.7"]
    assert [parcel.story["film"] for parcel in box(queue).parcels()] == seen
    assert [path.read_bytes() for path in box(queue).parcels()[0].objects] == [b"sr", b"sc"]


def test_nobody_else_can_look_into_it(tmp_path: Path, limits: Limits) -> None:
    queue = Queue(tmp_path / "a/b", limits, PACS)
    assert queue.folder.stat().st_mode & 0o777 == 0o700
    queue.close()


def test_a_new_queue_is_empty(queue: Queue) -> None:
    assert (queue.next(), queue.not_admitted, queue.oldest) == (None, 0, None)
    assert queue.counts == {"received": 0, "outgoing": 0, "sent": 0, "failed": 0}


def test_a_film_is_known_wherever_it_is(queue: Queue) -> None:
    def known() -> bool:
        return not queue.add(UID, b"again")

    assert not known()
    film = queue.begin(first(queue))
    assert known()
    queue.finish(film, {}, {"pacs": [b"sr"]})
    assert known()
    (parcel,) = box(queue).parcels()
    box(queue).mark_sent(*parcel.objects)
    box(queue).close(parcel)
    assert known()
    assert queue.counts == {"received": 0, "outgoing": 0, "sent": 1, "failed": 0}


def test_what_was_set_aside_may_be_sent_again(queue: Queue) -> None:
    queue.add(UID, b"bad")
    queue.set_aside(first(queue), "why")
    (folder,) = (queue.folder / "failed").iterdir()
    (folder / "1.dcm").touch()  # as an older version has left there
    assert queue.add(UID, b"good")
    queue.set_aside(first(queue), "why not")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "film.dcm": "good",
        "reason.txt": "why not\n",
    }


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, limits: Limits) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "queue"
    with pytest.raises(OutputError, match=f"^{folder}: cannot be changed"):
        Queue(folder, limits, PACS)
    (tmp_path / "own" / files.LOCK).mkdir(parents=True)
    with pytest.raises(OutputError, match=f"^{tmp_path / 'own'}: cannot be changed"):
        Queue(tmp_path / "own", limits, PACS)


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listdir", lambda folder: os.stat(folder / "nothing"))
    with pytest.raises(OutputError, match=f"^{tmp_path}: cannot be changed"):
        Queue(tmp_path, limits, PACS)


def test_a_radiograph_that_somebody_has_removed_cannot_be_moved_on(queue: Queue) -> None:
    queue.add(UID, b"film")
    film = first(queue)
    film.path.unlink()
    with pytest.raises(OutputError, match=f"^{queue.folder / 'failed' / film.key}: cannot be changed"):
        queue.set_aside(film, "why")
    with pytest.raises(OutputError, match=f"^{queue.folder / 'outgoing' / film.key}: cannot be changed"):
        queue.finish(film, {}, {})


def test_a_full_queue_takes_nothing_more_and_loses_nothing(queue: Queue) -> None:
    for i in range(3):
        queue.add(f"1.{i}", b"film")
    with pytest.raises(QueueFullError, match="3 radiographs"):
        queue.add("1.3", b"film")
    queue.finish(first(queue), {}, {"pacs": [b"sr"]})
    with pytest.raises(QueueFullError):  # what is not yet sent takes room too
        queue.add("1.3", b"film")
    (parcel,) = box(queue).parcels()
    box(queue).mark_sent(*parcel.objects)
    box(queue).close(parcel)
    assert queue.add("1.3", b"film")


def test_what_is_set_aside_takes_no_room(queue: Queue) -> None:
    for i in range(9):
        queue.add(f"1.{i}", b"film")
        queue.set_aside(first(queue), "why")
    assert queue.counts["failed"] == 9


def test_a_full_disk_is_noticed_before_it_is_full(tmp_path: Path) -> None:
    queue = Queue(tmp_path, Limits(free_mb=10**9), PACS)
    with pytest.raises(QueueFullError, match="MB left"):
        queue.add(UID, b"film")
    assert queue.counts["received"] == 0


def test_of_what_is_set_aside_the_oldest_goes(tmp_path: Path) -> None:
    queue = Queue(tmp_path, Limits(failed=2, free_mb=0), PACS)
    for i in range(4):
        queue.add(f"1.{i}", str(i).encode())
        queue.set_aside(first(queue), "why")
        time.sleep(0.02)
    assert sorted(path.read_text() for path in tmp_path.glob("failed/*/film.dcm")) == ["2", "3"]


def sent(queue: Queue, uid: str, made: float) -> None:
    """One that was sent at that time."""
    queue.add(uid, b"film")
    queue.finish(first(queue), {}, {})
    os.utime(queue.folder / "sent" / f"{layout.key_of(uid)}.json", (made, made))


def test_films_sent_long_ago_are_forgotten(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    now, clock = time.time(), time.monotonic()
    limit = now - 90 * 86400
    monkeypatch.setattr(time, "time", lambda: now)
    sent(queue, "1.0", limit - 0.5)
    sent(queue, "1.1", limit + 0.5)
    queue.forget()
    assert queue.add("1.0", b"film")
    assert not queue.add("1.1", b"film")
    sent(queue, "1.0", limit - 0.5)
    for later, known in ((3590, True), (3610, False)):  # within an hour it does not look again, which takes long
        monkeypatch.setattr(time, "monotonic", lambda later=later: clock + later)
        queue.forget()
        assert queue.knows("1.0") is known


def test_what_cannot_be_forgotten_is_named(queue: Queue) -> None:
    folder = queue.folder / "sent" / "abc.json"
    folder.mkdir()
    os.utime(folder, (0, 0))
    with pytest.raises(OutputError, match=f"^{folder}: cannot be changed"):
        queue.forget()


def test_other_limits_and_destinations_hold_from_now_on(queue: Queue) -> None:
    queue.add_destinations(("pacs", "alarm"))
    pacs = box(queue)
    queue.reload(Limits(films=1, failed=2, free_mb=0), ("pacs", "alarm"))
    assert set(queue.outboxes) == {"pacs", "alarm"}
    assert box(queue) is pacs
    for i in range(3):
        queue.add(f"1.{i}", b"film")
        queue.set_aside(first(queue), "why")
    assert queue.counts["failed"] == 2
    queue.add(UID, b"film")
    with pytest.raises(QueueFullError, match="1 radiographs"):
        queue.add("1.2.4", b"film")
    queue.finish(first(queue), {}, {"pacs": [b"sr"], "alarm": []})
    queue.add("1.2.4", b"film")  # for the other destination has none to wait for
    queue.reload(Limits(films=2, free_mb=0), ("alarm",))
    assert set(queue.outboxes) == {"alarm"}


def test_whoever_waits_is_woken(queue: Queue) -> None:
    events = (queue.arrived, box(queue).ready)
    assert [event.is_set() for event in events] == [False, False]
    queue.wake()
    assert [event.is_set() for event in events] == [True, True]
    for event in events:
        event.clear()
    queue.add(UID, b"film")
    assert queue.arrived.is_set()
    queue.finish(first(queue), {}, {"pacs": [b"sr"]})
    assert box(queue).ready.is_set()


def test_two_nodes_cannot_have_one_queue(queue: Queue, limits: Limits) -> None:
    with pytest.raises(OutputError, match="another node"):
        Queue(queue.folder, limits, PACS)
    queue.close()
    again = Queue(queue.folder, limits, PACS)
    queue._claim = again._claim  # the fixture closes it


def test_attempts_are_counted_across_restarts(tmp_path: Path, limits: Limits) -> None:
    for i in range(3):
        queue = Queue(tmp_path, limits, PACS)
        queue.add(UID, b"film")
        assert queue.begin(first(queue)).begun == i + 1
        queue.close()
    queue = Queue(tmp_path, limits, PACS)
    assert queue.put_back(first(queue)).begun == 2


def test_nothing_is_acknowledged_before_it_is_on_the_disk(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def kind(number: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{number}")).name

    monkeypatch.setattr(os, "fsync", lambda number: (steps.append(("fsync", kind(number))), fsync(number)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append(("replace", Path(a).name)), replace(a, b)))
    queue.add(UID, b"film")
    (first_step, temporary), *rest = steps
    assert (first_step, temporary[:1]) == ("fsync", ".")
    assert rest == [("replace", temporary), ("fsync", "received")]


def test_an_attempt_that_failed_half_way_is_finished_by_the_next(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk fails for a moment: the worker has the same film again."""
    queue.add(UID, b"film")
    step, whole = 0, False
    while not whole:
        real, left = files.sync, step

        def sync(folder: Path, real: Any = real) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OutputError("a moment")
            real(folder)

        with monkeypatch.context() as patch:
            patch.setattr(files, "sync", sync)
            arrival = queue.begin(first(queue))
            try:
                queue.finish(arrival, {}, {"pacs": [b"sr"]})
                whole = True
            except OutputError:
                queue.put_back(arrival)
                whole = queue.next() is None
        step += 1
    assert step > 3
    (parcel,) = box(queue).parcels()
    assert [path.read_bytes() for path in parcel.objects] == [b"sr"]
    assert queue.counts == {"received": 0, "outgoing": 1, "sent": 0, "failed": 0}


def test_results_of_an_attempt_that_failed_are_not_sent(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add(UID, b"film")
    film = first(queue)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: os.stat(queue.folder / "nothing"))
        with pytest.raises(OutputError):
            queue.finish(film, {}, {"pacs": [b"sr", b"sc"]})
    queue.finish(film, {}, {"pacs": [b"another sr"]})
    (parcel,) = box(queue).parcels()
    assert [path.read_bytes() for path in parcel.objects] == [b"another sr"]


@pytest.fixture
def two(tmp_path: Path, limits: Limits) -> Iterator[Queue]:
    opened = Queue(tmp_path / "two", limits, ("pacs", "alarm"))
    yield opened
    opened.close()


def deliver(queue: Queue, name: str) -> None:
    outbox = queue.outboxes[name]
    for parcel in outbox.parcels():
        for path in parcel.objects:
            outbox.mark_sent(path)
        outbox.close(parcel)


def test_a_destination_that_is_away_does_not_fill_the_queue(two: Queue) -> None:
    for i in range(9):  # three is the limit
        two.add(f"1.{i}", b"film")
        two.finish(first(two), {}, {"pacs": [b"sr"], "alarm": [b"sr"]})
        deliver(two, "pacs")
    assert two.outboxes["alarm"].waiting == 9
    for i in range(9, 12):
        two.add(f"1.{i}", b"film")
        two.finish(first(two), {}, {"pacs": [b"sr"], "alarm": [b"sr"]})
    with pytest.raises(QueueFullError):  # now the other is behind, too
        two.add("1.13", b"film")


def test_each_destination_gets_its_own_results_and_is_told_their_number(two: Queue) -> None:
    for uid in ("1.1", "1.2"):
        two.add(uid, b"film")
    two.finish(first(two), {"film": "1.1"}, {"pacs": [b"sr", b"sc"], "alarm": [b"sr"]})
    two.finish(first(two), {"film": "1.2"}, {"pacs": [b"sr"], "alarm": []})
    told = {name: [parcel.story for parcel in outbox.parcels()] for name, outbox in two.outboxes.items()}
    assert told == {
        "pacs": [{"film": "1.1", "results": 2}, {"film": "1.2", "results": 1}],
        "alarm": [{"film": "1.1", "results": 1}],
    }
    assert [path.name for path in two.outboxes["pacs"].parcels()[0].objects] == ["1.dcm", "2.dcm"]
    deliver(two, "alarm")
    assert two.counts == {"received": 0, "outgoing": 2, "sent": 1, "failed": 0}


def test_results_that_nobody_wants_are_done_at_once(two: Queue) -> None:
    two.add(UID, b"film")
    two.finish(first(two), {"film": UID}, {"pacs": [], "alarm": []})
    assert two.counts == {"received": 0, "outgoing": 0, "sent": 1, "failed": 0}
    (story,) = (two.folder / "sent").iterdir()
    assert json.loads(story.read_text()) == {"film": UID}
    assert not two.add(UID, b"film")


def test_a_disk_that_fails_is_told(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    queue.add(UID, b"film")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        queue.add("1.2.4", b"film")
    with pytest.raises(OutputError, match="No space left"):
        queue.finish(first(queue), {}, {"pacs": [b"sr"]})
    with pytest.raises(OutputError, match="No space left"):
        files.sync(queue.folder)
    monkeypatch.undo()
    assert queue.counts["received"] == 1
    queue.finish(first(queue), {}, {"pacs": [b"sr"]})
    assert len(box(queue).parcels()) == 1


@pytest.mark.parametrize("jump", [-365 * 86400, -3600, 3600, 365 * 86400])
def test_a_clock_that_is_set_changes_no_order(queue: Queue, jump: float) -> None:
    for i in range(3):
        queue.add(f"1.{i}", b"film")
        queue.next()  # sees it
        (path,) = (queue.folder / "received").glob(f"{layout.key_of(f'1.{i}')}.*")
        os.utime(path, (time.time() + i * jump,) * 2)
    order = [film.key for film in iter(lambda: taken(queue), None)]
    assert order == [layout.key_of(f"1.{i}") for i in range(3)]


def taken(queue: Queue) -> Arrival | None:
    if film := queue.next():
        queue.set_aside(film, "done")
    return film


def test_how_long_the_oldest_has_waited_is_told_whatever_the_clock_says(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert queue.oldest is None
    queue.add(UID, b"film")
    assert (queue.oldest or 0) < 60
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert (queue.oldest or 0) < 60
    later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert 3590 < (queue.oldest or 0) < 3700


def test_work_that_begins_makes_no_radiograph_younger(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.add(UID, b"film")
    assert (queue.oldest or 0) < 60
    later = time.monotonic() + 1800
    monkeypatch.setattr(time, "monotonic", lambda: later)
    queue.begin(first(queue))
    assert 1790 < (queue.oldest or 0) < 1900


@pytest.mark.parametrize("is_answered", [False, True])
def test_what_waits_when_a_node_starts_has_waited_since_it_was_received(
    tmp_path: Path, limits: Limits, is_answered: bool
) -> None:
    queue = Queue(tmp_path / "queue", limits, PACS)
    queue.add(UID, b"film")
    if is_answered:
        queue.finish(first(queue), {}, {"pacs": [b"result"]})
    queue.close()
    hour_ago = time.time() - 3600
    for path in (tmp_path / "queue").rglob("*"):
        os.utime(path, (hour_ago, hour_ago))
    again = Queue(tmp_path / "queue", limits, PACS)
    assert 3590 < (again.oldest or 0) < 3700
    again.close()


ACTIONS: dict[str, Callable[..., object]] = {
    "knows": lambda queue, *_: queue.knows("1.2.9"),
    "add": lambda queue, *_: queue.add("1.2.9", b"a film"),
    "counts": lambda queue, *_: queue.counts,
    "oldest": lambda queue, *_: queue.oldest,
    "next": lambda queue, *_: queue.next(),
    "begin": lambda queue, arrival, *_: queue.begin(arrival),
    "finish": lambda queue, arrival, *_: queue.finish(arrival, {}, {"pacs": [b"sr"]}),
    "finish without results": lambda queue, arrival, *_: queue.finish(arrival, {}, {}),
    "set aside": lambda queue, arrival, *_: queue.set_aside(arrival, "why"),
    "parcels": lambda queue, *_: box(queue).parcels(),
    "mark sent": lambda queue, arrival, parcel, item: box(queue).mark_sent(parcel.folder / "1.dcm"),
    "close": lambda queue, arrival, parcel, item: box(queue).close(parcel),
    "reject": lambda queue, arrival, parcel, item: box(queue).reject(parcel, "why"),
    "retry": lambda queue, arrival, parcel, item: queue.quarantine.retry(item),
    "drop": lambda queue, arrival, parcel, item: queue.quarantine.drop(item),
}

EVERYTHING = (*CHANGES, "scandir", "listdir", "statvfs")


@pytest.mark.parametrize(
    ("name", "failures"),
    [
        *((name, EVERYTHING) for name in ACTIONS),
        ("add", ("statvfs",)),
        ("set aside", ("scandir",)),
        ("reject", ("scandir",)),
    ],
)
def test_a_disk_that_fails_is_reported_with_what_lies_there(
    name: str, failures: tuple[str, ...], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uid in ("1.2.1", "1.2.2", "1.2.3"):
        queue.add(uid, b"a film")
    queue.finish(first(queue), {}, {"pacs": [b"sr", b"sc"]})
    queue.set_aside(first(queue), "why")
    (parcel,), (item,), arrival = box(queue).parcels(), queue.quarantine.items(), first(queue)
    with failing(monkeypatch, BROKEN, failures, below=queue.folder), pytest.raises(OutputError) as raised:
        ACTIONS[name](queue, arrival, parcel, item)
    assert re.match(rf"{re.escape(str(queue.folder))}.*: cannot be .* \(Input/output error\)", str(raised.value))


def test_a_queue_that_cannot_be_opened_is_named(
    tmp_path: Path, limits: Limits, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(monkeypatch, BROKEN, ("scandir",), below=queue.folder):
        assert str(queue.objection).startswith(f"{queue.folder}: ")
    for folder, change in ((tmp_path / "new", "mkdir"), (tmp_path / "other", "listdir")):
        with failing(monkeypatch, BROKEN, (change,), below=folder), pytest.raises(OutputError, match=f"^{folder}: "):
            Queue(folder, limits, PACS)
