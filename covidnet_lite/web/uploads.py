"""The files of a request, in memory only: never on disk, never more than is reserved for them."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio import to_thread
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from .. import archive
from ..errors import InputError
from ..output import printable
from .admission import Admission, Overloaded, Reservation
from .settings import MB, Settings

MAX_NAME = 200  # characters
MAX_FIELDS = 16
MIN_RATE = 16 << 10  # bytes a second; a slower upload is ended
CREDIT_SECONDS = 5.0  # for which it may be slower, or pause


class NamedBytes(io.BytesIO):
    """Bytes with the client's name for them, which is text and never opened."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


@dataclass(frozen=True)
class Upload:
    """The form that a client sent.

    Attributes:
        files: name and bytes, in the client's order.
        fields: all other fields.
    """

    files: list[tuple[str, bytes]]
    fields: dict[str, str]


class _InMemory(MultiPartParser):
    spool_max_size = 0  # Starlette's parser writes larger files to a temporary file; 0 keeps them all in memory


@asynccontextmanager
async def receive_upload(
    request: Request, settings: Settings, admission: Admission, optional: bool = False
) -> AsyncIterator[Upload]:
    """Waits for admission, then reads the form; its memory stays reserved until the context ends.

    Args:
        request: the request.
        settings: of the server.
        admission: that reserves memory for uploads.
        optional: whether a form without a file is accepted.

    Raises:
        HTTPException: 400 no usable form; 408 too slow; 413 too large; 415 no form; 503 too many are waiting.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise HTTPException(415, "send the image as multipart/form-data, in a part named file: curl -F file=@xray.png")
    _check_content_length(request, settings.most_bytes)
    async with AsyncExitStack() as stack:
        try:
            with anyio.fail_after(settings.seconds):
                reservation = await stack.enter_async_context(admission.admit())
        except (Overloaded, TimeoutError):
            raise _busy() from None
        upload = await _read(request, settings, reservation)
        if not upload.files and not optional:
            raise HTTPException(400, "there is no file in the form; name its part: file")
        yield upload


async def _read(request: Request, settings: Settings, reservation: Reservation) -> Upload:
    stream = _limited_stream(request, settings, reservation)
    parser = _InMemory(request.headers, stream, max_files=settings.most_files, max_fields=MAX_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise HTTPException(400, _too_many(settings)) from None
        raise HTTPException(400, f"the form cannot be read: {error.message}") from None
    files: list[tuple[str, bytes]] = []
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name == "file":
                name, data = plain_name(value.filename or ""), await value.read()
                files += (
                    await _unpack(name, data, settings, reservation) if archive.is_archive(data) else [(name, data)]
                )
                if len(files) > settings.most_files:
                    raise HTTPException(400, _too_many(settings))
            await value.close()
        else:
            fields[name] = value
    return Upload(files, fields)


async def _unpack(name: str, data: bytes, settings: Settings, reservation: Reservation) -> list[tuple[str, bytes]]:
    """The members of a zip archive, together no larger than an upload; one that cannot be unpacked stays an archive."""
    members = await to_thread.run_sync(lambda: list(archive.members(data, name)))
    if len(members) > settings.most_files:
        raise HTTPException(400, _too_many(settings))
    files: list[tuple[str, bytes]] = []
    remaining = settings.most_bytes
    for member in members:
        await reservation.reserve(min(member.size, remaining))
        content = await to_thread.run_sync(_member_bytes, member, remaining)
        remaining -= len(content)
        files.append((f"{name}/{plain_name(member.name)}", content))
    return files


def _member_bytes(member: archive.Member, limit: int) -> bytes:
    try:
        return member.read(limit)
    except InputError:
        return archive.HEADS[0]  # classified as an archive, so that only this member fails


def _too_many(settings: Settings) -> str:
    return f"Too many files; send {settings.most_files} at most, or raise --max-files"


def plain_name(name: str) -> str:
    """A client's name for a file as text that is safe to show: no folders, no control characters, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return printable(last)[:MAX_NAME] or "image"


def _check_content_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length")
    if length is not None and int(length) > limit:  # uvicorn has checked that it is a number
        raise _too_large(limit)


async def _limited_stream(
    request: Request, settings: Settings, reservation: Reservation
) -> AsyncGenerator[bytes, None]:
    """The chunks of a request, each once memory is reserved for it, as long as they arrive fast enough.

    Raises:
        HTTPException: 408 too slow; 413 too large; 503 no memory for more.
    """
    stream, total, credit, limit = request.stream(), 0, CREDIT_SECONDS, settings.most_bytes
    while True:
        start = anyio.current_time()
        try:
            with anyio.fail_after(credit):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise HTTPException(408, f"the upload came at less than {MIN_RATE >> 10} KB a second; try again") from None
        if chunk is None:
            return
        # A client's credit of time: sending bytes earns credit, and waiting uses it up.
        credit = min(CREDIT_SECONDS, credit - (anyio.current_time() - start) + len(chunk) / MIN_RATE)
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        try:
            with anyio.fail_after(settings.seconds):
                await reservation.reserve(len(chunk))
        except TimeoutError:
            raise _busy() from None
        yield chunk


def _busy() -> HTTPException:
    return HTTPException(503, "busy with other uploads; try again", {"Retry-After": "1"})


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the upload is larger than {limit // MB} MB; send fewer files, or raise --max-upload")
