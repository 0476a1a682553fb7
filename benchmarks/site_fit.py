"""What a site's own radiographs bring: ``python benchmarks/site_fit.py --data SIIM EXTERNAL OLD``.

Draws n normals of a hospital, fits a site on them as ``covidnet-lite site fit`` does, and judges it on the other
radiographs of the same hospital; the draws are repeated. Patients that the network was trained on are left out. Prints
the tables of docs/site.md. ``--data`` names the folders with the manifests, that of the network's own hospitals first;
beside one may lie ``rsna_normal.csv`` with radiographs whose label is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covidnet_lite.classifier import Classifier
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import SiteError
from covidnet_lite.network.manifest import Manifest
from covidnet_lite.network.model import Model
from covidnet_lite.prediction import softmax
from covidnet_lite.site.fit import default_targets, fit
from covidnet_lite.site.rule import odds, share_of
from covidnet_lite.site.sample import Observation
from covidnet_lite.site_command import look
from training.fit.recipe import read_recipe
from training.judge.audit_set import read_audit_set

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / "training/checkpoints"

Array = npt.NDArray[Any]
Sample = tuple[list[Observation], list[Observation]]  # normals, and labelled radiographs if any
Figures = tuple[float, float, float, float]  # shares: well not ill, ill ill, well normal, ill normal

NORMALS = (30, 100, 200)
ILL = ("pneumonia", "covid", "opacity")
# In words -> source of the normals, source of the ill, split or "" for all.
HOSPITALS = {
    "NIH (RSNA normals, boxed opacities)": ("rsna_normal", "nih_boxed", ""),
    "NIH (reports' labels)": ("nih_chestxray14", "nih_chestxray14", ""),
    "Guangzhou (children)": ("guangzhou_pediatric", "guangzhou_pediatric", ""),
    "Valencia, own hospitals, test films": ("siim_bimcv", "siim_bimcv", "test"),
}
FEWER = "--fewer-alarms"
HEAD = ("normals not called ill", "ill called ill", "normals called normal", "ill called normal")


@dataclass(frozen=True)
class Hospital:
    """A hospital's radiographs, as the network alone sees them; ``patients`` one for each of ``well``."""

    name: str
    well: list[Observation]
    patients: list[str]
    ill: list[Observation]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge sites that are fitted on few radiographs.")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with a manifest.csv")
    parser.add_argument("--model", nargs="+", default=["base", "nano"], help="networks (default: base nano)")
    parser.add_argument("--draws", type=int, default=200, help="of normals, for each row (default: 200)")
    args = parser.parse_args(argv)
    for name in args.model:
        classifier = Classifier(name)
        recipe = CHECKPOINTS / f"{classifier.manifest.name}.toml"  # of a shipped network; of others, the split says it
        sources = read_recipe(recipe).sources if recipe.is_file() else {}
        audit_set = read_audit_set(args.data, classifier.labels, sources)
        hospitals = list(_hospitals(classifier, [*audit_set.own, *audit_set.unseen]))
        print(f"\n### {classifier.model.name}\n\n{head(('hospital', 'fitted on', 'fits refused', *HEAD))}")
        for hospital in hospitals:
            print(row(hospital.name, "network alone", "", figures(hospital.well, hospital.ill, classifier.manifest)))
            for n in NORMALS:
                print(tabulate(hospital, f"{n} normals", classifier.model, args.draws, n), flush=True)
            print(tabulate(hospital, "80 normals, 20 ill among them", classifier.model, args.draws, 80, hidden=20))
            print(tabulate(hospital, "100 normals and 100 ill, labelled", classifier.model, args.draws, 100, 100))
        print(f"\n{head(('hospital', 'another rule, with 100 normals', 'fits refused', *HEAD))}")
        for hospital in hospitals:
            for description, rule in OTHERS.items():
                print(tabulate(hospital, description, classifier.model, args.draws, 100, measure=rule), flush=True)
            description = f"{FEWER}; 20 of 100 are ill"
            print(tabulate(hospital, description, classifier.model, args.draws, 80, hidden=20, measure=OTHERS[FEWER]))
    return 0


def _hospitals(classifier: Classifier, cases: Sequence[LabelledImage]) -> Iterator[Hospital]:
    for name, (well, ill, split) in HOSPITALS.items():
        normals = [c for c in cases if c.source == well and c.label == "normal" and c.split.startswith(split)]
        opacities = [c for c in cases if c.source == ill and c.label in ILL and c.split.startswith(split)]
        if normals and opacities:
            known = {*classifier.labels}
            labels = [c.label if c.label in known else f"not {classifier.manifest.negative}" for c in opacities]
            yield Hospital(
                name,
                look(classifier, [c.path for c in normals]),
                [c.patient or str(c.path) for c in normals],
                look(classifier, [c.path for c in opacities], labels),
            )


def tabulate(
    hospital: Hospital,
    description: str,
    model: Model,
    draws: int,
    n: int,
    labelled: int = 0,
    hidden: int = 0,
    measure: Callable[[Sample, list[Observation], list[Observation], Model], Figures] | None = None,
) -> str:
    """A row: a site fitted on ``n`` normals, judged on the radiographs of other patients, again and again.

    Args:
        labelled: ill radiographs that are given with their labels.
        hidden: ill radiographs that are given as normals.
        measure: another rule.
    """
    rng, rows, refused = np.random.default_rng(0), [], 0
    if n > 0.8 * len(hospital.well):
        return row(hospital.name, description, "too few films", None)
    for _ in range(draws):
        indices = set(rng.permutation(len(hospital.well))[:n].tolist())
        patients = {hospital.patients[i] for i in indices}
        ill_indices = set(rng.permutation(len(hospital.ill))[: labelled + hidden].tolist())
        ill = [hospital.ill[i] for i in sorted(ill_indices)]
        normals = [hospital.well[i] for i in sorted(indices)] + [replace(one, label="") for one in ill if hidden]
        well_left = [one for i, one in enumerate(hospital.well) if hospital.patients[i] not in patients]
        ill_left = [one for i, one in enumerate(hospital.ill) if i not in ill_indices]
        try:
            rows.append((measure or site_figures)((normals, ill if labelled else []), well_left, ill_left, model))
        except SiteError:
            refused += 1
    return row(hospital.name, description, f"{refused} of {draws}", np.array(rows) if rows else None)


def site_figures(
    sample: Sample, well: list[Observation], ill: list[Observation], model: Model, fewer_alarms: bool = False
) -> Figures:
    """The figures of a site fitted as it is shipped."""
    targets = replace(default_targets(model.manifest), fewer_alarms=fewer_alarms)
    site = fit(model, targets, *sample, date="2026-11-30").site
    return figures(well, ill, site.applied(model.manifest, model.sha256), model.manifest)


def figures(
    well: list[Observation], ill: list[Observation], manifest: Manifest, alone: Manifest | None = None
) -> Figures:
    """How a manifest answers radiographs, of which the probabilities by the network ``alone`` are known."""
    point, shares = manifest.operating_point, []
    assert point is not None
    for observations in (well, ill):
        p = _shares(observations, manifest, alone or manifest)[:, manifest.labels.index(point.negative)]
        called_ill, normal = 1 - p >= point.positive_from, p >= point.negative_from
        shares.append((called_ill.sum() / len(observations), normal.sum() / len(observations)))
    return 1 - shares[0][0], shares[1][0], shares[0][1], shares[1][1]


def _shares(observations: list[Observation], manifest: Manifest, alone: Manifest) -> Array:
    probabilities = np.array([one.probabilities for one in observations if one.probabilities])
    shift = np.subtract(manifest.correction or 0, alone.correction or 0)
    return np.asarray(
        softmax(alone.temperature * np.log(np.maximum(probabilities, 1e-300)) + shift, manifest.temperature)
    )


def _moved_thresholds(by: Callable[[Array, float, float], float], free: bool) -> Callable[..., Figures]:
    """Both thresholds moved by the same amount in log-odds; unless ``free``, normal is never called from less."""

    def judge(sample: Sample, well: list[Observation], ill: list[Observation], model: Model) -> Figures:
        manifest = model.manifest
        point = manifest.operating_point
        assert point is not None
        negative = manifest.labels.index(point.negative)

        def scores(observations: list[Observation]) -> Array:
            return odds(np.log(_shares(observations, manifest, manifest)), negative)

        normal, positive = (float(np.log(s / (1 - s))) for s in (1 - point.negative_from, point.positive_from))
        shift = by(scores(sample[0]), normal, positive)
        normal_from = 1 - share_of(normal - shift if free else min(normal - shift, normal))
        shifted = replace(point, negative_from=float(normal_from), positive_from=float(share_of(positive - shift)))
        return figures(well, ill, replace(manifest, operating_point=shifted))

    return judge


# The shares of training's normals below the network's two thresholds are 0.6 and 0.93, as far as they can be known.
OTHERS: dict[str, Callable[..., Figures]] = {
    FEWER: partial(site_figures, fewer_alarms=True),
    "both thresholds moved by the 93 % quantile": _moved_thresholds(
        lambda x, _, high: high - float(np.quantile(x, 0.93)), True
    ),
    "the same, normal never from less": _moved_thresholds(lambda x, _, high: high - float(np.quantile(x, 0.93)), False),
    "both moved by the 60 % quantile": _moved_thresholds(lambda x, low, _: low - float(np.quantile(x, 0.6)), True),
    "both moved by a normal distribution's 93 %": _moved_thresholds(
        lambda x, _, high: high - float(x.mean() + 1.476 * x.std(ddof=1)), True
    ),
}


def head(cells: Sequence[str]) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}"


def row(name: str, description: str, refused: str, values: Any) -> str:
    """One line; of many draws, the mean and what 95 % of them lie between."""
    if values is None:
        cells_ = ["-"] * len(HEAD)
    elif np.ndim(values) == 1:
        cells_ = [f"{share:.2f}" for share in values]
    else:
        spans = np.quantile(values, [0.025, 0.975], axis=0).T
        cells_ = [f"{m:.2f} ({low:.2f}-{high:.2f})" for m, (low, high) in zip(np.mean(values, axis=0), spans)]
    return f"| {' | '.join((name, description, refused, *cells_))} |"


if __name__ == "__main__":
    sys.exit(main())
