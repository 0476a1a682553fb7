"""Films that look wrong: inverted, turned, lateral, or with text burnt in. Nothing is thrown away: a person looks.

No weights come along. What an upright film looks like is learnt from the data
set itself: its own films, inverted and turned, are the examples of what is wrong,
and each film is judged by a model that has not seen its patient. So the figures
of :class:`Orientation` are of the very data set they are printed for. Where most
films are wrong, wrong is what it learns to expect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from covidnet_lite.dataset import Case

Array = npt.NDArray[np.float32]

WAYS = ("upright", "inverted", "turned left", "upside down", "turned right")
FOLDS = 5
FEWEST = 40  # films and patients; fewer teach nothing
SURE = 0.9  # probability of being other than upright from which a film is reported
LATERAL = ("L", "LL", "RL", "LLD", "RLD")  # DICOM's names of views from the side; words are searched too
SYMMETRY = -4.5  # robust standard deviations below the usual symmetry
LETTERS = 3  # strokes in a row from which there is text


@dataclass(frozen=True)
class Suspicion:
    """One film (its index), what it is suspected of (``inverted``, ``turned``, ``lateral``, ``text``) and why."""

    index: int
    kind: str
    reason: str


@dataclass(frozen=True)
class Orientation:
    """What was found of inverted and turned films, and how far to believe it.

    Attributes:
        suspicions: the films.
        recall: share found of this data set's own films when inverted and turned, each way.
        flagged: share of the films as they are that is reported: at most this many are false alarms.
    """

    suspicions: list[Suspicion]
    recall: dict[str, float]
    flagged: float


def orientation(images: Sequence[Image.Image], patients: Sequence[str]) -> Orientation | None:
    """Inverted and turned films; ``None`` if there are too few films or patients to learn from."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    if len(images) < FEWEST or len(set(patients)) < FEWEST:
        return None
    thumbnails = np.stack([_thumbnail(image) for image in images])
    shown = np.stack([-thumbnails if way == 1 else np.rot90(thumbnails, max(0, way - 1), (1, 2)) for way in range(5)])
    features = shown.reshape(len(WAYS), len(images), -1)
    probability = np.zeros((len(WAYS), len(images), len(WAYS)), np.float32)
    for seen, unseen in GroupKFold(FOLDS).split(thumbnails, groups=list(patients)):
        model = LogisticRegression(C=0.01, max_iter=300)
        model.fit(np.concatenate(features[:, seen]), np.repeat(np.arange(len(WAYS)), len(seen)))
        for way in range(len(WAYS)):
            probability[way, unseen] = model.predict_proba(features[way, unseen])
    sure = probability[..., 0] < 1 - SURE
    found = [
        _orientated(int(i), int(probability[0, i, 1:].argmax()) + 1, float(1 - probability[0, i, 0]))
        for i in np.flatnonzero(sure[0])
    ]
    recall = {name: float(sure[way].mean()) for way, name in enumerate(WAYS) if way}
    return Orientation(found, recall, float(sure[0].mean()))


def laterals(cases: Sequence[Case], images: Sequence[Image.Image]) -> list[Suspicion]:
    """Views from the side: where the manifest's column ``view`` says so, else a hint where left and right differ most.

    The hint is a guess: a whited-out lung or a badly turned patient gives it too.
    """
    balance = np.array([_symmetry(_thumbnail(image)) for image in images])
    spread = np.median(np.abs(balance - np.median(balance))) * 1.4826 if len(balance) else 0.0
    found = []
    for i, case in enumerate(cases):
        view = case.fields.get("view", "").strip()
        if view.upper() in LATERAL or "LATERAL" in view.upper():
            found.append(Suspicion(i, "lateral", f"the manifest says view {view}"))
        elif not view and len(images) >= FEWEST and (balance[i] - np.median(balance)) < SYMMETRY * max(spread, 1e-3):
            found.append(Suspicion(i, "lateral", "left and right differ unusually; a hint, maybe a view from the side"))
    return found


def burnt_in(images: Sequence[Image.Image]) -> list[Suspicion]:
    """Text: rows of small, sharp, almost white marks near the edge. A single letter, as of a side marker, is none."""
    counts = [strokes(image) for image in images]
    return [
        Suspicion(i, "text", f"{count} marks like letters in a row near the edge")
        for i, count in enumerate(counts)
        if count >= LETTERS
    ]


def strokes(image: Image.Image) -> int:
    """The most letter-like marks in a row, across or down, near the edge of an 8-bit gray picture."""
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
    named, _ = ndimage.label((pixels > 170) & (pixels - dark_beside > 80), np.ones((3, 3)))
    found = []
    for number, place in enumerate(ndimage.find_objects(named), 1):
        height, width = (s.stop - s.start for s in place)
        y, x = ((s.start + s.stop) / 2 for s in place)
        near = min(y / pixels.shape[0], x / pixels.shape[1], 1 - y / pixels.shape[0], 1 - x / pixels.shape[1]) < 0.2
        if near and 4 <= max(height, width) <= 0.09 * side and min(height, width) >= 2:
            inside = named[place] == number
            if 0.15 <= inside.mean() <= 0.95:
                found.append((y, x, height, width))
    return np.array(found, np.float32).reshape(-1, 4)


def _orientated(index: int, way: int, sure: float) -> Suspicion:
    kind = "inverted" if way == 1 else "turned"
    return Suspicion(index, kind, f"looks {WAYS[way]} ({sure:.0%} sure)")


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
