"""The stored values of a DICOM film, reduced as they are read."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from dicoms import dataset, written

from covidnet_lite.dicom_in import dicom_file, pixels

pydicom = pytest.importorskip("pydicom")

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
NEEDED = (40, 40)


def film(kind: Any = np.uint16, syntax: str = EXPLICIT, side: tuple[int, int] = (173, 201), **fields: Any) -> bytes:
    """Noise in all bits, those included that the header calls unused."""
    limits = np.iinfo(kind)
    noise = np.random.default_rng(7).integers(limits.min, limits.max, side, kind, endpoint=True)
    data = dataset(noise, **fields)
    data.HighBit = fields.get("HighBit", data.BitsStored - 1)
    data.file_meta.TransferSyntaxUID = syntax
    if syntax == BIG:
        data.PixelData = noise.astype(noise.dtype.newbyteorder(">")).tobytes()
    if len(data.PixelData) % 2:
        data.PixelData += b"\0"
    data["PixelData"].VR = "OW" if noise.dtype.itemsize == 2 or syntax == IMPLICIT else "OB"
    return written(data)


def read(source: bytes | io.BytesIO, at_least: tuple[int, int] | None = NEEDED) -> Any:
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    return pixels.read(file, dicom_file.header(file, "film"), "film", [at_least])[0]


@pytest.mark.parametrize("at_least", [None, NEEDED, (201, 100), (1, 1)])
@pytest.mark.parametrize("bits", [8, 11, 16])
@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint8])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_line_by_line_it_is_what_pydicom_decodes_and_then_reduced(kind, bits, syntax, at_least, monkeypatch):
    source = film(kind, syntax, BitsStored=min(bits, np.iinfo(kind).bits))
    expected = pixels.reduce(pydicom.dcmread(io.BytesIO(source)).pixel_array, at_least)
    monkeypatch.setattr(pixels, "CHUNK", 5000)  # a few lines: several parts, the last of them shorter
    monkeypatch.setattr(pydicom.Dataset, "pixel_array", None)
    result = read(source, at_least)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("lines", [1, 5000, 10**6])
@pytest.mark.parametrize("sizes", [(NEEDED, None), (None, NEEDED), ((90, 80), NEEDED), (NEEDED, NEEDED)])
def test_several_sizes_at_once_are_those_of_one_reading_each(sizes, lines, monkeypatch):
    monkeypatch.setattr(pixels, "CHUNK", lines)
    file = io.BytesIO(film())
    at_once = pixels.read(file, dicom_file.header(file, "film"), "film", sizes)
    for values, size in zip(at_once, sizes):
        np.testing.assert_array_equal(values, read(film(), size))


def test_a_large_film_is_never_in_memory_as_a_whole():
    class File(io.BytesIO):
        most = 0

        def read(self, size: Any = -1) -> bytes:
            data = super().read(size)
            self.most = max(self.most, len(data))
            return data

        def readinto(self, buffer: Any) -> int:
            count = super().readinto(buffer)
            self.most = max(self.most, count)
            return count

    source = film(side=(2000, 1800))
    file = File(source)
    assert read(file, (320, 320)).shape == (500, 450)
    assert 2000 * 1800 * 2 < len(source)
    assert 0 < file.most <= pixels.CHUNK


def test_big_endian_is_read_as_a_whole():
    np.testing.assert_array_equal(read(film(syntax=BIG)), read(film(syntax=EXPLICIT)))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_an_encoding_that_contradicts_the_syntax_is_read_as_it_is(syntax):
    """Read by its syntax, the VR would be taken for the length, which fits a film of this size: four bytes off."""
    other = EXPLICIT if syntax == IMPLICIT else IMPLICIT
    source = film(syntax=syntax, side=(75, 149)).replace(
        syntax.encode().ljust(20, b"\0"), other.encode().ljust(20, b"\0"), 1
    )
    assert pydicom.dcmread(io.BytesIO(source)).file_meta.TransferSyntaxUID in (syntax, other)
    np.testing.assert_array_equal(read(source, None), pydicom.dcmread(io.BytesIO(source)).pixel_array)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_what_belongs_before_the_pixels_is_not_overlooked_behind_them(syntax):
    """A lateral view would be taken for a frontal one."""
    late = dataset(None, ViewPosition="LL")
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax != BIG, syntax == IMPLICIT
    pydicom.filewriter.write_data_element(buffer, late["ViewPosition"])
    with pytest.raises(ValueError, match="stand after them"):
        read(film(syntax=syntax) + buffer.getvalue())


@pytest.mark.parametrize(
    "behind", [bytes(1000), b"\xe1\x7f\x10\x00OB\0\0\x02\0\0\0xx", b"\xfc\xff\xfc\xffOB\0\0\0\0\0\0"]
)
def test_what_may_stand_behind_the_pixels_does_no_harm(behind):
    """Zeros up to the end of a block, private groups, trailing padding."""
    np.testing.assert_array_equal(read(film() + behind), read(film()))


@pytest.mark.parametrize("value", [7, [0, 0]])
def test_a_header_that_says_neither_signed_nor_unsigned_is_damaged(value):
    source = film(PixelRepresentation=value)
    with pytest.raises(Exception, match="Pixel ?Representation"):
        read(source)


def test_what_is_missing_at_the_end_is_told_even_if_only_of_lines_left_out():
    with pytest.raises(Exception, match="less than the expected|bytes"):
        read(film()[:-2])


def test_a_file_that_is_cut_while_it_is_read_is_damaged(monkeypatch):
    class Cut(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            return super().readinto(memoryview(buffer)[:-1])

    with pytest.raises(OSError, match="cut while it was read"):
        read(Cut(film()))


def test_reducing_averages_whole_blocks_and_keeps_the_number_type():
    top = 65535
    array = np.array([[1, 3, 10, 10, 9], [5, 7, 20, 20, 9], [0, 0, top, top, 9], [0, 0, top, top, 9]], np.uint16)
    reduced = pixels.reduce(array, (2, 2))
    assert reduced.dtype == np.uint16
    np.testing.assert_array_equal(reduced, [[4, 15], [0, top]])
    assert pixels.reduce(array, None) is array
    assert pixels.reduce(array, (3, 2)) is array
