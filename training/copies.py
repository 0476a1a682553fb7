"""Pictures that are copies of one another although they are in different splits or of different patients."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from covidnet_lite import radiograph
from covidnet_lite.cases import Case
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from training.figure import Figure, count, missing

SIDE = 256  # pixels of the longer side: enough to tell a copy, and a data set fits into memory

Pair = dict[str, Any]


def pairs(cases: Sequence[Case]) -> list[Pair]:
    """Near-duplicates, most alike first: the names, splits and patients of both.

    Raises:
        DatasetError: a radiograph cannot be read.
    """
    from training.duplicates import near_duplicates

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(_small, cases))
    return [_pair(cases[i], cases[j], alike) for i, j, alike in near_duplicates(images)]


def _small(case: Case) -> Image.Image:
    try:
        image = radiograph.read(case.path, (SIDE, SIDE)).image
    except CovidNetLiteError as error:
        raise DatasetError(f"this radiograph cannot be read: {error}") from error
    image.thumbnail((SIDE, SIDE))
    return image


def _pair(one: Case, other: Case, alike: float) -> Pair:
    both = (one, other)
    return {
        "files": [case.path.name for case in both],
        "splits": [case.split for case in both],
        "patients": [case.patient for case in both],
        "labels": [case.label for case in both],
        "likeness": round(alike, 4),
    }


def across_splits(pair: Pair) -> bool:
    """Whether both are in a split, and in different ones."""
    return _differ(pair["splits"])


def _differ(both: Sequence[str]) -> bool:
    return all(both) and len(set(both)) == 2


def copies(cases: Sequence[Case], found: Sequence[Pair]) -> dict[str, Figure]:
    """How many of :func:`pairs` no split or patient should have apart."""
    lines = {"images compared": count(len(cases)), "pairs of copies": count(len(found))}
    across = "pairs in different splits"
    if len({case.split for case in cases if case.split}) < 2:
        lines[across] = missing("the data has no splits")
    else:
        lines[across] = count(sum(across_splits(pair) for pair in found))
    apart = "pairs under two patients"
    if not any(case.patient for case in cases):
        lines[apart] = missing("no patient is named")
    else:
        lines[apart] = count(sum(_differ(pair["patients"]) for pair in found))
    return lines
