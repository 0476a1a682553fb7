"""The queue on disk, killed at every single step, or left by an older version."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from queues import PACS, UID, box, first

from covidnet_lite import files
from covidnet_lite.errors import OutputError
from covidnet_lite.node import layout
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits

STEPS = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir")  # of the os module, that change the disk


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


@contextmanager
def killed_at(
    monkeypatch: pytest.MonkeyPatch, step: int, by: type[BaseException] | BaseException = Killed
) -> Iterator[None]:
    """Lets ``step`` changes of the disk happen, and none after."""
    count = 0
    monkeypatch.setattr(os, "fsync", lambda _: None)  # counted, but nothing here needs the disk itself, which is slow

    def guard(real: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **more: object) -> object:
            nonlocal count
            count += 1
            if count > step:
                raise by
            return real(*args, **more)

        return change

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, guard(getattr(os, name)))
        yield


@pytest.fixture
def limits() -> Limits:
    return Limits(films=3, free_mb=0)


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


def lay(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def test_the_queue_of_a_version_with_one_destination_goes_on(tmp_path: Path, limits: Limits) -> None:
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


def test_killed_while_it_adopts_results_of_an_older_version_none_is_lost(
    tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, whole = 0, False
    while not whole:
        folder = tmp_path / str(step)
        lay(folder / "outgoing" / layout.key_of(UID), **{"1_dcm": b"sr", "2_dcm": b"sc", "film_json": b'{"film": "1"}'})
        with killed_at(monkeypatch, step):
            try:
                Queue(folder, limits, PACS).close()
                whole = True
            except Killed:
                pass
        queue = Queue(folder, limits, PACS)
        (parcel,) = box(queue).parcels()
        assert [path.read_bytes() for path in parcel.objects] == [b"sr", b"sc"], step
        assert parcel.story == {"film": "1"}, step
        queue.close()
        step += 1
    assert step > 10


def test_results_that_somebody_has_put_back_meanwhile_are_those_that_are_sent(tmp_path: Path, limits: Limits) -> None:
    for part, data in (("outgoing/{}/pacs", b"before"), ("to/pacs/{}", b"put back")):
        lay(tmp_path / part.format(layout.key_of(UID)), **{"1_dcm": data, "film_json": b"{}"})
    queue = Queue(tmp_path, limits, PACS)
    (parcel,) = box(queue).parcels()
    assert [path.read_bytes() for path in parcel.objects] == [b"put back"]
    assert not any((tmp_path / "outgoing").iterdir())
    queue.close()


def test_a_radiograph_whose_results_wait_is_not_classified_again(tmp_path: Path, limits: Limits) -> None:
    lay(tmp_path / "to/pacs" / layout.key_of(UID), **{"1_dcm": b"sr", "film_json": b"{}"})
    lay(tmp_path / "received", **{f"{layout.key_of(UID)}_1_dcm": b"film"})
    queue = Queue(tmp_path, limits, PACS)
    assert queue.next() is None
    assert len(box(queue).parcels()) == 1
    queue.close()


def test_what_is_left_of_results_that_were_all_sent_is_removed(tmp_path: Path, limits: Limits) -> None:
    left = lay(tmp_path / "to/pacs" / layout.key_of(UID), **{"reason_txt": b"why"})
    Queue(tmp_path, limits, PACS).close()
    assert not left.exists()


def test_the_folder_of_a_destination_that_is_named_no_more_goes_unless_somebody_has_put_something_there(
    tmp_path: Path, limits: Limits
) -> None:
    Queue(tmp_path, limits, ("pacs", "alarm", "tele")).close()
    (tmp_path / "to/tele/notes.txt").touch()
    Queue(tmp_path, limits, PACS).close()
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["pacs", "tele"]


def test_results_for_a_destination_that_is_named_no_more_are_kept(
    tmp_path: Path, limits: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(tmp_path, limits, ("alarm", "pacs", "tele"))
    queue.add(UID, b"film")
    queue.finish(first(queue), {}, {"alarm": [b"sr"], "tele": [b"sr"]})
    queue.close()
    queue = Queue(tmp_path, limits, PACS)
    lines = sorted(record.getMessage() for record in caplog.records)
    assert lines == [
        f"results of 1 radiographs wait for {name}, which the settings do not name" for name in ("alarm", "tele")
    ]
    assert {vars(record)["code"] for record in caplog.records} == {"destination-unknown"}
    fields = sorted((vars(record)["fields"] for record in caplog.records), key=lambda one: one["destination"])
    assert fields == [{"destination": "alarm", "count": 1}, {"destination": "tele", "count": 1}]
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


def test_what_was_sent_is_closed_by_the_next_attempt_where_one_failed_half_way(
    tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(tmp_path, limits, PACS)
    queue.add(UID, b"film")
    queue.finish(first(queue), {"film": UID}, {"pacs": [b"sr"]})
    outbox, step, whole = box(queue), 0, False
    (parcel,) = outbox.parcels()
    while not whole:
        with killed_at(monkeypatch, step, OSError(28, "No space left on device")):
            try:
                for path in parcel.objects:
                    outbox.mark_sent(path)
                outbox.close(parcel)
                whole = True
            except OutputError:
                step += 1
    assert step > 3
    assert queue.counts == {"received": 0, "outgoing": 0, "sent": 1, "failed": 0}
    assert outbox.parcels() == []
