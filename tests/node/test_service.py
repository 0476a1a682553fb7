"""The node as a whole, in this process: reload, health and audit trail."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from benchmarks.orthanc import free_port
from covidnet_lite.errors import CovidNetLiteError, SettingsError
from covidnet_lite.node.service import Node
from covidnet_lite.node.settings import Audit, Health, Net, Pacs, Senders, Settings

RESULTS = (ComprehensiveSRStorage, SecondaryCaptureImageStorage, Verification)


def soon(what: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if got := what():
            return got
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@dataclass
class Running:
    """A node at work in a thread, and the settings that it reads when it is asked to."""

    node: Node
    settings: Settings | CovidNetLiteError
    stop: threading.Event = field(default_factory=threading.Event)
    hup: threading.Event = field(default_factory=threading.Event)

    def read(self) -> Settings:
        if isinstance(self.settings, CovidNetLiteError):
            raise self.settings
        return self.settings

    def reload(self, settings: Settings | CovidNetLiteError, caplog: pytest.LogCaptureFixture) -> str:
        """Has it reload; what it logs of that."""
        caplog.clear()
        self.settings = settings
        self.hup.set()
        return str(soon(lambda: next((line for line in caplog.messages if "reloaded" in line), None)))

    def associate(self, title: str = "XRAY") -> Any:
        entity = AE(ae_title=title)
        kinds = [build_context(ComputedRadiographyImageStorage), build_context(Verification)]
        return entity.associate("127.0.0.1", self.node._receiver.port, kinds, ae_title="COVIDNET")

    def ask(self, path: str) -> tuple[int, bytes]:
        assert isinstance(self.settings, Settings)
        assert self.settings.health
        with closing(http.client.HTTPConnection("127.0.0.1", self.settings.health.port, timeout=30)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()


@pytest.fixture
def start(settings: Settings, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Running]]:
    """Starts a node with settings changed; it is stopped at the end."""
    caplog.set_level("INFO", "covidnet_lite")
    threads, made = [], []

    def run(**changes: Any) -> Running:
        told = replace(settings, network=Net("nano"), **changes)
        running = Running(Node(told), told)
        threads.append(threading.Thread(target=running.node.run, args=(running.stop, running.hup, running.read)))
        made.append(running)
        threads[-1].start()
        soon(lambda: any("COVIDNET on 127.0.0.1" in line for line in caplog.messages))
        return running

    yield run
    for running, thread in zip(made, threads):
        running.stop.set()
        thread.join()


@pytest.fixture
def pacs() -> Iterator[Callable[[int], list[str]]]:
    """Starts one at a port; the UIDs of what it gets."""
    servers = []

    def listen(port: int) -> list[str]:
        got: list[str] = []
        entity = AE(ae_title="PACS")
        for kind in RESULTS:
            entity.add_supported_context(kind)

        def store(event: Any) -> int:
            got.append(str(event.request.AffectedSOPInstanceUID))
            return 0

        servers.append(entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]))
        return got

    yield listen
    for server in servers:
        server.shutdown()


def test_a_reload_goes_by_new_senders_and_ends_no_association(
    start: Callable[..., Running], small_film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = start()
    before = running.associate("OLD")
    assert before.is_established
    assert isinstance(running.settings, Settings)
    assert running.reload(replace(running.settings, senders=Senders(("NEW",))), caplog).startswith("reloaded: COVIDNET")
    assert before.send_c_store(small_film).Status == 0  # it is there still
    before.release()
    assert running.associate("OLD").is_rejected
    after = running.associate("NEW")
    assert after.is_established
    after.release()


def test_results_that_wait_go_where_new_settings_say(
    start: Callable[..., Running], pacs: Callable[[int], list[str]], small_film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = start(limits=replace(Settings(Path(), Pacs("A", "b", 1)).limits, free_mb=0, timeout=5))
    client = running.associate()
    assert client.send_c_store(small_film).Status == 0
    client.release()
    soon(lambda: running.node._queue.counts["outgoing"])
    port = free_port()
    got = pacs(port)
    assert isinstance(running.settings, Settings)
    running.reload(replace(running.settings, pacs=Pacs("PACS", "127.0.0.1", port)), caplog)
    soon(lambda: got and running.node._queue.counts["outgoing"] == 0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda s: SettingsError("network.x: no such key"), "network.x: no such key"),
        (lambda s: replace(s, host="0.0.0.0", port=1), "host and port: cannot change while the node runs; restart it"),
        (lambda s: replace(s, network=Net("none.tflite")), "none.tflite"),
        (lambda s: replace(s, audit=Audit(Path("/nowhere/audit.log"))), "the audit trail cannot be written"),
    ],
)
def test_settings_that_are_wrong_are_reported_and_the_old_ones_hold(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture, wrong: Any, words: str
) -> None:
    running = start(senders=Senders(("OLD",)))
    line = running.reload(wrong(running.settings), caplog)
    assert line.startswith("the settings are not reloaded, the old ones hold: ")
    assert words in line
    assert running.associate("NEW").is_rejected
    client = running.associate("OLD")
    assert client.is_established
    client.release()


def test_health_and_metrics_follow_a_radiograph(
    start: Callable[..., Running], pacs: Callable[[int], list[str]], small_film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = free_port()
    got = pacs(there)
    running = start(health=Health(free_port()), pacs=Pacs("PACS", "127.0.0.1", there))
    status, body = running.ask("/health")
    assert (status, json.loads(body)["destinations"]) == (200, {"pacs": True})
    client = running.associate()
    client.send_c_store(small_film)
    client.release()
    soon(lambda: got and running.node._queue.counts["sent"] == 1)
    state = json.loads(running.ask("/health")[1])
    assert (state["queue"]["sent"], state["oldest_waiting_seconds"]) == (1, None)
    assert state["last_answer"]
    text = running.ask("/metrics")[1].decode()
    assert "covidnet_lite_classify_seconds_count 1.0" in text
    assert 'covidnet_lite_destination_up{destination="pacs"} 1.0' in text
    assert "covidnet_lite_not_admitted 0.0" in text
    assert isinstance(running.settings, Settings)
    running.reload(replace(running.settings, pacs=Pacs("PACS", "127.0.0.1", 1)), caplog)
    status, body = running.ask("/health")  # of the destinations of now
    assert (status, json.loads(body)["problems"]) == (503, ["pacs cannot be reached"])


def test_the_audit_trail_follows_a_radiograph(
    start: Callable[..., Running],
    pacs: Callable[[int], list[str]],
    as_bytes: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    there, film = free_port(), tmp_path / "film.dcm"
    got, file = pacs(there), tmp_path / "audit.log"
    film.write_bytes(as_bytes("1.2.3"))
    running = start(audit=Audit(file), pacs=Pacs("PACS", "127.0.0.1", there), senders=Senders(("XRAY",)))
    assert running.associate("OTHER").is_rejected
    client = running.associate()
    client.send_c_store(film)
    client.release()
    soon(lambda: got and running.node._queue.counts["sent"] == 1)
    running.stop.set()
    soon(lambda: "110121" in file.read_text())
    messages = [ET.fromstring(line) for line in file.read_text().splitlines()]
    ids = [one.find("EventIdentification/EventID").attrib["csd-code"] for one in messages]  # type: ignore[union-attr]
    results = ["110104"] * len(got)
    assert ids == ["110100", "110113", "110104", "110103", *results, "110100"]
    uids = [one.attrib["UID"] for message in messages for one in message.iter("Instance")]
    assert uids == ["1.2.3", "1.2.3", *got]
    assert [one.attrib["UserID"] for one in messages[1].iterfind("ActiveParticipant")] == ["OTHER", "COVIDNET"]
    assert [one.attrib["UserID"] for one in messages[4].iterfind("ActiveParticipant")] == ["COVIDNET", "PACS"]
    assert "Doe" not in file.read_text()
