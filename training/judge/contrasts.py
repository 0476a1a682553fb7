"""How well ill radiographs are told from normal ones, and covid from pneumonia, within one hospital."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.judge.figure import MIN_COUNT, Figure, auroc, missing, within
from training.judge.reading import NORMAL, Reading

PNEUMONIA, COVID, INDETERMINATE, OPACITY = "pneumonia", "covid", "indeterminate", "opacity"
# Sources of one hospital, whose radiographs may be compared with each other.
HOSPITALS = {
    "nih_boxed": "NIH: boxed opacities and RSNA normals",
    "rsna_normal": "NIH: boxed opacities and RSNA normals",
}


@dataclass(frozen=True)
class Contrast:
    """Radiographs of some labels against radiographs of others.

    Attributes:
        name: as the tables say it.
        positive, negative: labels.
        kind: whether covid is told from pneumonia, by its share of what is not normal, instead of ill from normal.
    """

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    kind: bool = False


ANY = Contrast("any opacity v negative", (COVID, INDETERMINATE, PNEUMONIA), (NORMAL,))
TYPICAL = Contrast("typical v negative", (COVID,), (NORMAL,))
OWN = (
    ANY,
    TYPICAL,
    Contrast("atypical v negative", (PNEUMONIA,), (NORMAL,)),
    Contrast("typical v atypical", (COVID,), (PNEUMONIA,), kind=True),
)
UNSEEN = (
    Contrast("ill v normal", (COVID, INDETERMINATE, PNEUMONIA, OPACITY), (NORMAL,)),
    Contrast("covid v pneumonia", (COVID,), (PNEUMONIA,), kind=True),
)


def sides(reading: Reading, contrast: Contrast) -> tuple[Reading, npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """The radiographs of either side, which of them are positive, and their scores."""
    part = reading.of(reading.labelled(*contrast.positive, *contrast.negative))
    scores = part.share(COVID) if contrast.kind and COVID in part.manifest.labels else part.ill
    return part, part.labelled(*contrast.positive), scores


def area(reading: Reading, contrast: Contrast) -> Figure:
    """AUROC of a contrast over all pairs."""
    part, positive, scores = sides(reading, contrast)
    positives, _, negatives = contrast.name.partition(" v ")
    return auroc(positive, scores, part.patients, (positives, negatives))


def area_within_matrix(reading: Reading, contrast: Contrast) -> Figure:
    """AUROC over the pairs of one pixel matrix (columns ``width0`` and ``height0``), which stands for the detector."""
    part, positive, scores = sides(reading, contrast)
    matrices = [(case.fields.get("width0"), case.fields.get("height0")) for case in part.cases]
    if not all(all(matrix) for matrix in matrices):
        return missing("the manifest has no width0 and height0")
    numbers = {matrix: i for i, matrix in enumerate(sorted(set(matrices), key=str))}
    return within(positive, scores, np.array([numbers[m] for m in matrices], int), part.patients)


def hospitals(reading: Reading) -> Iterator[tuple[str, Reading]]:
    """Each hospital and its radiographs; a source that shares none with another is one by itself."""
    names = [HOSPITALS.get(case.source, case.source) or "no source" for case in reading.cases]
    for hospital in sorted(set(names)):
        yield hospital, reading.of(np.array([name == hospital for name in names], bool))


def has_both(reading: Reading, contrast: Contrast) -> bool:
    """Whether there are radiographs enough on either side to say anything."""
    counts = (reading.labelled(*labels).sum() for labels in (contrast.positive, contrast.negative))
    return bool(min(counts) >= MIN_COUNT)
