"""What a file may cost."""

from __future__ import annotations

import io
import platform
import re
import struct
import tracemalloc
from pathlib import Path

import pydicom
import pytest
from pydicom.filereader import read_dataset

from covidnet_lite import resource_limits
from covidnet_lite.codes import Code
from covidnet_lite.errors import InputError, SettingsError
from covidnet_lite.resource_limits import MB, MEMORY, SECONDS, SEQUENCE

PLACER, STUDIES, PRIVATE, UNKNOWN = (0x0008, 0x0050), (0x0008, 0x1110), (0x0009, 0x1010), (0x0008, 0x0004)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MEMORY, raising=False)
    monkeypatch.delenv(SECONDS, raising=False)


@pytest.mark.parametrize(
    ("installed", "allowed"), [(500 * MB, 128 * MB), (1024 * MB + 3, 256 * MB), (64_000 * MB, 384 * MB)]
)
def test_a_radiograph_may_take_a_quarter_of_the_memory_within_bounds(
    installed: int, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_limits, "installed", lambda: installed)
    assert resource_limits.memory() == allowed


@pytest.mark.parametrize(("machine", "seconds"), [("x86_64", 5), ("aarch64", 20), ("armv7l", 20)])
def test_decoding_may_take_longer_on_a_small_board(machine: str, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert resource_limits.cpu_seconds() == seconds
    monkeypatch.setenv(SECONDS, "7")
    assert resource_limits.cpu_seconds() == 7


@pytest.mark.parametrize("megabytes", [1, 999_999])
def test_the_environment_may_allow_any_number_of_megabytes(megabytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY, str(megabytes))
    assert resource_limits.memory() == megabytes * MB


@pytest.mark.parametrize("value", ["much", "0", "-1", "1.5", "²", "٣", "1000000"])
def test_a_setting_that_is_no_number_is_refused_by_its_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, limit in ((MEMORY, resource_limits.memory), (SECONDS, resource_limits.cpu_seconds)):
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsError, match=f"^{variable} is '{value}'; give a whole number, 1 or more$"):
            limit()


def test_what_takes_more_memory_than_allowed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY, "200")
    resource_limits.check(200 * MB, "film")
    with pytest.raises(InputError) as caught:
        resource_limits.check(200 * MB + 1, "film")
    assert str(caught.value) == (
        "film: would take 201 MB of memory to decode, and 200 MB are allowed; "
        "reduce it, or allow more (COVIDNET_LITE_MEMORY_MB)"
    )
    assert caught.value.code is Code.TOO_COSTLY


def header(*elements: tuple[tuple[int, int], bytes, int]) -> pydicom.Dataset:
    """One with elements of a tag, a value representation (none: implicit) and a length, as pydicom reads it."""
    data = b"".join(
        struct.pack("<HH", *tag) + (vr + b"\0\0" if vr else b"") + struct.pack("<L", size) + bytes(size)
        for tag, vr, size in elements
    )
    return read_dataset(io.BytesIO(data), not elements[0][1], True)


@pytest.mark.parametrize(
    ("tag", "vr", "before"),
    [
        (STUDIES, b"SQ", ()),
        (STUDIES, b"UN", ()),  # what it is, the standard says
        (PLACER, b"SQ", ()),  # text, the standard says
        (STUDIES, b"", ()),
        (STUDIES, b"SQ", (UNKNOWN, PLACER)),
    ],
)
def test_a_sequence_longer_than_any_real_one_is_refused(
    tag: tuple[int, int], vr: bytes, before: tuple[tuple[int, int], ...]
) -> None:
    data = header(*((other, b"UN", SEQUENCE + 1) for other in before), (tag, vr, 2_500_000))
    with pytest.raises(InputError) as caught:
        resource_limits.check_sequences(data, "film")
    words = f"film: its header has a sequence ({tag[0]:04X},{tag[1]:04X}) of 2 MB; export it without"
    assert str(caught.value).lower() == words.lower()
    assert caught.value.code is Code.TOO_COSTLY


@pytest.mark.parametrize(
    ("tag", "vr", "size"),
    [(STUDIES, b"SQ", SEQUENCE), (STUDIES, b"SQ", 0), (PLACER, b"UN", SEQUENCE + 1), (PRIVATE, b"SQ", SEQUENCE + 1)],
)
def test_any_other_element_is_left_alone(tag: tuple[int, int], vr: bytes, size: int) -> None:
    resource_limits.check_sequences(header((tag, vr, size)), "film")


def test_a_length_beyond_the_end_of_a_file_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "claims.dcm"
    path.write_bytes(b"film")
    with path.open("rb") as file:
        bounded = resource_limits.bounded(file)
        tracemalloc.start()
        assert bounded.read(1 << 30) == b"film"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MB


class Sizes(io.BytesIO):
    """Notes how much is asked of it."""

    def read(self, size: int | None = -1) -> bytes:
        self.asked = size
        return super().read(size)


@pytest.mark.parametrize(("position", "left"), [(0, 5), (3, 2), (9, 0)])
def test_no_more_than_is_left_is_asked_of_a_file(position: int, left: int) -> None:
    file = Sizes(b"12345")
    bounded = resource_limits.bounded(file)
    bounded.seek(position)
    bounded.read(1 << 30)
    assert file.asked == left


def test_a_large_read_within_a_file_gives_what_was_asked_for() -> None:
    assert len(resource_limits.bounded(io.BytesIO(bytes(3 * MB))).read(2 * MB)) == 2 * MB


MANY = re.compile("^it is made of more parts than a radiograph has$")


def test_a_file_that_is_bounded_is_not_wrapped_again_but_bounded_anew() -> None:
    file = resource_limits.bounded(io.BytesIO(b"12345"), 2)
    file.read(1), file.read(1)
    assert resource_limits.bounded(file, 1) is file
    assert file.read(1) == b"3"
    with pytest.raises(OSError, match=MANY):
        file.read(1)


def test_a_file_may_be_read_twice_and_a_little_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_limits, "SPARE", 3)
    file = resource_limits.bounded(io.BytesIO(b"1234567890"))
    for size in (10, 10, 3):
        file.seek(0)
        assert len(file.read(size)) == size
    with pytest.raises(OSError, match=MANY):
        file.read(1)


def test_a_file_is_bounded_where_it_stands() -> None:
    file = io.BytesIO(b"12345")
    file.seek(2)
    assert resource_limits.bounded(file).read() == b"345"


def test_the_limits_of_a_file_may_be_lifted() -> None:
    plain = io.BytesIO(b"12345")
    resource_limits.lift(plain)
    file = resource_limits.bounded(plain, 0)
    resource_limits.lift(file)
    assert [file.read(1) for _ in range(3)] == [b"1", b"2", b"3"]
