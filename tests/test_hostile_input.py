"""Input made to break things: each case once gave a wrong answer, or an error of the wrong family."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from convert.judge.guard import fit_guard
from covidnet_lite import dataset, files, prediction, radiograph
from covidnet_lite.errors import CovidNetLiteError, DatasetError, InputError, MissingExtraError, ModelError
from covidnet_lite.network import guard, manifest
from covidnet_lite.network.input_spec import InputSpec

G = np.random.default_rng(0).integers(0, 256, (96, 128)).astype(np.uint8)


def enc(a, f="PNG", **k):
    b = io.BytesIO()
    (Image.fromarray(a) if isinstance(a, np.ndarray) else a).save(b, f, **k)
    return b.getvalue()


def ex(o):
    e = Image.Exif()
    e[0x112] = o
    return e


# --- radiograph
def test_truncated_pil_image():
    with pytest.raises(InputError):
        radiograph.read(Image.open(io.BytesIO(enc(G)[:5000]))).image.resize((8, 8))


def test_truncated_16bit_pil_image():
    with pytest.raises(InputError):
        radiograph.read(Image.open(io.BytesIO(enc(G.astype(np.uint16) * 99)[:5000])))


def test_closed_pil_image():
    image = Image.open(io.BytesIO(enc(G)))
    image.close()
    with pytest.raises(InputError):
        radiograph.read(image).image.resize((8, 8))


def test_exif_of_a_pil_image():
    data = enc(G, exif=ex(6))
    assert np.array_equal(
        np.asarray(radiograph.read(Image.open(io.BytesIO(data))).image), np.asarray(radiograph.read(data).image)
    )


def test_turned_jpeg_below_at_least():
    r = radiograph.read(enc(Image.new("L", (2000, 1000), 5), "JPEG", exif=ex(6)), at_least=(1000, 500))
    assert r.image.width >= 1000
    assert r.image.height >= 500


@pytest.mark.parametrize(("size", "o", "want"), [((1005, 1001), 3, (1005, 1001)), ((1001, 1005), 6, (1005, 1001))])
def test_nearly_square_turned_jpeg_size(size, o, want):
    r = radiograph.read(enc(Image.new("L", size, 5), "JPEG", exif=ex(o)), at_least=(100, 100))
    assert (r.width, r.height) == want


def test_complex_colour_array():
    array = np.stack([G] * 3, -1).astype(complex)
    with pytest.raises(InputError):
        radiograph.read(array)


def test_text_colour_array():
    with pytest.raises(InputError):
        radiograph.read(np.full((64, 64, 3), "x"))


@pytest.mark.parametrize(
    "array",
    [
        np.linspace(0, 0.003, 96 * 96).reshape(96, 96).astype(np.float16),
        np.linspace(-6e4, 6e4, 96 * 96).reshape(96, 96).astype(np.float16),
        np.linspace(-3e38, 3e38, 96 * 96).reshape(96, 96).astype(np.float32),
        np.linspace(0, 1e-37, 96 * 96).reshape(96, 96).astype(np.float32),
    ],
    ids=["f16 small", "f16 wide", "f32 wide", "f32 tiny"],
)
def test_float_range(array):
    x = array.astype(np.float64)
    want = np.rint((x - x.min()) / (x.max() - x.min()) * 255)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = np.asarray(radiograph.read(array).image, int)
    assert np.abs(data - want).max() <= 1


def test_empty_wide_pil_image():
    with pytest.raises(InputError):
        radiograph.read(Image.new("I", (0, 10)))


def test_non_contiguous_memoryview():
    data = enc(G)
    radiograph.read(memoryview(b"".join(bytes([c, 0]) for c in data))[::2])


def test_tiff_second_directory_broken():
    d = bytearray(enc(G, "TIFF"))
    ifd = struct.unpack("<I", d[4:8])[0]
    n = struct.unpack("<H", d[ifd : ifd + 2])[0]
    d[ifd + 2 + 12 * n : ifd + 6 + 12 * n] = struct.pack("<I", len(d))
    d += struct.pack("<HI", 0, 0)
    with pytest.raises(InputError):
        radiograph.read(bytes(d))


def test_png_with_broken_exif_chunk():
    d = enc(G)
    c = b"eXIf" + b"MM\0*"
    chunk = struct.pack(">I", 4) + c + struct.pack(">I", zlib.crc32(c))
    try:
        radiograph.read(d[:33] + chunk + d[33:])
    except InputError:
        pass


def test_text_mode_utf8_says_rb(tmp_path):
    (tmp_path / "a.png").write_bytes(enc(G))
    with (tmp_path / "a.png").open(encoding="utf-8") as f, pytest.raises(InputError, match="mode 'rb'"):
        radiograph.read(f)


def test_unreadable_device_path():
    with pytest.raises(InputError):
        radiograph.read("/proc/self/mem")


# --- dicom
pydicom = pytest.importorskip("pydicom")


def make_dicom(px=None, ts="1.2.840.10008.1.2.1", **k):
    d = pydicom.Dataset()
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ts
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = "1.2.3"
    d.Modality = "CR"
    d.Rows, d.Columns = px.shape[:2]
    d.SamplesPerPixel = 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.BitsAllocated = d.BitsStored = px.dtype.itemsize * 8
    d.HighBit = d.BitsStored - 1
    d.PixelRepresentation = 0
    d.PixelData = px.tobytes()
    for a, v in k.items():
        setattr(d, a, v)
    b = io.BytesIO()
    d.save_as(b, enforce_file_format=True)
    return b.getvalue()


D = G.astype(np.uint16) * 100


def test_refusal_names_the_file():
    with pytest.raises(InputError, match="<bytes>"):
        radiograph.read(make_dicom(D, Modality="MR"))


def test_sixteen_bit_colour():
    try:
        radiograph.read(
            make_dicom(np.stack([D] * 3, -1), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
        )
    except CovidNetLiteError:
        pass


def test_truncated_deflated():
    with pytest.raises(InputError):
        radiograph.read(make_dicom(D, ts="1.2.840.10008.1.2.1.99")[:-100])


def test_bytes_length_exception():
    data = make_dicom(D)
    at = data.index(b"\x28\x00\x10\x00US\x02\x00")  # Rows: 2 bytes -> 3
    data = data[: at + 6] + b"\x03\x00" + data[at + 8 : at + 10] + b"\0" + data[at + 10 :]
    with pytest.raises(CovidNetLiteError):
        radiograph.read(data)


def test_broken_stream_is_not_a_missing_extra():
    from pathlib import Path

    p = Path(pydicom.__file__).parent / "data/test_files/GDCMJ2K_TextGBR.dcm"
    try:
        radiograph.read(p)  # some decoders manage
    except CovidNetLiteError as error:
        assert isinstance(error, InputError) and not isinstance(error, MissingExtraError)  # noqa: PT017, PT018


def test_32_bit_full_range_needs_little_memory():
    import resource

    a = (G.astype(np.uint32) << 24) | 7
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, hard))
    try:
        radiograph.read(make_dicom(a))
    except CovidNetLiteError:
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_32_bit_reduce_overflows():
    from covidnet_lite.dicom_in import pixels

    assert pixels.reduce(np.full((4, 4), 2**30, np.uint32), (2, 2)).max() == 2**30


# --- the rest
@pytest.mark.parametrize(("n", "features"), [(500, 16), (20, 64)])
def test_guard_needs_more_features_and_rows_than_components(n, features):
    rng = np.random.default_rng(0)
    e, h, o = rng.normal(size=(3, n, features))
    try:
        g = fit_guard(e, h)
    except (CovidNetLiteError, ValueError):
        return
    assert 0.3 < np.median(g.distance(o)) < 5


def test_nan_distance_is_not_answered():
    g = guard.Guard(np.zeros(2), np.zeros((1, 2)), np.ones(1), 1.0, 2.0)
    m = manifest.Manifest("n", ("a", "b"), InputSpec(8, 8), guard=g)
    assert prediction.judge(np.float32([1, 2]), float("nan"), m).status != "answered"


def test_nan_logits_are_not_answered():
    m = manifest.Manifest("n", ("a", "b"), InputSpec(8, 8), threshold=0.9)
    try:
        assert prediction.judge(np.float32([np.nan, 2]), None, m).status != "answered"
    except CovidNetLiteError:
        pass


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": "ab"},
        {"labels": [1, 2]},
        {"outputs": "logits"},
        {"outputs": {"logits": "x"}},
        {"temperature": float("inf")},
        {"input": {"height": 2.5, "width": 3}},
        {"input": {"height": 2, "width": 3, "mean": ["a"], "std": [1]}},
        {"input": {"height": 2, "width": 3, "mean": [float("nan")], "std": [1]}},
        {"name": None},
    ],
    ids=str,
)
def test_manifest_types(changes):
    fields = {**json.loads(manifest.Manifest("n", ("a", "b"), InputSpec(8, 8)).to_json()), **changes}
    with pytest.raises(ModelError):
        manifest.Manifest.from_json(json.dumps(fields))


def test_empty_guard_entry():
    m = manifest.Manifest("n", ("a", "b"), InputSpec(8, 8))
    with pytest.raises(ModelError):
        manifest.unseal(manifest.seal(b"x" * 99, m, {"guard.npz": b""}), "m")


def test_bad_manifest_in_a_sealed_file_names_the_file():
    m = manifest.Manifest("n", ("a", "b"), InputSpec(8, 8))
    with pytest.raises(ModelError, match="tiny.tflite"):
        manifest.unseal(manifest.seal(b"x" * 99, m, {"manifest.json": b"{}"}), "tiny.tflite")


def test_a_long_but_legal_name(tmp_path):
    (tmp_path / ("n" * 250)).write_text("x")  # the file system takes it
    files.write(tmp_path / ("n" * 250), "y")


def test_empty_file_cell(tmp_path):
    (tmp_path / "m.csv").write_text("file,label\n,covid\na.png,covid\n")
    try:
        result = dataset.read_dataset(tmp_path / "m.csv")
    except DatasetError:
        return
    assert tmp_path not in [c.path for c in result]
