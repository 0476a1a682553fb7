"""When a network answers, and how much it calls ill: ``python training/operating_point.py MODEL.tflite --data
MANIFEST``.

Fits, on a converted network, what turns its numbers into answers, and writes it beside the network it came from
(``NAME.judgement.json``, ``NAME.guard.npz``), where ``convert/quantize.py`` finds it:

* temperature and one bias a class, on validation radiographs (Alexandari, Kundaje and Shrikumar, ICML 2020);
* the operating point: thresholds by class, each for a stated error (conformal risk control; Angelopoulos et al., ICLR
  2024), on validation radiographs;
* the scale of the extent, on radiographs that radiologists graded, of the patients that training saw;
* the guard, on training radiographs; no label is needed.

What the step from float to int8 cost, on the test radiographs, goes into ``NAME.figures.json`` for the card in the
network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.judge import judgement, report
from convert.judge.agreement import compare
from convert.judge.guard import fit_guard
from convert.judge.judgement import Judgement
from convert.judge.network_outputs import outputs
from convert.quantisation.representative_images import choose, pixels
from convert.source import network
from covidnet_lite import files, radiograph
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.evidence.extent import ExtentScale, raw_extent
from covidnet_lite.evidence.maps import local_probabilities
from covidnet_lite.network import lungs
from covidnet_lite.network import model as models
from covidnet_lite.network.guard import Guard
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import seal
from covidnet_lite.network.model import Model
from covidnet_lite.network.operating_point import NEVER, OperatingPoint, least_threshold
from covidnet_lite.prediction import calibrated, softmax
from training.data import supervision
from training.fit.recipe import Recipe, read_recipe

Array = npt.NDArray[Any]
KNOTS = 7  # of the scale of the extent
GRADES = 8.0  # the highest grade of RALO's geographic extent: four quarters of each lung
GUARD_COUNT = 2500  # training radiographs that the guard sees
WRONG_COUNT = 800  # of these, shown wrongly as well


@dataclass(frozen=True)
class Risks:
    """The errors that the operating point is chosen for, as shares of radiographs.

    Attributes:
        ill_called_normal: of all radiographs with an opacity.
        normal_called_ill: of all radiographs without.
        wrong_kind: of radiographs of other kinds, that one kind alone is given for; by kind.
    """

    ill_called_normal: float = 0.10
    normal_called_ill: float = 0.07
    wrong_kind: float = 0.05


@dataclass(frozen=True, eq=False)
class LabelledOutputs:
    """What a network said of radiographs, and what their labels allow: ``(n, classes)``; evidence ``(n, h, w,
    classes)``."""

    logits: Array
    evidence: Array
    allowed: npt.NDArray[np.bool_]

    @property
    def ill(self) -> npt.NDArray[np.bool_]:
        """Which radiographs have an opacity, whatever its kind."""
        return np.asarray(~self.allowed[:, 0])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fit when a network answers, and how much it calls ill.")
    parser.add_argument("model", type=Path, help="the int8 .tflite that convert/quantize.py wrote")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="the manifests it was trained with")
    parser.add_argument("--recipe", type=Path, required=True, help="the recipe it was trained with")
    parser.add_argument("--beside", type=Path, help="the .keras network it was made from (default: beside it)")
    default = Risks()
    parser.add_argument("--ill-called-normal", type=float, default=default.ill_called_normal, metavar="SHARE")
    parser.add_argument("--normal-called-ill", type=float, default=default.normal_called_ill, metavar="SHARE")
    parser.add_argument("--wrong-kind", type=float, default=default.wrong_kind, metavar="SHARE")
    args = parser.parse_args(argv)
    risks = Risks(args.ill_called_normal, args.normal_called_ill, args.wrong_kind)
    original = args.beside or args.model.with_suffix(".keras")
    try:
        model, recipe, graph = models.load(args.model), read_recipe(args.recipe), network.load(original).tflite
        cases = read_splits(args.data, recipe)
        fitted = fit(model, recipe, cases, risks)
        figures = step_from_float(model, graph, fitted, labelled(cases, recipe, "test"))
        contents = judgement.contents(fitted, original.with_suffix(""))
        contents[judgement.path_beside(original.with_suffix(""), ".figures.json")] = (
            json.dumps(figures, indent=1) + "\n"
        )
        files.write_all(contents)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in contents:
        print(f"wrote {path}")
    return 0


def read_splits(data: Sequence[Path], recipe: Recipe) -> list[LabelledImage]:
    """The radiographs of the recipe's sources, in the splits that it deals.

    Raises:
        DatasetError: the recipe names no sources, or the data lack what it names.
    """
    if not recipe.sources:
        raise DatasetError(f"the recipe {recipe.name} names no sources; convert/quantize.py --data fits its network")
    cases = [case for manifest in data for case in read_dataset(manifest)]
    supervision.check(cases, recipe.sources, recipe.labels)
    return supervision.assign_splits(cases, recipe.sources)


def labelled(cases: Sequence[LabelledImage], recipe: Recipe, split: str) -> list[LabelledImage]:
    """The radiographs of a split whose label allows some classes."""
    return [c for c in cases if c.split == split and recipe.sources[c.source].means.get(c.label)]


def fit(model: Model, recipe: Recipe, cases: Sequence[LabelledImage], risks: Risks) -> Judgement:
    """All of it, on the radiographs that :func:`read_splits` gave.

    Raises:
        DatasetError: validation or test radiographs with a label are missing.
    """
    held_out = labelled(cases, recipe, "val")
    val = labelled_outputs(model, held_out, recipe)
    temperature, bias = calibrate(val.logits, val.allowed)
    shares = softmax(val.logits + bias, temperature)
    point = operating_point(shares, val.allowed, recipe.labels, risks)
    test = labelled_outputs(model, labelled(cases, recipe, "test"), recipe)
    record = track_record(point, softmax(test.logits + bias, temperature), test.allowed, recipe.labels)
    point = OperatingPoint(**{**point.to_dict(), "accuracy": record})
    train = [c for c in cases if c.split == "train"]
    guard = _guard(model, recipe, train, held_out)
    return Judgement(
        tuple(round(float(b), 4) for b in bias),
        round(temperature, 4),
        0.0,
        risks.ill_called_normal,
        guard,
        point,
        _extent(model, cases, recipe),
    )


def step_from_float(
    model: Model, graph: bytes, judgement_: Judgement, cases: Sequence[LabelledImage]
) -> dict[str, Any]:
    """Figures of the int8 network against the float one, both with the same temperature and bias.

    Args:
        model: the int8 network.
        graph: the float one, as ``.tflite`` without a manifest.
        judgement_: what both are judged by.
        cases: radiographs that nothing was fitted on; those with a label that is no class count for agreement alone.
    """
    labels = model.manifest.labels
    manifest = replace(model.manifest, correction=judgement_.correction, temperature=judgement_.temperature)
    images = pixels(cases, manifest.input)
    floating = models.verify(seal(graph, replace(manifest, guard=None)), Path("float"))
    shares = [calibrated(outputs(m, images)["logits"], manifest) for m in (floating, model)]
    targets = np.array([labels.index(c.label) if c.label in labels else -1 for c in cases])
    return report.figures("int8", compare([str(c.path) for c in cases], targets, *shares))


def labelled_outputs(model: Model, cases: Sequence[LabelledImage], recipe: Recipe) -> LabelledOutputs:
    """What the network says of radiographs whose label allows some classes."""
    if not cases:
        raise DatasetError("no film with a label is in the val or test split; check --data")
    result = outputs(model, pixels(cases, model.manifest.input))
    lesson = supervision.lesson(cases, recipe.sources, recipe.labels, complete=False)
    return LabelledOutputs(result["logits"], result["evidence"], lesson.allowed.astype(bool))


def calibrate(logits: Array, allowed: npt.NDArray[np.bool_]) -> tuple[float, npt.NDArray[np.float64]]:
    """The temperature and the bias of each class (mean 0) that make the allowed classes likeliest."""
    from scipy.optimize import minimize

    def loss(parameters: Array) -> float:
        shares = softmax(logits + parameters[1:] - parameters[1:].mean(), float(np.exp(parameters[0])))
        return float(-np.log(np.maximum((shares * allowed).sum(1), 1e-12)).mean())

    best = minimize(loss, np.zeros(1 + logits.shape[1]), method="Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-7})
    return float(np.exp(best.x[0])), np.asarray(best.x[1:] - best.x[1:].mean())


def operating_point(
    shares: Array, allowed: npt.NDArray[np.bool_], labels: Sequence[str], risks: Risks
) -> OperatingPoint:
    """The thresholds, from validation radiographs.

    Args:
        shares: ``(n, classes)`` calibrated probabilities; class 0 is the one without a finding.
        allowed: ``(n, classes)``, what each label allows.
        labels: the classes.
        risks: what each threshold is chosen for.
    """
    negative, ill = shares[:, 0], ~allowed[:, 0]
    negative_from = least_threshold(negative[ill], risks.ill_called_normal)
    positive_from = max(least_threshold(1 - negative[~ill], risks.normal_called_ill), 1 - negative_from)
    kinds = shares[:, 1:] / np.maximum(1 - negative[:, None], 1e-12)
    alone = {}
    for k, label in enumerate(labels[1:]):
        other_kinds = ill & ~allowed[:, 1 + k]
        alone[label] = least_threshold(kinds[other_kinds, k], risks.wrong_kind)
    return OperatingPoint(
        labels[0],
        _rounded_up(negative_from),
        _rounded_up(positive_from),
        {label: _rounded_up(share) for label, share in alone.items()},
        risks={
            "ill called normal": risks.ill_called_normal,
            "normal called ill": risks.normal_called_ill,
            "another kind given alone": risks.wrong_kind,
            "method": "conformal risk control on validation films",
        },
    )


def _rounded_up(share: float) -> float:
    return min(NEVER, float(np.ceil(share * 1e4) / 1e4))


def track_record(
    point: OperatingPoint, shares: Array, allowed: npt.NDArray[np.bool_], labels: Sequence[str]
) -> dict[str, Any]:
    """How often an answer is given, and how often it is right, of radiographs that no threshold was chosen on."""
    answers = [point.answer(dict(zip(labels, row))) for row in shares]
    right = [any(allowed[i, labels.index(a)] for a in answer) for i, answer in enumerate(answers)]
    is_answered = [bool(answer) for answer in answers]
    by_answer: dict[str, Any] = {}
    for answer in sorted({a for a in answers if a}):
        matches = [r for r, a in zip(right, answers) if a == answer]
        by_answer[" or ".join(answer)] = round(float(np.mean(matches)), 3)
    return {
        "answered": round(float(np.mean(is_answered)), 3),
        "right": round(float(np.mean([r for r, g in zip(right, is_answered) if g])), 3) if any(is_answered) else 0.0,
        "by_answer": by_answer,
        "data": "test films of the hospitals it was trained on",
    }


def extent_scale(raw: Array, graded: Array, held_raw: Array, held_graded: Array) -> ExtentScale:
    """A rising scale from the mean local probability to the readers' share, and its error on other patients.

    Args:
        raw, graded: ``(n,)`` of the patients it is fitted on, 0 to 1.
        held_raw, held_graded: ``(m,)`` of other patients.
    """
    from sklearn.isotonic import IsotonicRegression

    smooth = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(raw, graded)
    knots = np.unique(np.quantile(raw, np.linspace(0.02, 0.98, KNOTS)).round(4))
    # Means around each knot, so that the steps of the isotonic fit do not show.
    width = np.diff(knots).mean() / 2
    heights = [float(smooth.predict(np.linspace(k - width, k + width, 21)).mean()) for k in knots]
    points = (0.0, *(float(k) for k in knots)), (0.0, *np.maximum.accumulate(np.round(heights, 4)).tolist())
    error = float(np.abs(np.interp(held_raw, *points) - held_graded).mean())
    return ExtentScale(*points, round(error, 3))


def _extent(model: Model, cases: Sequence[LabelledImage], recipe: Recipe) -> ExtentScale | None:
    """From the source whose radiographs are ranked by a grade; ``None`` where there is none."""
    graded = {name: source for name, source in recipe.sources.items() if source.rank}
    parts = {}
    for split in ("train", "test"):
        selection = [c for c in cases if c.split == split and c.source in graded]
        severity = supervision.lesson(selection, recipe.sources, recipe.labels, complete=False).severity
        selection = [c for c, grade in zip(selection, severity) if grade >= 0]
        if not selection:
            return None
        parts[split] = (raw_extents(model, selection), severity[severity >= 0] / GRADES)
    return extent_scale(*parts["train"], *parts["test"])


def raw_extents(model: Model, cases: Sequence[LabelledImage]) -> Array:
    """``(n,)`` mean local probabilities of an opacity within the lungs, not yet calibrated."""
    spec = model.manifest.input
    evidence = outputs(model, pixels(cases, spec))["evidence"]
    boxes = [lungs.lung_box(lungs.view(_image(case, spec), spec)) for case in cases]
    return np.array([raw_extent(local_probabilities(e, 0), box) for e, box in zip(evidence, boxes)])


def _image(case: LabelledImage, spec: InputSpec) -> Any:
    return radiograph.read(case.path, spec.at_least, str(case.path)).image


def _guard(model: Model, recipe: Recipe, train: Sequence[LabelledImage], val: Sequence[LabelledImage]) -> Guard | None:
    """On training radiographs, the limit from validation radiographs and from what one hospital knows of another."""
    if "embedding" not in model.manifest.outputs:
        return None
    spec = model.manifest.input
    selection = choose(train, GUARD_COUNT)
    embeddings = outputs(model, pixels(selection, spec))["embedding"]
    val_embeddings = outputs(model, pixels(val, spec))["embedding"]
    wrong = judgement.wrong_embeddings(model, selection[:WRONG_COUNT])
    hospitals = [recipe.sources[case.source].hospital or case.source for case in selection]
    return fit_guard(
        embeddings, val_embeddings, wrong=wrong, sources=hospitals, foreign=judgement.foreign_embeddings(model)
    )


if __name__ == "__main__":
    sys.exit(main())
