"""The receiver, called by dcmtk's clients and by pynetdicom's, and by clients that behave badly."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from disks import BROKEN, CHANGES, FULL, READ_ONLY, failing
from pydicom import uid
from pynetdicom import AE, build_context
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    Verification,
)

from benchmarks.bad_clients import request
from benchmarks.orthanc import program
from covidnet_lite.errors import OutputError, SettingsError
from covidnet_lite.node import listener, syntaxes
from covidnet_lite.node import receiver as module
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.settings import Limits, Senders, Settings, Tls

Receiving = Callable[..., Any]
FILMS = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage)


def dcmtk_client(client: str, port: int, *options: object, film: Path | None = None) -> Any:
    command = [
        program(client) or client,
        "-v",
        "-aet",
        "XRAY",
        "-aec",
        "COVIDNET",
        *options,
        "127.0.0.1",
        port,
        *([film] if film else []),
    ]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)


def associate(port: int, kind: str = ComputedRadiographyImageStorage, title: str = "XRAY", **more: Any) -> Any:
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    more.setdefault("contexts", [build_context(kind, uid.ExplicitVRLittleEndian)])
    return entity.associate("127.0.0.1", port, ae_title=more.pop("called", "COVIDNET"), **more)


def store(port: int, path: Path, **more: Any) -> int | None:
    association = associate(port, **more)
    assert association.is_established
    try:
        return association.send_c_store(path).get("Status")
    finally:
        association.release()


def test_dcmtk_gets_its_echo_and_its_film_is_kept_as_it_came(
    receiving: Receiving, small_film: Path, dcmtk: None
) -> None:
    with receiving() as (receiver, queue):
        assert dcmtk_client("echoscu", receiver.port).returncode == 0
        assert "(Success)" in dcmtk_client("storescu", receiver.port, film=small_film).stderr
        kept, sent = pydicom.dcmread(queue.next().path), pydicom.dcmread(small_film)
        assert all(kept[word] == sent[word] for word in ("PixelData", "PatientID", "SOPInstanceUID", "WindowCenter"))
        assert kept.file_meta.SourceApplicationEntityTitle == "XRAY"
        assert "(Success)" in dcmtk_client("storescu", receiver.port, film=small_film).stderr
        assert queue.counts["received"] == 1


def test_not_a_bit_of_a_data_set_is_changed(receiving: Receiving, as_bytes: Callable[..., bytes]) -> None:
    data = pydicom.dcmread(BytesIO(as_bytes(PatientName="Doe^Jane")))
    with receiving() as (receiver, queue):
        association = associate(receiver.port)
        assert association.send_c_store(data).Status == 0x0000
        association.release()
        assert queue.next().path.read_bytes().endswith(encode(data, False, True))


@pytest.mark.parametrize(("number", "priority"), [(0, "MEDIUM"), (1, "HIGH"), (2, "LOW")])
def test_the_priority_of_a_request_is_kept(
    receiving: Receiving, as_bytes: Callable[..., bytes], number: int, priority: str
) -> None:
    with receiving() as (receiver, queue):
        association = associate(receiver.port)
        association.send_c_store(pydicom.dcmread(BytesIO(as_bytes())), priority=number)
        association.release()
        assert queue.next().priority.name == priority


@pytest.mark.parametrize("kind", FILMS, ids=lambda kind: kind.name)
def test_every_usual_transfer_syntax_of_a_projection_radiograph_is_taken(receiving: Receiving, kind: Any) -> None:
    usual = [*syntaxes.UNCOMPRESSED, *syntaxes.COMPRESSED]
    with receiving() as (receiver, _):
        association = associate(receiver.port, contexts=[build_context(kind, syntax) for syntax in usual])
        taken = {context.transfer_syntax[0] for context in association.accepted_contexts}
        association.release()
    assert taken == set(usual)


def test_what_cannot_be_decoded_here_is_not_agreed_on(receiving: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    real = syntaxes.get_decoder

    class Absent:
        is_available = False

    monkeypatch.setattr(syntaxes, "get_decoder", lambda syntax: Absent if syntax == uid.JPEG2000 else real(syntax))
    with receiving() as (receiver, _):
        association = associate(
            receiver.port, contexts=[build_context(FILMS[0], [uid.JPEG2000, uid.ExplicitVRLittleEndian])]
        )
        (context,) = association.accepted_contexts
        association.release()
    assert context.transfer_syntax == [uid.ExplicitVRLittleEndian]


def test_a_ct_scanner_finds_no_context(receiving: Receiving) -> None:
    with receiving() as (receiver, _):
        assert not associate(receiver.port, CTImageStorage).is_established


def test_a_full_queue_answers_out_of_resources_and_goes_on(
    receiving: Receiving, as_bytes: Callable[..., bytes], tmp_path: Path, dcmtk: None
) -> None:
    paths = []
    for i in range(2):
        paths.append(tmp_path / f"{i}.dcm")
        paths[i].write_bytes(as_bytes(f"1.2.{i}"))
    with receiving(limits=Limits(films=1, free_mb=0)) as (receiver, queue):
        assert store(receiver.port, paths[0]) == 0x0000
        assert store(receiver.port, paths[1]) == 0xA700
        assert "OutOfResources" in dcmtk_client("storescu", receiver.port, film=paths[1]).stderr
        assert queue.counts["received"] == 1
        queue.set_aside(queue.next(), "to make room")
        assert store(receiver.port, paths[1]) == 0x0000


def test_a_disk_that_fails_is_no_success(
    receiving: Receiving, small_film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with receiving() as (receiver, queue):
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            assert store(receiver.port, small_film) == 0xA700
        assert queue.counts["received"] == 0


def test_only_allowed_titles_and_addresses_get_in(receiving: Receiving, caplog: pytest.LogCaptureFixture) -> None:
    with receiving(senders=Senders(ae_titles=("XRAY",)), limits=Limits(associations=9)) as (receiver, _):
        assert associate(receiver.port, Verification).is_established
        assert associate(receiver.port, Verification, title="OTHER").is_rejected
        assert associate(receiver.port, Verification, called="ELSE").is_rejected
    assert "OTHER@127.0.0.1: its AE title is not among those" in caplog.text
    assert "it called 'ELSE'" in caplog.text
    with receiving(senders=Senders(addresses=("192.0.2.0/24", "2001:db8::1"))) as (receiver, _):
        assert not associate(receiver.port, Verification).is_established
    assert "refused a connection from 127.0.0.1" in caplog.text


def test_no_more_associations_than_allowed(receiving: Receiving, caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as (receiver, _):  # two
        held = [associate(receiver.port, Verification) for _ in range(2)]
        assert all(association.send_c_echo().Status == 0x0000 for association in held)
        assert associate(receiver.port, Verification).is_rejected
        held.pop().release()
        time.sleep(0.3)
        assert associate(receiver.port, Verification).is_established
    assert "2 associations already" in caplog.text


def test_a_flood_of_connections_makes_no_threads(receiving: Receiving) -> None:
    with receiving() as (receiver, _):
        flood = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(40)]
        time.sleep(1)
        assert len(receiver._server.active_associations) <= 4
        for client in flood:
            client.close()
        time.sleep(0.5)
        assert associate(receiver.port, Verification).is_established


def test_an_object_that_is_too_large_ends_the_association_and_nothing_else(
    receiving: Receiving, as_bytes: Callable[..., bytes], small_film: Path, tmp_path: Path, caplog: Any
) -> None:
    large = tmp_path / "large.dcm"
    large.write_bytes(as_bytes("1.2.9", Rows=1500, Columns=1000, PixelData=bytes(3_000_000)))
    with receiving(limits=Limits(object_mb=1, free_mb=0)) as (receiver, queue):
        assert store(receiver.port, large) is None
        assert queue.counts["received"] == 0
        association = associate(receiver.port)
        for i in range(8):  # together they are larger than one may be
            path = tmp_path / f"{i}.dcm"
            path.write_bytes(as_bytes(f"1.2.3.{i}"))
            assert association.send_c_store(path).Status == 0x0000
        association.release()
        assert queue.counts["received"] == 8
    assert "more than 1 MB (limits.object_mb)" in caplog.text


def associate_request(port: int) -> socket.socket:
    """An association made by hand, to misbehave on."""
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "XRAY", "COVIDNET"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16384, "1.2.3"
    primitive.user_information = [length, implementation]
    context = build_context(Verification)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    client = socket.create_connection(("127.0.0.1", port), 10)
    client.sendall(pdu.encode())
    assert client.recv(1 << 16)[0] == 2  # accepted
    return client


def ended(client: socket.socket) -> bool:
    """Whether the other end hangs up, at the latest after its time-out."""
    client.settimeout(10)
    try:
        while client.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_a_pdu_that_claims_gigabytes_is_not_read(receiving: Receiving, caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as (receiver, _):
        client = associate_request(receiver.port)
        client.sendall(struct.pack(">BBL", 4, 0, 0xFFFFFFF0))
        assert ended(client)
        assert associate(receiver.port, Verification).is_established
    assert "a PDU of 4294967280 bytes" in caplog.text


def test_a_client_that_stops_in_the_middle_or_drips_is_let_go(receiving: Receiving, settings: Settings) -> None:
    with receiving(limits=replace(settings.limits, timeout=1)) as (receiver, _):
        half, dripping = associate_request(receiver.port), associate_request(receiver.port)
        silent = socket.create_connection(("127.0.0.1", receiver.port))
        half.sendall(struct.pack(">BBL", 4, 0, 1000) + b"x")
        dripping.sendall(struct.pack(">BBL", 4, 0, 1000))
        start = time.monotonic()
        try:
            while time.monotonic() - start < 5:
                dripping.sendall(b"x")
                time.sleep(0.2)
            pytest.fail("went on listening to a dripping client")
        except OSError:
            pass
        assert ended(half)
        assert ended(silent)


def test_garbage_ends_only_its_own_connection(receiving: Receiving) -> None:
    with receiving() as (receiver, _):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x00\x00\x00\x04abcd", b"\x16\x03\x01\x02\x00\x01"):
            with socket.create_connection(("127.0.0.1", receiver.port), 10) as client:
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                assert ended(client)
        assert associate(receiver.port, Verification).is_established


def test_a_connection_that_fails_in_a_way_nobody_foresaw_ends_no_others(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(said: bytes, tls: bool) -> bool:
        if said == b"surprise":
            raise KeyError(said)
        return whole(said, tls)

    whole = listener.whole
    monkeypatch.setattr(listener, "whole", failing)
    with receiving() as (receiver, _):
        with socket.create_connection(("127.0.0.1", receiver.port), 10) as client:
            client.sendall(b"surprise")
            assert ended(client)
        assert associate(receiver.port, Verification).is_established


def test_with_tls_only_tls_gets_in_and_only_with_a_known_certificate(
    receiving: Receiving, certificates: dict[str, Tls], small_film: Path, dcmtk: None
) -> None:
    server, client, stranger = (certificates[name] for name in ("server", "client", "stranger"))

    def tls(who: Tls) -> list[object]:
        return ["+tls", who.key, who.certificate, "+cf", who.ca]

    with receiving(tls=server) as (receiver, queue):
        assert dcmtk_client("echoscu", receiver.port).returncode != 0
        assert dcmtk_client("echoscu", receiver.port, *tls(stranger)).returncode != 0
        assert dcmtk_client("echoscu", receiver.port, *tls(client)).returncode == 0
        assert "(Success)" in dcmtk_client("storescu", receiver.port, *tls(client), film=small_film).stderr
        assert queue.counts["received"] == 1
    with receiving(tls=replace(server, ca=None)) as (receiver, _):  # encrypted, whoever it is
        context = ssl.create_default_context(cafile=str(server.ca))
        anyone = associate(receiver.port, Verification, tls_args=(context, "127.0.0.1"))
        assert anyone.is_established
        assert anyone.send_c_echo().Status == 0x0000
        anyone.release()


def test_a_renewed_certificate_is_shown_from_the_next_connection_on(
    receiving: Receiving, settings: Settings, certificates: dict[str, Tls]
) -> None:
    def subject(port: int) -> Any:
        context = ssl.create_default_context(cafile=str(certificates["server"].ca))
        with socket.create_connection(("127.0.0.1", port)) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted:
                return dict(pair for ((pair),) in encrypted.getpeercert()["subject"])["commonName"]

    first, second = (replace(certificates[name], ca=None) for name in ("server", "client"))
    with receiving(tls=first) as (receiver, _):
        assert subject(receiver.port) == "server"
        receiver.reload(replace(settings, tls=second))
        assert subject(receiver.port) == "client"
        with pytest.raises(SettingsError, match="none.pem"):
            receiver.reload(replace(settings, tls=replace(second, certificate=Path("none.pem"))))
        assert subject(receiver.port) == "client"


def test_a_tls_handshake_that_never_comes_holds_up_nobody(receiving: Receiving, certificates: dict[str, Tls]) -> None:
    with receiving(tls=replace(certificates["server"], ca=None)) as (receiver, _):
        silent = socket.create_connection(("127.0.0.1", receiver.port))
        start = time.monotonic()
        context = ssl.create_default_context(cafile=str(certificates["server"].ca))
        association = associate(receiver.port, Verification, tls_args=(context, "127.0.0.1"))
        assert association.is_established
        assert time.monotonic() - start < 3
        association.release()
        assert ended(silent)


def test_silent_connections_keep_nobody_out(receiving: Receiving) -> None:
    with receiving(limits=Limits(free_mb=0)) as (receiver, _):
        silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(10)]
        for client in silent[5:]:
            client.sendall(b"\1\0\0")  # the beginning of a request
        association = associate(receiver.port, Verification)
        assert association.is_established
        association.release()
        assert ended(silent[0])


def test_an_association_that_is_silent_gives_way(receiving: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "YIELDS", 0.5)
    with receiving(limits=Limits(free_mb=0, associations=2, per_address=2)) as (receiver, _):
        held = [associate(receiver.port, Verification) for _ in range(2)]
        assert held[0].send_c_echo().Status == 0x0000
        time.sleep(0.6)
        assert held[1].send_c_echo().Status == 0x0000
        another = associate(receiver.port, Verification)
        assert another.is_established
        assert held[1].is_established
        another.release()


def test_associations_that_never_ask_for_anything_keep_nobody_out(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "FIRST_MESSAGE", 0.2)
    with receiving(limits=Limits(free_mb=0, associations=2, per_address=3)) as (receiver, _):
        idle = []
        for _ in range(7):
            idle.append(associate(receiver.port, Verification))
            time.sleep(0.3)
            start = time.monotonic()
            association = associate(receiver.port, Verification)
            assert association.send_c_echo().Status == 0x0000
            assert time.monotonic() - start < listener.YIELDS / 2
            association.release()
        time.sleep(0.5)
        assert len(receiver._server.active_associations) <= 4
        assert idle[-1].is_established


def asking(port: int, address: str) -> socket.socket:
    """A connection from an address of this machine that has asked for an association."""
    client = socket.create_connection(("127.0.0.1", port), 10, (address, 0))
    client.sendall(request())
    return client


def test_of_those_that_never_ask_the_oldest_goes_wherever_it_comes_from(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "FIRST_MESSAGE", 0.1)
    with receiving(limits=Limits(free_mb=0, associations=2)) as (receiver, _):
        idle = []
        for number in range(1, 4):
            idle.append(asking(receiver.port, f"127.0.1.{number}"))
            assert idle[-1].recv(1) == b"\2"  # accepted
            time.sleep(0.3)
        assert ended(idle[0])
        assert len(receiver._server.active_associations) == 2


def test_no_more_associations_from_one_address_than_allowed(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "YIELDS", 60.0)
    with receiving(limits=Limits(free_mb=0, associations=9, per_address=2)) as (receiver, _):
        held = [associate(receiver.port, Verification) for _ in range(2)]
        assert all(association.send_c_echo().Status == 0x0000 for association in held)
        third = asking(receiver.port, "127.0.0.1")
        assert asking(receiver.port, "127.0.1.1").recv(1) == b"\2"  # accepted
        third.settimeout(0.5)
        with pytest.raises(TimeoutError):
            third.recv(1)
        held.pop().release()
        third.settimeout(10)
        assert third.recv(1) == b"\2"


def test_no_more_connections_wait_from_one_address_than_allowed(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "FIRST", 60.0)
    with receiving(limits=Limits(free_mb=0, per_address=1)) as (receiver, _):
        silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(listener.EACH + 2)]
        assert ended(silent[0])
        assert ended(silent[1])
        assert len(receiver._server._visitors) == listener.EACH


def test_an_address_or_port_that_is_not_ours_is_told(settings: Settings, tmp_path: Path) -> None:
    queue = Queue(settings.queue, settings.limits, tuple(settings.everywhere))
    with pytest.raises(SettingsError, match=r"192\.0\.2\.7 port 0"):
        module.Receiver(replace(settings, host="192.0.2.7"), queue)
    with pytest.raises(SettingsError, match="cannot be used for TLS"):
        module.Receiver(replace(settings, tls=Tls(tmp_path / "no.pem", tmp_path / "no.key")), queue)
    queue.close()


@pytest.mark.parametrize(("number", "changes"), [(FULL, ("fsync",)), (READ_ONLY, CHANGES), (BROKEN, CHANGES)])
def test_a_disk_that_takes_nothing_is_logged_once_and_once_more_when_it_does(
    number: int,
    changes: tuple[str, ...],
    receiving: Receiving,
    as_bytes: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "covidnet_lite.node")
    with receiving() as (receiver, queue):
        association = associate(receiver.port)
        films = [pydicom.dcmread(BytesIO(as_bytes(f"1.2.{i}"))) for i in range(3)]
        with failing(monkeypatch, number, changes, below=queue.folder):
            assert [association.send_c_store(film).Status for film in films] == [0xA700] * 3
        assert [association.send_c_store(film).Status for film in films] == [0x0000] * 3
        association.release()
        assert queue.counts["received"] == 3
        assert number != FULL or not list((queue.folder / "received").glob(".*"))
    assert caplog.text.count("not taken from") == 1
    assert str(queue.folder) in caplog.text
    assert caplog.text.count("are taken again; 3 transfers were refused meanwhile") == 1


def test_a_folder_that_cannot_be_listed_is_no_failure_for_good(
    receiving: Receiving, small_film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(BROKEN, "Input/output error")

    with receiving() as (receiver, queue):
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", broken)
            assert store(receiver.port, small_film) == 0xA700
            with pytest.raises(OutputError, match="Input/output error"):
                queue.next()
        assert store(receiver.port, small_film) == 0x0000


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_is_set_ends_no_association(
    receiving: Receiving, small_film: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    with receiving() as (receiver, queue):
        association = associate(receiver.port)
        wall = time.time() + jump
        monkeypatch.setattr(time, "time", lambda: wall)
        time.sleep(0.5)
        assert association.is_established
        assert association.send_c_store(small_film).Status == 0x0000
        association.release()
        assert queue.counts["received"] == 1
