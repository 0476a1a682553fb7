"""Results that wait for one destination."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from queues import PACS, UID, box, first

from covidnet_lite.errors import OutputError
from covidnet_lite.node.outbox import Parcel
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(tmp_path / "queue", Limits(free_mb=0), PACS)
    yield opened
    opened.close()


def waiting(queue: Queue, uid: str = UID) -> Parcel:
    """Results that wait for the PACS, with what is logged of them."""
    queue.add(UID, b"film")
    queue.finish(first(queue), {"film": uid}, {"pacs": [b"sr", b"sc"]})
    (parcel,) = box(queue).parcels()
    return parcel


def test_what_was_read_of_results_is_kept_while_they_wait(queue: Queue) -> None:
    parcel = waiting(queue)
    assert box(queue).parcels() == [parcel]
    assert box(queue).parcels()[0] is parcel


def test_results_come_in_order_and_only_those_of_ours(queue: Queue) -> None:
    parcel = waiting(queue)
    for name in (".3.dcm", "notes.txt"):
        (parcel.folder / name).touch()
    assert [path.name for path in parcel.objects] == ["1.dcm", "2.dcm"]


def test_what_has_been_sent_leaves_its_story(queue: Queue) -> None:
    parcel = waiting(queue)
    box(queue).mark_sent(parcel.objects[0])
    assert [path.name for path in parcel.objects] == ["2.dcm"]
    box(queue).close(parcel)
    (sent,) = (queue.folder / "sent").iterdir()
    assert sent.name == f"{parcel.key}.json"
    assert json.loads(sent.read_text()) == {"film": UID, "results": 2}
    assert box(queue).waiting == 0


def test_what_is_noted_again_after_a_failure_is_noted_once(queue: Queue) -> None:
    parcel = waiting(queue)
    path = parcel.objects[0]
    for _ in range(2):
        box(queue).mark_sent(path)
    assert [path.name for path in parcel.objects] == ["2.dcm"]
    for _ in range(2):
        box(queue).close(parcel)
    assert (queue.counts["sent"], box(queue).waiting) == (1, 0)


def test_results_of_a_radiograph_that_comes_again_are_read_again(queue: Queue) -> None:
    before = waiting(queue)
    assert before.story["film"] == UID
    box(queue).close(before)
    (queue.folder / "sent" / f"{before.key}.json").unlink()  # as it is forgotten after a while
    assert waiting(queue, "1.2.4").story["film"] == "1.2.4"


def test_results_that_cannot_be_quarantined_are_named(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = waiting(queue)
    monkeypatch.setattr(os, "rename", lambda *_: os.stat(queue.folder / "nothing"))
    with pytest.raises(OutputError, match=f"^{parcel.folder}: cannot be changed"):
        box(queue).reject(parcel, "why")
