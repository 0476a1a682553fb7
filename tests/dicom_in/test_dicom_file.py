"""A DICOM file -> an 8-bit gray picture."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicoms import compressed, dataset, make_dicom, stored, written
from PIL import Image

from covidnet_lite import radiograph
from covidnet_lite.errors import CovidNetLiteError, InputError, MissingExtraError, NotAChestRadiograph
from covidnet_lite.image_in import jpeg

pydicom = pytest.importorskip("pydicom")


def pixels(source, **options):
    return np.asarray(radiograph.read(source, **options).image, int)


def stretched(array):
    return np.rint((array - float(array.min())) / float(np.ptp(array)) * 255).astype(int)


# Real files, from pydicom and pydicom-data.


def region(image, left, top, right, bottom):
    """The mean gray level of a part, given in hundredths of the width and height."""
    height, width = image.shape
    return image[height * top // 100 : height * bottom // 100, width * left // 100 : width * right // 100].mean()


def test_a_real_chest_film_is_upright_and_bright_where_dense(film):
    result = radiograph.read(film)
    assert (result.width, result.height) == (1841, 1955)
    assert result.image.size == (1841, 1955)
    image = np.asarray(result.image, int)
    lungs = (region(image, 27, 14, 38, 25), region(image, 61, 14, 72, 25))
    mediastinum, below = region(image, 46, 40, 54, 70), region(image, 15, 80, 30, 92)
    assert max(lungs) + 50 < min(mediastinum, below)


@pytest.mark.parametrize("name", ["RG1_UNCI.dcm", "RG1_J2KR.dcm", "RG1_J2KI.dcm"])
def test_the_same_film_compressed_is_the_same_picture(name, film):
    needed = (900, 900)
    assert np.abs(pixels(film.with_name(name), at_least=needed) - pixels(film, at_least=needed)).max() <= 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MR2_UNCR.dcm", "modality MR, not a projection radiograph"),
        ("693_J2KR.dcm", "modality CT, not a projection radiograph"),
        ("US1_UNCR.dcm", "modality US, not a projection radiograph"),
        ("RG3_UNCR.dcm", "body part EXTREMITY, not chest"),
    ],
)
def test_other_real_examinations_are_not_chest_radiographs(name, words, film):
    with pytest.raises(NotAChestRadiograph, match=words):
        radiograph.read(film.with_name(name))


@pytest.mark.filterwarnings("ignore")  # what pydicom thinks of its own broken files
def test_every_real_file_is_read_or_refused_on_purpose(film):
    files = sorted({*film.parent.parent.rglob("*.dcm"), *Path(pydicom.__file__).parent.rglob("*.dcm")})
    assert len(files) > 100
    crashed = []
    for path in files:
        try:
            assert radiograph.read(path, at_least=(224, 224)).image.mode == "L"
        except CovidNetLiteError:
            pass
        except Exception as error:
            crashed.append(f"{path.name}: {error!r}")
    assert not crashed


# Made ones.


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_stored_values_are_stretched_from_darkest_to_brightest(kind):
    array = (stored() // (4 if kind == np.uint8 else 1)).astype(kind) - kind(0 if kind != np.int16 else 400)
    np.testing.assert_array_equal(pixels(make_dicom(array)), stretched(array.astype(int)))


def test_monochrome1_is_the_negative_of_monochrome2():
    white_is_low = make_dicom(stored(), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(pixels(white_is_low), 255 - pixels(make_dicom(stored())), atol=1)
    assert pixels(white_is_low)[0, 0] == 255


def test_the_window_of_the_header_is_applied():
    low, high = 300, 500
    windowed = pixels(make_dicom(stored(), WindowCenter=400, WindowWidth=200))
    assert np.all(windowed[stored() < low] == 0)
    assert np.all(windowed[stored() > high] == 255)
    inside = (stored() > low + 5) & (stored() < high - 5)
    np.testing.assert_allclose(windowed[inside], (stored()[inside] - low) / (high - low) * 255, atol=2)


def test_a_falling_rescale_slope_turns_the_gray_scale_round():
    falling = make_dicom(stored(), RescaleSlope="-2", RescaleIntercept="1000")
    np.testing.assert_allclose(pixels(falling), 255 - pixels(make_dicom(stored())), atol=1)


@pytest.mark.filterwarnings("error")
def test_a_constant_picture_is_read():
    assert np.ptp(pixels(make_dicom(np.full((80, 100), 700, np.uint16)))) == 0


def test_a_colour_capture_becomes_gray():
    gray = (stored() // 4).astype(np.uint8)
    data = make_dicom(
        np.repeat(gray[..., None], 3, axis=2), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )
    np.testing.assert_array_equal(pixels(data), gray)


@pytest.mark.parametrize("at_least", [(224, 224), (100, 400), (1000, 10)])
def test_a_large_picture_is_reduced_but_never_below_what_is_needed(at_least):
    result = radiograph.read(make_dicom(stored(805, 1003)), at_least=at_least)
    assert (result.width, result.height) == (1003, 805)
    assert result.image.width >= at_least[0]
    assert result.image.height >= at_least[1]
    if at_least == (224, 224):
        assert result.image.size == (501, 402)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("at_least", [(50, 50), (150, 150), (400, 400)])
def test_an_image_for_a_screen_is_that_of_a_reading_for_a_screen(at_least):
    data = make_dicom(np.arange(400 * 500, dtype=np.uint16).reshape(400, 500))
    both = radiograph.read(data, at_least, display=(200, 200))
    np.testing.assert_array_equal(np.asarray(both.image), pixels(data, at_least=at_least))
    np.testing.assert_array_equal(np.asarray(both.display), pixels(data, at_least=(200, 200)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Modality": "MR"}, "modality MR, not a projection radiograph"),
        ({"BodyPartExamined": "HAND"}, "body part HAND, not chest"),
        ({"ViewPosition": "LL"}, "view LATERAL, not frontal"),
        ({"ViewPosition": "lateral"}, "view LATERAL, not frontal"),
    ],
)
def test_a_header_that_says_otherwise_is_not_a_chest_radiograph(fields, words):
    with pytest.raises(NotAChestRadiograph, match=words):
        radiograph.read(make_dicom(stored(), **fields))
    with pytest.raises(NotAChestRadiograph, match=words):
        radiograph.read(make_dicom(None, **fields))  # the header is asked first


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    "fields",
    [
        {"ViewPosition": "AP"},
        {"ViewPosition": ""},
        {"BodyPartExamined": "PORT CHEST"},
        {"BodyPartExamined": "Thorax"},
        {"BodyPartExamined": ""},
        {"Modality": "DX"},
        {"Modality": ""},
    ],
)
def test_a_header_that_says_chest_or_nothing_is_read(fields):
    np.testing.assert_array_equal(pixels(make_dicom(stored(), **fields)), pixels(make_dicom(stored())))


def test_of_several_windows_the_first_is_applied():
    two = make_dicom(stored(), WindowCenter=[400, 900], WindowWidth=[200, 10])
    np.testing.assert_array_equal(pixels(two), pixels(make_dicom(stored(), WindowCenter=400, WindowWidth=200)))


def test_an_empty_window_is_none():
    np.testing.assert_array_equal(
        pixels(make_dicom(stored(), WindowCenter=None, WindowWidth=None)), pixels(make_dicom(stored()))
    )


def test_a_voi_table_goes_before_a_window_and_comes_after_rescaling():
    table = pydicom.Dataset()
    first, entries = 200, 400
    table.LUTDescriptor = [entries, first, 16]
    table["LUTData"] = pydicom.DataElement("LUTData", "US", (np.arange(entries)[::-1] * 100).tolist())
    shaped = make_dicom(
        stored(), VOILUTSequence=[table], RescaleSlope=1, RescaleIntercept=50, WindowCenter=1, WindowWidth=2
    )
    expected = (entries - 1 - np.clip(stored().astype(int) + 50 - first, 0, entries - 1)) * 100
    np.testing.assert_array_equal(pixels(shaped), np.rint(expected / 65535 * 255))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_only_the_stored_bits_count(bits, signed):
    values = np.linspace(-(1 << bits - 1), (1 << bits - 1) - 1, 8000).astype(int).reshape(80, 100)
    values += 0 if signed else 1 << bits - 1
    dirt = np.random.default_rng(0).integers(0, 1 << 16, values.shape) << bits  # overlays once stood there
    array = ((values & (1 << bits) - 1) | dirt).astype(np.uint16)
    data = make_dicom(array, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed))
    np.testing.assert_array_equal(pixels(data), stretched(values))


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_squeeze_the_gray_levels(kind):
    array = stored(100, 100)
    array[:10], array[-10:] = 60000, 60010
    padded = make_dicom(array, PixelPaddingValue=60000, PixelPaddingRangeLimit=60010, PhotometricInterpretation=kind)
    inner = make_dicom(array[10:-10], PhotometricInterpretation=kind)
    assert pixels(padded)[:10].max() == pixels(padded)[-10:].max() == 0
    np.testing.assert_array_equal(pixels(padded)[10:-10], pixels(inner))


def test_a_picture_of_padding_alone_is_read():
    assert pixels(make_dicom(np.full((80, 100), 7, np.uint16), PixelPaddingValue=7)).max() == 0


# Compressed.

RLE, LOSSLESS_LS, NEAR_LS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
LOSSLESS_2000, LOSSY_2000 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
BASELINE, EXTENDED, LOSSLESS, LOSSLESS_SV1 = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))


def ramp(bits, signed=False):
    top = (1 << bits) - 1
    values = np.linspace(0, top, 8000).reshape(80, 100).astype(int) - (top // 2 + 1 if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")


@pytest.mark.parametrize("syntax", [RLE, LOSSLESS_LS, LOSSLESS_2000])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_compression_changes_nothing(syntax, bits):
    data = dataset(ramp(bits), BitsStored=bits, HighBit=bits - 1)
    plain = pixels(written(data))
    data.compress(syntax)
    assert data.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(pixels(written(data)), plain)


@pytest.mark.parametrize(("syntax", "options"), [(NEAR_LS, {"jls_error": 2}), (LOSSY_2000, {"j2k_cr": [4]})])
def test_lossy_compression_changes_little(syntax, options):
    data = dataset(ramp(12), BitsStored=12, HighBit=11)
    plain = pixels(written(data))
    data.compress(syntax, **options)
    assert np.abs(pixels(written(data)) - plain).max() <= 3


@pytest.mark.parametrize("syntax", [LOSSLESS, LOSSLESS_SV1])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_lossless_jpeg_changes_nothing(syntax, signed, bits):
    imagecodecs = pytest.importorskip("imagecodecs")
    array = ramp(bits, signed)
    frame = imagecodecs.jpeg8_encode(
        array.view(f"u{array.itemsize}") & (1 << bits) - 1, lossless=True, predictor=1, bitspersample=bits
    )
    fields = {"BitsStored": bits, "HighBit": bits - 1}
    np.testing.assert_array_equal(
        pixels(compressed(frame, syntax, array, **fields)), pixels(make_dicom(array, **fields))
    )


@pytest.mark.parametrize(("syntax", "bits"), [(BASELINE, 8), (EXTENDED, 8), (EXTENDED, 12)])
def test_lossy_jpeg_of_8_and_12_bits_changes_little(syntax, bits):
    imagecodecs = pytest.importorskip("imagecodecs")
    array = ramp(bits)
    fields = {"BitsStored": bits, "HighBit": bits - 1}
    frame = imagecodecs.jpeg8_encode(array, level=98, bitspersample=bits)
    assert np.abs(pixels(compressed(frame, syntax, array, **fields)) - pixels(make_dicom(array, **fields))).max() <= 3


@pytest.mark.parametrize("option", ["+eb", "+ee", "+el", "+e1"])
def test_dcmtk_s_jpeg_is_read(option, film, tmp_path):
    if not shutil.which("dcmcjpeg"):
        pytest.skip("needs Debian's dcmtk")
    quality = ["+q", "98"] if option in ("+eb", "+ee") else []
    subprocess.run(["dcmcjpeg", option, *quality, film, tmp_path / "x.dcm"], check=True, capture_output=True)
    needed = (900, 900)
    difference = np.abs(pixels(tmp_path / "x.dcm", at_least=needed) - pixels(film, at_least=needed))
    assert difference.max() <= (0 if option in ("+el", "+e1") else 6)


@pytest.mark.parametrize("syntax", [LOSSLESS_LS, LOSSLESS_2000, LOSSLESS_SV1])
def test_a_frame_that_claims_another_size_than_its_header_is_not_decoded(syntax, monkeypatch):
    if syntax == LOSSLESS_SV1:
        frame = pytest.importorskip("imagecodecs").jpeg8_encode(ramp(12), lossless=True, bitspersample=12)
    else:
        data = dataset(ramp(12), BitsStored=12, HighBit=11)
        data.compress(syntax)
        frame = pydicom.encaps.get_frame(data.PixelData, 0, number_of_frames=1)
    monkeypatch.setattr(jpeg, "decode", None)
    monkeypatch.setattr(pydicom.Dataset, "pixel_array", None)
    with pytest.raises(InputError, match=r"its image claims \(100, 80, 1\), its header \(100, 81, 1\)"):
        radiograph.read(compressed(frame, syntax, ramp(12), Rows=81, BitsStored=12, HighBit=11))


def test_without_a_decoder_the_error_names_the_extra(monkeypatch):
    frame = pytest.importorskip("imagecodecs").jpeg8_encode(ramp(12), lossless=True, bitspersample=12)
    if pydicom.pixels.get_decoder(LOSSLESS_SV1).is_available:
        pytest.skip("another decoder for lossless JPEG is installed")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingExtraError, match=r"(?s)^<bytes>: no decoder .*pip install 'covidnet-lite\[dicom\]'"):
        radiograph.read(compressed(frame, LOSSLESS_SV1, ramp(12), BitsStored=12, HighBit=11))


BROKEN = {
    "no pixels": (make_dicom(), "holds no image; give the image file of the study"),
    "frames": (
        make_dicom(np.stack([stored()] * 2), Rows=80, Columns=100, NumberOfFrames=2),
        "is a multi-frame object .2 frames.; give a single CR or DX image",
    ),
    "cut short": (make_dicom(stored())[:-4000], "cannot be read as DICOM .*export it again"),
    "cut in the header": (make_dicom(stored())[:300], "export it again|holds no image"),
    "huge": (make_dicom(stored(), Rows=60000, Columns=60000), "claims 3600 million pixels"),
    "no size": (make_dicom(stored(), Rows=None), "cannot be read as DICOM .*export it again"),
    "enhanced": (
        make_dicom(stored(), SharedFunctionalGroupsSequence=[pydicom.Dataset()]),
        "is a multi-frame object .1 frame.; give a single CR or DX image",
    ),
    "raw": (
        make_dicom(stored(), PresentationIntentType="FOR PROCESSING"),
        "raw data .* give the image FOR PRESENTATION",
    ),
    "palette": (
        make_dicom(stored(), PhotometricInterpretation="PALETTE COLOR"),
        "pixels are PALETTE COLOR, not gray levels",
    ),
    "high bit": (
        make_dicom(stored(), BitsStored=12, HighBit=10),
        "with 12 of 16 bits stored, HighBit cannot be 10",
    ),
    "32 bits": (make_dicom(stored().astype(np.uint32)), "stores 32 of 32 allocated bits a pixel; 8 to 16"),
    "7 bits": (make_dicom(stored(), BitsStored=7), "stores 7 of 16 allocated bits a pixel; 8 to 16"),
    "headless": (
        make_dicom(stored())[132:],
        "begins like DICOM, but without a file's head .DICM.; export it as a DICOM file",
    ),
    "no JPEG": (compressed(b"not a frame" * 9, LOSSLESS_SV1, stored()), "neither JPEG, JPEG-LS nor JPEG 2000"),
    "small": (make_dicom(stored(10, 12)), "12 x 10 pixels is too small"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=BROKEN)
def test_a_file_without_a_picture_is_an_input_error_that_says_why(data, words, tmp_path):
    path = tmp_path / "scan.dcm"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        radiograph.read(path)
    assert str(caught.value).startswith(f"{path}: ")


HIDDEN = {
    "Windows": b"MZ",
    "Linux": b"\x7fELF",
    "Mac": b"\xcf\xfa\xed\xfe",
    "script": b"#!/bin/sh\n",
    "zip": b"PK\3\4",
    "gzip": b"\x1f\x8b\x08",
    "PDF": b"%PDF-1.7",
    "page": b"<html>",
    "JPEG": b"\xff\xd8\xff\xe0",
    "PNG": b"\x89PNG\r\n",
}


@pytest.mark.parametrize("head", HIDDEN.values(), ids=HIDDEN)
def test_a_preamble_that_hides_another_file_type_is_refused(head):
    data = make_dicom(stored())
    with pytest.raises(InputError, match=r"^<bytes>: hides another file type in its DICOM preamble"):
        radiograph.read(head + data[len(head) :])


def test_a_harmless_preamble_is_read():
    tiff = b"II*\0" + bytes(124)  # the use the standard has in mind
    np.testing.assert_array_equal(pixels(tiff + make_dicom(stored())[128:]), pixels(make_dicom(stored())))


def test_a_dicom_file_is_told_by_its_bytes_not_by_its_suffix(tmp_path):
    (tmp_path / "scan.png").write_bytes(make_dicom(stored()))
    np.testing.assert_array_equal(pixels(tmp_path / "scan.png"), pixels(make_dicom(stored())))
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(tmp_path / "scan.dcm", "PNG")
    assert pixels(tmp_path / "scan.dcm").max() == 7


def test_without_pydicom_the_error_names_the_extra(monkeypatch):
    data = make_dicom(stored())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"^<bytes>: .*pip install 'covidnet-lite\[dicom\]'"):
        radiograph.read(data)


EMPTY_ITEM = pydicom.Dataset()
EMPTY_ITEM.add_new(0x00283002, "US", None)


@pytest.mark.parametrize(
    "fields",
    [
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": "0", "RescaleIntercept": None},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": "0", "WindowWidth": "0"},
        {"WindowCenter": "2000", "WindowWidth": "-3000"},
        {"WindowCenter": ["1", "2"], "WindowWidth": None},
        {"ModalityLUTSequence": [EMPTY_ITEM]},
        {"VOILUTSequence": [EMPTY_ITEM]},
        {"VOILUTSequence": []},
        {"PixelPaddingValue": None},
        {"HighBit": None},
        {"PresentationLUTShape": ""},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_an_optional_element_that_cannot_be_used_is_as_if_absent(fields):
    assert (pixels(make_dicom(stored(), **fields)) == pixels(make_dicom(stored()))).all()
