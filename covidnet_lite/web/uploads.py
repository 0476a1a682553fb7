"""The files of a request, in memory only: never on disk, never more than there is room for."""

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
from .settings import MB, Settings
from .turnstile import Crowded, Ticket, Turnstile

LONGEST_NAME = 200  # characters
MOST_FIELDS = 16
SLOWEST = 16 << 10  # bytes a second; a slower upload is ended
PATIENCE = 5.0  # seconds for which it may be slower, or silent


class NamedBytes(io.BytesIO):
    """Bytes with the name that a client gave them, which is text and never opened."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


@dataclass(frozen=True)
class Upload:
    """What a client sent.

    Attributes:
        files: name and bytes, in its order.
        fields: everything else in the form.
    """

    files: list[tuple[str, bytes]]
    fields: dict[str, str]


class _InMemory(MultiPartParser):
    spool_max_size = 0  # Starlette's parser writes larger files to a temporary file; 0 keeps them all in memory


@asynccontextmanager
async def received(
    request: Request, settings: Settings, turnstile: Turnstile, optional: bool = False
) -> AsyncIterator[Upload]:
    """Waits for room, then reads the form; the room is held until the caller is done with it.

    Args:
        optional: a form without a file is taken, too.

    Raises:
        HTTPException: 400 no usable form; 408 too slow; 413 too large; 415 no form; 503 too many are waiting.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise HTTPException(415, "send the image as multipart/form-data, in a part named file: curl -F file=@xray.png")
    _check_announced(request, settings.most_bytes)
    async with AsyncExitStack() as inside:
        try:
            with anyio.fail_after(settings.seconds):
                ticket = await inside.enter_async_context(turnstile.admit())
        except (Crowded, TimeoutError):
            raise _busy() from None
        upload = await _read(request, settings, ticket)
        if not upload.files and not optional:
            raise HTTPException(400, "there is no file in the form; name its part: file")
        yield upload


async def _read(request: Request, settings: Settings, ticket: Ticket) -> Upload:
    stream = _bounded(request, settings, ticket)
    parser = _InMemory(request.headers, stream, max_files=settings.most_files, max_fields=MOST_FIELDS)
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
                files += await _unpacked(name, data, settings, ticket) if archive.is_archive(data) else [(name, data)]
                if len(files) > settings.most_files:
                    raise HTTPException(400, _too_many(settings))
            await value.close()
        else:
            fields[name] = value
    return Upload(files, fields)


async def _unpacked(name: str, data: bytes, settings: Settings, ticket: Ticket) -> list[tuple[str, bytes]]:
    """The films of a zip archive; together they may be as large as an upload. What cannot be read stays an archive."""
    members = await to_thread.run_sync(lambda: list(archive.members(data, name)))
    if len(members) > settings.most_files:
        raise HTTPException(400, _too_many(settings))
    found: list[tuple[str, bytes]] = []
    room = settings.most_bytes
    for member in members:
        await ticket.take(min(member.size, room))
        film = await to_thread.run_sync(_film, member, room)
        room -= len(film)
        found.append((f"{name}/{plain_name(member.name)}", film))
    return found


def _film(member: archive.Member, room: int) -> bytes:
    try:
        return member.read(room)
    except InputError:
        return archive.HEADS[0]  # read as what it is, an archive: it costs only itself


def _too_many(settings: Settings) -> str:
    return f"Too many files; send {settings.most_files} at most, or raise --max-files"


def plain_name(name: str) -> str:
    """A client's name for a file as text that is safe to show: no folders, no control characters, not endless."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return printable(last)[:LONGEST_NAME] or "image"


def _check_announced(request: Request, most: int) -> None:
    length = request.headers.get("content-length")
    if length is not None and int(length) > most:  # uvicorn has seen to it that it is a number
        raise _too_large(most)


async def _bounded(request: Request, settings: Settings, ticket: Ticket) -> AsyncGenerator[bytes, None]:
    """What comes, as there is room for it, and as long as it comes fast enough, however long it takes.

    Raises:
        HTTPException: 408 too slow; 413 too much; 503 no room for more of it.
    """
    stream, total, credit, most = request.stream(), 0, PATIENCE, settings.most_bytes
    while True:
        start = anyio.current_time()
        try:
            with anyio.fail_after(credit):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise HTTPException(408, f"the upload came at less than {SLOWEST >> 10} KB a second; try again") from None
        if chunk is None:
            return
        # Time that a client has in hand: what it sends earns more, what it does not send costs.
        credit = min(PATIENCE, credit - (anyio.current_time() - start) + len(chunk) / SLOWEST)
        total += len(chunk)
        if total > most:
            raise _too_large(most)
        try:
            with anyio.fail_after(settings.seconds):
                await ticket.take(len(chunk))
        except TimeoutError:
            raise _busy() from None
        yield chunk


def _busy() -> HTTPException:
    return HTTPException(503, "busy with other uploads; try again", {"Retry-After": "1"})


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the upload is larger than {most // MB} MB; send fewer files, or raise --max-upload")
