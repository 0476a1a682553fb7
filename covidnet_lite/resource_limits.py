"""Limits on what reading one radiograph may take: memory, processor seconds and reads of its file.

A file of a few bytes may claim any size, and a decoder believes it. So the cost of decoding is estimated first
(:mod:`covidnet_lite.image_in.costs`) and compared with a limit. In services, the kernel enforces the limits on the
decoders as well (:mod:`covidnet_lite.readers.pool`).
"""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, cast

from .codes import Code
from .errors import InputError, SettingsError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MB = 10**6
PIXELS = 100_000_000  # about twice the largest detector; a 50,000 x 50,000 header stops here
MEMORY = "COVIDNET_LITE_MEMORY_MB"  # environment variables that set other limits
SECONDS = "COVIDNET_LITE_CPU_SECONDS"
MIN_MEMORY, MAX_MEMORY = 128 * MB, 384 * MB  # a quarter of the machine's memory, within these; 256 MB of a gigabyte
FAST, SLOW = 5, 20  # seconds of processor; a Raspberry Pi takes several times as long as a PC
READS = 300_000  # of an image file's head: one made of millions of empty parts takes minutes to walk through
ELEMENTS = 100_000  # reads of a DICOM header, two or so for each element; real ones have some hundred elements
SEQUENCE = MB  # bytes of one in a DICOM header
SPARE = 64 * MB  # read at most: the file twice, and this


def memory() -> int:
    """Bytes that decoding one radiograph may take.

    Raises:
        SettingsError: the environment variable is no whole number of megabytes.
    """
    megabytes = _positive_integer(MEMORY)
    return megabytes * MB if megabytes else min(max(installed() // 4, MIN_MEMORY), MAX_MEMORY)


def cpu_seconds() -> int:
    """Seconds of processor that decoding one radiograph may take in a service.

    Raises:
        SettingsError: the environment variable is no whole number of seconds.
    """
    return _positive_integer(SECONDS) or (SLOW if platform.machine().startswith(("arm", "aarch64")) else FAST)


def _positive_integer(variable: str) -> int:
    text = os.environ.get(variable)
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise SettingsError(f"{variable} is {text!r}; give a whole number, 1 or more")
    return int(text or 0)


@lru_cache(maxsize=1)
def installed() -> int:
    """Bytes of memory of this machine, a gigabyte where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 1 << 30


def check(estimate: int, name: str) -> None:
    """Refuses what takes more memory than there is.

    Args:
        estimate: bytes, estimated.
        name: of the radiograph.

    Raises:
        InputError: it takes more.
    """
    if estimate > memory():
        raise InputError(
            f"{name}: would take {-(-estimate // MB)} MB of memory to decode, and {memory() // MB} MB are allowed; "
            f"reduce it, or allow more ({MEMORY})",
            Code.TOO_COSTLY,
        )


def check_sequences(header: Dataset, name: str) -> None:
    """Refuses a DICOM header with a sequence still to be parsed that is longer than any real one.

    An empty item takes eight bytes in the file and a hundred times as much in memory.

    Raises:
        InputError: there is one.
    """
    from pydicom.datadict import dictionary_VR

    for tag, element in header._dict.items():  # not parsed by looking at it
        value = element.value
        if isinstance(value, bytes) and len(value) > SEQUENCE:
            try:
                sequence = "SQ" in (element.VR, dictionary_VR(tag))
            except KeyError:  # not in the standard: never read
                continue
            if sequence:
                raise InputError(
                    f"{name}: its header has a sequence {tag} of {len(value) // MB} MB; export it without",
                    Code.TOO_COSTLY,
                )


def bounded(file: IO[bytes], reads: int = READS) -> IO[bytes]:
    """A file that allows no more reads, and no more bytes, than parsing a real file's head takes.

    A file that is bounded already is not wrapped again; its limits are reset.
    """
    if isinstance(file, BoundedFile):
        file.allow(reads)
        return file
    return cast("IO[bytes]", BoundedFile(file, reads))


def lift(file: IO[bytes]) -> None:
    """Lifts the limits of a bounded file, once its head has been read and other limits apply."""
    if isinstance(file, BoundedFile):
        file.unlimited()


class BoundedFile:
    """A binary file with a limit on the number of reads and bytes; everything else is the file's own.

    It stands between a file and the parser of its head, which would read tags that all point at one large value, or
    millions of empty parts, without end.
    """

    def __init__(self, file: IO[bytes], reads: int) -> None:
        self._file = file
        position = file.tell()
        self._end = file.seek(0, os.SEEK_END)
        file.seek(position)
        self.allow(reads)

    def allow(self, reads: int) -> None:
        """Allows so many reads from now on."""
        self._reads, self._bytes = reads, 2 * self._end + SPARE

    def read(self, size: int = -1) -> bytes:
        """As of any file.

        Raises:
            OSError: it has been read too often or too much.
        """
        if size > MB:  # a damaged length may claim gigabytes, for which memory would be taken before the file ends
            size = min(size, max(0, self._end - self._file.tell()))
        data = self._file.read(size)
        self._reads -= 1
        self._bytes -= len(data)
        if self._reads < 0 or self._bytes < 0:
            raise OSError("it is made of more parts than a radiograph has")
        return data

    def unlimited(self) -> None:
        """Lifts the limits."""
        self._reads = self._bytes = 1 << 62

    def __enter__(self) -> BoundedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
