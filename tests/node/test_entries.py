"""What is in a queue: listed, offered again, removed; beside a running node, which shares nothing but the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from covidnet_lite.errors import OutputError, SettingsError
from covidnet_lite.node.entries import QUARANTINED, TO_CLASSIFY, TO_SEND, Queued
from covidnet_lite.node.layout import key_of
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits

AsBytes = Callable[..., bytes]


@pytest.fixture
def queue(tmp_path: Path, as_bytes: AsBytes) -> Iterator[Queue]:
    """That of a node at work: 1.1 waits; results of 1.2 wait, those of 1.3 are quarantined, and so is 1.4."""
    opened = Queue(tmp_path / "queue", Limits(free_mb=0), ("pacs", "second"))
    for uid in ("1.2", "1.3"):
        opened.add(uid, as_bytes(uid))
        arrival = opened.next()
        assert arrival
        opened.finish(arrival, {"film": uid}, {"pacs": [b"result"]} if uid == "1.3" else {"second": [b"result"]})
    opened.outboxes["pacs"].reject(opened.outboxes["pacs"].parcels()[0], "1.3: never")
    opened.add("1.4", as_bytes("1.4"))
    arrival = opened.next()
    assert arrival
    opened.set_aside(opened.begin(arrival), "1.4: damaged\nJANE\x1b")
    opened.add("1.1", as_bytes("1.1"))
    yield opened
    opened.close()


@pytest.fixture
def queued(queue: Queue) -> Queued:
    return Queued(queue.folder)


def test_entries_are_listed_on_their_way_through_the_queue(queued: Queued) -> None:
    assert [(one.state, one.uid, one.destination, one.reason) for one in queued.entries()] == [
        (TO_CLASSIFY, "1.1", None, ""),
        (TO_SEND, "1.2", "second", ""),
        (QUARANTINED, "1.3", "pacs", "1.3: never"),
        (QUARANTINED, "1.4", None, "1.4: damaged\nJANE\x1b"),
    ]


def test_an_entry_is_one_printable_line(queued: Queued) -> None:
    for entry in queued.entries():
        line = str(entry)
        assert line.isprintable()
        assert entry.name in line
        assert entry.to_dict()["path"] == str(entry.path)


def test_entries_are_chosen_by_name_by_uid_or_by_the_beginning_of_a_name(queued: Queued) -> None:
    name = key_of("1.4")
    for text in (name, name[:6], "1.4"):
        assert [entry.uid for entry in queued.chosen([text], False)] == ["1.4"]
    assert [entry.uid for entry in queued.chosen(["1.4", name, "1.1"], False)] == ["1.4", "1.1"]
    assert [entry.uid for entry in queued.chosen([], True)] == ["1.3", "1.4"]


@pytest.mark.parametrize(("wanted", "words"), [(["1.9"], "1.9: is not there"), ([""], "is not there"), ([], "--all")])
def test_what_is_not_there_is_named(queued: Queued, wanted: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        queued.chosen(wanted, False)


def test_a_beginning_that_several_have_in_common_chooses_none(queue: Queue, queued: Queued) -> None:
    for name in ("ab01", "ab02"):
        (queue.folder / "failed" / name).mkdir()
    with pytest.raises(SettingsError, match="ab: is how 2 names begin"):
        queued.chosen(["ab"], False)


def test_what_is_set_aside_is_offered_again_to_a_node_at_work(queue: Queue, queued: Queued) -> None:
    for entry in queued.chosen([], True):
        queued.retry(entry)
    assert [(one.state, one.uid) for one in queued.entries()] == [
        (TO_CLASSIFY, "1.4"),  # which came before
        (TO_CLASSIFY, "1.1"),
        (TO_SEND, "1.3"),
        (TO_SEND, "1.2"),
    ]
    assert [parcel.story["film"] for parcel in queue.outboxes["pacs"].parcels()] == ["1.3"]
    assert queue.counts["failed"] == 0


def test_a_radiograph_that_was_sent_again_meanwhile_is_not_there_twice(
    queue: Queue, queued: Queued, as_bytes: AsBytes
) -> None:
    (entry,) = queued.chosen(["1.4"], False)
    queue.add("1.4", as_bytes("1.4"))
    with pytest.raises(OutputError, match="in the queue already"):
        queued.retry(entry)
    with pytest.raises(OutputError, match="1.1|is not quarantined"):
        queued.retry(queued.chosen(["1.1"], False)[0])


def test_what_is_set_aside_is_removed_and_what_waits_only_without_a_node(queue: Queue, queued: Queued) -> None:
    for entry in queued.chosen([], True):
        queued.drop(entry)
    assert [entry.uid for entry in queued.entries()] == ["1.1", "1.2"]
    for entry in queued.entries():
        with pytest.raises(OutputError, match="a node works with the queue; stop it"):
            queued.drop(entry)
    queue.close()
    for entry in queued.entries():
        queued.drop(entry)
    assert queued.entries() == []


def test_a_folder_that_is_no_queue_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no queue of a node"):
        Queued(tmp_path)
    assert list(tmp_path.iterdir()) == []
