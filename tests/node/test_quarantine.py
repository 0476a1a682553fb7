"""What is quarantined comes back whole, or goes for good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from queues import UID, box, first

from covidnet_lite.errors import OutputError
from covidnet_lite.node.quarantine import Item
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(tmp_path / "queue", Limits(free_mb=0), ("pacs", "alarm"))
    yield opened
    opened.close()


def only(queue: Queue) -> Item:
    (item,) = queue.quarantine.items()
    return item


def test_a_radiograph_that_is_tried_again_is_in_the_queue_as_it_came(queue: Queue) -> None:
    queue.add(UID, b"film")
    queue.set_aside(queue.begin(first(queue)), "why")
    item = only(queue)
    assert (item.destination, item.reason) == (None, "why")
    queue.quarantine.retry(item)
    assert (first(queue).path.read_bytes(), first(queue).begun) == (b"film", 0)
    assert queue.quarantine.items() == []


def test_results_that_are_tried_again_go_to_the_destination_that_refused_them_alone(queue: Queue) -> None:
    queue.add(UID, b"film")
    queue.finish(first(queue), {"film": UID}, {"pacs": [b"sr", b"sc"], "alarm": [b"sr"]})
    (parcel,) = box(queue).parcels()
    assert parcel.story["film"] == UID
    name = box(queue).reject(parcel, "0xA900")
    item = only(queue)
    assert (item.name, item.destination, item.reason, item.story["film"]) == (name, "pacs", "0xA900", UID)
    (item.folder / "film.json").write_text('{"film": "1.2.4"}')
    queue.quarantine.retry(item)
    (parcel,) = box(queue).parcels()
    assert [path.read_bytes() for path in parcel.objects] == [b"sr", b"sc"]
    assert parcel.story == {"film": "1.2.4"}
    assert queue.outboxes["alarm"].waiting == 1
    assert queue.quarantine.items() == []


def test_what_is_there_again_already_is_not_tried_twice(queue: Queue) -> None:
    queue.add(UID, b"film")
    queue.set_aside(first(queue), "why")
    queue.add(UID, b"film")  # its sender has sent it again
    with pytest.raises(OutputError, match="in the queue already"):
        queue.quarantine.retry(only(queue))
    queue.finish(first(queue), {}, {"pacs": [b"sr"]})
    box(queue).reject(box(queue).parcels()[0], "why")
    items = {item.destination: item for item in queue.quarantine.items()}
    assert set(items) == {None, "pacs"}  # neither took the place of the other
    queue.quarantine.retry(items["pacs"])
    again = Item(items["pacs"].name, items["pacs"].key, "pacs", items["pacs"].folder)
    with pytest.raises(OutputError, match="wait for pacs already"):
        queue.quarantine.retry(again)


def test_what_is_dropped_is_gone(queue: Queue) -> None:
    queue.add(UID, b"film")
    queue.set_aside(first(queue), "why")
    queue.quarantine.drop(only(queue))
    assert queue.counts == {"received": 0, "outgoing": 0, "sent": 0, "failed": 0}


def test_what_is_gone_can_neither_be_tried_again_nor_dropped(queue: Queue) -> None:
    for name in ("abc", "abc.pacs"):
        gone = Item(name, "abc", "pacs" if "." in name else None, queue.folder / "failed" / name)
        assert (gone.reason, gone.story) == ("", {})
        for action in (queue.quarantine.retry, queue.quarantine.drop):
            with pytest.raises(OutputError, match=f"^{gone.folder}: cannot be changed"):
                action(gone)


def test_results_that_are_refused_again_take_the_place_of_those_before(queue: Queue) -> None:
    for words in ("why", "why not"):
        queue.add(UID, b"film")
        queue.finish(first(queue), {}, {"pacs": [words.encode()]})
        (parcel,) = box(queue).parcels()
        box(queue).reject(parcel, words)
    assert only(queue).reason == "why not"
    assert (only(queue).folder / "1.dcm").read_bytes() == b"why not"


def test_the_oldest_comes_first_whatever_its_name(queue: Queue) -> None:
    for made, name in enumerate("cab"):
        folder = queue.folder / "failed" / name
        folder.mkdir()
        (folder / "film.dcm").touch()
        os.utime(folder, (made, made))
    assert [item.name for item in queue.quarantine.items()] == ["c", "a", "b"]


def test_a_destination_may_have_a_dot_in_its_name(queue: Queue) -> None:
    (queue.folder / "failed/abc.pacs.two").mkdir()
    assert (only(queue).key, only(queue).destination) == ("abc", "pacs.two")
