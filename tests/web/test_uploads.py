from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from covidnet_lite import Classifier
from covidnet_lite.web import uploads
from covidnet_lite.web.admission import INITIAL_SIZE, Admission
from covidnet_lite.web.app import create
from covidnet_lite.web.settings import MB, Settings
from covidnet_lite.web.uploads import Upload, plain_name, receive_upload

from .conftest import awaited

SETTINGS = Settings(most_bytes=MB, most_files=3, waiting=0, seconds=0.5)


def form(*files: tuple[str, bytes], part: str = "file", **fields: str) -> tuple[bytes, str]:
    """A form's bytes and its content type."""
    request = httpx.Request("POST", "http://x/", files=[(part, one) for one in files], data=fields)
    return request.read(), request.headers["content-type"]


def take(body: bytes, kind: str, whole: bool = True, announced: bool = True, settings: Settings = SETTINGS) -> Upload:
    """What is received of a request that comes in small pieces, the last of them perhaps never."""
    admission = Admission(2 * MB, settings.waiting)
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if whole:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    headers = [(b"content-type", kind.encode())]
    if announced:
        headers.append((b"content-length", str(len(body)).encode()))

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await anyio.sleep_forever()

    async def scene() -> Upload:
        async with receive_upload(
            Request({"type": "http", "headers": headers}, receive), settings, admission
        ) as upload:
            assert admission.admitted == max(len(body), INITIAL_SIZE)  # its room is held, whatever was announced
            return upload

    try:
        upload: Upload = awaited(scene)
        return upload
    finally:
        assert admission.admitted == 0  # and given back, however it ended


def packed(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def test_a_zip_archive_is_taken_apart_within_the_room_of_an_upload() -> None:
    body, kind = form(("ward.zip", packed(("a/x.png", b"123"), ("y.png", bytes(2 * MB)))))
    admission = Admission(8 * MB, 0)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def scene() -> tuple[Upload, int]:
        request = Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, receive)
        async with receive_upload(request, SETTINGS, admission) as upload:
            return upload, admission.admitted

    upload, inside = awaited(scene)
    assert upload.files == [("ward.zip/x.png", b"123"), ("ward.zip/y.png", b"PK\3\4")]  # larger than all may be
    assert inside >= MB  # what is unpacked takes room as well


def test_a_zip_archive_of_more_films_than_may_be_sent_is_refused() -> None:
    with pytest.raises(HTTPException) as caught:
        take(*form(("ward.zip", packed(*[(f"{i}.png", b"x") for i in range(4)]))))
    assert (caught.value.status_code, "Too many files" in caught.value.detail) == (400, True)


def test_files_and_fields_come_as_they_were_sent_in_their_order() -> None:
    parts = [("b.png", bytes(range(256)) * 20), ("a.png", b"\r\n--x\r\n")]
    for announced in (True, False):
        upload = take(*form(*parts, verdict="agree", comment="größer"), announced=announced)
        assert upload.files == parts
        assert upload.fields == {"verdict": "agree", "comment": "größer"}


@pytest.mark.parametrize(
    ("request_", "options", "code", "words"),
    [
        ((b"x", "application/json"), {}, 415, "multipart/form-data"),
        ((b"x", "multipart/form-data"), {}, 400, "boundary"),
        (form(("a", b"x"), part="image"), {}, 400, "name its part: file"),
        (form(*[("a", b"x")] * 4), {}, 400, "Too many files"),
        (form(("a", b"x"), **{str(i): "" for i in range(17)}), {}, 400, "Too many fields"),
        (form(("a", bytes(MB))), {}, 413, "larger than 1 MB"),
        (form(("a", bytes(MB))), {"announced": False}, 413, "larger than 1 MB"),
    ],
)
def test_what_cannot_be_taken_is_told(
    request_: tuple[bytes, str], options: dict[str, Any], code: int, words: str
) -> None:
    with pytest.raises(HTTPException) as raised:
        take(*request_, **options)
    assert raised.value.status_code == code
    assert words in raised.value.detail


def test_as_much_as_is_allowed_is_taken() -> None:
    body, kind = form(("a.png", bytes(5000)))
    assert take(body, kind, settings=replace(SETTINGS, most_bytes=len(body))).files == [("a.png", bytes(5000))]


def test_nothing_is_read_while_there_is_no_room() -> None:
    async def receive() -> Message:
        raise AssertionError("it was read")

    async def scene(waiting: int) -> None:
        admission = Admission(MB, waiting)
        body, kind = form(("a", b"x"))
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        async with admission.admit(MB):
            async with receive_upload(Request({"type": "http", "headers": headers}, receive), SETTINGS, admission):
                pass

    for waiting in (0, 1):  # sent away at once, or after a while
        with pytest.raises(HTTPException) as raised:
            awaited(scene, waiting)
        assert raised.value.status_code == 503
        assert (raised.value.headers or {})["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("film.png", "film.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\a.dcm", "a.dcm"),
        ("folder/", "image"),
        ("", "image"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("größe.png", "größe.png"),
        ("x" * 999, "x" * 200),
    ],
)
def test_a_name_is_made_safe_to_show(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_an_upload_that_comes_too_slowly_is_ended_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "CREDIT_SECONDS", 0.1)
    with pytest.raises(HTTPException) as caught:
        take(*form(("a.png", b"x")), whole=False, settings=replace(SETTINGS, seconds=60))
    assert caught.value.status_code == 408
    assert "16 KB a second" in caught.value.detail


def test_with_its_evidence_an_upload_is_decoded_once(film: Path, answering: Path, decodings: list[str]) -> None:
    app = create(Classifier(answering), Settings())

    async def scene() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
            return await client.post("/v1/classify?evidence=1", files={"file": ("film.dcm", film.read_bytes())})

    (result,) = anyio.run(scene).json()["results"]
    assert result["evidence"]
    assert decodings == ["DICOM"]


def test_an_upload_may_take_as_long_as_it_comes_fast_enough() -> None:
    body, kind = form(("a.png", bytes(40_000)))
    parts = [body[at : at + 4000] for at in range(0, len(body), 4000)]

    async def receive() -> Message:
        await anyio.sleep(0.1)
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def scene() -> int:
        request = Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, receive)
        async with receive_upload(request, SETTINGS, Admission(MB, 0)) as upload:
            return len(upload.files[0][1])

    assert awaited(scene) == 40_000  # in twice the seconds of the settings
