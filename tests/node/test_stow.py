"""STOW-RS, against a service that answers what the test tells it to, and against a real Orthanc."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.orthanc import DICOMWEB, Orthanc, free_port, missing
from covidnet_lite.errors import SettingsError
from covidnet_lite.node import tls
from covidnet_lite.node.reply import Verdict
from covidnet_lite.node.settings import DicomWeb, Tls
from covidnet_lite.node.stow import Stow

Answer = tuple[int, Any]


def failed(reason: int) -> dict[str, Any]:
    """A Store Instances Response in DICOM's JSON, with one failure."""
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


class Service:
    """Answers queries with nothing found, and objects with the next of ``answers``, then with success."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: list[Answer] = []
        self.query: Answer = (200, [])
        self.kind = "application/dicom+json"
        self.tokens: list[str | None] = []
        self.bodies: list[bytes] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.tokens.append(self.headers["Authorization"])
                self._answer(*service.query)

            def do_POST(self) -> None:
                service.bodies.append(self._body())
                self._answer(*(service.answers.pop(0) if service.answers else (200, {})))

            def _body(self) -> bytes:
                if "Content-Length" in self.headers:
                    return self.rfile.read(int(self.headers["Content-Length"]))
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)

            def _answer(self, status: int, content: Any) -> None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", service.kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}/dicom-web"


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def one(context: ssl.SSLContext | None = None) -> Service:
        made.append(Service(context))
        return made[-1]

    yield one
    for service in made:
        service.server.shutdown()
        service.server.server_close()


@pytest.fixture
def path(tmp_path: Path, as_bytes: Callable[..., bytes]) -> Path:
    made = tmp_path / "1.dcm"
    made.write_bytes(as_bytes("1.2.3"))
    return made


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ((200, {}), Verdict.TAKEN),
        ((200, b""), Verdict.TAKEN),
        ((202, {}), Verdict.TAKEN),  # with a warning
        ((202, failed(0x0111)), Verdict.TAKEN),  # there already
        ((409, failed(0x0111)), Verdict.TAKEN),
        ((200, failed(0xA700)), Verdict.LATER),  # a service that says so after all
        ((202, failed(0xA700)), Verdict.LATER),
        ((409, failed(0xA700)), Verdict.LATER),
        ((409, failed(0x0110)), Verdict.LATER),
        ((409, failed(0xA900)), Verdict.NEVER),
        ((409, failed(0xC000)), Verdict.NEVER),
        ((409, b"no JSON"), Verdict.NEVER),
        ((400, b""), Verdict.NEVER),
        ((413, b""), Verdict.NEVER),
        ((401, b""), Verdict.LATER),
        ((429, b""), Verdict.LATER),
        ((503, b""), Verdict.LATER),
        ((200, b"<html>"), Verdict.LATER),
    ],
)
def test_what_a_service_answers_is_understood(start: Any, path: Path, answer: Answer, verdict: Verdict) -> None:
    service = start()
    service.answers.append(answer)
    stow = Stow(DicomWeb(f"http://{service.address}"), 5)
    assert stow.connect() is None
    assert stow.store(path).verdict is verdict
    assert path.read_bytes()[-100:] in service.bodies[0]  # the pixels


@pytest.mark.parametrize("kind", ["application/json", "Application/DICOM+JSON; charset=utf-8"])
def test_a_failure_is_understood_in_json_of_any_name(start: Any, path: Path, kind: str) -> None:
    service = start()
    service.kind = kind
    service.answers.append((202, failed(0xA900)))
    stow = Stow(DicomWeb(f"http://{service.address}"), 5)
    stow.connect()
    assert stow.store(path).verdict is Verdict.NEVER


def test_an_answer_that_means_away_has_the_service_asked_again_first(start: Any, path: Path) -> None:
    service = start()
    stow = Stow(DicomWeb(f"http://{service.address}"), 5)
    for status, connected in ((409, True), (503, False), (401, False)):
        stow.connect()
        service.answers.append((status, failed(0xA700) if status == 409 else b""))
        stow.store(path)
        assert stow.is_connected == connected


@pytest.mark.parametrize(
    ("status", "why"),
    [(200, None), (404, None), (405, None), (401, "refuses us: HTTP 401"), (503, "answered HTTP 503")],
)
def test_a_service_need_not_answer_queries_but_must_let_us_in(start: Any, status: int, why: str | None) -> None:
    service = start()
    service.query = (status, [])
    stow = Stow(DicomWeb(f"http://{service.address}"), 5)
    assert stow.connect() == why
    assert stow.is_connected == (why is None)


def test_nobody_there_is_away(path: Path) -> None:
    stow = Stow(DicomWeb(f"http://127.0.0.1:{free_port()}"), 5)
    assert stow.connect() == "cannot be reached"
    assert stow.check() == "cannot be reached"


def test_a_service_that_breaks_off_is_asked_again(start: Any, path: Path) -> None:
    service = start()
    stow = Stow(DicomWeb(f"http://{service.address}"), 5)
    stow.connect()
    service.server.shutdown()
    service.server.server_close()
    assert stow.store(path).verdict is Verdict.LATER
    assert not stow.is_connected


def test_the_token_is_read_anew_and_never_quoted(start: Any, tmp_path: Path) -> None:
    service, token = start(), tmp_path / "token"
    token.write_text("first\n")
    stow = Stow(DicomWeb(f"http://{service.address}", token), 5)
    stow.connect()
    token.write_text("second")
    stow.close()
    stow.connect()
    assert service.tokens == ["Bearer first", "Bearer second"]
    token.write_text("secret and more")
    stow.close()
    assert "secret" not in str(stow.connect())
    for content in ("", "two words", "\xe9"):
        token.write_text(content, "utf-8")
        with pytest.raises(SettingsError, match="token"):
            Stow(DicomWeb(f"http://{service.address}", token), 5)


def test_only_a_service_that_can_prove_who_it_is_is_asked(
    start: Any, certificates: dict[str, Tls], tmp_path: Path, path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    client = certificates["client"]
    service, impostor = (
        start(tls.receiving(one)) for one in (certificates["server"], replace(certificates["stranger"], ca=None))
    )
    stow = Stow(DicomWeb(f"https://{service.address}", token, tls=client), 5)
    assert stow.connect() is None
    assert stow.store(path).verdict is Verdict.TAKEN
    assert "certificate" in str(Stow(DicomWeb(f"https://{impostor.address}", token, tls=client), 5).connect())
    assert impostor.tokens == []
    with pytest.raises(SettingsError, match="cannot be used for TLS"):
        Stow(DicomWeb(f"https://{service.address}", tls=Tls(ca=tmp_path / "none")), 5)


@pytest.mark.skipif(missing() is not None or not DICOMWEB.exists(), reason="needs Debian's orthanc-dicomweb")
def test_a_real_service_has_what_was_stored_and_refuses_what_is_no_dicom(tmp_path: Path, path: Path) -> None:
    with Orthanc(tmp_path / "pacs", Plugins=[str(DICOMWEB)]) as pacs:
        stow = Stow(DicomWeb(pacs.dicomweb), 5)
        assert stow.check() is None
        assert stow.connect() is None
        for _ in range(2):  # again: as after a kill
            assert stow.store(path).verdict is Verdict.TAKEN
        assert [uid for _, uid in pacs.results()] == ["1.2.3"]
