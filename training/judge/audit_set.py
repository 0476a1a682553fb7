"""The radiographs that a network is judged on: those of its own hospitals that it was not trained on, and all
others."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import DatasetError
from training.data.supervision import Source, trained_on

# Labels that are no class -> the classes that are right for them.
OPEN = {"indeterminate": ("pneumonia", "covid"), "opacity": ("pneumonia", "covid")}
# Beside a manifest: radiographs that the readers of a challenge graded normal, whatever the manifest's label.
WRONG = "rsna_normal.csv"


@dataclass(frozen=True)
class AuditSet:
    """What a network is judged on.

    Attributes:
        training: of its own hospitals, those that it was trained on, for baselines that need training too.
        own: of the first manifest, the validation and test splits.
        unseen: of the other manifests, those of patients that it was not trained on.
        partly: sources in the other manifests of which it was trained on some patients, or splits, but not on these.
    """

    training: tuple[LabelledImage, ...]
    own: tuple[LabelledImage, ...]
    unseen: tuple[LabelledImage, ...]
    partly: tuple[str, ...] = ()


def right_classes(label: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The classes that are right for a radiograph of this label; none where the network has no such class."""
    right = OPEN.get(label, (label,)) if label not in labels else (label,)
    return tuple(name for name in right if name in labels)


def read_audit_set(
    manifests: Sequence[Path],
    labels: Sequence[str],
    sources: Mapping[str, Source],
    wrong: Sequence[Path] = (),
) -> AuditSet:
    """Reads the manifests, that of the network's own hospitals first.

    Args:
        manifests: each a manifest.csv, or a folder that holds one.
        labels: of the network; radiographs of which no class can be right are left out.
        sources: what its recipe trains on; where it names none, that is every split called ``train``.
        wrong: CSV files with the columns ``file`` and ``label_in_manifest``: radiographs graded normal by readers.
            Those with another label are left out. :data:`WRONG` beside a manifest is read anyway.

    Raises:
        DatasetError: a file cannot be read, or there is no radiograph of the network's own hospitals to judge it on.
    """
    first, *others = [_read_manifest(path, labels, wrong) for path in manifests]
    training = tuple(case for case in first if _is_training(case, sources))
    own = tuple(case for case in first if case.split in ("val", "test") and not _is_training(case, sources))
    elsewhere = [case for cases in others for case in cases]
    seen = [case for case in elsewhere if _is_training(case, sources)]
    patients = {case.patient for case in (*training, *seen) if case.patient}
    unseen = tuple(c for c in elsewhere if c.patient not in patients and not _is_training(c, sources))
    partly = tuple(sorted({case.source for case in seen}))
    if not any(case.split == "test" for case in own):
        raise DatasetError(f"{manifests[0]}: no film labelled {', '.join(labels)} is in the test split; check --data")
    return AuditSet(training, own, unseen, partly)


def _is_training(case: LabelledImage, sources: Mapping[str, Source]) -> bool:
    if not sources:
        return case.split == "train"
    return case.source in sources and trained_on(case, sources[case.source])


def _read_manifest(path: Path, labels: Sequence[str], wrong: Sequence[Path]) -> list[LabelledImage]:
    folder = path if path.is_dir() else path.parent
    lists = [*wrong, *([folder / WRONG] if (folder / WRONG).is_file() else [])]
    graded_normal = {folder / name for listed in lists for name in _listed_files(listed)}
    return [
        case
        for case in read_dataset(path)
        if right_classes(case.label, labels) and (case.label == "normal" or case.path not in graded_normal)
    ]


def _listed_files(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [row["file"] for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DatasetError(f"{path}: cannot be read as a CSV with a column 'file' ({error})") from error
