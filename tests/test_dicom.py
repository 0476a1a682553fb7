"""A DICOM file -> an 8-bit gray picture."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite import dicom, radiograph
from covidnet_lite.errors import CovidNetLiteError, InputError, MissingExtraError, NotAChestRadiograph

pydicom = pytest.importorskip("pydicom")

CR = "1.2.840.10008.5.1.4.1.1.1"
LITTLE = "1.2.840.10008.1.2.1"


def stored(height=80, width=100):
    return (np.add.outer(np.arange(height) * 3, np.arange(width) * 5) + 100).astype(np.uint16)


def made(pixels=None, **fields):
    """The bytes of a chest radiograph as a CR machine writes it, with other fields where given."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = LITTLE
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CR
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Modality, data.BodyPartExamined, data.ViewPosition = "CR", "CHEST", "PA"
    if pixels is not None:
        data.Rows, data.Columns = pixels.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
        data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
        data.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


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
    read = radiograph.read(film)
    assert (read.width, read.height) == (1841, 1955)
    assert read.image.size == (1841, 1955)
    image = np.asarray(read.image, int)
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
    np.testing.assert_array_equal(pixels(made(array)), stretched(array.astype(int)))


def test_monochrome1_is_the_negative_of_monochrome2():
    white_is_low = made(stored(), PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(pixels(white_is_low), 255 - pixels(made(stored())), atol=1)
    assert pixels(white_is_low)[0, 0] == 255


def test_the_window_of_the_header_is_applied():
    low, high = 300, 500
    windowed = pixels(made(stored(), WindowCenter=400, WindowWidth=200))
    assert np.all(windowed[stored() < low] == 0)
    assert np.all(windowed[stored() > high] == 255)
    inside = (stored() > low + 5) & (stored() < high - 5)
    np.testing.assert_allclose(windowed[inside], (stored()[inside] - low) / (high - low) * 255, atol=2)


def test_a_falling_rescale_slope_turns_the_gray_scale_round():
    falling = made(stored(), RescaleSlope="-2", RescaleIntercept="1000")
    np.testing.assert_allclose(pixels(falling), 255 - pixels(made(stored())), atol=1)


@pytest.mark.filterwarnings("error")
def test_a_constant_picture_is_read():
    assert np.ptp(pixels(made(np.full((80, 100), 700, np.uint16)))) == 0


def test_a_colour_capture_becomes_gray():
    gray = (stored() // 4).astype(np.uint8)
    data = made(
        np.repeat(gray[..., None], 3, axis=2), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )
    np.testing.assert_array_equal(pixels(data), gray)


@pytest.mark.parametrize("at_least", [(224, 224), (100, 400), (1000, 10)])
def test_a_large_picture_is_reduced_but_never_below_what_is_needed(at_least):
    read = radiograph.read(made(stored(805, 1003)), at_least=at_least)
    assert (read.width, read.height) == (1003, 805)
    assert read.image.width >= at_least[0]
    assert read.image.height >= at_least[1]
    if at_least == (224, 224):
        assert read.image.size == (501, 402)


def test_reducing_averages_whole_blocks_and_keeps_the_number_type():
    top = 65535
    array = np.array([[1, 3, 10, 10, 9], [5, 7, 20, 20, 9], [0, 0, top, top, 9], [0, 0, top, top, 9]], np.uint16)
    reduced = dicom.reduce(array, (2, 2))
    assert reduced.dtype == np.uint16
    np.testing.assert_array_equal(reduced, [[4, 15], [0, top]])
    assert dicom.reduce(array, None) is array
    assert dicom.reduce(array, (3, 2)) is array


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Modality": "MR"}, "modality MR, not a projection radiograph"),
        ({"BodyPartExamined": "HAND"}, "body part HAND, not chest"),
        ({"ViewPosition": "LL"}, "view LL, not frontal"),
        ({"ViewPosition": "lateral"}, "view LATERAL, not frontal"),
    ],
)
def test_a_header_that_says_otherwise_is_not_a_chest_radiograph(fields, words):
    with pytest.raises(NotAChestRadiograph, match=words):
        radiograph.read(made(stored(), **fields))
    with pytest.raises(NotAChestRadiograph, match=words):
        radiograph.read(made(None, **fields))  # the header is asked first


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
    np.testing.assert_array_equal(pixels(made(stored(), **fields)), pixels(made(stored())))


BROKEN = {
    "no pixels": (made(), "holds no picture; give the image file of the study"),
    "frames": (made(np.stack([stored()] * 2), Rows=80, Columns=100, NumberOfFrames=2), "is a multi-frame object .2 frames.; give a single CR or DX image"),
    "cut short": (made(stored())[:-4000], "cannot be read as DICOM .*export it again"),
    "cut in the header": (made(stored())[:300], "export it again|holds no picture"),
    "huge": (made(stored(), Rows=60000, Columns=60000), "claims 3600 million pixels"),
    "no size": (made(stored(), Rows=None), "cannot be read as DICOM .*export it again"),
    "no window": (made(stored(), WindowCenter=400, WindowWidth=0), "its gray scale cannot be read .*export it again"),
    "a program": (b"MZ" + made(stored())[2:], "hides another file type in its DICOM preamble"),
    "an archive": (b"PK" + made(stored())[2:], "hides another file type in its DICOM preamble"),
    "small": (made(stored(10, 12)), "12 x 10 pixels is too small"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=BROKEN)
def test_a_file_without_a_picture_is_an_input_error_that_says_why(data, words, tmp_path):
    path = tmp_path / "scan.dcm"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        radiograph.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_harmless_preamble_is_read():
    tiff = b"II*\0" + bytes(124)  # the use the standard has in mind
    np.testing.assert_array_equal(pixels(tiff + made(stored())[128:]), pixels(made(stored())))


def test_a_dicom_file_is_told_by_its_bytes_not_by_its_suffix(tmp_path):
    (tmp_path / "scan.png").write_bytes(made(stored()))
    np.testing.assert_array_equal(pixels(tmp_path / "scan.png"), pixels(made(stored())))
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(tmp_path / "scan.dcm", "PNG")
    assert pixels(tmp_path / "scan.dcm").max() == 7


def test_without_pydicom_the_error_names_the_extra(monkeypatch):
    data = made(stored())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"^<bytes>: .*pip install 'covidnet-lite\[dicom\]'"):
        radiograph.read(data)


def test_without_a_decoder_the_error_names_the_extra():
    if pydicom.pixels.get_decoder(pydicom.uid.JPEGLSNearLossless).is_available:
        pytest.skip("a decoder for JPEG-LS is installed")
    path = Path(pydicom.__file__).parent / "data/test_files/JPEGLSNearLossless_08.dcm"
    with pytest.raises(MissingExtraError, match=r"(?s)_08\.dcm: .*pip install 'covidnet-lite\[dicom\]'"):
        radiograph.read(path)
