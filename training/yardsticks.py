"""Figures that a network cannot reach by recognising the hospital, and what its answers would mean in practice.

Accuracy over pooled sources mostly says that sources differ. The honest rows are
those inside one source that has both classes, and on pairs matched by view,
detector and file size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from training.evaluate import Answers, by_source, judge
from training.figure import Figure, auroc, macro_auroc, missing, percent, share_of

NORMAL, PNEUMONIA, COVID = "normal", "pneumonia", "covid"
PREVALENCES = (0.01, 0.05, 0.2)
PAIR = "matched_pair"  # the manifest's column


def accuracy(answers: Answers) -> dict[str, Figure]:
    """What ``training/evaluate.py`` prints, over all images; then the accuracy inside each source."""
    figures = judge(answers)
    whole = figures["all"]
    lines = {
        "accuracy": whole["accuracy"],
        "macro AUROC": macro_auroc(answers.targets, answers.probabilities, answers.patients, answers.labels),
    }
    for label, found in whole["classes"].items():
        lines |= {f"{label}: sensitivity": found["sensitivity"], f"{label}: specificity": found["specificity"]}
    return lines | {f"accuracy in {source}": part["accuracy"] for source, part in figures["sources"].items()}


def yardsticks(answers: Answers) -> dict[str, Figure]:
    """COVID-19 against pneumonia within one source, normal against pneumonia on matched pairs."""
    return {**_within_sources(answers), "normal against pneumonia, matched pairs": _on_pairs(answers)}


def _within_sources(answers: Answers) -> dict[str, Figure]:
    title = "covid against pneumonia within"
    if lacking := lacks(answers, COVID, PNEUMONIA):
        return {f"{title} a source": lacking}
    lines = {f"{title} {source}": between(part, COVID, PNEUMONIA) for source, part in _mixed(answers)}
    return lines or {f"{title} a source": missing("no source has both")}


def _on_pairs(answers: Answers) -> Figure:
    if lacking := lacks(answers, NORMAL, PNEUMONIA):
        return lacking
    paired = answers.of(np.array([bool(case.fields.get(PAIR)) for case in answers.cases], bool))
    return between(paired, NORMAL, PNEUMONIA) if paired.cases else missing(f"no image has a {PAIR}")


def _mixed(answers: Answers) -> Iterator[tuple[str, Answers]]:
    """The sources that have COVID-19 and pneumonia."""
    for source, part in by_source(answers):
        labels = {case.label for case in part.cases}
        if source and {COVID, PNEUMONIA} <= labels:
            yield source, part


def between(answers: Answers, label: str, other: str) -> Figure:
    """AUROC of a label's probability, of its images against those of another label."""
    two = answers.of(is_label(answers, label) | is_label(answers, other))
    scores = two.probabilities[:, two.labels.index(label)]
    return auroc(is_label(two, label), scores, two.patients, (label, other))


def against_rest(answers: Answers, label: str) -> Figure:
    """AUROC of a label's probability, of its images against all others."""
    scores = answers.probabilities[:, answers.labels.index(label)]
    return auroc(is_label(answers, label), scores, answers.patients, (label, "other"))


def is_label(answers: Answers, label: str) -> npt.NDArray[np.bool_]:
    """Which cases are of a label."""
    return np.array([case.label == label for case in answers.cases], bool)


def says(answers: Answers, label: str) -> npt.NDArray[np.bool_]:
    """Of which cases the network says so, before it abstains."""
    return np.asarray(answers.probabilities.argmax(axis=1) == answers.labels.index(label))


def lacks(answers: Answers, *labels: str) -> Figure | None:
    """Why there can be no figure, where the network does not know one of the labels."""
    unknown = [label for label in labels if label not in answers.labels]
    return missing(f"the network has no label {', '.join(unknown)}") if unknown else None


def false_covid(answers: Answers) -> dict[str, Figure]:
    """How often a normal film is called COVID-19 before the network abstains, by source."""
    title = "normal films called covid"
    if lacking := lacks(answers, NORMAL, COVID):
        return {title: lacking}
    normal = answers.of(is_label(answers, NORMAL))
    if not normal.cases:
        return {title: missing("no normal film")}
    lines = {title: _called(normal, COVID)}
    return lines | {f"{title} in {source or 'no source'}": _called(part, COVID) for source, part in by_source(normal)}


def _called(answers: Answers, label: str) -> Figure:
    return share_of(says(answers, label))


def predictive_values(answers: Answers) -> dict[str, Figure]:
    """What "covid" and "not covid" would be worth where fewer have it than here.

    From sensitivity and specificity before the network abstains; the ends of an
    interval are those of both Wilson intervals together, so it is rather too wide.
    """
    if lacking := lacks(answers, COVID):
        return {"covid: predictive values": lacking}
    covid, said = is_label(answers, COVID), says(answers, COVID)
    if covid.all() or not covid.any():
        return {"covid: predictive values": missing("needs images with covid and without")}
    found, passed = share_of(said, covid), share_of(~said, ~covid)
    ends = [(found["value"], passed["value"]), *zip(found["interval"], passed["interval"])]
    lines = {}
    for prevalence in PREVALENCES:
        value, low, high = (_positive_value(*pair, prevalence) for pair in ends)
        lines[f'"covid" is right where {prevalence:.0%} have it'] = percent(value, (low, high))
    for prevalence in PREVALENCES:
        value, low, high = (_positive_value(b, a, 1 - prevalence) for a, b in ends)
        lines[f'"not covid" is right where {prevalence:.0%} have it'] = percent(value, (low, high))
    return lines


def _positive_value(sensitivity: float, specificity: float, prevalence: float) -> float:
    true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return true / (true + false) if true + false else 0.0
