"""Is anybody kept out by clients that behave badly? ``python benchmarks/bad_clients.py [--service node]``.

A dozen of them for a minute: half send a byte a second, half say nothing; beside them some send junk and hang on, or
what begins like TLS where there is none; to the node some open associations and never ask for anything. Each comes
again as soon as it is sent away; to the node each from an address of its own. Meanwhile one good client goes on with
its work. Printed is its median before and during, and the ratio; the exit code is 1 where it is above 2, or where it
failed once.

Needs the extra ``web`` for ``serve`` and ``node`` for ``node``, and a system where all of 127.0.0.0/8 is this machine.
"""

from __future__ import annotations

import argparse
import http.client
import io
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DOZEN = 12
JUNK = 4
IDLE = 6  # associations that never ask
PAUSE = 0.2  # seconds between two requests of the good client
MAX_RATIO = 2.0  # times its median
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the beginning of a TLS handshake
UPLOAD = (
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n"
    b"Content-Type: multipart/form-data; boundary=B\r\n\r\n--B\r\n"
)
ASSOCIATE = b"\1\0\0\0\x10\0\0\1\0\0"  # the beginning of a request, which claims 4 KB

Behaviour = Callable[[socket.socket, threading.Event], None]


@dataclass(frozen=True)
class Outcome:
    """How a good client fared: milliseconds of each request, and how many failed."""

    before: list[float]
    during: list[float]
    failures: int

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return statistics.median(self.during) / statistics.median(self.before)


def say_nothing(client: socket.socket, stop: threading.Event) -> None:
    """Says nothing until it is hung up on."""
    send_once(b"")(client, stop)


def send_once(data: bytes) -> Behaviour:
    """Says this, and then nothing."""

    def behaviour(client: socket.socket, stop: threading.Event) -> None:
        client.sendall(data)
        client.settimeout(0.5)
        while not stop.is_set():
            with suppress(TimeoutError):
                if not client.recv(4096):
                    return

    return behaviour


def send_slowly(head: bytes, body: bytes = b"x") -> Behaviour:
    """Says this, and then a byte a second."""

    def behaviour(client: socket.socket, stop: threading.Event) -> None:
        client.sendall(head)
        while not stop.wait(1.0):
            client.sendall(body)

    return behaviour


def idle_association(client: socket.socket, stop: threading.Event) -> None:
    """Opens an association and never asks for anything in it."""
    client.sendall(request())
    send_once(b"")(client, stop)


def request() -> bytes:
    """An A-ASSOCIATE-RQ as bytes."""
    from pynetdicom import build_context
    from pynetdicom.pdu import A_ASSOCIATE_RQ
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

    primitive, length, version = A_ASSOCIATE(), MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, version.implementation_class_uid = 16384, "1.2.3"
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "BAD", "COVIDNET"
    primitive.user_information = [length, version]
    context = build_context("1.2.840.10008.1.1")
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


SERVE = [send_slowly(UPLOAD), send_slowly(b"GET / HTTP/1.1\r\nX: ")] * (DOZEN // 4) + [say_nothing] * (DOZEN // 2)
SERVE += [send_once(HELLO), send_once(b"\0" * 100)] * (JUNK // 2)
NODE = [send_slowly(ASSOCIATE), send_slowly(b"\1\0", b"\0")] * (DOZEN // 4) + [say_nothing] * (DOZEN // 2)
NODE += [send_once(HELLO), send_once(b"\0" * 100)] * (JUNK // 2) + [idle_association] * IDLE


@contextmanager
def bad_clients_at_work(behaviours: list[Behaviour], port: int, own_addresses: bool = False) -> Iterator[None]:
    """Bad clients at work, each in a thread."""
    stop = threading.Event()

    def work(behaviour: Behaviour, number: int) -> None:
        source = (f"127.0.1.{number + 1}", 0) if own_addresses else None
        while not stop.wait(0.1):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5, source) as client:
                behaviour(client, stop)

    threads = [threading.Thread(target=work, args=(behaviour, number)) for number, behaviour in enumerate(behaviours)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def measure(
    good_request: Callable[[], bool], behaviours: list[Behaviour], port: int, seconds: float, own: bool = False
) -> Outcome:
    """A good client's requests for some seconds alone, and then beside bad ones."""
    before, failed = requests(good_request, seconds)
    with bad_clients_at_work(behaviours, port, own):
        time.sleep(min(1.0, seconds / 4))  # until all of them are there
        during, failed_during = requests(good_request, seconds)
    return Outcome(before, during, failed + failed_during)


def requests(good_request: Callable[[], bool], seconds: float) -> tuple[list[float], int]:
    """Milliseconds of each request, and how many failed."""
    milliseconds, failures, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        try:
            failures += not good_request()
        except OSError:
            failures += 1
        milliseconds.append((time.perf_counter() - start) * 1e3)
        time.sleep(PAUSE)
    return milliseconds, failures


def serve(seconds: float) -> Outcome:
    """The page and API: a good client classifies the same radiograph again and again."""
    from benchmarks.serve import serving

    png = io.BytesIO()
    Image.fromarray(_pixels()).save(png, "PNG")
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\n\r\n'
    body = head + png.getvalue() + b"\r\n--B--\r\n"
    with serving() as (url, _):
        host, port = url.removeprefix("http://").split(":")

        def good_request() -> bool:
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            connection.request("POST", "/v1/classify", body, {"Content-Type": "multipart/form-data; boundary=B"})
            status = connection.getresponse().status
            connection.close()
            return status == 200

        good_request()
        return measure(good_request, SERVE, int(port), seconds)


def node(seconds: float) -> Outcome:
    """The DICOM node: a good client sends one radiograph after the other, each in an association of its own."""
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
    from pynetdicom import AE

    from benchmarks.node import NodeProcess
    from benchmarks.orthanc import free_port

    entity, dataset = AE("GOOD"), _dicom()
    entity.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    with tempfile.TemporaryDirectory() as folder:
        process = NodeProcess(Path(folder), free_port(), "[limits]\nfree_mb = 0\n")

        def good_request() -> bool:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            association = entity.associate("127.0.0.1", process.port, ae_title="COVIDNET")
            if not association.is_established:
                return False
            status = association.send_c_store(dataset).get("Status")
            association.release()
            return bool(status == 0)

        try:
            process.start()
            good_request()
            return measure(good_request, NODE, process.port, seconds, own=True)
        finally:
            process.terminate()


def _pixels() -> np.ndarray[Any, Any]:
    x, y = np.mgrid[0:1:512j, 0:1:512j]
    noise = np.random.default_rng(0).normal(0, 6, x.shape)
    return np.asarray(128 + 60 * np.cos(7 * y) * np.sin(9 * x) + noise, np.uint8)


def _dicom() -> Any:
    import pydicom

    pixels, data = _pixels(), pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    data.Modality, data.BodyPartExamined, data.ViewPosition = "CR", "CHEST", "PA"
    data.StudyInstanceUID = data.SeriesInstanceUID = "1.2.3"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.PixelData = 7, 0, pixels.tobytes()
    return data


SERVICES = {"serve": serve, "node": node}


def main(argv: list[str] | None = None) -> int:
    """Runs it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", choices=SERVICES, help="only this one (default: both)")
    parser.add_argument("--seconds", type=float, default=60, help="before, and during (default: 60)")
    args = parser.parse_args(argv)
    is_bad = False
    for name in [args.service] if args.service else SERVICES:
        outcome = SERVICES[name](args.seconds)
        is_bad |= outcome.ratio > MAX_RATIO or outcome.failures > 0
        print(
            f"{name:5}  a good client's median {statistics.median(outcome.before):.0f} ms alone, "
            f"{statistics.median(outcome.during):.0f} ms beside bad ones (at most {max(outcome.during):.0f} ms): "
            f"{outcome.ratio:.2f} x, asked for {MAX_RATIO:.0f}; {outcome.failures} of "
            f"{len(outcome.before) + len(outcome.during)} requests failed",
            flush=True,
        )
    return 1 if is_bad else 0


if __name__ == "__main__":
    sys.exit(main())
