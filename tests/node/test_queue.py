"""The queue on disk, killed at every single step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from covidnet_lite import files
from covidnet_lite.errors import OutputError, QueueFullError
from covidnet_lite.node import layout
from covidnet_lite.node.inbox import Arrival
from covidnet_lite.node.outbox import Outbox
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits

UID = "1.2.3"
PACS = ("pacs",)
STEPS = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir")  # of the os module, that change the disk


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[None]:
    """Lets ``step`` changes of the disk happen, and none after."""
    count = 0
    monkeypatch.setattr(os, "fsync", lambda _: None)  # counted, but nothing here needs the disk itself, which is slow

    def guard(real: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **more: object) -> object:
            nonlocal count
            count += 1
            if count > step:
                raise Killed
            return real(*args, **more)

        return change

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, guard(getattr(os, name)))
        yield


@pytest.fixture
def limits() -> Limits:
    return Limits(films=3, free_mb=0)


@pytest.fixture
def queue(tmp_path: Path, limits: Limits) -> Iterator[Queue]:
    opened = Queue(tmp_path / "queue", limits, PACS)
    yield opened
    opened.close()


def first(queue: Queue) -> Arrival:
    film = queue.next()
    assert film
    return film


def box(queue: Queue) -> Outbox:
    return queue.outboxes["pacs"]


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


def test_nobody_else_can_look_into_it(queue: Queue) -> None:
    assert queue.folder.stat().st_mode & 0o777 == 0o700


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


def sent(queue: Queue, uid: str, seconds: float) -> None:
    """One that was sent so long ago."""
    queue.add(uid, b"film")
    queue.finish(first(queue), {}, {})
    before = time.time() - seconds
    os.utime(queue.folder / "sent" / f"{layout.key_of(uid)}.json", (before, before))


def test_films_sent_long_ago_are_forgotten(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    days, minute = 90 * 86400, 60
    sent(queue, "1.0", days + minute)
    sent(queue, "1.1", days - minute)
    queue.forget()
    assert queue.add("1.0", b"film")
    assert not queue.add("1.1", b"film")
    sent(queue, "1.0", days + minute)
    now = time.monotonic()
    for later, known in ((3590, True), (3610, False)):  # within an hour it does not look again, which takes long
        monkeypatch.setattr(time, "monotonic", lambda later=later: now + later)
        queue.forget()
        assert queue.knows("1.0") is known


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


def run(queue: Queue, sent: list[bytes]) -> None:
    """All that ever happens to a film, with each of the destinations; what goes to whom begins with its name."""
    while film := queue.next():
        results = {name: [f"{name} sr".encode(), f"{name} sc".encode()] for name in queue.outboxes}
        queue.finish(queue.begin(film), {"film": UID}, results)
    for outbox in queue.outboxes.values():
        for parcel in outbox.parcels():
            for path in parcel.objects:
                sent.append(path.read_bytes())
                outbox.mark_sent(path)
            outbox.close(parcel)


def test_killed_at_any_step_nothing_is_lost_and_no_result_remade(
    tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, whole, both = 0, False, ("pacs", "alarm")
    everything = [b"alarm sc", b"alarm sr", b"pacs sc", b"pacs sr"]
    while not whole:
        folder, acknowledged, sent = tmp_path / str(step), False, []
        queue = Queue(folder, limits, both)
        with killed_at(monkeypatch, step):
            try:
                queue.add(UID, b"film")
                acknowledged = True
                run(queue, sent)
                whole = True
            except Killed:
                pass
        queue.close()
        again = Queue(folder, limits, both)
        if acknowledged:
            assert not again.add(UID, b"film"), f"lost by a kill at step {step}"
        else:
            again.add(UID, b"film")  # its sender, which has heard nothing, sends it again
        before = list(sent)
        run(again, sent)
        assert again.counts == {"received": 0, "outgoing": 0, "sent": 1, "failed": 0}, step
        # At most the one that was under way is sent twice.
        assert sorted(set(sent)) == everything, step
        assert sent[: len(before)] == before
        assert len(sent) <= len(everything) + 1, step
        assert not [path for path in folder.rglob(".*") if path.name not in (files.LOCK, layout.EXCLUSIVE)], step
        again.close()
        step += 1
    assert step > 40
    assert sorted(sent) == everything


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
    deliver(two, "alarm")
    assert two.counts == {"received": 0, "outgoing": 2, "sent": 1, "failed": 0}


def test_results_that_nobody_wants_are_done_at_once(two: Queue) -> None:
    two.add(UID, b"film")
    two.finish(first(two), {"film": UID}, {"pacs": [], "alarm": []})
    assert two.counts == {"received": 0, "outgoing": 0, "sent": 1, "failed": 0}
    assert not two.add(UID, b"film")


def test_the_queue_of_a_version_with_one_destination_goes_on(tmp_path: Path, limits: Limits) -> None:
    def lay(folder: Path, **contents: bytes) -> None:
        folder.mkdir(parents=True)
        for name, data in contents.items():
            (folder / name.replace("_", ".")).write_bytes(data)

    lay(tmp_path / "received")
    (tmp_path / "received" / f"{layout.key_of('1.1')}.2.dcm").write_bytes(b"film")
    lay(tmp_path / "outgoing" / layout.key_of("1.2"), **{"2_dcm": b"sc", "film_json": b'{"film": "1.2", "results": 2}'})
    lay(tmp_path / "outgoing" / layout.key_of("1.3"))  # killed after it was all sent
    lay(tmp_path / "sent", **{f"{layout.key_of('1.4')}_json": b"{}"})
    lay(tmp_path / "failed" / layout.key_of("1.5"), **{"1_dcm": b"sr", "film_json": b"{}", "reason_txt": b"0xA900"})
    queue = Queue(tmp_path, limits, ("pacs", "alarm"))
    assert (first(queue).begun, first(queue).path.read_bytes()) == (2, b"film")
    (parcel,) = box(queue).parcels()
    assert ([path.name for path in parcel.objects], parcel.story["film"]) == (["2.dcm"], "1.2")
    assert not queue.add("1.4", b"film")
    (item,) = queue.quarantine.items()
    assert (item.destination, item.reason) == ("pacs", "0xA900")
    assert queue.counts == {"received": 1, "outgoing": 1, "sent": 1, "failed": 1}
    queue.close()


def test_results_for_a_destination_that_is_named_no_more_are_kept(
    tmp_path: Path, limits: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(tmp_path, limits, ("pacs", "alarm"))
    queue.add(UID, b"film")
    queue.finish(first(queue), {}, {"alarm": [b"sr"]})
    queue.close()
    queue = Queue(tmp_path, limits, PACS)
    (record,) = caplog.records
    assert record.getMessage() == "results of 1 radiographs wait for alarm, which the settings do not name"
    assert vars(record)["code"] == "destination-unknown"
    assert vars(record)["fields"] == {"destination": "alarm", "count": 1}
    assert not queue.add(UID, b"film")
    queue.close()
    queue = Queue(tmp_path, limits, ("pacs", "alarm"))
    assert queue.outboxes["alarm"].waiting == 1
    queue.close()


@pytest.mark.parametrize("how", ["set_aside", "reject"])
def test_killed_at_any_step_nothing_set_aside_is_lost(
    how: str, tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_aside(queue: Queue) -> None:
        if film := queue.next():
            if how == "set_aside":
                return queue.set_aside(film, "why")
            queue.finish(film, {}, {"pacs": [b"film"]})
        for parcel in box(queue).parcels():
            box(queue).reject(parcel, "why")

    step, whole = 0, False
    while not whole:
        queue = Queue(tmp_path / str(step), limits, PACS)
        queue.add(UID, b"film")
        with killed_at(monkeypatch, step):
            try:
                put_aside(queue)
                whole = True
            except Killed:
                pass
        queue.close()
        again = Queue(queue.folder, limits, PACS)
        put_aside(again)
        assert again.counts == {"received": 0, "outgoing": 0, "sent": 0, "failed": 1}, step
        (folder,) = (again.folder / "failed").iterdir()
        assert [path.read_bytes() for path in folder.glob("*.dcm")] == [b"film"], step
        assert (folder / "reason.txt").read_text() == "why\n"
        again.close()
        step += 1
    assert step > 5


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
