"""What tests of the node's queue have in common."""

from __future__ import annotations

from covidnet_lite.node.inbox import Arrival
from covidnet_lite.node.outbox import Outbox
from covidnet_lite.node.queue import Queue

UID = "1.2.3"
PACS = ("pacs",)


def first(queue: Queue) -> Arrival:
    """What is to be worked on next, which there has to be."""
    arrival = queue.next()
    assert arrival
    return arrival


def box(queue: Queue) -> Outbox:
    """Of the PACS."""
    return queue.outboxes["pacs"]
