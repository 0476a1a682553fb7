"""Baselines that see no lung: what they reach, a network reaches without having learnt anything of medicine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from convert.quantisation.representative_images import gather
from covidnet_lite import radiograph
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import MissingExtraError
from training.judge.contrasts import Contrast
from training.judge.figure import Figure, auroc, missing
from training.judge.outputs import cached, digest

Features = npt.NDArray[np.float64]

THUMBNAIL, RING = 8, 16  # pixels a side
LEVELS = (1, 5, 25, 50, 75, 95, 99)  # percentiles of the grey levels


def thumbnail(image: Image.Image) -> list[float]:
    """An image of 8 x 8 pixels, too small to show any disease, and the radiograph's aspect ratio."""
    return [*_shrunk(image, THUMBNAIL).ravel(), _aspect(image)]


def surround(image: Image.Image) -> list[float]:
    """Grey statistics, the outer ring of an image of 16 x 16 pixels, and the radiograph's aspect ratio."""
    grey, small = np.asarray(image, float), _shrunk(image, RING)
    ring = np.concatenate([small[0], small[-1], small[1:-1, 0], small[1:-1, -1]])
    return [grey.mean(), grey.std(), *np.percentile(grey, LEVELS), *ring, _aspect(image)]


BASELINES: dict[str, Callable[[Image.Image], list[float]]] = {
    "thumbnail of 8 x 8": thumbnail,
    "frame, no lungs": surround,
}


def baselines(
    training: Sequence[LabelledImage], test: Sequence[LabelledImage], contrast: Contrast, folder: Path
) -> dict[str, Figure]:
    """AUROC of a contrast by logistic regression on each of :data:`BASELINES`, fitted on ``training``.

    ``folder`` keeps the features. Raises :class:`DatasetError` where a radiograph cannot be read.
    """
    row = {}
    labels = (*contrast.positive, *contrast.negative)
    sides = [[case.label in contrast.positive for case in cases if case.label in labels] for cases in (training, test)]
    test_cases = [case for case in test if case.label in labels]
    patients = np.array([case.patient or str(case.path) for case in test_cases], str)
    for name, features in BASELINES.items():
        if len(set(sides[0])) < 2:
            row[name] = missing("no film to fit it on")
            continue
        x, y = (
            table[[case.label in labels for case in cases]]
            for cases in (training, test)
            for table in [features_of(cases, features, folder)]
        )
        scores = linear().fit(x, sides[0]).decision_function(y)
        row[name] = auroc(np.array(sides[1], bool), scores, patients)
    return row


def features_of(
    cases: Sequence[LabelledImage], features: Callable[[Image.Image], list[float]], folder: Path
) -> Features:
    """``(n, features)``, kept in the folder."""
    path = folder / f"{features.__name__}.{digest(cases)}.npz"
    return cached(path, partial(_compute, cases, features))["features"]


def _compute(cases: Sequence[LabelledImage], features: Callable[[Image.Image], list[float]]) -> dict[str, Features]:
    return {"features": np.array(gather(cases, lambda case: features(radiograph.read(case.path).image)), float)}


def linear() -> Any:
    """A logistic regression on standardised features.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtraError("the audit needs scikit-learn: pip install 'covidnet-lite[training]'") from None
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def _shrunk(image: Image.Image, side: int) -> npt.NDArray[np.float64]:
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float64)


def _aspect(image: Image.Image) -> float:
    return float(np.log(image.width / image.height))
