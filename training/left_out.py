"""What networks say of a source they never saw, from a CSV of their predictions.

Each row is one image: ``left_out`` (the source that the network had to do
without), ``file``, ``label``, ``patient``, ``source``, ``split``, and a
probability for each label. The rows of a left-out source are unseen; those of the
test split of the other sources were held out, but their source was seen. A column
``refused`` (0 or 1), where there is one, says what the guard did.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from covidnet_lite.cases import Case
from covidnet_lite.errors import DatasetError
from training.evaluate import Answers, by_source
from training.figure import Array, Figure, auroc, missing, share_of
from training.yardsticks import COVID, NORMAL, is_label, lacks, says

KNOWN = ("left_out", "file", "label", "patient", "source", "split")
REFUSED = "refused"


def read(path: Path, threshold: float = 0.0) -> dict[str, Answers]:
    """The source left out -> what the network said, of unseen images and of the test split.

    ``threshold`` is the confidence from which it answers.

    Raises:
        DatasetError: the file is missing or no such CSV.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; check the path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as CSV ({error}); write it again") from error
    columns = [name for name in rows[0] if name] if rows else []
    labels = tuple(name for name in columns if name not in (*KNOWN, REFUSED))
    if not set(KNOWN) <= set(columns) or len(labels) < 2:
        raise DatasetError(f"{path}: needs the columns {', '.join(KNOWN)} and one of probabilities for each label")
    sources = sorted({row["left_out"] for row in rows})
    return {s: _answers(path, s, labels, [row for row in rows if row["left_out"] == s], threshold) for s in sources}


def _answers(
    path: Path, left_out: str, labels: tuple[str, ...], rows: list[dict[str, str]], threshold: float
) -> Answers:
    rows = [r for r in rows if r["label"] in labels and (r["source"] == left_out or r["split"] == "test")]
    cases = [
        Case(Path(r["file"]), r["label"], r["patient"], r["source"], r["split"], {REFUSED: r.get(REFUSED, "")})
        for r in rows
    ]
    targets = np.array([labels.index(case.label) for case in cases], int)
    try:
        probabilities = np.array([[float(r[label]) for label in labels] for r in rows]).reshape(-1, len(labels))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: a probability is no number ({error}); write it again") from error
    if not np.isfinite(probabilities).all():
        raise DatasetError(f"{path}: a probability is not finite; write it again")
    return Answers(f"without {left_out}", labels, cases, targets, probabilities, threshold)


def left_out(path: Path | None, threshold: float = 0.0) -> dict[str, Figure]:
    """Every figure of every source that was left out; the networks answer from a confidence of ``threshold``.

    Raises:
        DatasetError: the file is no such CSV.
    """
    if path is None:
        return {"a source": missing("no file of predictions; pass --left-out")}
    lines: dict[str, Figure] = {}
    for source, answers in read(path, threshold).items():
        lines |= {f"{source}: {name}": figure for name, figure in _of_source(source, answers)}
    return lines


def _of_source(source: str, answers: Answers) -> Iterator[tuple[str, Figure]]:
    unseen = _of(answers, source)
    if lacking := lacks(answers, COVID):
        yield "left out", lacking
    else:
        yield from _covid(answers, unseen)
    normal = unseen & is_label(answers, NORMAL)
    for label in (NORMAL, COVID):
        if normal.any() and label in answers.labels:
            yield f"unseen normal called {label}", share_of(says(answers, label), normal)
    answered = unseen & answers.answered
    yield "unseen film answered", share_of(answered, unseen)
    if answered.any():
        yield "unseen film right when answered", share_of(answers.correct, answered)
    refused = np.array([case.fields[REFUSED] for case in answers.cases])
    if (refused[unseen] != "").all():
        yield "unseen film refused by the guard", share_of(refused == "1", unseen)


def _covid(answers: Answers, unseen: Array) -> Iterator[tuple[str, Figure]]:
    """AUROCs; against negatives of all sources together, be they children and adults, and of each that has enough."""
    covid = is_label(answers, COVID)
    if (unseen & covid).any():
        yield "unseen covid against all negatives", _area(answers, unseen & covid, ~covid)
        for other, _ in by_source(answers.of(~unseen & ~covid)):
            area = _area(answers, unseen & covid, ~covid & _of(answers, other))
            if area["kind"] != "missing":
                yield f"unseen covid against negatives of {other or 'no source'}", area
        yield "covid against the rest within it", _area(answers, unseen & covid, unseen & ~covid)
        yield "unseen covid called covid", share_of(says(answers, COVID), unseen & covid)
    if (unseen & ~covid).any():
        yield "seen covid against unseen negatives", _area(answers, ~unseen & covid, unseen & ~covid)


def _of(answers: Answers, source: str) -> Array:
    return np.array([case.source == source for case in answers.cases], bool)


def _area(answers: Answers, positive: Array, negative: Array) -> Figure:
    """AUROC of the probability of COVID-19 between two sets of cases."""
    part = answers.of(positive | negative)
    scores = part.probabilities[:, part.labels.index(COVID)]
    return auroc(is_label(part, COVID), scores, part.patients, ("covid", "other"))
