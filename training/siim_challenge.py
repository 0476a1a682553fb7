"""Kaggle's download -> radiographs to train on: ``python training/siim_challenge.py DOWNLOAD FOLDER``.

DOWNLOAD holds the training part of the SIIM-FISABIO-RSNA COVID-19 Detection challenge as it is unpacked:
``train/STUDY/SERIES/IMAGE.dcm``, ``train_study_level.csv`` and ``train_image_level.csv``. FOLDER gets 8-bit gray JPEGs
and a ``manifest.csv``: radiologists' grades as labels, the boxes around opacities in fractions, splits by patient.

A file that cannot be read costs only itself and is reported. Run again, it makes only the radiographs that are missing,
and keeps every patient in the split that the manifest has. Copies and a patient's radiographs beyond the third are
made, but do not enter the manifest. The terms of these radiographs: docs/data.md.
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import io
import math
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from covidnet_lite import files, radiograph
from covidnet_lite.box import Box
from covidnet_lite.csv_cells import cell
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.dicom_in import dicom_file
from covidnet_lite.dicom_in.elements import dicom_errors
from covidnet_lite.errors import CovidNetLiteError, DatasetError, InputError
from training.data.duplicates import near_duplicates
from training.dataset import SPLITS, decode, read_image, split_without_leaks

STUDIES, IMAGES = "train_study_level.csv", "train_image_level.csv"
SOURCE = "siim_bimcv"
LICENCE = "BIMCV-COVID19 Research Use Agreement"
MIN_SIDE = 256  # pixels; small opacities are lost below
QUALITY = 95  # of the JPEGs
COMPARED = 128  # pixels of a radiograph's shorter side while copies are looked for
LIKENESS = 0.95  # of copies; two radiographs of one patient in one posture were seen to reach 0.91
MAX_PER_PATIENT = 3  # radiographs of a patient
NEGATIVE = "negative"
# Column of the challenge -> its grade, and the label that a network is taught.
GRADES = {
    "Negative for Pneumonia": (NEGATIVE, "normal"),
    "Typical Appearance": ("typical", "covid"),
    "Indeterminate Appearance": ("indeterminate", "indeterminate"),
    "Atypical Appearance": ("atypical", "pneumonia"),
}
COLUMNS = (
    "file", "sha256", "label", "appearance", "patient_id", "source", "split", "width0", "height0", "opacity_boxes",
    "image_id", "licence",
)  # fmt: skip


@dataclass(frozen=True)
class ListedImage:
    """A radiograph as the challenge lists it.

    Attributes:
        image_id, study: the challenge's own names.
        column: of :data:`GRADES`, how the study was graded.
        boxes: around opacities, ``(left, top, right, bottom)`` in pixels.
    """

    image_id: str
    study: str
    column: str
    boxes: tuple[Box, ...]


def read_tables(download: Path) -> tuple[list[ListedImage], list[str]]:
    """The radiographs of the two tables, by name, and what is wrong with the others.

    Raises:
        DatasetError: a table is missing, or is not the challenge's.
    """
    columns = {row["id"].removesuffix("_study"): _column(row) for row in _rows(download / STUDIES, ("id", *GRADES))}
    images: dict[str, ListedImage] = {}
    problems = []
    for row in _rows(download / IMAGES, ("id", "boxes", "StudyInstanceUID")):
        name, study = row["id"].removesuffix("_image"), row["StudyInstanceUID"]
        column = columns.get(study)
        try:
            if name in images:
                raise DatasetError(f"stands in {IMAGES} more than once; the first row is taken")
            if column is None:
                raise DatasetError(f"its study {study} is not graded, or in more than one way, in {STUDIES}")
            boxes = _boxes(row["boxes"])
            if boxes and GRADES[column][0] == NEGATIVE:
                raise DatasetError("its study is graded negative for pneumonia, yet it has a box around an opacity")
            images[name] = ListedImage(name, study, column, boxes)
        except DatasetError as error:
            problems.append(f"{name}: {error}")
    return [images[name] for name in sorted(images)], problems


def make(image: ListedImage, path: Path, folder: Path, side: int) -> LabelledImage:
    """Writes a radiograph as JPEG, unless it is there, and returns its row of the manifest, without a split.

    Raises:
        InputError: the DICOM file cannot be read.
        DatasetError: its boxes lie outside of it.
        MissingExtraError: pydicom, or a decoder, is not installed.
        OutputError: the JPEG cannot be written.
    """
    patient, size = _header(path, image.study)
    jpeg = folder / "images" / f"{_hashed(image.image_id)}.jpg"
    if not _is_written(jpeg, size, side):
        radiograph_ = read_image(LabelledImage(path), side)
        buffer = io.BytesIO()
        radiograph_.image.save(buffer, "JPEG", quality=QUALITY)
        files.write(jpeg, buffer.getvalue())
    appearance, label = GRADES[image.column]
    row = {
        "file": jpeg.relative_to(folder).as_posix(),
        "sha256": hashlib.sha256(jpeg.read_bytes()).hexdigest(),
        "label": label,
        "appearance": appearance,
        "patient_id": patient,
        "source": SOURCE,
        "width0": str(size[0]),
        "height0": str(size[1]),
        "opacity_boxes": ";".join(_fractions(box, size, path) for box in image.boxes),
        "image_id": image.image_id,
        "licence": LICENCE,
    }
    return LabelledImage(jpeg, label, patient, SOURCE, fields=row)


def make_all(
    images: Sequence[ListedImage], download: Path, folder: Path, side: int
) -> tuple[list[LabelledImage], list[str]]:
    """Every radiograph that can be made, in the order given, and what is wrong with the others."""
    paths = {(path.parts[-3], path.stem): path for path in (download / "train").glob("*/*/*.dcm")}

    def one(image: ListedImage) -> LabelledImage | str:
        path = paths.get((image.study, image.image_id))
        if path is None:
            return (
                f"{image.image_id}: no file {download / 'train' / image.study}/*/{image.image_id}.dcm; unpack it again"
            )
        try:
            return make(image, path, folder, side)
        except (DatasetError, InputError) as error:
            return str(error)

    cases: list[LabelledImage] = []
    problems: list[str] = []
    with ThreadPoolExecutor() as pool:
        for i, result in enumerate(pool.map(one, images), 1):
            if isinstance(result, LabelledImage):
                cases.append(result)
            else:
                problems.append(result)
            if i % 250 == 0 or i == len(images):
                print(f"{i} of {len(images)} films", file=sys.stderr, flush=True)
    return cases, problems


def select(cases: Sequence[LabelledImage], seed: int) -> tuple[list[LabelledImage], int]:
    """At most three radiographs of a patient, without copies, and with splits; and how many were copies.

    Splits that are given stay. Patients who share a copied radiograph are in the same split.
    """
    pairs = [(i, j) for i, j, _ in near_duplicates(decode(cases, COMPARED), likeness=LIKENESS)]
    copies: set[int] = set()
    for i, j in sorted(pairs):
        if i not in copies:
            copies.add(j)
    selection, per_patient = [], Counter[str]()
    for i, case in enumerate(split_without_leaks(cases, pairs, seed, hold_out=())):
        if i not in copies and per_patient[case.patient] < MAX_PER_PATIENT:
            per_patient[case.patient] += 1
            selection.append(case)
    return selection, len(copies)


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(f"{path}: has no column {missing[0]!r}; take the table that the challenge gives")
            return [{name: (row[name] or "").strip() for name in columns} for row in reader]
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; name the folder into which Kaggle's download was unpacked") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); take the table that the challenge gives") from error


def _column(row: dict[str, str]) -> str | None:
    """The one grade of a study; ``None`` if it has none, or several."""
    grades = [column for column in GRADES if row[column] in ("1", "1.0")]
    return grades[0] if len(grades) == 1 else None


def _boxes(text: str) -> tuple[Box, ...]:
    try:
        sides = [[float(box[key]) for key in ("x", "y", "width", "height")] for box in ast.literal_eval(text or "[]")]
    except (ValueError, SyntaxError, TypeError, KeyError, OverflowError, MemoryError, RecursionError) as error:
        raise DatasetError(f"its boxes cannot be read ({error}); take the table that the challenge gives") from error
    if not all(math.isfinite(value) for box in sides for value in box):
        raise DatasetError("its boxes hold values that are no numbers; take the table that the challenge gives")
    return tuple((x, y, x + width, y + height) for x, y, width, height in sides)


def _fractions(box: Box, size: tuple[int, int], path: Path) -> str:
    """A box in fractions of the sides, cut off at them."""
    x0, y0, x1, y1 = (min(1.0, max(0.0, value / side)) for value, side in zip(box, size * 2))
    if x0 >= x1 or y0 >= y1:
        raise DatasetError(f"{path}: a box around an opacity lies outside the picture; take the challenge's own table")
    return f"{x0:.3f} {y0:.3f} {x1:.3f} {y1:.3f}"


def _header(path: Path, study: str) -> tuple[str, tuple[int, int]]:
    """The hashed patient, or study where no patient is named, and ``(width, height)``."""
    with radiograph.open_binary(path, str(path)) as file:
        header = dicom_file.header(file, str(path))
    try:
        patient = str(header.get("PatientID") or "").strip()
        size = (int(header.Columns), int(header.Rows))
    except dicom_errors() as error:
        raise InputError(f"{path}: its header cannot be read ({error}); unpack it again") from error
    return f"siim-{_hashed(patient or study)}", size


def _hashed(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:12]


def _is_written(jpeg: Path, size: tuple[int, int], side: int) -> bool:
    """Whether a radiograph is there already, whole and of the size asked for."""
    try:
        with Image.open(jpeg) as image:
            image.load()
            return bool(min(image.size) == min(side, *size))
    except OSError:  # none there, or damaged
        return False


def _earlier_splits(folder: Path) -> dict[str, str]:
    """Patient -> split, of a manifest that an earlier run wrote."""
    if not (folder / "manifest.csv").is_file():
        return {}
    return {case.patient: case.split for case in read_dataset(folder)}


def _manifest(cases: Sequence[LabelledImage]) -> str:
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    rows.writeheader()
    rows.writerows({name: cell(v) for name, v in {**case.fields, "split": case.split}.items()} for case in cases)
    return text.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Turn the challenge's download into films to train on.")
    parser.add_argument("download", type=Path, help="what Kaggle gives, unpacked")
    parser.add_argument("folder", type=Path, help="where films and manifest.csv are to lie")
    parser.add_argument("--side", type=int, default=320, help="pixels of a film's shorter side (default: 320)")
    parser.add_argument("--seed", type=int, default=2020, help="of the splits (default: 2020)")
    args = parser.parse_args(argv)
    if args.side < MIN_SIDE:
        parser.error(f"--side {args.side}: small opacities are lost below {MIN_SIDE} pixels")
    try:
        return _run(args.download, args.folder, args.side, args.seed)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(download: Path, folder: Path, side: int, seed: int) -> int:
    all_images, problems = read_tables(download)
    # A grade is a study's: where another of its radiographs has the boxes, this one need not show an opacity.
    images = [image for image in all_images if image.boxes or GRADES[image.column][0] == NEGATIVE]
    files.check_folder(folder)
    earlier = _earlier_splits(folder)
    cases, unreadable = make_all(images, download, folder, side)
    problems += unreadable
    for problem in problems:
        print(problem, file=sys.stderr)
    if not cases:
        raise DatasetError(f"{download}: not one of its {len(images)} films could be made; see above")
    selection, copies = select([replace(case, split=earlier.get(case.patient, "")) for case in cases], seed)
    files.write(folder / "manifest.csv", _manifest(selection))
    patients = {case.patient for case in selection}
    print(f"wrote {folder / 'manifest.csv'}: {len(selection)} films of {len(patients)} patients")
    for appearance, label in GRADES.values():
        of_grade = Counter(case.split for case in selection if case.fields["appearance"] == appearance)
        print(f"  {appearance} ({label}): " + ", ".join(f"{of_grade[split]} {split}" for split in SPLITS))
    print(
        f"left out: {len(problems)} with something wrong, {len(all_images) - len(images)} without a box though their "
        f"study shows an opacity, {copies} copies, "
        f"{len(cases) - len(selection) - copies} beyond {MAX_PER_PATIENT} of a patient"
    )
    if earlier:
        print("patients of the manifest that was there kept their splits; delete it to deal all of them anew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
