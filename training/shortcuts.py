"""How much of an answer can be had without looking at lungs: the source in the embedding, and a baseline of trifles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from convert.calibration import gather
from covidnet_lite import radiograph
from covidnet_lite.cases import Case
from covidnet_lite.errors import MissingExtraError
from training.evaluate import Answers
from training.figure import Array, Figure, macro_auroc, missing, percent, share_of
from training.yardsticks import is_label, yardsticks

FOLDS = 5
THUMBNAIL = 8  # pixels a side
BYTES = "source_bytes"  # the manifest's column: size of the file as its source gives it


# --- the source in the embedding


def source_from_embedding(answers: Answers) -> dict[str, Figure]:
    """How well a linear classifier reads the source from the embedding, over all images and given the label.

    Cross-validated, no patient in two folds. A network that looks at disease only
    would leave it at the share of the largest source, once the label is given.
    """
    if "embedding" not in answers.outputs:
        return {"source from embedding": missing("the network gives no embedding")}
    lines = _sources("source", answers)
    for label in answers.labels:
        lines |= _sources(f"source given {label}", answers.of(is_label(answers, label)))
    return lines


def _sources(title: str, answers: Answers) -> dict[str, Figure]:
    """Only sources with a patient for each fold count."""
    members: dict[str, set[str]] = defaultdict(set)
    for case, patient in zip(answers.cases, answers.patients):
        members[case.source].add(patient)
    sources = sorted(s for s, patients in members.items() if s and len(patients) >= FOLDS)
    if len(sources) < 2:
        return {title: missing(f"fewer than two sources with {FOLDS} patients")}
    part = answers.of(np.array([case.source in sources for case in answers.cases]))
    truth = np.array([sources.index(case.source) for case in part.cases])
    guessed = cross_validated(part.outputs["embedding"], truth, part.patients)
    most = np.bincount(truth).max()
    return {
        f"{title}: accuracy": share_of(guessed.argmax(axis=1) == truth),
        f"{title}: share of the largest": percent(float(most / len(truth))),
        f"{title}: macro AUROC": macro_auroc(truth, guessed, part.patients, sources),
    }


def cross_validated(features: Array, truth: Array, groups: Array) -> Array:
    """``(n, classes)`` probabilities of a linear classifier for images of groups that it was not fitted on."""
    classifier = linear()  # first, for it says when scikit-learn is not there
    from sklearn.model_selection import StratifiedGroupKFold

    guessed = np.zeros((len(truth), truth.max() + 1))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for fitted, judged in folds.split(features, truth, groups):
        classifier.fit(features[fitted], truth[fitted])
        guessed[judged[:, None], classifier.classes_] = classifier.predict_proba(features[judged])
    return guessed


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


# --- a baseline of trifles


def baseline(train: Sequence[Case], judged: Answers) -> dict[str, Figure]:
    """Accuracy, AUROC and yardsticks of a classifier that sees a thumbnail and facts about the file, and no lung.

    What it reaches, a network reaches without having learnt anything of medicine.
    """
    train = [case for case in train if case.label in judged.labels]
    if len({case.label for case in train}) < 2:
        return {
            "thumbnail and file facts": missing(
                "no train split, apart from what is judged, with two labels to fit it on"
            )
        }
    whole = all(_number(case.fields.get(BYTES, "")) for case in (*train, *judged.cases))
    targets = np.array([judged.labels.index(case.label) for case in train])
    classifier = linear().fit(trifles(train, whole), targets)
    probabilities = np.zeros_like(judged.probabilities, dtype=float)
    probabilities[:, classifier.classes_] = classifier.predict_proba(trifles(judged.cases, whole))
    told = Answers("trifles", judged.labels, judged.cases, judged.targets, probabilities, 0.0)
    return {
        "accuracy": share_of(told.correct),
        "macro AUROC": macro_auroc(judged.targets, probabilities, judged.patients, judged.labels),
        **yardsticks(told),
    }


def trifles(cases: Sequence[Case], with_bytes: bool) -> Array:
    """``(n, features)``: an 8 x 8 thumbnail, width, height, aspect, gray mean and spread, sizes of the files.

    Raises:
        DatasetError: a radiograph cannot be read.
    """

    def one(case: Case) -> list[float]:
        read = radiograph.read(case.path)
        gray = np.asarray(read.image, float)
        small = np.asarray(read.image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), float)
        sizes = [case.path.stat().st_size, *([_number(case.fields[BYTES])] if with_bytes else [])]
        shape = [read.width, read.height, read.width / read.height]
        return [*small.ravel(), *shape, gray.mean(), gray.std(), *np.log(sizes)]

    return np.array(gather(cases, one), float)


def _number(text: str) -> float:
    """A positive number, or 0 for anything else."""
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0
