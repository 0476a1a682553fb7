"""How much of the label the source gives away, and an image too small to show any disease.

Public sets of chest radiographs often have one class a hospital. A network then
learns the hospital, scores well, and fails in the next one. Each figure here is
what can be had without looking at a lung; only what a network does beyond them is
skill.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from convert import metrics

FOLDS = 5
STRONG = 0.75  # AUROC of a thumbnail from which the words grow serious


@dataclass(frozen=True)
class Confounding:
    """Of one data set; ``None`` where there is only one label or source, or too few patients of it.

    Attributes:
        cramers_v: 0 label and source have nothing to do with each other, 1 each tells the other.
        shared_bits, label_bits: mutual information of label and source, and what a label holds.
        from_source: accuracy of saying the commonest label of the radiograph's source.
        from_nothing: accuracy of always saying the commonest label.
        label_auroc, source_auroc: macro AUROC of a linear model on :func:`features`, patients held out.
    """

    cramers_v: float
    shared_bits: float
    label_bits: float
    from_source: float
    from_nothing: float
    label_auroc: float | None
    source_auroc: float | None

    def sentences(self) -> list[str]:
        """What it means, one sentence each."""
        lines = [
            f"Saying the commonest label of a film's source is right for {self.from_source:.0%}; "
            f"always saying the commonest label, for {self.from_nothing:.0%}.",
            f"Label and source: Cramer's V {self.cramers_v:.2f}; the source holds {self.shared_bits:.2f} of the "
            f"{self.label_bits:.2f} bits of the label.",
        ]
        for name, value in (("label", self.label_auroc), ("source", self.source_auroc)):
            if value is None:
                lines.append(f"The {name} was not guessed from thumbnails: too few patients, or only one {name}.")
            else:
                lines.append(f"An 8 x 8 thumbnail and the picture's size tell the {name} with AUROC {value:.2f}.")
        if self.cramers_v > 0.5:
            lines.append(
                "Label and source nearly coincide: a network can score well by telling the sources apart. "
                "Judge it source by source, and on a source held out (--hold-out)."
            )
        if self.label_auroc is not None and self.label_auroc > STRONG:
            lines.append(
                f"Hardly any disease can be seen in 8 x 8 pixels, so most of an AUROC of {self.label_auroc:.2f} comes "
                "from who was filmed, where and how. A network must clearly beat it, within one source, before it "
                "shows skill."
            )
        elif self.label_auroc is not None:
            lines.append("Thumbnails tell little of the label, which is as it should be.")
        return lines


def confounding(
    images: Sequence[Image.Image],
    sizes: Sequence[tuple[int, int]],
    labels: Sequence[str],
    sources: Sequence[str],
    patients: Sequence[str],
) -> Confounding:
    """Every figure; ``sizes`` are ``(width, height)`` of the files."""
    table = crosstab(labels, sources)
    rows = features(images, sizes)
    shared_bits, label_bits = mutual_information(table)
    return Confounding(
        cramers_v(table),
        shared_bits,
        label_bits,
        float(table.max(axis=0).sum() / max(table.sum(), 1)),
        float(table.sum(axis=1).max(initial=0) / max(table.sum(), 1)),
        auroc(rows, labels, patients),
        auroc(rows, sources, patients),
    )


def crosstab(labels: Sequence[str], sources: Sequence[str]) -> npt.NDArray[np.int64]:
    """``(labels, sources)`` counts, both sorted by name."""
    rows, columns = sorted(set(labels)), sorted(set(sources))
    table = np.zeros((len(rows), len(columns)), np.int64)
    for label, source in zip(labels, sources):
        table[rows.index(label), columns.index(source)] += 1
    return table


def cramers_v(table: npt.NDArray[np.int64]) -> float:
    """0 to 1; 0 if there is one row or column only."""
    smaller = min(table.shape) - 1
    if smaller < 1:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum() / smaller))


def mutual_information(table: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Bits that the columns tell of the rows, and bits of the rows."""

    def entropy(counts: npt.NDArray[np.int64]) -> float:
        share = counts[counts > 0] / counts.sum()
        return float((share * np.log2(1 / share)).sum())

    rows = entropy(table.sum(axis=1))
    return max(0.0, rows + entropy(table.sum(axis=0)) - entropy(table.ravel())), rows


def features(images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]]) -> npt.NDArray[np.float64]:
    """``(n, 69)``: an 8 x 8 thumbnail, mean, deviation, width, height and their ratio."""
    rows = []
    for image, (width, height) in zip(images, sizes):
        small = np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.float64).ravel()
        rows.append([*small, small.mean(), small.std(), math.log(width), math.log(height), math.log(width / height)])
    return np.array(rows, np.float64).reshape(len(images), 69)


def auroc(rows: npt.NDArray[np.float64], targets: Sequence[str], patients: Sequence[str]) -> float | None:
    """Macro AUROC of logistic regression, cross-validated over patients; ``None`` if there is nothing to tell apart.

    Targets with fewer patients than twice the folds are left out.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    patients_of = Counter(target for target, _ in set(zip(targets, patients)))
    names = sorted(name for name, count in patients_of.items() if count >= 2 * FOLDS)
    if len(names) < 2:
        return None
    indices = [i for i, target in enumerate(targets) if target in names]
    x, y = rows[indices], np.array([names.index(targets[i]) for i in indices])
    probability = np.zeros((len(indices), len(names)))
    folds: Any = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(x, y, [patients[i] for i in indices]):
        if len(set(y[train])) < len(names):
            return None
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
        probability[test] = model.fit(x[train], y[train]).predict_proba(x[test])
    return float(metrics.macro_auroc(y, probability))
