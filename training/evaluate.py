"""Judges a network on labelled radiographs: ``python training/evaluate.py MODEL --data MANIFEST``.

MODEL is a ``.keras`` file, a ``.tflite`` or the name of a shipped network.
Prints Markdown: accuracy, sensitivity and specificity with Wilson intervals (which
take the radiographs of one patient as independent), macro AUROC with an interval that
draws whole patients, the confusion matrix, and the same for each source, which is
where the truth is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import metrics
from covidnet_lite import files
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from training.data.prepared import prepare_all
from training.judge import network as networks
from training.judge.figure import MIN_COUNT, macro_auroc, share
from training.judge.network import Network


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network said of labelled cases: ``(n, classes)`` probabilities before any abstention."""

    name: str
    labels: tuple[str, ...]
    cases: list[LabelledImage]
    targets: npt.NDArray[np.int64]
    probabilities: npt.NDArray[Any]
    threshold: float

    @property
    def patients(self) -> npt.NDArray[Any]:
        """One identifier a case; an unknown patient is one of his own. Two sources may give two the same number."""
        return np.array([f"{case.source}/{case.patient or case.path}" for case in self.cases])

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Which cases it gets right, before it abstains."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.targets)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Which cases it answers: those from its threshold on."""
        return np.asarray(self.probabilities.max(axis=1) >= self.threshold)

    def of(self, selection: npt.NDArray[np.bool_]) -> Answers:
        """The same for some of the cases."""
        cases = [case for case, is_selected in zip(self.cases, selection) if is_selected]
        return replace(self, cases=cases, targets=self.targets[selection], probabilities=self.probabilities[selection])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge a network on labelled radiographs.")
    parser.add_argument("model", help="a .keras file, a .tflite, or the name of a shipped network")
    parser.add_argument(
        "--data", type=Path, required=True, help="a manifest.csv, or a folder (LABEL/image or SPLIT/LABEL/image)"
    )
    parser.add_argument("--split", default="test", help="the split to judge on (default: test)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args(argv)
    try:
        answers = run_split(args.model, args.data, args.split)
        figures = compute_figures(answers)
        print(markdown(figures))
        if args.json:
            files.write(args.json, json.dumps(figures, indent=1) + "\n")
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run_split(model: str, data: Path, split: str) -> Answers:
    """Runs a network over one split.

    Raises:
        DatasetError: the split is empty.
        ModelError: the model cannot be loaded.
    """
    cases = [c for c in read_dataset(data) if c.split in (split, "")]
    network = networks.load(model)
    cases = [c for c in cases if c.label in network.labels]
    if not cases:
        raise DatasetError(f"{data}: no image labelled {', '.join(network.labels)} in the {split} split")
    return replace(predict(network, cases), name=Path(model).name)


def predict(network: Network, cases: list[LabelledImage]) -> Answers:
    """What a network says of cases, all of which have one of its labels."""
    images, _ = prepare_all(cases, network.spec)
    targets = np.array([network.labels.index(c.label) for c in cases])
    probabilities = network.probabilities(network.run(images)["logits"])
    return Answers(network.name, network.labels, cases, targets, probabilities, network.manifest.threshold)


def split_of(cases: Sequence[LabelledImage]) -> str:
    """The split that cases are of, in words; a case of none may be one that the network was trained on."""
    names = " and ".join(sorted({case.split for case in cases if case.split}))
    without_split = sum(not case.split for case in cases)
    if not names:
        return "no split: may hold training images"
    return f"{names} split" + (
        f", and {without_split} images of no split: may hold training images" if without_split else ""
    )


def by_source(answers: Answers) -> Iterator[tuple[str, Answers]]:
    """Each source and its part."""
    for source in sorted({case.source for case in answers.cases}):
        yield source, answers.of(np.array([case.source == source for case in answers.cases]))


def compute_figures(answers: Answers) -> dict[str, Any]:
    """Every figure, over all cases and for each source."""
    return {
        "model": answers.name,
        "split": split_of(answers.cases),
        "labels": list(answers.labels),
        "all": _figures(answers),
        "sources": {s or "(no source)": _figures(part) for s, part in by_source(answers)},
    }


def _figures(answers: Answers) -> dict[str, Any]:
    targets, probabilities = answers.targets, answers.probabilities
    predicted = probabilities.argmax(axis=1)
    correct = answers.correct
    matrix = metrics.confusion(targets, predicted, len(answers.labels))
    answered = answers.answered
    classes = {}
    for k, label in enumerate(answers.labels):
        positive, negative = int(matrix[k].sum()), int(matrix.sum() - matrix[k].sum())
        true_positives, true_negatives = int(matrix[k, k]), int(negative - (matrix[:, k].sum() - matrix[k, k]))
        classes[label] = {
            "sensitivity": share(true_positives, positive),
            "specificity": share(true_negatives, negative),
        }
    area = macro_auroc(targets, probabilities, answers.patients, answers.labels)
    return {
        "images": len(targets),
        "patients": len(set(answers.patients.tolist())),
        "accuracy": share(int(correct.sum()), len(targets)),
        "classes": classes,
        "confusion": matrix.tolist(),
        "macro_auroc": area["value"],
        "macro_auroc_interval": area.get("interval"),
        "ece": metrics.expected_calibration_error(targets, probabilities),
        "answered": share(int(answered.sum()), len(targets)),
        "accuracy_when_answered": share(int((correct & answered).sum()), int(answered.sum())),
    }


def markdown(figures: dict[str, Any]) -> str:
    """The figures as a person reads them."""
    labels, overall = figures["labels"], figures["all"]
    lines = [
        f"## {figures['model']}: {overall['images']} images of {overall['patients']} patients; {figures['split']}",
        "",
        "| | value | 95 % interval |",
        "|---|---|---|",
        _row("accuracy", overall["accuracy"]),
        _auroc_row(overall),
        f"| expected calibration error | {overall['ece']:.3f} | |",
        _row("share answered", overall["answered"]),
        _row("accuracy when answered", overall["accuracy_when_answered"]),
    ]
    for label, rates in overall["classes"].items():
        lines += [
            _row(f"{label}: sensitivity", rates["sensitivity"]),
            _row(f"{label}: specificity", rates["specificity"]),
        ]
    lines += ["", "| truth \\ answer | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    lines += [
        f"| {label} | " + " | ".join(str(n) for n in row) + " |" for label, row in zip(labels, overall["confusion"])
    ]
    lines += [
        "",
        "| source | images | accuracy (95 %) | "
        + " | ".join(f"{label} found" for label in labels)
        + " | macro AUROC (95 %) |",
    ]
    lines += ["|---" * (len(labels) + 4) + "|"]
    for source, part in figures["sources"].items():
        rates = [_short(part["classes"][label]["sensitivity"]) for label in labels]
        area = (
            "-"
            if part["macro_auroc"] is None
            else "{:.2f} ({:.2f}-{:.2f})".format(part["macro_auroc"], *part["macro_auroc_interval"])
        )
        lines.append(
            f"| {source} | {part['images']} | {_percent(part['accuracy'])} | " + " | ".join(rates) + f" | {area} |"
        )
    if any(part["macro_auroc"] is None for part in (overall, *figures["sources"].values())):
        lines += ["", f"Without a macro AUROC: a single class, or one with fewer than {MIN_COUNT} images or patients."]
    return "\n".join(lines)


def _row(name: str, share: dict[str, Any]) -> str:
    if share["value"] is None:
        return f"| {name} | - | |"
    low, high = share["interval"]
    return f"| {name} | {share['value']:.1%} ({share['count']}/{share['total']}) | {low:.1%}-{high:.1%} |"


def _auroc_row(part: dict[str, Any]) -> str:
    if part["macro_auroc"] is None:
        return "| macro AUROC | - | |"
    return "| macro AUROC | {:.3f} | {:.3f}-{:.3f} |".format(part["macro_auroc"], *part["macro_auroc_interval"])


def _percent(share: dict[str, Any]) -> str:
    return f"{share['value']:.1%} ({share['interval'][0]:.0%}-{share['interval'][1]:.0%})"


def _short(share: dict[str, Any]) -> str:
    return f"{share['count']}/{share['total']}" if share["total"] else "-"


if __name__ == "__main__":
    sys.exit(main())
