"""Films that look wrong: inverted, turned, lateral, or with text burnt in. Nothing is thrown away: a person looks.

No weights come along. What an upright radiograph looks like is learnt from the data
set itself: its own radiographs, inverted and turned, are the examples of what is wrong,
and each radiograph is judged by a model that has not seen its patient. So the figures
of :class:`Orientation` are of the very data set they are printed for. Where most
radiographs are wrong, wrong is what it learns to expect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from covidnet_lite.dataset import LabelledImage

Array = npt.NDArray[np.float32]

ORIENTATIONS = ("upright", "inverted", "turned left", "upside down", "turned right")
FOLDS = 5
MIN_COUNT = 40  # radiographs and patients; fewer teach nothing
THRESHOLD = 0.9  # probability of being other than upright from which a radiograph is reported
LATERAL = ("L", "LL", "RL", "LLD", "RLD")  # DICOM's names of views from the side; words are searched too
SYMMETRY = -4.5  # robust standard deviations below the usual symmetry
LETTERS = 3  # strokes in a row from which there is text


@dataclass(frozen=True)
class Suspicion:
    """One radiograph (its index), what it is suspected of (``inverted``, ``turned``, ``lateral``, ``text``) and why."""

    index: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Orientation:
    """What was found of inverted and turned radiographs, and how far to believe it.

    Attributes:
        suspicions: the radiographs.
        recall: share found of this data set's own radiographs when inverted and turned, each way.
        flagged: share of the radiographs as they are that is reported: at most this many are false alarms.
    """

    suspicions: list[Suspicion]
    recall: dict[str, float]
    flagged: float


def orientation(images: Sequence[Image.Image], patients: Sequence[str]) -> Orientation | None:
    """Inverted and turned radiographs; ``None`` if there are too few radiographs or patients to learn from."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    if len(images) < MIN_COUNT or len(set(patients)) < MIN_COUNT:
        return None
    thumbnails = np.stack([_thumbnail(image) for image in images])
    versions = np.stack(
        [-thumbnails if index_ == 1 else np.rot90(thumbnails, max(0, index_ - 1), (1, 2)) for index_ in range(5)]
    )
    features = versions.reshape(len(ORIENTATIONS), len(images), -1)
    probability = np.zeros((len(ORIENTATIONS), len(images), len(ORIENTATIONS)), np.float32)
    for train, test in GroupKFold(FOLDS).split(thumbnails, groups=list(patients)):
        model = LogisticRegression(C=0.01, max_iter=300)
        model.fit(np.concatenate(features[:, train]), np.repeat(np.arange(len(ORIENTATIONS)), len(train)))
        for index_ in range(len(ORIENTATIONS)):
            probability[index_, test] = model.predict_proba(features[index_, test])
    is_reported = probability[..., 0] < 1 - THRESHOLD
    suspicions = [
        _orientated(int(i), int(probability[0, i, 1:].argmax()) + 1, float(1 - probability[0, i, 0]))
        for i in np.flatnonzero(is_reported[0])
    ]
    recall = {name: float(is_reported[index_].mean()) for index_, name in enumerate(ORIENTATIONS) if index_}
    return Orientation(suspicions, recall, float(is_reported[0].mean()))


def laterals(cases: Sequence[LabelledImage], images: Sequence[Image.Image]) -> list[Suspicion]:
    """Views from the side: where the manifest's column ``view`` says so, else a hint where left and right differ most.

    The hint is a guess: a whited-out lung or a badly turned patient gives it too.
    """
    balance = np.array([_symmetry(_thumbnail(image)) for image in images])
    spread = np.median(np.abs(balance - np.median(balance))) * 1.4826 if len(balance) else 0.0
    suspicions = []
    for i, case in enumerate(cases):
        view = case.fields.get("view", "").strip()
        if view.upper() in LATERAL or "LATERAL" in view.upper():
            suspicions.append(Suspicion(i, "lateral", f"the manifest says view {view}"))
        elif not view and len(images) >= MIN_COUNT and (balance[i] - np.median(balance)) < SYMMETRY * max(spread, 1e-3):
            suspicions.append(
                Suspicion(i, "lateral", "left and right differ unusually; a hint, maybe a view from the side")
            )
    return suspicions


def burnt_in(images: Sequence[Image.Image]) -> list[Suspicion]:
    """Text: rows of small, sharp, almost white marks near the edge. A single letter, as of a side marker, is none."""
    counts = [strokes(image) for image in images]
    return [
        Suspicion(i, "text", f"{count} marks like letters in a row near the edge")
        for i, count in enumerate(counts)
        if count >= LETTERS
    ]


def strokes(image: Image.Image) -> int:
    """The most letter-like marks in a row, across or down, near the edge of an 8-bit gray image."""
    factor = 320 / min(image.size)
    if factor < 1:
        image = image.resize([round(s * factor) for s in image.size], Image.Resampling.BILINEAR)
    marks = _marks(image)
    if not len(marks):
        return 0
    y, x, height, width = marks.T
    down, across = np.abs(y[:, None] - y), np.abs(x[:, None] - x)
    row = (down < height / 2) & (across < 6 * height) & _alike(height)
    column = (across < width / 2) & (down < 6 * width) & _alike(width)
    return int(max(row.sum(axis=1).max(), column.sum(axis=1).max()))


def _alike(lengths: Array) -> npt.NDArray[np.bool_]:
    ratio = lengths[:, None] / lengths
    return np.asarray((ratio < 1.5) & (ratio > 1 / 1.5))


def _marks(image: Image.Image) -> Array:
    """``(n, 4)``: middle and size, in y and x, of bright spots as small as letters and as sharp."""
    from scipy import ndimage

    pixels, side = np.asarray(image, np.float32), min(image.size)
    dark_beside = ndimage.minimum_filter(pixels, 7)
    labels, _ = ndimage.label((pixels > 170) & (pixels - dark_beside > 80), np.ones((3, 3)))
    marks = []
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        height, width = (s.stop - s.start for s in place)
        y, x = ((s.start + s.stop) / 2 for s in place)
        near = min(y / pixels.shape[0], x / pixels.shape[1], 1 - y / pixels.shape[0], 1 - x / pixels.shape[1]) < 0.2
        if near and 4 <= max(height, width) <= 0.09 * side and min(height, width) >= 2:
            inside = labels[place] == number
            if 0.15 <= inside.mean() <= 0.95:
                marks.append((y, x, height, width))
    return np.array(marks, np.float32).reshape(-1, 4)


def _orientated(index: int, orientation_: int, probability: float) -> Suspicion:
    kind = "inverted" if orientation_ == 1 else "turned"
    return Suspicion(index, kind, f"looks {ORIENTATIONS[orientation_]} ({probability:.0%} sure)")


def _thumbnail(image: Image.Image) -> Array:
    """``(16, 16)`` of mean 0 and deviation 1, its contrast stretched."""
    small = ImageOps.autocontrast(image.resize((16, 16), Image.Resampling.BILINEAR, reducing_gap=2.0), cutoff=1)
    pixels = np.asarray(small, np.float32)
    return np.asarray((pixels - pixels.mean()) / max(float(pixels.std()), 1.0), np.float32)


def _symmetry(thumbnail: Array) -> float:
    """Correlation with its own mirror image about the best of the middle columns."""
    best = -1.0
    for shift in range(-3, 4):
        part = thumbnail[:, max(0, shift) : 16 + min(0, shift)]
        one, two = part - part.mean(), part[:, ::-1] - part.mean()
        best = max(best, float((one * two).sum() / max(float((one**2).sum()), 1e-6)))
    return best
