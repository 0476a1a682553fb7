"""DarkCovidNet's own protocol: ``python training/darkcovidnet.py --data MANIFEST``.

Ozturk et al. (Comput Biol Med 2020, doi:10.1016/j.compbiomed.2020.103792) report 87.02 % for three classes and
98.08 % for COVID-19 against no finding: the mean accuracy of a stratified five-fold cross-validation, image by image,
on COVID-19 films of one collection, and normal and pneumonia films of another. Here the same protocol is run with an
int8 network on what the data hold of these films. In each fold a fifth of the films is judged and, of the others, a
fifth only validates: 64 % train, 16 % validate, 20 % are judged. Beside it stands what shows how little it proves:

* the same folds with no patient in two of them, which the protocol did not ask for;
* a regression on the bytes, width and height of the original files, which sees no picture;
* normal against pneumonia on films of pairs matched in view, detector and file size.

Twenty networks take about an hour on two cores. Started again after a kill, it goes on with the fold it was in; what
was made from other data or another recipe is made anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, from anywhere

import keras
import numpy as np
import numpy.typing as npt

from convert.conversion import convert
from convert.options import Options
from covidnet_lite import files, metrics
from covidnet_lite import model as models
from covidnet_lite.cases import Case, read_cases, write_manifest
from covidnet_lite.errors import CovidNetLiteError, DatasetError, MissingExtraError
from covidnet_lite.interpreter import outputs
from covidnet_lite.prediction import calibrated
from training import finetune
from training.perturb import pictures
from training.recipe import Recipe, read_recipe
from training.yardsticks import COVID, NORMAL, PAIR, PNEUMONIA

SOURCES = {
    NORMAL: "nih_chestxray14",
    PNEUMONIA: "nih_chestxray14",
    COVID: "covid_image_data_collection",
}
PUBLISHED = {3: 0.8702, 2: 0.9808}  # classes -> accuracy
PUBLISHED_FILMS = {NORMAL: 500, PNEUMONIA: 500, COVID: 125}
FOLDS = 5
LEAST_PATIENTS = 2 * FOLDS  # of a label, so that each part of each fold has some
LEAST_AGREEMENT = 0.0  # with float; these networks are measured, not shipped
NOT_MEASURED = "not measured"

Array = npt.NDArray[Any]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Run DarkCovidNet's protocol, and the same with patients kept apart: about an hour on two cores, "
        "resumed fold by fold after a kill."
    )
    parser.add_argument("--data", type=Path, required=True, help="a manifest.csv with those sources")
    parser.add_argument(
        "--recipe",
        type=Path,
        default=ROOT / "training/recipes/darkcovidnet.toml",
        help="how each fold is trained (default: training/recipes/darkcovidnet.toml)",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/darkcovidnet"), help="folder for runs and results")
    args = parser.parse_args(argv)
    try:
        recipe = read_recipe(args.recipe)
        check_labels(recipe, args.recipe)
        cases = of_the_protocol(read_cases(args.data))
        baselines = {classes: by_file_sizes(chosen(cases, classes)) for classes in (3, 2)}
        results = [
            run(cases, recipe, args.recipe, args.out, classes, apart) for classes in (3, 2) for apart in (False, True)
        ]
        text = markdown(results, baselines)
        told = {"recipe": recipe.name, "runs": results, "by_file_sizes": baselines}
        print(text)
        files.write(args.out / f"{recipe.name}.md", text + "\n")
        files.write(args.out / f"{recipe.name}.json", json.dumps(told, indent=1, allow_nan=False) + "\n")
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the fold it was in", file=sys.stderr)
        return 130
    return 0


def check_labels(recipe: Recipe, path: Path) -> None:
    """Raises a :class:`DatasetError` where a recipe lacks a label of the protocol."""
    if lacking := [label for label in SOURCES if label not in recipe.labels]:
        raise DatasetError(
            f"{path}: labels lack {', '.join(lacking)}; DarkCovidNet's protocol needs {', '.join(SOURCES)}"
        )


def of_the_protocol(cases: Sequence[Case]) -> list[Case]:
    """The films that the protocol was about, as far as they are there.

    Raises:
        DatasetError: a class is missing, or has too few patients for five folds.
    """
    found = [c for c in cases if c.label in SOURCES and c.source == SOURCES[c.label]]
    patients: dict[str, set[str]] = defaultdict(set)
    for case in found:
        patients[case.label].add(_patient(case))
    if missing := [f"{label} of {source}" for label, source in SOURCES.items() if label not in patients]:
        raise DatasetError(
            f"the data lack {', '.join(missing)}; DarkCovidNet's films come from these two sources: check the columns "
            "label and source"
        )
    if few := [f"{len(names)} of {label}" for label, names in patients.items() if len(names) < LEAST_PATIENTS]:
        raise DatasetError(
            f"five folds need {LEAST_PATIENTS} patients of each label; the data have {', '.join(few)}: add some"
        )
    return found


def chosen(cases: Sequence[Case], classes: int) -> list[Case]:
    """All three labels, or COVID-19 against no finding."""
    return [c for c in cases if classes == 3 or c.label != PNEUMONIA]


def folds(cases: Sequence[Case], apart: bool, seed: int = 2020) -> npt.NDArray[np.int64]:
    """The fold of each case, ``(n,)``: stratified by label, image by image or patient by patient.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    except ImportError:
        raise MissingExtraError("folds need scikit-learn: pip install 'covidnet-lite[training]'") from None
    labels, groups = [c.label for c in cases], [_patient(c) for c in cases] if apart else None
    split = (StratifiedGroupKFold if apart else StratifiedKFold)(FOLDS, shuffle=True, random_state=seed)
    fold = np.zeros(len(cases), np.int64)
    for k, (_, held_out) in enumerate(split.split(labels, labels, groups)):
        fold[held_out] = k
    return fold


def divisions(cases: Sequence[Case], apart: bool) -> npt.NDArray[np.str_]:
    """The split of each case in each fold, ``(FOLDS, n)``: a fifth is test, of the rest a fifth is val.

    Raises:
        MissingExtraError: as for :func:`folds`.
    """
    fold = folds(cases, apart)
    splits = np.full((FOLDS, len(cases)), "train")
    for k in range(FOLDS):
        rest = np.flatnonzero(fold != k)
        fifth = folds([cases[i] for i in rest], apart, seed=1) == 0
        splits[k, rest[fifth]] = "val"
        splits[k, fold == k] = "test"
    return splits


def trained_on(cases: Sequence[Case], splits: npt.NDArray[np.str_]) -> float:
    """Share of the films judged whose patient is in the train split of the same fold, on average over the folds."""
    patients = np.array([_patient(c) for c in cases])
    return float(np.mean([np.isin(patients[s == "test"], patients[s == "train"]).mean() for s in splits]))


def run(
    cases: Sequence[Case], recipe: Recipe, recipe_path: Path, out: Path, classes: int, apart: bool
) -> dict[str, Any]:
    """Five networks and what they say of the films that each did not see."""
    cases = chosen(cases, classes)
    labels = tuple(label for label in recipe.labels if label in {c.label for c in cases})
    targets, splits = np.array([labels.index(c.label) for c in cases]), divisions(cases, apart)
    probabilities, agreements = np.zeros((len(cases), len(labels))), []
    accuracies: list[float] = []
    how = "patients" if apart else "images"
    for k, judged in enumerate(splits == "test"):
        of_fold = replace(recipe, name=f"{recipe.name}.{classes}.{how}.{k}", labels=labels)
        network, agreement = _network(_dealt(cases, splits[k], apart), of_fold, recipe_path, out)
        seen = [case for case, yes in zip(cases, judged) if yes]
        logits = outputs(network, pictures(seen, network.manifest.input))["logits"]
        probabilities[judged] = calibrated(logits, network.manifest)
        agreements.append(agreement)
        accuracies.append(float((probabilities[judged].argmax(axis=1) == targets[judged]).mean()))
        print(
            f"{classes} classes by {how}, fold {k + 1} of {FOLDS}: accuracy {accuracies[-1]:.1%}, "
            f"so far {np.mean(accuracies):.1%}",
            file=sys.stderr,
            flush=True,
        )
    right = probabilities.argmax(axis=1) == targets
    return {
        "classes": classes,
        "patients_apart": apart,
        "images": len(cases),
        "by_label": {label: int((targets == i).sum()) for i, label in enumerate(labels)},
        "folds": accuracies,
        "accuracy": float(np.mean(accuracies)),
        "interval": list(metrics.wilson(int(right.sum()), len(right))),
        "agreements": agreements,
        "films_whose_patient_was_trained_on": trained_on(cases, splits),
        "pairs": int(in_pairs(cases).sum()),
        "pairs_auroc": pairs_auroc(cases, probabilities[:, labels.index(NORMAL)], splits == "test"),
    }


def in_pairs(cases: Sequence[Case]) -> npt.NDArray[np.bool_]:
    """Which films are normal or pneumonia and of a matched pair, ``(n,)``."""
    return np.array([bool(c.fields.get(PAIR)) and c.label in (NORMAL, PNEUMONIA) for c in cases], bool)


def pairs_auroc(cases: Sequence[Case], scores: Array, judged: npt.NDArray[np.bool_]) -> float | None:
    """Normal against pneumonia on films of matched pairs: the mean of the folds that judge both.

    Five networks' scores are not on one scale, so that no film is compared with one of another fold.

    Args:
        scores: of normal, ``(n,)``.
        judged: which films each fold judges, ``(FOLDS, n)``.

    Returns:
        ``None`` where no fold has both.
    """
    normal = np.array([c.label == NORMAL for c in cases])
    areas = np.array([metrics.auroc(normal[films], scores[films]) for films in judged & in_pairs(cases)])
    known = areas[~np.isnan(areas)]
    return float(known.mean()) if len(known) else None


def by_file_sizes(cases: Sequence[Case]) -> float | None:
    """Accuracy of a regression on the bytes, width and height of the original files, patients kept apart.

    ``None`` where the manifest does not tell them.

    Raises:
        MissingExtraError: as for :func:`folds`.
    """
    fold = folds(cases, apart=True)  # first, for it says when scikit-learn is not there
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    try:
        told = np.array([[float(c.fields[k]) for k in ("source_bytes", "width0", "height0")] for c in cases])
    except (KeyError, ValueError):
        return None
    if not np.isfinite(told).all():
        return None
    labels, features = np.array([c.label for c in cases]), np.log(np.maximum(told, 1))
    right = []
    for k in range(FOLDS):
        model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=2000))
        model.fit(features[fold != k], labels[fold != k])
        right.append(float((model.predict(features[fold == k]) == labels[fold == k]).mean()))
    return float(np.mean(right))


def markdown(results: Sequence[dict[str, Any]], baselines: dict[int, float | None]) -> str:
    """The figures as a person reads them."""
    lines = [
        "| classes | films (published) | published | ours, int8, same protocol | ours, int8, patients kept apart | "
        "regression on bytes and pixel sizes, patients kept apart |",
        "|---|---|---|---|---|---|",
    ]
    of = {(r["classes"], r["patients_apart"]): r for r in results}
    for classes in (3, 2):
        same, apart, sizes = of[classes, False], of[classes, True], baselines[classes]
        cells = [
            str(classes),
            ", ".join(f"{n} {label} ({PUBLISHED_FILMS[label]})" for label, n in same["by_label"].items()),
            f"{PUBLISHED[classes]:.2%}",
            _accuracy(same),
            _accuracy(apart),
            NOT_MEASURED if sizes is None else f"{sizes:.2%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    area, agreements = of[3, True]["pairs_auroc"], [a for r in results for a in r["agreements"] if a is not None]
    return "\n".join(
        [
            *lines,
            "",
            "Each fold's network is trained on 64 % of the films, validated on 16 % and judged on 20 %; the published "
            "ones were trained on 80 %. The films are those that the data hold of the same two collections, not the "
            "same choice. The intervals (95 %, Wilson) take films as independent; films of one patient are not, so "
            "they are too narrow.",
            "",
            f"Image by image, {of[3, False]['films_whose_patient_was_trained_on']:.0%} of the films judged for three "
            "classes are of a patient who was trained on. Normal against pneumonia on the "
            f"{of[3, True]['pairs']} films of matched pairs, patients apart, AUROC within a fold: "
            f"{NOT_MEASURED if area is None else f'{area:.3f}'}. Lowest agreement of an int8 network with float, on "
            f"what validates: {f'{min(agreements):.1%}' if agreements else NOT_MEASURED}.",
        ]
    )


def _accuracy(result: dict[str, Any]) -> str:
    low, high = result["interval"]
    least, most = min(result["folds"]), max(result["folds"])
    return f"{result['accuracy']:.2%} (interval {low:.1%} to {high:.1%}; folds {least:.1%} to {most:.1%})"


def _patient(case: Case) -> str:
    """An image whose patient is not known counts as a patient of its own."""
    return case.patient or str(case.path)


def _dealt(cases: Sequence[Case], splits: npt.NDArray[np.str_], apart: bool) -> list[Case]:
    """What a fold's network may know of. Image by image, patients are not told, for they are in several splits."""
    return [
        replace(case, path=case.path.resolve(), split=str(split), patient=case.patient if apart else "")
        for case, split in zip(cases, splits)
        if split != "test"
    ]


def _network(cases: Sequence[Case], recipe: Recipe, recipe_path: Path, out: Path) -> tuple[models.Model, float | None]:
    """One fold's int8 network and its agreement with float, trained unless it was made from the very same already."""
    folder = out / recipe.name
    network, made = folder / f"{recipe.name}.keras", folder / f"{recipe.name}.tflite"
    data = write_manifest(out / f"{recipe.name}.csv", cases)
    begun = finetune.begun(out, finetune.deal(data, recipe), recipe)
    if not (begun and made.is_file()):
        if folder.exists() and not begun:
            print(f"{folder}: was made from other data or another recipe; it is made anew", file=sys.stderr)
        keras.backend.clear_session()
        with contextlib.redirect_stdout(sys.stderr):
            finetune.run(data, recipe, recipe_path, out, fresh=not begun, verbose=0)
        learnt = recipe.quantisation_aware.epochs > 0  # then the activation ranges lie beside the network
        convert(
            Options(
                network,
                made,
                calibration=None if learnt else data,
                data=data,
                min_agreement=LEAST_AGREEMENT,
                record=True,  # the agreement, for when this fold is not made again
            ),
            say=lambda text: None,
        )
    return models.load(str(made)), _agreement(folder / f"{recipe.name}.figures.json")


def _agreement(figures: Path) -> float | None:
    """With float, as the conversion recorded it."""
    return json.loads(figures.read_text(encoding="utf-8")).get("top-1 agreement") if figures.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
