"""When a network answers, and how much it calls ill: ``python training/answering.py MODEL.tflite --data MANIFEST``.

Fits, on a converted network, what turns its numbers into answers, and writes it beside the network it came from
(``NAME.judgement.json``, ``NAME.guard.npz``), where ``convert/quantize.py`` finds it:

* temperature and one bias a class, on validation films (Alexandari, Kundaje and Shrikumar, ICML 2020);
* the operating point: thresholds by class, each for a stated error (conformal risk control; Angelopoulos et al., ICLR
  2024), on validation films;
* the scale of the extent, on films that radiologists graded, of the patients that training saw;
* the guard, on training films; no label is needed.

What the step from float to int8 cost, on the test films, goes into ``NAME.figures.json`` for the card in the network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.judge import judgement, report
from convert.judge.agreement import compare
from convert.judge.guard import WRONG, fit_guard
from convert.judge.judgement import Judgement
from convert.judge.network_outputs import outputs
from convert.quantisation.representative_images import choose, pixels
from convert.source import network
from covidnet_lite import files, radiograph
from covidnet_lite.dataset import Case, read_cases
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
GUARDED = 2500  # training films that the guard sees
SHOWN_WRONGLY = 800  # of these, shown wrongly as well


@dataclass(frozen=True)
class Risks:
    """The errors that the operating point is chosen for, as shares of films.

    Attributes:
        ill_called_normal: of all films with an opacity.
        normal_called_ill: of all films without.
        wrong_kind: of films of other kinds, that one kind alone is given for; by kind.
    """

    ill_called_normal: float = 0.10
    normal_called_ill: float = 0.07
    wrong_kind: float = 0.05


@dataclass(frozen=True, eq=False)
class Told:
    """What a network said of films, and what their labels allow: ``(n, classes)``; evidence ``(n, h, w, classes)``."""

    logits: Array
    evidence: Array
    allowed: npt.NDArray[np.bool_]

    @property
    def ill(self) -> npt.NDArray[np.bool_]:
        """Which films have an opacity, whatever its kind."""
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
        cases = read(args.data, recipe)
        fitted = fit(model, recipe, cases, risks)
        measured = step_from_float(model, graph, fitted, labelled(cases, recipe, "test"))
        written = judgement.contents(fitted, original.with_suffix(""))
        written[judgement.path_beside(original.with_suffix(""), ".figures.json")] = (
            json.dumps(measured, indent=1) + "\n"
        )
        files.write_all(written)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(f"wrote {path}")
    return 0


def read(data: Sequence[Path], recipe: Recipe) -> list[Case]:
    """The films of the recipe's sources, in the splits that it deals.

    Raises:
        DatasetError: the recipe names no sources, or the data lack what it names.
    """
    if not recipe.sources:
        raise DatasetError(f"the recipe {recipe.name} names no sources; convert/quantize.py --data fits its network")
    cases = [case for where in data for case in read_cases(where)]
    supervision.check(cases, recipe.sources, recipe.labels)
    return supervision.deal(cases, recipe.sources)


def labelled(cases: Sequence[Case], recipe: Recipe, split: str) -> list[Case]:
    """The films of a split whose label allows some classes."""
    return [c for c in cases if c.split == split and recipe.sources[c.source].means.get(c.label)]


def fit(model: Model, recipe: Recipe, cases: Sequence[Case], risks: Risks) -> Judgement:
    """All of it, on the films that :func:`read` gave.

    Raises:
        DatasetError: validation or test films with a label are missing.
    """
    held_out = labelled(cases, recipe, "val")
    val = tell(model, held_out, recipe)
    temperature, bias = calibrate(val.logits, val.allowed)
    shares = softmax(val.logits + bias, temperature)
    point = operating_point(shares, val.allowed, recipe.labels, risks)
    test = tell(model, labelled(cases, recipe, "test"), recipe)
    record = track_record(point, softmax(test.logits + bias, temperature), test.allowed, recipe.labels)
    point = OperatingPoint(**{**point.to_dict(), "accuracy": record})
    train = [c for c in cases if c.split == "train"]
    guard = _guard(model, train, held_out)
    return Judgement(
        tuple(round(float(b), 4) for b in bias),
        round(temperature, 4),
        0.0,
        risks.ill_called_normal,
        guard,
        point,
        _extent(model, cases, recipe),
    )


def step_from_float(model: Model, graph: bytes, fitted: Judgement, cases: Sequence[Case]) -> dict[str, Any]:
    """Figures of the int8 network against the float one, both with the same temperature and bias.

    Args:
        model: the int8 network.
        graph: the float one, as ``.tflite`` without a manifest.
        fitted: what both are judged by.
        cases: films that nothing was fitted on; those with a label that is no class count for agreement alone.
    """
    labels = model.manifest.labels
    manifest = replace(model.manifest, correction=fitted.correction, temperature=fitted.temperature)
    pictures = pixels(cases, manifest.input)
    floating = models.verify(seal(graph, replace(manifest, guard=None)), Path("float"))
    shares = [calibrated(outputs(m, pictures)["logits"], manifest) for m in (floating, model)]
    targets = np.array([labels.index(c.label) if c.label in labels else -1 for c in cases])
    return report.figures("int8", compare([str(c.path) for c in cases], targets, *shares))


def tell(model: Model, cases: Sequence[Case], recipe: Recipe) -> Told:
    """What the network says of films whose label allows some classes."""
    if not cases:
        raise DatasetError("no film with a label is in the val or test split; check --data")
    found = outputs(model, pixels(cases, model.manifest.input))
    lesson = supervision.lesson(cases, recipe.sources, recipe.labels, complete=False)
    return Told(found["logits"], found["evidence"], lesson.allowed.astype(bool))


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
    """The thresholds, from validation films.

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
        others = ill & ~allowed[:, 1 + k]
        alone[label] = least_threshold(kinds[others, k], risks.wrong_kind)
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
    """How often an answer is given, and how often it is right, of films that no threshold was chosen on."""
    answers = [point.answer(dict(zip(labels, row))) for row in shares]
    right = [any(allowed[i, labels.index(a)] for a in answer) for i, answer in enumerate(answers)]
    given = [bool(answer) for answer in answers]
    by_answer: dict[str, Any] = {}
    for answer in sorted({a for a in answers if a}):
        of = [r for r, a in zip(right, answers) if a == answer]
        by_answer[" or ".join(answer)] = round(float(np.mean(of)), 3)
    return {
        "answered": round(float(np.mean(given)), 3),
        "right": round(float(np.mean([r for r, g in zip(right, given) if g])), 3) if any(given) else 0.0,
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
    known = (0.0, *(float(k) for k in knots)), (0.0, *np.maximum.accumulate(np.round(heights, 4)).tolist())
    error = float(np.abs(np.interp(held_raw, *known) - held_graded).mean())
    return ExtentScale(*known, round(error, 3))


def _extent(model: Model, cases: Sequence[Case], recipe: Recipe) -> ExtentScale | None:
    """From the source whose films are ranked by a grade; ``None`` where there is none."""
    graded = {name: source for name, source in recipe.sources.items() if source.rank}
    parts = {}
    for split in ("train", "test"):
        chosen = [c for c in cases if c.split == split and c.source in graded]
        severity = supervision.lesson(chosen, recipe.sources, recipe.labels, complete=False).severity
        chosen = [c for c, grade in zip(chosen, severity) if grade >= 0]
        if not chosen:
            return None
        parts[split] = (raw_extents(model, chosen), severity[severity >= 0] / GRADES)
    return extent_scale(*parts["train"], *parts["test"])


def raw_extents(model: Model, cases: Sequence[Case]) -> Array:
    """``(n,)`` mean local probabilities of an opacity within the lungs, not yet calibrated."""
    spec = model.manifest.input
    evidence = outputs(model, pixels(cases, spec))["evidence"]
    boxes = [lungs.inside(lungs.view(_picture(case, spec), spec)) for case in cases]
    return np.array([raw_extent(local_probabilities(e, 0), box) for e, box in zip(evidence, boxes)])


def _picture(case: Case, spec: InputSpec) -> Any:
    return radiograph.read(case.path, spec.at_least, str(case.path)).image


def _guard(model: Model, train: Sequence[Case], val: Sequence[Case]) -> Guard | None:
    """On training films, the limit from validation films and from each source left out in turn."""
    if "embedding" not in model.manifest.outputs:
        return None
    spec = model.manifest.input
    chosen = choose(train, GUARDED)
    embeddings = outputs(model, pixels(chosen, spec))["embedding"]
    held = outputs(model, pixels(val, spec))["embedding"]
    few = chosen[:SHOWN_WRONGLY]
    wrong: Mapping[str, Array] = {
        name: outputs(model, pixels(few, spec, change))["embedding"] for name, change in WRONG.items()
    }
    return fit_guard(embeddings, held, wrong=wrong, sources=[case.source for case in chosen])


if __name__ == "__main__":
    sys.exit(main())
