"""The films that a network is judged on: those of its own hospitals that it was not trained on, and all others."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covidnet_lite.dataset import Case, read_cases
from covidnet_lite.errors import DatasetError
from training.data.supervision import Source, trained_on

# Labels that are no class -> the classes that are right for them.
OPEN = {"indeterminate": ("pneumonia", "covid"), "opacity": ("pneumonia", "covid")}
WRONG = "rsna_normal.csv"  # beside a manifest: films that the readers of a challenge graded normal, whatever its label


@dataclass(frozen=True)
class Films:
    """What a network is judged on.

    Attributes:
        taught: of its own hospitals, those that it was trained on, for baselines that need training too.
        home: of the first manifest, the validation and test splits.
        away: of the other manifests, those that it was not trained on.
        partly: sources in the other manifests of which it was trained on some patients, or splits, but not on these.
    """

    taught: tuple[Case, ...]
    home: tuple[Case, ...]
    away: tuple[Case, ...]
    partly: tuple[str, ...] = ()


def means(label: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The classes that are right for a film of this label; none where the network has no such class."""
    right = OPEN.get(label, (label,)) if label not in labels else (label,)
    return tuple(name for name in right if name in labels)


def read_films(
    manifests: Sequence[Path],
    labels: Sequence[str],
    sources: Mapping[str, Source],
    wrong: Sequence[Path] = (),
) -> Films:
    """Reads the manifests, that of the network's own hospitals first.

    Args:
        manifests: each a manifest.csv, or a folder that holds one.
        labels: of the network; films of which no class can be right are left out.
        sources: what its recipe trains on; where it names none, that is every split called ``train``.
        wrong: CSV files with the columns ``file`` and ``label_in_manifest``: films graded normal by readers. Those with
            another label are left out. :data:`WRONG` beside a manifest is read anyway.

    Raises:
        DatasetError: a file cannot be read, or there is no film of the network's own hospitals to judge it on.
    """
    own, *others = [_known(path, labels, wrong) for path in manifests]
    taught = tuple(case for case in own if _taught(case, sources))
    home = tuple(case for case in own if case.split in ("val", "test") and not _taught(case, sources))
    away = [case for cases in others for case in cases]
    partly = tuple(sorted({case.source for case in away if _taught(case, sources)}))
    if not any(case.split == "test" for case in home):
        raise DatasetError(f"{manifests[0]}: no film labelled {', '.join(labels)} is in the test split; check --data")
    return Films(taught, home, tuple(case for case in away if not _taught(case, sources)), partly)


def _taught(case: Case, sources: Mapping[str, Source]) -> bool:
    if not sources:
        return case.split == "train"
    return case.source in sources and trained_on(case, sources[case.source])


def _known(path: Path, labels: Sequence[str], wrong: Sequence[Path]) -> list[Case]:
    folder = path if path.is_dir() else path.parent
    lists = [*wrong, *([folder / WRONG] if (folder / WRONG).is_file() else [])]
    graded_normal = {folder / name for listed in lists for name in _listed(listed)}
    return [
        case
        for case in read_cases(path)
        if means(case.label, labels) and (case.label == "normal" or case.path not in graded_normal)
    ]


def _listed(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [row["file"] for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DatasetError(f"{path}: cannot be read as a CSV with a column 'file' ({error})") from error
