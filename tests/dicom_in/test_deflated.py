"""Deflated DICOM files."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from dicoms import dataset, make_dicom, stored, written

from covidnet_lite import radiograph, resource_limits
from covidnet_lite.codes import Code
from covidnet_lite.dicom_in import dicom_file
from covidnet_lite.errors import CovidNetLiteError, InputError

pydicom = pytest.importorskip("pydicom")

DEFLATED = "1.2.840.10008.1.2.1.99"


def deflated(**fields: object) -> bytes:
    data = dataset(stored(), **fields)
    data.file_meta.TransferSyntaxUID = DEFLATED
    return written(data)


def bomb(size: int, before: bytes = b"") -> bytes:
    """A file of a few kilobytes that inflates to ``size`` bytes, with more elements of group 2 before the syntax."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", len(DEFLATED)) + DEFLATED.encode()
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(before) + len(syntax))
    return bytes(128) + b"DICM" + length + before + syntax + packed


def test_a_deflated_film_is_the_same_as_one_that_is_not() -> None:
    plain = radiograph.read(make_dicom(stored()))
    image_read = radiograph.read(deflated())
    np.testing.assert_array_equal(np.asarray(image_read.image), np.asarray(plain.image))
    assert image_read.examination == plain.examination
    assert dicom_file.header(io.BytesIO(deflated(PatientID="P-9")), "x").PatientID == "P-9"


@pytest.mark.parametrize("before", [b"", struct.pack("<HH2s2xI", 2, 1, b"OB", 5000) + bytes(5000)])
def test_a_bomb_is_refused_before_it_is_inflated(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(resource_limits.MEMORY, "128")
    data = bomb(3 * resource_limits.memory(), before)
    assert len(data) < 2 << 20
    tracemalloc.start()
    with pytest.raises(InputError, match="is deflated, and would take more than") as caught:
        radiograph.read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code is Code.TOO_COSTLY
    assert peak < resource_limits.memory()


def test_a_second_syntax_beside_the_first_makes_no_bomb() -> None:
    """What replaces the syntax in the head replaces it wherever it stands."""
    uid = struct.pack("<HH2sH", 2, 2, b"UI", len(DEFLATED)) + DEFLATED.encode()
    with pytest.raises(InputError):
        radiograph.read(bomb(1 << 20, uid))


def test_a_damaged_one_is_told_as_such() -> None:
    whole, rng = deflated(), random.Random(0)
    for cut in (20, 400, len(whole) // 2):
        with pytest.raises(InputError, match="cut short"):
            radiograph.read(whole[:-cut])
    for _ in range(100):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        with contextlib.suppress(CovidNetLiteError):
            radiograph.read(bytes(data))
