"""``--check``: alone, and beside a node at work."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import ComprehensiveSRStorage, SecondaryCaptureImageStorage, Verification

from covidnet_lite.errors import AddressError, ModelError, SettingsError
from covidnet_lite.node.check import check
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Net, Pacs, Settings, Tls


@pytest.fixture
def answering(settings: Settings) -> Iterator[Settings]:
    """Settings whose destination answers."""
    entity = AE(ae_title="PACS")
    for kind in (ComprehensiveSRStorage, SecondaryCaptureImageStorage, Verification):
        entity.add_supported_context(kind)
    server: Any = entity.start_server(("127.0.0.1", 0), block=False)
    yield replace(settings, network=Net("nano"), pacs=Pacs("PACS", "127.0.0.1", server.server_address[1]))
    server.shutdown()


def test_alone_it_opens_everything_and_lets_go_of_it(answering: Settings) -> None:
    for _ in range(2):
        can_run, answers = check(answering)
        assert can_run.startswith("can run: COVIDNET on 127.0.0.1 port ")
        assert can_run.endswith("; 0 radiographs to classify, 0 to send, 0 quarantined")
        assert answers == "destinations that answer: pacs"


def test_beside_a_node_its_queue_and_port_are_its_own(answering: Settings) -> None:
    queue = Queue(answering.queue, answering.limits, ("pacs",))
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            beside = replace(answering, port=taken.getsockname()[1])
            can_run, answers = check(beside)
            assert can_run.startswith(f"can run: COVIDNET on 127.0.0.1 port {beside.port}, ")
            assert can_run.endswith("; a node is at work with this queue")
            assert answers == "destinations that answer: pacs"
    finally:
        queue.close()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"network": Net("none.tflite")}, ModelError, "none.tflite"),
        ({"tls": Tls(Path("/none.pem"), Path("/none.key"))}, SettingsError, "/none.pem"),
        ({"host": "192.0.2.1"}, AddressError, "192.0.2.1 port 0: cannot be listened on"),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_what_cannot_be_used_is_named_beside_a_node_too(
    answering: Settings, beside: bool, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    queue = Queue(answering.queue, answering.limits, ("pacs",))
    if not beside:
        queue.close()
    try:
        with pytest.raises(error, match=words):
            list(check(replace(answering, **changes)))
    finally:
        queue.close()


def test_each_destination_that_does_not_answer_is_named(answering: Settings) -> None:
    away = Pacs("AWAY", "127.0.0.1", 1)
    lines = check(replace(answering, destinations={"second": away, "third": away}))
    assert next(lines).startswith("can run: ")
    with pytest.raises(AddressError) as told:
        next(lines)
    words = r"second (AWAY@127.0.0.1:1) cannot be reached; third (AWAY@127.0.0.1:1) cannot be reached: results wait"
    assert str(told.value).startswith(words)


def test_a_destination_that_does_not_know_us_is_named_with_its_reason(answering: Settings) -> None:
    entity = AE(ae_title="PACS")
    entity.require_called_aet = True
    for kind in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
        entity.add_supported_context(kind)
    server: Any = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        strict = replace(answering, pacs=Pacs("OTHER", "127.0.0.1", server.server_address[1]))
        with pytest.raises(AddressError, match="refuses us: Called AE title not recognised"):
            list(check(strict))
    finally:
        server.shutdown()
