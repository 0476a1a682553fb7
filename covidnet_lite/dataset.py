"""Labelled radiographs on disk: a manifest in CSV, or a folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import csv_cells, files
from .csv_cells import cell, text_of
from .errors import DatasetError
from .formats import SUFFIXES, has_suffix


@dataclass(frozen=True)
class LabelledImage:
    """One radiograph of a data set, and what is known about it.

    Attributes:
        path: the file.
        label: the class, or ``""`` where it is not known.
        patient: an identifier shared by all images of one patient; ``""`` if not known.
        source: the hospital or collection; ``""`` if not known.
        split: ``train``, ``val``, ``test`` or ``""``.
        fields: every other column of the manifest.
    """

    path: Path
    label: str = ""
    patient: str = ""
    source: str = ""
    split: str = ""
    fields: dict[str, str] = field(default_factory=dict, compare=False, repr=False)


def read_dataset(where: str | Path) -> list[LabelledImage]:
    """Reads a manifest, or a folder that has one or holds one folder per label.

    A manifest is a CSV file with a column ``file`` (relative to the manifest)
    and, where known, ``label``, ``patient_id`` or ``group_id``, ``source`` and
    ``split``. A folder may be ``LABEL/image`` or ``SPLIT/LABEL/image``; images
    directly in it have no label.

    Raises:
        DatasetError: nothing is there, or the manifest has no column ``file``.
    """
    where = Path(where)
    if where.is_dir() and (where / "manifest.csv").is_file():
        where = where / "manifest.csv"
    if where.is_dir():
        images = _from_folder(where)
    elif where.is_file():
        images = _from_manifest(where)
    else:
        raise DatasetError(f"{where}: no such manifest or folder; check the path")
    if not images:
        raise DatasetError(f"{where}: holds no radiograph ({', '.join(sorted(SUFFIXES))})")
    return images


def write_manifest(path: str | Path, images: Sequence[LabelledImage]) -> Path:
    """Writes a manifest for :func:`read_dataset`, with each radiograph's split.

    Raises:
        OutputError: the file cannot be written.
    """
    return files.write(path, manifest_text(images))


def manifest_text(images: Sequence[LabelledImage]) -> str:
    """What :func:`write_manifest` writes: files with their absolute path, so that the manifest may lie anywhere.

    What a spreadsheet would take for a formula is marked as text; :func:`read_dataset` removes the mark.
    """
    text = io.StringIO()
    rows = csv_cells.writer(text)
    rows.writerow(("file", "label", "patient_id", "source", "split"))
    records = ((str(c.path.resolve()), c.label, c.patient, c.source, c.split) for c in images)
    rows.writerows([cell(text) for text in row] for row in records)
    return text.getvalue()


def _from_manifest(path: Path) -> list[LabelledImage]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "file" not in (reader.fieldnames or ()):
                raise DatasetError(f"{path}: is no manifest: it has no column 'file' in its first line")
            rows = [{k: text_of(v or "") for k, v in row.items() if k} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: is no CSV file in UTF-8 ({error})") from error
    nameless = [i for i, row in enumerate(rows, 2) if not row["file"]]
    if nameless:
        raise DatasetError(
            f"{path}: no file is named in line {', '.join(map(str, nameless[:10]))}; fill it in or delete it"
        )
    return [_from_row(path.parent, row) for row in rows]


def _from_row(folder: Path, row: dict[str, str]) -> LabelledImage:
    # group_id joins patients whose images repeat, so it is the safer unit of splitting.
    patient = row.get("group_id") or row.get("patient_id") or ""
    return LabelledImage(
        folder / row["file"], row.get("label", ""), patient, row.get("source", ""), row.get("split", ""), row
    )


def _from_folder(folder: Path) -> list[LabelledImage]:
    images = []
    for path in sorted(p for p in folder.rglob("*") if has_suffix(p.name) and p.is_file()):
        parts = path.relative_to(folder).parts[:-1]
        split = parts[0] if len(parts) > 1 and parts[0] in ("train", "val", "test") else ""
        images.append(LabelledImage(path, label=parts[-1] if parts else "", split=split))
    return images
