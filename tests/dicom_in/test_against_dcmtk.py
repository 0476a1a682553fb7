"""Every way from stored values to gray levels, against dcmtk's dcm2pnm and, where that cannot, pydicom's own functions.

The films are made up; what is compared is the whole picture, within one gray level.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from typing import Any

import numpy as np
import pytest
from dicoms import compressed, dataset, written
from PIL import Image

from covidnet_lite import radiograph
from covidnet_lite.errors import InputError
from covidnet_lite.image_in.to_8_bits import limits

pydicom = pytest.importorskip("pydicom")

LITTLE, BIG, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
DEFLATED, RLE, LS, J2K, LOSSLESS = (f"1.2.840.10008.1.2.{n}" for n in ("1.99", "5", "4.80", "4.90", "4.70"))
JPEG, JPEG_12, LOSSLESS_14, NEAR_LS, LOSSY_J2K = (f"1.2.840.10008.1.2.4.{n}" for n in ("50", "51", "57", "81", "91"))


@pytest.fixture(scope="module")
def dcm2pnm() -> str:
    program = shutil.which("dcm2pnm")
    if not program:
        pytest.skip("needs Debian's dcmtk")
    return program


def ramp(bits: int, signed: bool = False) -> Any:
    """All values of so many bits, or many of them."""
    low = -(1 << bits - 1) if signed else 0
    return np.linspace(low, low + (1 << bits) - 1, 80 * 100).round().astype(int).reshape(80, 100)


def film(
    values: Any,
    bits: int,
    allocated: int = 16,
    high: int | None = None,
    signed: bool = False,
    dirt: int = 0,
    **fields: Any,
) -> Any:
    """Values put where the header says they are; with ``dirt`` other things stand in the unused bits."""
    high = bits - 1 if high is None else high
    shift = high + 1 - bits
    words = (values & (1 << bits) - 1) << shift
    if dirt:
        noise = np.random.default_rng(dirt).integers(0, 1 << allocated, values.shape)
        words = words | (noise & ~(((1 << bits) - 1) << shift) & (1 << allocated) - 1)
    data = dataset(words.astype(f"u{allocated // 8}"), **fields)
    data.BitsStored, data.HighBit, data.PixelRepresentation = bits, high, int(signed)
    return data


def ours(data: Any) -> Any:
    return np.asarray(radiograph.read(written(data) if isinstance(data, pydicom.Dataset) else data).image, int)


def theirs(command: str, data: Any, *options: str) -> Any:
    source = written(data) if isinstance(data, pydicom.Dataset) else data
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(source)
        file.flush()
        run = subprocess.run([command, "-q", "-O", *options, file.name], capture_output=True)
    assert run.stdout, run.stderr
    return np.asarray(Image.open(io.BytesIO(run.stdout)).convert("L"), int)


def lut(entries: Any, first: int, bits: int, packed: bool = False) -> Any:
    """A look-up table item; 8-bit entries ``packed`` two a word."""
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    raw = np.asarray(entries).astype("u1" if packed else "<u2").tobytes()
    item.add_new("LUTData", "OW", raw + b"\0" * (len(raw) % 2))
    return item


LAYOUTS = [
    (bits, allocated, high, signed, dirt)
    for bits, allocated, highs in (
        (8, 8, (7,)),
        (8, 16, (7, 11, 15)),
        (10, 16, (9, 11, 15)),
        (12, 16, (11, 12, 15)),
        (14, 16, (13, 15)),
        (16, 16, (15,)),
    )
    for high in highs
    for signed in (False, True)
    for dirt in (0, 1)
]


@pytest.mark.parametrize(("bits", "allocated", "high", "signed", "dirt"), LAYOUTS)
def test_bits_are_read_where_the_header_says_they_are(dcm2pnm, bits, allocated, high, signed, dirt):
    data = film(ramp(bits, signed), bits, allocated, high, signed, dirt)
    assert np.abs(ours(data) - theirs(dcm2pnm, data, "+Wm")).max() <= 1


GRAYS = {
    "plain": ({}, ["+Wm"]),
    "slope": ({"RescaleSlope": "2.5", "RescaleIntercept": "-1024"}, ["+Wm"]),
    "falling slope": ({"RescaleSlope": "-1.5", "RescaleIntercept": "100"}, ["+Wm"]),
    "window": ({"WindowCenter": "1500", "WindowWidth": "1000"}, ["+Wi", "1"]),
    "wide window": ({"WindowCenter": "2048", "WindowWidth": "9000"}, ["+Wi", "1"]),
    "narrow window": ({"WindowCenter": "2000", "WindowWidth": "1"}, ["+Wi", "1"]),
    "window of two": ({"WindowCenter": "2000", "WindowWidth": "2"}, ["+Wi", "1"]),
    "odd window": ({"WindowCenter": "2000.5", "WindowWidth": "801.25"}, ["+Wi", "1"]),
    "two windows": ({"WindowCenter": ["1500", "40"], "WindowWidth": ["1000", "400"]}, ["+Wi", "1"]),
    "window after slope": (
        {"RescaleSlope": "0.5", "RescaleIntercept": "-500", "WindowCenter": "300", "WindowWidth": "700"},
        ["+Wi", "1"],
    ),
    "sigmoid": ({"WindowCenter": "1800", "WindowWidth": "1000", "VOILUTFunction": "SIGMOID"}, ["+Wi", "1", "+Wfs"]),
    "linear": ({"WindowCenter": "1800", "WindowWidth": "1000", "VOILUTFunction": "LINEAR"}, ["+Wi", "1"]),
}


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("fields", "options"), GRAYS.values(), ids=GRAYS)
def test_rescaling_and_windows(dcm2pnm, fields, options, signed, kind):
    data = film(ramp(12, signed), 12, signed=signed, PhotometricInterpretation=kind, **fields)
    if signed and "WindowCenter" in fields and "RescaleSlope" not in fields:
        first = data.WindowCenter[0] if isinstance(fields["WindowCenter"], list) else data.WindowCenter
        data.WindowCenter = float(first) - 2048
        data.WindowWidth = data.WindowWidth[0] if isinstance(fields["WindowWidth"], list) else data.WindowWidth
    assert np.abs(ours(data) - theirs(dcm2pnm, data, *options)).max() <= 1


@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_a_presentation_lut_shape_says_which_is_white(dcm2pnm, kind, shape):
    data = film(ramp(12), 12, PhotometricInterpretation=kind, PresentationLUTShape=shape)
    assert np.abs(ours(data) - theirs(dcm2pnm, data, "+Wm")).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("step", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("first", [0, 300])
def test_look_up_tables_of_any_depth_and_packing(dcm2pnm, step, packed, bits, first):
    if packed and bits > 8:
        pytest.skip("only entries of 8 bits are packed")
    entries = ((1 << bits) - 1) * np.linspace(0, 1, 3001 if first else 4096) ** 2
    data = film(ramp(12), 12, **{step: [lut(entries.round(), first, bits, packed)]})
    if step == "ModalityLUTSequence":
        data.ModalityLUTSequence[0].ModalityLUTType = "US"
    assert (
        np.abs(ours(data) - theirs(dcm2pnm, data, *(["+Wl", "1"] if step == "VOILUTSequence" else ["+Wm"]))).max() <= 1
    )


def test_a_voi_table_that_begins_below_zero(dcm2pnm):
    entries = (65535 * np.linspace(0, 1, 4096) ** 2).round()
    data = film(ramp(12, True), 12, signed=True, VOILUTSequence=[lut(entries, -2048, 16)])
    assert np.abs(ours(data) - theirs(dcm2pnm, data, "+Wl", "1")).max() <= 1


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG, DEFLATED, RLE, LS, J2K])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_transfer_syntaxes(dcm2pnm, syntax, bits, signed):
    plain = film(ramp(bits, signed), bits, 8 if bits == 8 else 16, signed=signed)
    data = film(ramp(bits, signed), bits, 8 if bits == 8 else 16, signed=signed)
    if syntax == BIG:
        data.PixelData = (
            np.frombuffer(data.PixelData, f"<u{data.BitsAllocated // 8}").byteswap().tobytes()
            if bits > 8
            else data.PixelData
        )
        data.file_meta.TransferSyntaxUID = BIG
        data["PixelData"].VR = "OW"
    elif syntax in (IMPLICIT, DEFLATED):
        data.file_meta.TransferSyntaxUID = syntax
    elif syntax != LITTLE:
        data.compress(syntax)
    expected = theirs(dcm2pnm, plain, "+Wm")
    assert np.abs(ours(data) - expected).max() <= 1
    if syntax in (LITTLE, IMPLICIT, BIG, DEFLATED, RLE):
        assert np.abs(theirs(dcm2pnm, data, "+Wm") - expected).max() <= 1


def smooth(bits: int) -> Any:
    """Values without the edges of a ramp of many lines, as lossy codecs like them."""
    y, x = np.mgrid[0:1:80j, 0:1:100j]
    return (
        (((1 << bits) - 1) * (0.5 + 0.45 * np.sin(5 * y) * np.cos(4 * x))).round().astype(f"u{1 if bits == 8 else 2}")
    )


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("syntax", "bits"),
    [(JPEG, 8), (JPEG_12, 12), (LOSSLESS_14, 8), (LOSSLESS_14, 16), (LOSSLESS, 12), (NEAR_LS, 8), (NEAR_LS, 12)],
)
def test_lossy_and_lossless_jpeg(syntax, bits, kind):
    """Decoded by dcmtk's own programs for them; no window, so that the whole range is compared."""
    imagecodecs = pytest.importorskip("imagecodecs")
    program = shutil.which("dcml2pnm" if syntax == NEAR_LS else "dcmj2pnm")
    if not program:
        pytest.skip("needs Debian's dcmtk")
    words = smooth(bits)
    fields = {
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PhotometricInterpretation": kind,
        "WindowCenter": 1 << bits - 1,
        "WindowWidth": 1 << bits,
    }
    data: Any
    if syntax == NEAR_LS:
        data = dataset(words, **fields)
        data.compress(syntax, jls_error=2)
    else:
        how: Any = {"level": 95}
        if syntax not in (JPEG, JPEG_12):
            how = {"lossless": True, "predictor": 1 if syntax == LOSSLESS else 4}
        data = compressed(bytes(imagecodecs.jpeg8_encode(words, bitspersample=bits, **how)), syntax, words, **fields)
    assert np.abs(ours(data) - theirs(program, data, "+Wi", "1")).max() <= 1


def test_overlays_in_unused_bits_are_no_part_of_the_film(dcm2pnm):
    values = ramp(12)
    data = film(values, 12)
    words = np.frombuffer(data.PixelData, "<u2").reshape(80, 100).copy()
    words[20:60, 30:70] |= 1 << 13
    data.PixelData = words.tobytes()
    for tag, kind, value in (
        (0x0010, "US", 80),
        (0x0011, "US", 100),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 16),
        (0x0102, "US", 13),
    ):
        data.add_new((0x6000, tag), kind, value)
    assert np.abs(ours(data) - theirs(dcm2pnm, data, "+Wm")).max() <= 1
    assert np.abs(ours(data) - ours(film(values, 12))).max() == 0


@pytest.mark.parametrize("bits", [1, 12, 32, 64])
def test_other_words_than_of_8_or_16_bits_are_refused(bits):
    data = film(ramp(12), 12)
    data.BitsAllocated, data.PixelData = bits, bytes(8 * 80 * 100)
    with pytest.raises(InputError, match="bits a pixel"):
        ours(data)


def test_lossless_jpeg_that_keeps_all_allocated_bits(dcm2pnm):
    """As dcmtk writes it: with the words of the file, and not only the stored bits, as samples."""
    imagecodecs = pytest.importorskip("imagecodecs")
    plain = film(ramp(12), 12, high=15)
    words = np.frombuffer(plain.PixelData, "<u2").reshape(80, 100)
    for syntax, frame in (
        (LOSSLESS, imagecodecs.jpeg8_encode(words, lossless=True, predictor=1, bitspersample=16)),
        (J2K, imagecodecs.jpeg2k_encode(words, level=0, codecformat="j2k", bitspersample=16)),
        (LS, imagecodecs.jpegls_encode(words)),
    ):
        data = compressed(bytes(frame), syntax, words, BitsStored=12, HighBit=15)
        assert np.abs(ours(data) - theirs(dcm2pnm, plain, "+Wm")).max() <= 1


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_colours(dcm2pnm, kind, planar):
    """Saturated ones too: pydicom and dcmtk turn YCbCr into red, green and blue, and Pillow those into gray."""
    rng = np.random.default_rng(3)
    shape = (80, 100, 3)
    array = rng.integers(40, 200, shape).astype(np.uint8)
    if kind == "YBR_FULL_422":
        if planar:
            pytest.skip("halved colours are never stored by plane")
        array[:, 1::2, 1:] = array[:, ::2, 1:]  # two pixels share their colour
        halved = np.stack([array[:, ::2, 0], array[:, 1::2, 0], array[:, ::2, 1], array[:, ::2, 2]], axis=-1)
        raw = halved.tobytes()
    else:
        raw = (array.transpose(2, 0, 1) if planar else array).tobytes()
    data = dataset(array, SamplesPerPixel=3, PhotometricInterpretation=kind, PlanarConfiguration=planar)
    data.PixelData = raw
    assert np.abs(ours(data) - theirs(dcm2pnm, data)).max() <= 2  # rounded twice, in colour and in gray


# What dcm2pnm cannot: pydicom's own functions, and its decoder, are the reference.


def by_pydicom(data: Any) -> Any:
    """Gray levels as a window or table gives them, from black to white."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    result = pydicom.dcmread(io.BytesIO(written(data)))
    values = np.asarray(apply_voi_lut(apply_modality_lut(result.pixel_array, result), result), float)
    return values


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [("1500", "1000"), ("0.5", "3000"), ("2047.5", "1.5"), ("-100", "777")])
def test_windows_against_pydicom(function, signed, centre, width):
    data = film(ramp(12, signed), 12, signed=signed, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    low, high = (-2048, 2047) if signed else (0, 4095)
    assert np.abs(ours(data) - (by_pydicom(data) - low) / (high - low) * 255).max() <= 1


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossy_jpeg_2000_against_pydicom(bits, signed, kind):
    """dcmtk has no decoder for it."""
    low = -(1 << bits - 1) if signed else 0
    data = film(
        smooth(bits).astype(int) + low,
        bits,
        8 if bits == 8 else 16,
        signed=signed,
        PhotometricInterpretation=kind,
        WindowCenter=low + (1 << bits - 1),
        WindowWidth=1 << bits,
    )
    plain = ours(data)
    data.compress(LOSSY_J2K, j2k_cr=[10])
    high = low + (1 << bits) - 1
    expected = (by_pydicom(data) - low) / (high - low) * 255
    expected = 255 - expected if kind == "MONOCHROME1" else expected
    assert np.abs(ours(data) - expected).max() <= 1
    assert np.abs(ours(data) - plain).max() < 20
    assert np.abs(ours(data) - plain).max() > 0


@pytest.mark.parametrize("syntax", [J2K, LOSSY_J2K])
def test_colours_in_jpeg_2000_against_pydicom(syntax):
    """YBR_RCT and YBR_ICT."""
    y, x = np.mgrid[0:1:80j, 0:1:100j]
    array = np.stack([90 + 80 * np.sin(5 * y), 120 + 60 * np.cos(3 * x), 60 + 90 * x * y], -1).astype(np.uint8)
    data = dataset(array, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    if syntax == LOSSY_J2K:
        data.PhotometricInterpretation = "YBR_ICT"
        data.compress(syntax, j2k_cr=[8])
    else:
        data.PhotometricInterpretation = "YBR_RCT"
        data.compress(syntax)
    rgb = pydicom.dcmread(io.BytesIO(written(data))).pixel_array
    assert np.abs(ours(data) - np.asarray(Image.fromarray(rgb).convert("L"), int)).max() <= 1


@pytest.mark.parametrize("slope", ["0.001", "-0.0002", "1e-5"])
def test_small_slopes_lose_no_gray_levels(slope):
    data = film(ramp(12), 12, RescaleSlope=slope, RescaleIntercept="-1")
    values = by_pydicom(data)
    assert np.abs(ours(data) - (values - values.min()) / np.ptp(values) * 255).max() <= 1
    assert len(np.unique(ours(data))) == 256


@pytest.mark.parametrize("bits", [9, 11, 13, 15])
def test_tables_of_odd_depths(bits):
    entries = (((1 << bits) - 1) * np.linspace(0, 1, 4096) ** 0.5).round()
    data = film(ramp(12), 12, VOILUTSequence=[lut(entries, 0, bits)])
    assert np.abs(ours(data) - entries[ramp(12)] / ((1 << bits) - 1) * 255).max() <= 1


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("padding", "limit"), [(0, None), (4000, 4095), (4095, 4000), (-2048, None)])
def test_padding_is_black_and_the_rest_as_without_it(kind, padding, limit):
    signed = padding < 0
    values = np.clip(ramp(12, signed), -1000 if signed else 1000, 3000)
    values[:16] = padding
    fields = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    data = film(values, 12, signed=signed, PhotometricInterpretation=kind, PixelPaddingValue=padding, **fields)
    inner = film(values[16:], 12, signed=signed, PhotometricInterpretation=kind)
    assert ours(data)[:16].max() == 0
    np.testing.assert_array_equal(ours(data)[16:], ours(inner))


def test_what_the_film_itself_is_does_not_depend_on_a_few_pixels():
    """Without a window the darkest and the brightest are those of the film, not of a label."""
    values = np.clip(ramp(12), 800, 3000)
    for spoiled in (4095, 0):
        data = values.copy()
        data[3:6, 3:9] = spoiled
        assert np.abs(ours(film(data, 12)) - ours(film(values, 12)))[10:].max() <= 1
    assert limits(np.arange(4096), np.bincount(values.ravel(), minlength=4096)) == (800, 3000)
