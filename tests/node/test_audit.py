"""The audit trail: what stands in a message, and where messages go."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import re
import socket
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from covidnet_lite.errors import AddressError, OutputError
from covidnet_lite.node import audit
from covidnet_lite.node.events import Answered, Event, Instance, Peer, Received, Refused, Sent, Started, Stopped
from covidnet_lite.node.settings import Audit
from covidnet_lite.troubles import Troubles

NODE, XRAY, PACS = Peer("COVIDNET", "box1"), Peer("XRAY1", "192.0.2.7"), Peer("ORTHANC", "pacs.example")
FILM = Instance("1.2.840.10008.5.1.4.1.1.1.1", "1.2.3")
EVENTS: dict[str, Event] = {
    "started": Started(),
    "stopped": Stopped(),
    "refused": Refused(XRAY, "its AE title is not among those that may send"),
    "received": Received(XRAY, FILM),
    "not taken": Received(XRAY, FILM, "the queue is full"),
    "again": Received(XRAY, FILM, is_new=False),
    "answered": Answered(FILM, "resembles normal (97%)"),
    "quarantined": Answered(FILM, objection="its decoder died"),
    "sent": Sent(PACS, FILM),
    "not stored": Sent(PACS, FILM, "answered 0xC000"),
}


def parsed(event: Event) -> ET.Element:
    return ET.fromstring(audit.message(event, NODE, 0.5))


def codes(root: ET.Element, path: str) -> list[str]:
    return [one.attrib["csd-code"] for one in root.iterfind(path)]


@pytest.mark.parametrize(
    ("name", "event", "action", "outcome", "participants"),
    [
        ("started", ["110100", "110120"], "E", "0", {"COVIDNET": "110150"}),
        ("stopped", ["110100", "110121"], "E", "0", {"COVIDNET": "110150"}),
        ("refused", ["110113", "110126"], "E", "4", {"XRAY1": "110153", "COVIDNET": "110152"}),
        ("received", ["110104"], "C", "0", {"XRAY1": "110153", "COVIDNET": "110152"}),
        ("not taken", ["110104"], "C", "4", {"XRAY1": "110153", "COVIDNET": "110152"}),
        ("again", ["110104"], "R", "0", {"XRAY1": "110153", "COVIDNET": "110152"}),
        ("answered", ["110103"], "R", "0", {"COVIDNET": "110150"}),
        ("quarantined", ["110103"], "R", "8", {"COVIDNET": "110150"}),
        ("sent", ["110104"], "R", "0", {"COVIDNET": "110153", "ORTHANC": "110152"}),
        ("not stored", ["110104"], "R", "8", {"COVIDNET": "110153", "ORTHANC": "110152"}),
    ],
)
def test_what_happened_and_who_took_part(
    name: str, event: list[str], action: str, outcome: str, participants: dict[str, str]
) -> None:
    root = parsed(EVENTS[name])
    head = root.find("EventIdentification")
    assert head is not None
    assert codes(head, "EventID") + codes(head, "EventTypeCode") == event
    assert head.attrib == {
        "EventActionCode": action,
        "EventDateTime": "1970-01-01T00:00:00.500Z",
        "EventOutcomeIndicator": outcome,
    }
    assert {
        one.attrib["UserID"]: code
        for one in root.iterfind("ActiveParticipant")
        for code in codes(one, "RoleIDCode")
    } == participants  # fmt: skip


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_elements_stand_in_the_order_of_the_standard(event: Event) -> None:
    """PS3.15, A.5.1.1: a sequence, and so are the parts of an object."""
    root = parsed(event)
    order = ["EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification"]
    places = [order.index(one.tag) for one in root]
    assert places == sorted(places)
    assert set(places) >= {0, 1, 2}
    inner = ["ParticipantObjectIDTypeCode", "ParticipantObjectName", "ParticipantObjectDetail", "ParticipantObjectDescription"]  # fmt: skip
    for one in root.iterfind("ParticipantObjectIdentification"):
        assert [part.tag for part in one if part.tag != inner[2]] == [inner[0], inner[1], inner[3]]
        assert [inner.index(part.tag) for part in one] == sorted(inner.index(part.tag) for part in one)


@pytest.mark.parametrize("name", ["received", "answered", "sent"])
def test_the_instance_is_named_by_its_uids(name: str) -> None:
    root = parsed(EVENTS[name])
    (described,) = root.iterfind("ParticipantObjectIdentification")
    assert described.attrib["ParticipantObjectID"] == FILM.sop_class
    assert described.findtext("ParticipantObjectName") == "Digital X-Ray Image Storage - For Presentation"
    assert [one.attrib["UID"] for one in described.iterfind("ParticipantObjectDescription/SOPClass/Instance")] == [
        "1.2.3"
    ]


def test_who_sent_stands_with_ae_title_and_address() -> None:
    sender, us = parsed(EVENTS["received"]).iterfind("ActiveParticipant")
    assert sender.attrib["AlternativeUserID"] == "AETITLES=XRAY1"
    assert (sender.attrib["NetworkAccessPointID"], sender.attrib["NetworkAccessPointTypeCode"]) == ("192.0.2.7", "2")
    assert (us.attrib["NetworkAccessPointID"], us.attrib["NetworkAccessPointTypeCode"]) == ("box1", "1")


def test_the_answer_is_there_to_be_decoded() -> None:
    detail = parsed(EVENTS["answered"]).find(".//ParticipantObjectDetail")
    assert detail is not None
    assert base64.b64decode(detail.attrib["value"]).decode() == "resembles normal (97%)"


def test_a_uid_that_is_a_name_is_not_written() -> None:
    text = audit.message(Received(XRAY, Instance("JANE^DOE", "DOE^JANE")), NODE, 0.0)
    assert "JANE" not in text
    assert re.search(r'Instance UID="[0-9a-f]{32}"', text)


def test_what_xml_cannot_hold_is_escaped() -> None:
    text = audit.message(Received(Peer('A"<\x01\n', "::1%eth0"), FILM), NODE, 0.0)
    assert "\n" not in text
    assert ET.fromstring(text).find("ActiveParticipant").attrib["UserID"] == 'A"<\\x01\\n'  # type: ignore[union-attr]


def test_a_file_holds_a_message_a_line_and_only_its_user_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    trail = audit.Trail(Audit(file), NODE)
    for event in EVENTS.values():
        trail.write(event)
    trail.close()
    audit.Trail(Audit(file), NODE).close()  # another start goes on with it
    assert [ET.fromstring(line).tag for line in file.read_text().splitlines()] == ["AuditMessage"] * len(EVENTS)
    assert file.stat().st_mode & 0o777 == 0o600


def test_each_day_has_its_file_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, now = tmp_path / "audit.log", time.time()
    trail = audit.Trail(Audit(file, keep_days=2), NODE)
    for day in range(6):
        monkeypatch.setattr(time, "time", lambda day=day: now + 86400 * day)
        trail.write(Started())
    trail.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 3
    assert names[0] == "audit.log"
    assert all(re.fullmatch(r"audit\.log\.\d{4}-\d\d-\d\d", name) for name in names[1:])
    assert all(len((tmp_path / name).read_text().splitlines()) == 1 for name in names)
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in names)


def test_syslog_gets_a_datagram_of_rfc_5424(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        trail = audit.Trail(Audit(syslog=f"127.0.0.1:{server.getsockname()[1]}"), NODE)
        trail.write(EVENTS["sent"])
        trail.close()
        datagram = server.recv(1 << 16).decode()
    head, _, body = datagram.partition("\ufeff")
    pattern = r"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ covidnet-lite \d+ DICOM\+RFC3881 - "
    assert re.fullmatch(pattern, head)  # facility authpriv, severity notice
    assert ET.fromstring(body).tag == "AuditMessage"


def test_a_trail_that_cannot_be_written_is_reported_once_and_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    trail = audit.Trail(Audit(Path("/dev/full")), NODE)
    with caplog.at_level(logging.INFO, "covidnet_lite"):
        for event in EVENTS.values():
            trail.write(event)
    assert caplog.messages == [
        "the audit trail cannot be written to /dev/full (No space left on device); the node goes on without it"
    ]
    assert capfd.readouterr().err == ""


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none/audit.log: the audit trail cannot be written"):
        audit.Trail(Audit(tmp_path / "none/audit.log"), NODE)
    with pytest.raises(AddressError, match="nowhere.invalid:514: the syslog server is not known"):
        audit.Trail(Audit(syslog="nowhere.invalid:514"), NODE)


def days(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text().splitlines()) for path in sorted(folder.iterdir())}


def test_a_clock_that_was_ahead_costs_no_message_and_leaves_the_days_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, now = tmp_path / "audit.log", time.time()
    trail, day = audit.Trail(Audit(file), NODE), 86400
    for jump in (0, 365 * day, 0, day, 0, 2 * day):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        trail.write(Started())
    trail.close()
    assert sum(days(tmp_path).values()) == 6
    assert days(tmp_path)["audit.log"] == 1  # the last began a day of its own


def test_of_a_day_that_ends_twice_both_parts_are_kept_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, now = tmp_path / "audit.log", time.time()
    for keep, left in ((9, 3), (1, 2)):
        for jump in (0, 86400, 0, 86400):  # restarted each time
            monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
            trail = audit.Trail(Audit(file, keep_days=keep), NODE)
            trail.write(Started())
            trail.close()
            os.utime(file, (now + jump, now + jump))
        assert len(days(tmp_path)) == left


def test_a_trail_goes_on_when_the_disk_has_room_again_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    troubles = Troubles()
    trail = audit.Trail(Audit(tmp_path / "audit.log"), NODE, troubles)
    (handler,) = trail._handlers
    with caplog.at_level(logging.INFO, "covidnet_lite"):
        with open("/dev/full", "w") as full, monkeypatch.context() as patch:
            patch.setattr(handler, "stream", full)
            for _ in range(3):
                trail.write(Started())
            assert ["No space left" in str(error) for error in troubles.errors] == [True]
            with contextlib.suppress(OSError):
                full.close()
        trail.write(Started())
    assert troubles.errors == ()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "again; 3 messages at most are missing" in caplog.text
    assert days(tmp_path) == {"audit.log": 1}
    trail.close()
