"""A zip of radiographs, opened within limits: each member is one radiograph, called ``archive.zip/member``."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import formats
from .codes import Code
from .errors import InputError
from .network import plain_zip

SUFFIX = ".zip"
HEADS = (b"PK\x03\x04", b"PK\x05\x06")  # of an archive, and of an empty one
MAX_MEMBERS = 5000  # members
MAX_DIRECTORY = 4 << 20  # bytes of the list of members
MAX_SIZE = 256 << 20  # bytes of a member
MAX_RATIO, SPARE = 200, 4 << 20  # what a member, or all of them, may be larger than the bytes they come from
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others cannot be unpacked by small parts
ZIP_ERRORS = (*plain_zip.ZIP_ERRORS, zlib.error)
_HEAD = 30  # bytes of a member's own head
_END = struct.Struct("<4s4H2LH")  # the record at an archive's end


@dataclass(frozen=True)
class Member:
    """One file in an archive, unpacked when it is read; it behaves like a binary file.

    Attributes:
        name: ``archive.zip/member``.
        fault: why it cannot be read, or ``""``.
        size: bytes, as the archive says; reading never yields more.
    """

    name: str
    fault: str = ""
    size: int = 0
    _archive: str | bytes = field(default=b"", repr=False)
    _info: zipfile.ZipInfo | None = field(default=None, repr=False)

    def read(self, limit: int = MAX_SIZE) -> bytes:
        """The member's bytes, ``limit`` at most.

        Raises:
            InputError: it is damaged, encrypted, larger, or an archive itself.
        """
        if self.fault or self._info is None:
            raise InputError(f"{self.name}: {self.fault or 'is in no archive'}", Code.ARCHIVE)
        try:
            if self.size > limit:
                raise ValueError(f"it has more than {limit >> 20} MB")
            return _unpacked(self._archive, self._info)
        except ZIP_ERRORS as error:
            raise InputError(f"{self.name}: cannot be unpacked ({error}); pack it again", Code.ARCHIVE) from error


def _unpacked(source: str | bytes, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, found by its own head: the list of all members is not read again for each."""
    with _file(source) as file:
        file.seek(info.header_offset)
        head = file.read(_HEAD)
        if not head.startswith(HEADS[0]):
            raise zipfile.BadZipFile("its head is missing")
        file.seek(sum(struct.unpack_from("<2H", head, _HEAD - 4)), os.SEEK_CUR)
        data = file.read(info.compress_size)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile("its checksum is wrong")
    return data


def is_archive(source: str | os.PathLike[str] | bytes) -> bool:
    """Whether a path or the bytes of a file are a zip archive, by its first bytes."""
    if isinstance(source, bytes):
        return source.startswith(HEADS)
    try:
        if not os.path.isfile(source):  # to open a pipe would block
            return False
        with open(source, "rb") as file:
            return file.read(4) in HEADS
    except (OSError, ValueError):
        return False


def members(source: str | os.PathLike[str] | bytes, name: str | None = None) -> Iterator[Member]:
    """The radiographs of an archive, a path or its bytes, in the archive's order; other members are skipped.

    An archive that cannot be opened counts as one member that cannot be read, so it stops nothing else.
    """
    source = source if isinstance(source, bytes) else os.fspath(source)
    name = name or (source if isinstance(source, str) else "<bytes>")
    try:
        with _open_zip(source) as archive:
            size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
            if sum(info.file_size for info in archive.infolist() if not _fault(info)) > MAX_RATIO * size + 2 * SPARE:
                raise ValueError("it claims to hold far more than fits into it")
            radiographs = list(_radiographs(archive, source, name))
    except ZIP_ERRORS as error:
        radiographs = [Member(name, f"cannot be opened as a zip archive ({error}); pack it again")]
    yield from radiographs or [
        Member(name, "is a zip archive without a radiograph; put PNG, JPEG or DICOM files into it")
    ]


def _file(source: str | bytes) -> io.BufferedIOBase:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _open_zip(source: str | bytes) -> zipfile.ZipFile:
    file = _file(source)
    try:
        _check_end(file)
        archive = zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise
    archive._filePassed = 0  # type: ignore[attr-defined]  # close the file with the archive
    return archive


def _check_end(file: io.BufferedIOBase) -> None:
    """Checks how long the list of members is, before all of it is read."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _END.size - 0xFFFF))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise zipfile.BadZipFile("its end is missing")
    _, _, _, _, count, size, _, _ = _END.unpack_from(tail, at)
    file.seek(0)
    if count > MAX_MEMBERS or size > MAX_DIRECTORY:
        raise ValueError(f"it has more than {MAX_MEMBERS} members")


def _radiographs(archive: zipfile.ZipFile, source: str | bytes, name: str) -> Iterator[Member]:
    from .output import OURS

    for info in archive.infolist():
        if not info.filename:
            yield Member(name, "holds a file without a name; pack it again")
            continue
        base = info.filename.rsplit("/", 1)[-1]
        if info.is_dir() or info.filename.startswith("__MACOSX/") or base.startswith(".") or base.endswith(OURS):
            continue
        fault = _fault(info)
        if not base.lower().endswith(SUFFIX):
            if not formats.may_be_radiograph(base):
                continue
            if not formats.has_suffix(base) and not fault and not _is_dicom(archive, info):
                continue
        yield Member(f"{name}/{info.filename}", fault, info.file_size, source, info)


def _fault(info: zipfile.ZipInfo) -> str:
    if info.filename.lower().endswith(SUFFIX):
        return "is an archive within an archive; unpack it first"
    if info.flag_bits & 1:
        return "is encrypted; unpack it first"
    if info.compress_type not in METHODS:
        return "is packed in a way that is not supported; pack it again as an ordinary zip"
    if info.file_size > min(MAX_SIZE, MAX_RATIO * info.compress_size + SPARE) or info.compress_size > MAX_SIZE:
        return f"claims to be {info.file_size >> 20} MB; no radiograph is so large"
    return ""


def _is_dicom(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(info) as file:
            return file.read(132)[128:] == b"DICM"
    except ZIP_ERRORS:
        return True  # so that reading it reports why
