"""A client that is refused hears why, whatever it was still sending."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from covidnet_lite.web import drain
from covidnet_lite.web.drain import DrainMiddleware

from .conftest import Server, awaited, serving

TOKEN = "sixteen-or-more-letters"
SIZE = 24 << 20  # bytes; more than the sockets between take in
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token that takes few and small files."""
    token: Path = tmp_path_factory.mktemp("strict") / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with serving("--token-file", token, "--max-upload", 1, "--max-files", 2) as running:
        yield running


def sent_whole(server: Server, body: bytes, *headers: str) -> tuple[int, str]:
    """Status and error for a client that reads no answer before all of its body is sent."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        head = ["POST /v1/classify HTTP/1.1", f"Host: {host}", f"Content-Type: {FORM}", "Connection: close", *headers]
        client.sendall("\r\n".join([*head, "", ""]).encode())
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    head_, _, content = answer.partition(b"\r\n\r\n")
    return int(head_.split()[1]), json.loads(content)["error"]


@pytest.mark.parametrize(
    ("headers", "code", "words"),
    [
        ((f"Authorization: Bearer {TOKEN}", f"Content-Length: {SIZE}"), 413, "larger than 1 MB"),
        (("Authorization: Bearer wrong", f"Content-Length: {SIZE}"), 401, "token"),
        ((f"Authorization: Bearer {TOKEN}", f"Content-Length: {SIZE}", "Origin: https://evil.example"), 403, "site"),
    ],
)
def test_a_refused_upload_is_told_why_every_time(
    strict: Server, headers: tuple[str, ...], code: int, words: str
) -> None:
    for _ in range(15):
        status, error = sent_whole(strict, bytes(SIZE), *headers)
        assert status == code
        assert words in error


PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(200_000) + b"\r\n"


def test_an_upload_that_does_not_announce_its_size_is_told_why_as_well(strict: Server) -> None:
    part = PART + bytes(SIZE)
    body = f"{len(part):x}\r\n".encode() + part + b"\r\n0\r\n\r\n"
    for _ in range(5):
        text = sent_whole(strict, body, f"Authorization: Bearer {TOKEN}", "Transfer-Encoding: chunked")
        assert (text[0], "larger than 1 MB" in text[1]) == (413, True)


def test_too_many_files_are_told_why(strict: Server) -> None:
    body = 4 * PART + b"--x--\r\n"
    text = sent_whole(strict, body, f"Authorization: Bearer {TOKEN}", f"Content-Length: {len(body)}")
    assert (text[0], "Too many files" in text[1]) == (400, True)


def answered(parts: list[Message], seconds: float = 5) -> list[Message]:
    """What a client gets that sends these parts, then nothing more, from an application that reads none of them."""
    remaining, deliveries = list(parts), []

    async def receive() -> Message:
        if remaining:
            return remaining.pop(0)
        await anyio.sleep_forever()

    async def send(message: Message) -> None:
        deliveries.append(message)

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 413})
        await send({"type": "http.response.body", "body": b"no"})

    awaited(DrainMiddleware(refusing, seconds), {"type": "http"}, receive, send)
    return [*deliveries, *remaining]


def part(more: bool) -> Message:
    return {"type": "http.request", "body": b"x" * 10, "more_body": more}


def test_the_answer_is_sent_at_once_and_ended_when_the_request_has_ended() -> None:
    start, body, end = answered([part(True), part(True), part(False)])
    assert (start["status"], body["body"], body["more_body"]) == (413, b"no", True)
    assert not end.get("more_body", False)


def test_a_client_that_leaves_falls_silent_or_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(answered([part(True), {"type": "http.disconnect"}])) == 3
    assert len(answered([part(True)], seconds=0.1)) == 3
    monkeypatch.setattr(drain, "SILENCE", 0.1)
    assert len(answered([part(True)], seconds=3600)) == 3
    monkeypatch.setattr(drain, "MAX_BYTES", 30)
    assert answered([part(True)] * 5)[3:] == [part(True)] * 2  # never read
