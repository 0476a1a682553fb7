"""The sender, against a PACS that answers what the test tells it to."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
from disks import BROKEN, FULL, READ_ONLY, failing
from pydicom.uid import RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from benchmarks.orthanc import free_port
from covidnet_lite.errors import SettingsError
from covidnet_lite.node import cstore, tls
from covidnet_lite.node import sender as module
from covidnet_lite.node.cstore import CStore
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.reply import Reply
from covidnet_lite.node.sender import Sender
from covidnet_lite.node.settings import Pacs, Results, Settings, Tls

BOTH = (ComprehensiveSRStorage, SecondaryCaptureImageStorage)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.3)
    monkeypatch.setattr(module, "LINGER", 0.3)


class FakePacs:
    """Notes what it gets; answers with the next of ``answers``, then with success. ``None`` breaks off."""

    def __init__(
        self, port: int, answers: list[int | None], kinds: tuple[Any, ...], context: Any = None, pause: float = 0.0
    ) -> None:
        self.got: list[str] = []
        self.associations = 0
        entity = AE(ae_title="PACS")
        entity.require_called_aet = True
        for kind in kinds:
            entity.add_supported_context(*(kind if isinstance(kind, tuple) else (kind,)))

        def store(event: Any) -> int:
            self.got.append(str(event.request.AffectedSOPInstanceUID))
            time.sleep(pause)
            answer = answers.pop(0) if answers else 0x0000
            if answer is None:
                event.assoc.abort()
            return answer or 0x0000

        def accepted(_: Any) -> None:
            self.associations += 1

        self.server = entity.start_server(
            ("127.0.0.1", port),
            block=False,
            ssl_context=context,
            evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_ACCEPTED, accepted)],
        )


@pytest.fixture
def pacs() -> Iterator[Callable[..., FakePacs]]:
    """Starts one; all are stopped at the end."""
    made: list[FakePacs] = []

    def start(
        port: int,
        *answers: int | None,
        kinds: Any = BOTH,
        **more: Any,
    ) -> FakePacs:
        made.append(FakePacs(port, list(answers), kinds, **more))
        return made[-1]

    yield start
    for one in made:
        one.server.shutdown()


@pytest.fixture
def told(settings: Settings) -> Settings:
    """Settings with a PACS on a free port, where nobody listens yet."""
    return replace(settings, pacs=Pacs("PACS", "127.0.0.1", free_port()))


@pytest.fixture
def results(as_bytes: Callable[..., bytes]) -> Callable[[str], list[bytes]]:
    """Two objects to send, of a Structured Report's and a Secondary Capture's class."""

    def make(uid: str) -> list[bytes]:
        return [
            as_bytes(f"{uid}.1", SOPClassUID=ComprehensiveSRStorage),
            as_bytes(f"{uid}.2", SOPClassUID=SecondaryCaptureImageStorage),
        ]

    return make


@contextmanager
def sending(told: Settings) -> Iterator[Queue]:
    queue, stop = Queue(told.queue, told.limits, tuple(told.everywhere)), threading.Event()
    threads = [threading.Thread(target=Sender(told, outbox, stop).run) for outbox in queue.outboxes.values()]
    for thread in threads:
        thread.start()
    try:
        yield queue
    finally:
        stop.set()
        queue.wake()
        for thread in threads:
            thread.join(30)
        queue.close()
    assert not any(thread.is_alive() for thread in threads)


def put(queue: Queue, uid: str, results: list[bytes], *names: str, urgent: bool = False) -> None:
    queue.add(uid, b"film")
    film = queue.next()
    assert film
    story = {"film": uid, "from": "XRAY", "answer": "resembles normal (99%)", "urgent": urgent}
    queue.finish(film, story, dict.fromkeys(names or ("pacs",), results))


def soon(what: Callable[[], bool], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.02)
    return False


def test_all_is_sent_in_order_over_one_association_and_told_in_a_line(
    told: Settings, results: Any, pacs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "covidnet_lite.node")
    there = pacs(told.pacs.port)
    with sending(told) as queue:
        for uid in ("1.1", "1.2"):
            put(queue, uid, results(uid))
            assert soon(lambda: queue.counts["outgoing"] == 0)
        assert queue.counts["sent"] == 2
    assert there.got == ["1.1.1", "1.1.2", "1.2.1", "1.2.2"]
    assert there.associations == 1
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("covidnet_lite")]
    assert len(lines) == 2
    assert lines[0].startswith("1.1 from XRAY: resembles normal (99%); 2 results with PACS after ")


def test_no_part_of_a_result_waits_until_the_one_before_is_acknowledged(told: Settings, pacs: Any) -> None:
    pacs(told.pacs.port)
    connection = CStore(told.pacs, told.results_for("pacs"), told)
    assert connection.connect() is None
    connected = connection._association.dul.socket.socket
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    connection.close()


def test_a_pacs_that_accepts_and_hangs_up_is_tried_again(
    told: Settings, pacs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs(told.pacs.port)
    at_once = cstore._send_at_once

    def hung_up(association: Any) -> None:
        association.dul.socket.socket.close()
        at_once(association)

    monkeypatch.setattr(cstore, "_send_at_once", hung_up)
    assert CStore(told.pacs, told.results_for("pacs"), told).connect() is None
    at_once(SimpleNamespace(dul=SimpleNamespace(socket=None)))


def test_an_idle_association_is_released(told: Settings, results: Any, pacs: Any) -> None:
    there = pacs(told.pacs.port)
    with sending(told) as queue:
        put(queue, "1.1", results("1.1"))
        assert soon(lambda: queue.counts["sent"] == 1)
        assert soon(lambda: not there.server.active_associations)
        put(queue, "1.2", results("1.2"))
        assert soon(lambda: queue.counts["sent"] == 2)
    assert there.associations == 2


def test_while_the_pacs_is_away_all_waits_and_attempts_become_rarer(
    told: Settings, results: Any, pacs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "covidnet_lite.node")
    with sending(told) as queue:
        put(queue, "1.1", results("1.1"))
        assert soon(lambda: caplog.text.count("cannot be reached") == 3)
        there = pacs(told.pacs.port)
        assert soon(lambda: queue.counts["sent"] == 1)
    assert there.got == ["1.1.1", "1.1.2"]
    times = [record.created for record in caplog.records if "cannot be reached" in record.getMessage()]
    assert times[2] - times[1] > 1.5 * (times[1] - times[0])
    assert "is back" in caplog.text


def test_pauses_double_up_to_five_minutes() -> None:
    pause, lengths = module.Pause(), []
    assert pause.left == 0
    for _ in range(14):
        pause = pause.longer()
        lengths.append(pause.length)
    assert lengths[:3] == pytest.approx([0.3, 0.6, 1.2])
    assert lengths[-1] == 300
    assert 299 < pause.left <= 300


@pytest.mark.parametrize("trouble", [0xA700, 0x0110, 0x0124, None])
def test_what_the_pacs_cannot_take_now_is_offered_again_and_holds_up_nothing_else(
    trouble: int | None, told: Settings, results: Any, pacs: Any
) -> None:
    queue = Queue(told.queue, told.limits, tuple(told.everywhere))
    put(queue, "1.1", results("1.1"))
    time.sleep(0.02)
    put(queue, "1.2", results("1.2"))
    queue.close()
    there = pacs(told.pacs.port, trouble)
    with sending(told) as queue:
        assert soon(lambda: queue.counts["sent"] == 2)
    assert there.got.count("1.1.1") == 2
    assert [there.got.count(uid) for uid in ("1.1.2", "1.2.1", "1.2.2")] == [1, 1, 1]
    assert there.got.index("1.2.2") < len(there.got) - 1  # the other film did not wait for the troubled one


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0x0111])
def test_a_warning_or_a_duplicate_means_that_the_pacs_has_it(
    status: int, told: Settings, results: Any, pacs: Any
) -> None:
    there = pacs(told.pacs.port, status)
    with sending(told) as queue:
        put(queue, "1.1", results("1.1"))
        assert soon(lambda: queue.counts["sent"] == 1)
    assert there.got == ["1.1.1", "1.1.2"]


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123])
def test_what_the_pacs_will_never_take_is_set_aside_with_the_reason(
    status: int, told: Settings, results: Any, pacs: Any
) -> None:
    there = pacs(told.pacs.port, 0x0000, status)
    with sending(told) as queue:
        put(queue, "1.1", results("1.1"))
        assert soon(lambda: queue.counts["failed"] == 1)
        (folder,) = (queue.folder / "failed").iterdir()
        assert sorted(path.name for path in folder.iterdir()) == ["2.dcm", "film.json", "reason.txt"]
        assert f"0x{status:04X}" in (folder / "reason.txt").read_text()
        put(queue, "1.2", results("1.2"))
        assert soon(lambda: queue.counts["sent"] == 1)
    assert there.got == ["1.1.1", "1.1.2", "1.2.1", "1.2.2"]


def test_a_pacs_that_takes_no_reports_or_does_not_know_us_gets_nothing_and_nothing_is_lost(
    told: Settings, results: Any, pacs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    there = pacs(told.pacs.port, kinds=(SecondaryCaptureImageStorage,))
    with sending(told) as queue:
        put(queue, "1.1", results("1.1"))
        assert soon(lambda: "does not take Comprehensive SR Storage" in caplog.text)
        assert queue.counts == {"received": 0, "outgoing": 1, "sent": 0, "failed": 0}
    assert there.got == []
    told = replace(told, pacs=Pacs("OTHER", "127.0.0.1", told.pacs.port))
    with sending(told) as queue:
        assert soon(lambda: "refuses us: Called AE title not recognised" in caplog.text)
        assert queue.counts["outgoing"] == 1


def test_a_name_that_nobody_has_is_a_pacs_that_is_away(told: Settings, results: Any, caplog: Any) -> None:
    with sending(replace(told, pacs=Pacs("PACS", "no-such-host.invalid", 104))) as queue:
        put(queue, "1.1", results("1.1"))
        assert soon(lambda: "no-such-host.invalid:104" in caplog.text)
        assert queue.counts["outgoing"] == 1


def test_only_a_pacs_that_can_prove_who_it_is_gets_results(
    told: Settings, results: Any, pacs: Any, certificates: dict[str, Tls], caplog: pytest.LogCaptureFixture
) -> None:
    server, client, stranger = (certificates[name] for name in ("server", "client", "stranger"))
    impostor = pacs(told.pacs.port, context=tls.receiving(replace(stranger, ca=None)))
    secured = replace(told, pacs=replace(told.pacs, tls=client))
    with sending(secured) as queue:
        put(queue, "1.1", results("1.1"))
        assert soon(lambda: "cannot be reached" in caplog.text)
        assert (queue.counts["outgoing"], impostor.got) == (1, [])
    there = pacs(free_port(), context=tls.receiving(server))
    port = there.server.server_address[1]
    with sending(replace(secured, pacs=replace(secured.pacs, port=port))) as queue:
        assert soon(lambda: queue.counts["sent"] == 1)
    assert there.got == ["1.1.1", "1.1.2"]


def test_certificates_that_cannot_be_used_are_told(told: Settings, tmp_path: Path, certificates: Any) -> None:
    queue = Queue(told.queue, told.limits, tuple(told.everywhere))
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for bad in (
        Tls(ca=garbage),
        Tls(garbage, garbage),
        Tls(ca=tmp_path / "none"),
        replace(certificates["client"], key=certificates["server"].key),
    ):
        with pytest.raises(SettingsError, match=r"\.pem: cannot be used for TLS|none: cannot be used for TLS"):
            Sender(replace(told, pacs=replace(told.pacs, tls=bad)), queue.outboxes["pacs"], threading.Event())
    queue.close()


def test_a_parcel_that_fails_in_a_way_nobody_foresaw_is_set_aside_and_the_next_is_sent(
    told: Settings, results: Any, pacs: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, left = CStore.store, ["DOE JANE"]  # no word of the line that raises it, which the traceback shows

    def surprising(connection: CStore, path: Path) -> Reply:
        if left:
            raise KeyError(left.pop())
        return whole(connection, path)

    monkeypatch.setattr(CStore, "store", surprising)
    pacs(told.pacs.port)
    with sending(told) as queue:
        for uid in ("1.1", "1.2"):
            put(queue, uid, results(uid))
        assert soon(lambda: queue.counts["outgoing"] == 0)
        assert (queue.counts["sent"], queue.counts["failed"]) == (1, 1)
    assert "reference" in caplog.text
    assert "DOE" not in caplog.text


def test_a_destination_that_gets_no_reports_need_not_take_any(told: Settings, results: Any, pacs: Any) -> None:
    there = pacs(told.pacs.port, kinds=(SecondaryCaptureImageStorage,))
    with sending(replace(told, results=Results(*[("SC",)] * 4))) as queue:
        put(queue, "1.1", results("1.1")[1:])
        assert soon(lambda: queue.counts["sent"] == 1)
    assert there.got == ["1.1.2"]


def test_a_radiograph_is_forwarded_in_its_own_transfer_syntax(
    told: Settings, as_bytes: Callable[..., bytes], pacs: Any
) -> None:
    data = pydicom.dcmread(BytesIO(as_bytes("1.1")))
    data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(film := BytesIO())
    there = pacs(told.pacs.port, kinds=(*BOTH, (data.SOPClassUID, RLELossless)))
    told = replace(told, not_admitted="forward", pacs=replace(told.pacs, forward=True))
    with sending(told) as queue:
        put(queue, "1.1", [film.getvalue()])
        assert soon(lambda: queue.counts["sent"] == 1)
        put(queue, "1.2", [as_bytes("1.2")])  # whose syntax was not agreed on
        assert soon(lambda: queue.counts["failed"] == 1)
    assert there.got == ["1.1"]


def test_a_destination_that_is_away_holds_up_no_other(told: Settings, results: Any, pacs: Any) -> None:
    alarm = Pacs("PACS", "127.0.0.1", free_port())
    there, both = pacs(told.pacs.port), replace(told, destinations={"alarm": alarm})
    with sending(both) as queue:
        for uid in ("1.1", "1.2"):
            put(queue, uid, results(uid), *both.everywhere)
        assert soon(lambda: len(there.got) == 4)
        assert queue.outboxes["alarm"].waiting == 2
        late = pacs(alarm.port)
        assert soon(lambda: queue.counts["outgoing"] == 0)
    assert there.got == late.got == ["1.1.1", "1.1.2", "1.2.1", "1.2.2"]


def test_urgent_results_go_first_and_no_other_waits_for_ever(told: Settings, results: Any, pacs: Any) -> None:
    with contextlib.closing(Queue(told.queue, told.limits, tuple(told.everywhere))) as queue:
        for i in range(12):
            put(queue, f"1.{i:02}", results(f"1.{i:02}")[:1], urgent=i > 3)
            time.sleep(0.01)
    there = pacs(told.pacs.port)
    with sending(told) as queue:
        assert soon(lambda: queue.counts["sent"] == 12)
    order = [int(uid.split(".")[1]) for uid in there.got]
    assert order == [4, 5, 6, 7, 0, 8, 9, 10, 11, 1, 2, 3]  # every fifth is the oldest of all


def test_what_comes_while_others_are_sent_goes_before_them_if_it_is_urgent(
    told: Settings, results: Any, pacs: Any
) -> None:
    with contextlib.closing(Queue(told.queue, told.limits, tuple(told.everywhere))) as queue:
        for i in range(4):
            put(queue, f"1.{i}", results(f"1.{i}")[:1])
            time.sleep(0.01)
    there = pacs(told.pacs.port, pause=0.5)
    with sending(told) as queue:
        assert soon(lambda: there.got == ["1.0.1"])
        put(queue, "1.9", results("1.9")[:1], urgent=True)
        assert soon(lambda: queue.counts["sent"] == 5)
    assert there.got.index("1.9.1") <= 2


@pytest.mark.parametrize("number", [FULL, READ_ONLY, BROKEN])
def test_what_the_disk_does_not_note_as_sent_is_not_sent_again(
    number: int,
    told: Settings,
    results: Any,
    pacs: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "covidnet_lite.node")
    monkeypatch.setattr(module, "DISK_PAUSE", 0.02)
    with sending(told) as queue:
        put(queue, "1.1", results("1.1"))
        with failing(monkeypatch, number, below=told.queue / "to") as failed:
            there = pacs(told.pacs.port)
            assert soon(lambda: len(failed) > 5)
            assert there.got == ["1.1.1"]
        assert soon(lambda: queue.counts["sent"] == 1)
    assert there.got == ["1.1.1", "1.1.2"]
    assert caplog.text.count("trying again every") == 1
    assert "results can be sent to PACS" in caplog.text
