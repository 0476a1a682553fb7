"""What is quarantined comes back whole, or goes for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from covidnet_lite.errors import OutputError
from covidnet_lite.node.inbox import Arrival
from covidnet_lite.node.quarantine import Item
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits

UID = "1.2.3"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(tmp_path / "queue", Limits(free_mb=0), ("pacs", "alarm"))
    yield opened
    opened.close()


def first(queue: Queue) -> Arrival:
    arrival = queue.next()
    assert arrival
    return arrival


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
    (parcel,) = queue.outboxes["pacs"].parcels()
    name = queue.outboxes["pacs"].reject(parcel, "0xA900")
    item = only(queue)
    assert (item.name, item.destination, item.reason, item.story["film"]) == (name, "pacs", "0xA900", UID)
    queue.quarantine.retry(item)
    (parcel,) = queue.outboxes["pacs"].parcels()
    assert [path.read_bytes() for path in parcel.objects] == [b"sr", b"sc"]
    assert queue.outboxes["alarm"].waiting == 1
    assert queue.quarantine.items() == []


def test_what_is_there_again_already_is_not_tried_twice(queue: Queue) -> None:
    queue.add(UID, b"film")
    queue.set_aside(first(queue), "why")
    queue.add(UID, b"film")  # its sender has sent it again
    with pytest.raises(OutputError, match="in the queue already"):
        queue.quarantine.retry(only(queue))
    queue.finish(first(queue), {}, {"pacs": [b"sr"]})
    queue.outboxes["pacs"].reject(queue.outboxes["pacs"].parcels()[0], "why")
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
