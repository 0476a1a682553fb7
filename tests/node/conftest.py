"""What the tests of the node share: a small film under any UID, certificates, and a receiver at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from benchmarks import modality
from benchmarks.orthanc import program
from covidnet_lite.node.queue import Queue
from covidnet_lite.node.receiver import Receiver
from covidnet_lite.node.settings import Limits, Pacs, Settings, Tls


@pytest.fixture(scope="session")
def small_film(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real film at a sixth of its size."""
    (path,) = modality.copies_of(film, tmp_path_factory.mktemp("small"), 1)
    return path


@pytest.fixture
def as_bytes(small_film: Path) -> Callable[..., bytes]:
    """The small film as a file's bytes, with elements changed."""

    def make(uid: str = "1.2.3", **elements: Any) -> bytes:
        data = pydicom.dcmread(small_film)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid
        for keyword, value in elements.items():
            setattr(data, keyword, value)
        buffer = BytesIO()
        data.save_as(buffer)
        return buffer.getvalue()

    return make


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a node on a free port, with nobody at the other end."""
    return Settings(
        tmp_path / "queue", Pacs("PACS", "127.0.0.1", 1), port=0, limits=Limits(free_mb=0, associations=2, timeout=5)
    )


@pytest.fixture
def receiving(settings: Settings) -> Callable[..., Any]:
    """``with receiving(...) as (receiver, queue)``: at work, with settings changed."""

    @contextmanager
    def running(**changes: Any) -> Iterator[tuple[Receiver, Queue]]:
        told = replace(settings, **changes)
        queue = Queue(told.queue, told.limits, tuple(told.everywhere))
        receiver = Receiver(told, queue)
        receiver.start()
        try:
            yield receiver, queue
        finally:
            receiver.stop()
            queue.close()

    return running


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Tls]:
    """For 127.0.0.1: of a server, of a client, and of a stranger whose CA nobody knows; each with the CA to trust."""
    trustme = pytest.importorskip("trustme")
    ca, foreign = trustme.CA(), trustme.CA()
    made = {}
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, issuer in (("server", ca), ("client", ca), ("stranger", foreign)):
        issued = issuer.issue_cert("127.0.0.1", common_name=name)
        key, chain = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        issued.private_key_pem.write_to_path(key)
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        made[name] = Tls(chain, key, tmp_path / "ca.pem")
    return made


@pytest.fixture
def dcmtk() -> None:
    """Skips where dcmtk is not installed."""
    if not program("storescu"):
        pytest.skip("needs Debian's dcmtk")
