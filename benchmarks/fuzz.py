"""Mutated radiographs of every format that is read: python benchmarks/fuzz.py [--inputs 1000] [--seed 0] [--kept DIR].

Each input is a radiograph made up here, written in one of the formats, and then damaged: bits turned, parts cut out,
doubled or moved, lengths and sizes replaced by large ones, two files spliced. It is read as a service reads it, in a
process that the kernel holds to its limits. What must never be: an error of another family than the package's own, a
reader that dies of anything but its limit of time. Such an input is kept, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from covidnet_lite import formats, radiograph, resource_limits
from covidnet_lite.errors import CovidNetLiteError, UnforeseenError
from covidnet_lite.machine import board
from covidnet_lite.readers.pool import Readers
from covidnet_lite.readers.replies import ReaderDiedError

AT_LEAST = (240, 240)
LARGE = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 9999, 65500)


def chest(side: int = 160) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Two dark lungs in a bright body, with some grain."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = 200 - 150 * sum(np.exp(-(((x - c) / 0.25) ** 2 + (y / 0.6) ** 2)) for c in (-0.4, 0.4))
    grain = np.random.default_rng(0).normal(0, 4, (side, side))
    return np.asarray(np.clip(body + grain, 0, 255), np.uint8)


def seeds() -> dict[str, bytes]:
    """Name -> a sound file of each format and variant that is read here."""
    gray, files_of = chest(), {}
    deep = gray.astype(np.uint16) * 250
    images = {
        "L": Image.fromarray(gray),
        "I;16": Image.fromarray(deep),
        "F": Image.fromarray(gray.astype(np.float32)),
    }
    images |= {mode: images["L"].convert(mode) for mode in ("RGB", "RGBA", "P", "LA", "CMYK", "1")}
    exif = Image.Exif()
    exif[0x112] = 6
    variants: list[tuple[str, str, dict[str, Any]]] = [
        *(("PNG", mode, {}) for mode in ("L", "I;16", "RGB", "RGBA", "P", "LA", "1")),
        *(("JPEG", mode, {"progressive": p, "exif": exif}) for mode in ("L", "RGB", "CMYK") for p in (False, True)),
        *(("TIFF", mode, {"compression": c}) for mode in ("L", "I;16", "RGB", "F") for c in ("raw", "tiff_lzw")),
        *(("TIFF", "L", {"compression": c}) for c in ("packbits", "jpeg", "tiff_deflate", "zstd", "webp", "lzma")),
        ("TIFF", "1", {"compression": "group4"}),
        ("BMP", "L", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"quality": 60, "exif": exif}),
        ("JPEG2000", "L", {}),
        ("JPEG2000", "RGB", {}),
        ("GIF", "P", {}),
        ("MPO", "RGB", {"save_all": True, "append_images": [images["RGB"].resize((64, 64))]}),
        ("AVIF", "RGB", {}),
    ]
    for form, mode, options in variants:
        buffer = io.BytesIO()
        try:
            images[mode].save(buffer, form, **options)
        except (OSError, ValueError, KeyError):  # this Pillow cannot write it
            continue
        files_of[f"{form} {mode} {'-'.join(map(str, options.values()))[:20]}".strip()] = buffer.getvalue()
    files_of["BMP RLE"] = run_length_bmp(gray)
    return files_of | dicom_seeds(gray, deep)


def run_length_bmp(gray: np.ndarray[Any, Any]) -> bytes:
    """An 8-bit BMP of run lengths, which Pillow reads and does not write."""
    rows = []
    for line in gray[::-1]:
        rows.append(b"".join(bytes((1, value)) for value in line.tolist()) + b"\0\0")
    data, palette = b"".join(rows) + b"\0\1", b"".join(bytes((i, i, i, 0)) for i in range(256))
    height, width = gray.shape
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0) + palette
    return struct.pack("<2sIII", b"BM", 14 + len(head) + len(data), 0, 14 + len(head)) + head + data


def dicom_seeds(gray: np.ndarray[Any, Any], deep: np.ndarray[Any, Any]) -> dict[str, bytes]:
    """The same radiograph as DICOM, in every transfer syntax that can be written here; none without pydicom."""
    try:
        import imagecodecs
        import pydicom
        from pydicom.encaps import encapsulate
        from pydicom.uid import UID
    except ImportError:
        return {}

    def encoded(pixels: np.ndarray[Any, Any], syntax: str, frame: bytes | bytearray | None, **fields: Any) -> bytes:
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = UID(syntax)
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1")
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = UID("1.2.3")
        data.Modality, data.BodyPartExamined, data.ViewPosition = "CR", "CHEST", "PA"
        data.Rows, data.Columns = pixels.shape[:2]
        data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        data.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        if pixels.ndim == 3:
            data.PlanarConfiguration = 0
        data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
        data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
        data.WindowCenter, data.WindowWidth = 20000, 40000
        for name, value in fields.items():
            setattr(data, name, value)
        data.PixelData = pixels.tobytes() if frame is None else encapsulate([bytes(frame)])
        if frame is not None:
            data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    colour, prefix = np.stack([gray] * 3, -1), "1.2.840.10008.1.2"
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 16], np.arange(0, 65536, 256, dtype=np.uint16).tobytes()
    item["LUTData"].VR = "OW"
    coded = pydicom.Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = "51185008", "SCT", "Chest"
    files_of = {
        "DICOM 8": encoded(gray, f"{prefix}.1", None),
        "DICOM 16 implicit": encoded(deep, prefix, None, AnatomicRegionSequence=[coded]),
        "DICOM RGB": encoded(colour, f"{prefix}.1", None),
        "DICOM VOI LUT": encoded(gray, f"{prefix}.1", None, VOILUTSequence=[item]),
        "DICOM JPEG": encoded(gray, f"{prefix}.4.50", imagecodecs.jpeg8_encode(gray)),
        "DICOM JPEG lossless": encoded(
            deep, f"{prefix}.4.70", imagecodecs.jpeg8_encode(deep, lossless=True, bitspersample=16)
        ),
        "DICOM JPEG-LS": encoded(deep, f"{prefix}.4.80", imagecodecs.jpegls_encode(deep)),
        "DICOM JPEG 2000": encoded(
            deep, f"{prefix}.4.90", imagecodecs.jpeg2k_encode(deep, codecformat="j2k", reversible=True)
        ),
    }
    plain = pydicom.dcmread(io.BytesIO(files_of["DICOM 8"]))
    plain.file_meta.TransferSyntaxUID = UID(f"{prefix}.1.99")
    buffer = io.BytesIO()
    plain.save_as(buffer, enforce_file_format=True)
    files_of["DICOM deflated"] = buffer.getvalue()
    rle = pydicom.dcmread(io.BytesIO(files_of["DICOM 16 implicit"]))
    rle.compress(f"{prefix}.5", generate_instance_uid=False)
    buffer = io.BytesIO()
    rle.save_as(buffer, enforce_file_format=True)
    return files_of | {"DICOM RLE": buffer.getvalue()}


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One to six injuries, most of them near the head."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if not result:
            break
        extent = min(len(result), rng.choice((64, 512, 2048, len(result))))
        at, length = rng.randrange(extent), rng.choice((1, 2, 4, 16, 256))
        rng.choice(INJURIES)(result, other, at, length, rng)
    return bytes(result)


def _turn(data: bytearray, _: bytes, at: int, __: int, rng: random.Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, _: bytes, at: int, length: int, rng: random.Random) -> None:
    width = rng.choice((1, 2, 4))
    value = rng.choice(LARGE) & (1 << 8 * width) - 1
    data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))


def _cut(data: bytearray, _: bytes, at: int, length: int, rng: random.Random) -> None:
    del data[at : at + length]


def _end(data: bytearray, _: bytes, at: int, __: int, rng: random.Random) -> None:
    del data[max(at, len(data) // 2) :]


def _double(data: bytearray, _: bytes, at: int, length: int, rng: random.Random) -> None:
    data[at:at] = bytes(data[at : at + length]) * rng.choice((1, 2, 64))


def _splice(data: bytearray, other: bytes, at: int, length: int, rng: random.Random) -> None:
    start = rng.randrange(len(other))
    data[at : at + length] = other[start : start + length]


INJURIES: tuple[Callable[[bytearray, bytes, int, int, random.Random], None], ...] = (
    _turn, _replace, _replace, _cut, _end, _double, _splice,
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Runs it; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the injuries (default: 0)")
    parser.add_argument("--kept", type=Path, default=Path("fuzz"), help="where inputs go that break a rule")
    parser.add_argument("--here", action="store_true", help="read in this process, as the library does")
    args = parser.parse_args(argv)
    intact, rng = seeds(), random.Random(args.seed)
    names, outcomes, broken = sorted(intact), Counter[str](), 0
    print(f"{len(intact)} seeds: {', '.join(names)}")
    slowest = 0.0
    with Readers(1) as readers:
        read = radiograph.read if args.here else readers.read
        for name in names:
            read(intact[name], AT_LEAST) if name.split()[0] in (*formats.PILLOW, "DICOM") else None
        for number in range(args.inputs):
            name, other = rng.choice(names), rng.choice(names)
            data = mutate(intact[name], intact[other], rng)
            start, fault = time.process_time(), ""
            try:
                read(data, AT_LEAST)
                outcomes["read"] += 1
            except UnforeseenError as error:
                fault = f"unforeseen {error.reference}\n{error.trace}"
            except ReaderDiedError as error:
                outcomes["its reader was stopped"] += 1
                print(f"{number} {name}: {error}")
                fault = "" if resource_limits.SECONDS in str(error) else str(error)
            except CovidNetLiteError:
                outcomes["refused"] += 1
            except Exception as error:  # of another family
                fault = repr(error)
            slowest = max(slowest, time.process_time() - start)
            if fault:
                broken += 1
                path = args.kept / f"{hashlib.sha256(data).hexdigest()[:12]}.bin"
                args.kept.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                print(f"{number} {name}: BROKEN, {path}: {fault}")
        peaks = [board.memory_mib("VmHWM", pid) or 0.0 for pid in [os.getpid(), *readers.processes]]
    print(f"{args.inputs} inputs: {dict(outcomes)}, {broken} broken; peak MiB of this process and its readers: {peaks}")
    if args.here:
        print(f"slowest: {slowest:.2f} s of processor")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
