"""DarkCovidNet's own protocol: ``python training/darkcovidnet.py --data MANIFEST``.

Ozturk et al. (Comput Biol Med 2020, doi:10.1016/j.compbiomed.2020.103792) report 87.02 % for three classes and
98.08 % for COVID-19 against no finding: the mean accuracy of a stratified five-fold cross-validation, image by image,
on COVID-19 films of one collection, and normal and pneumonia films of another. Here the same protocol is run with an
int8 network on what the data hold of these films, and beside it what shows how little it proves:

* the same folds with no patient in two of them, which the protocol did not ask for;
* a logistic regression on the size of the original files, which sees no picture;
* normal against pneumonia on pairs matched in view, detector and file size.
"""

from __future__ import annotations

import argparse
import json
import sys
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
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.interpreter import outputs
from training import finetune
from training.perturb import pictures
from training.recipe import Recipe, read_recipe

COVID_SOURCE, OTHER_SOURCE = "covid_image_data_collection", "nih_chestxray14"
PUBLISHED = {3: 87.02, 2: 98.08}  # classes -> accuracy in percent
FOLDS = 5
LEAST_AGREEMENT = 0.95

Array = npt.NDArray[Any]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run DarkCovidNet's protocol, and the same with patients kept apart.")
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
        cases = of_the_protocol(read_cases(args.data))
        results = [
            run(cases, recipe, args.recipe, args.out, classes, apart) for classes in (3, 2) for apart in (False, True)
        ]
        baselines = {classes: by_file_size(chosen(cases, classes), classes) for classes in (3, 2)}
        text = markdown(results, baselines)
        print(text)
        files.write(args.out / "darkcovidnet.md", text + "\n")
        files.write(args.out / "darkcovidnet.json", json.dumps(results, indent=1) + "\n")
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the fold it was in", file=sys.stderr)
        return 130
    return 0


def of_the_protocol(cases: Sequence[Case]) -> list[Case]:
    """The films that the protocol was about, as far as they are there.

    Raises:
        DatasetError: a class is missing.
    """
    wanted = {("covid", COVID_SOURCE), ("normal", OTHER_SOURCE), ("pneumonia", OTHER_SOURCE)}
    found = [c for c in cases if (c.label, c.source) in wanted]
    missing = wanted - {(c.label, c.source) for c in found}
    if missing:
        raise DatasetError(
            f"the data lack {', '.join(f'{label} of {source}' for label, source in sorted(missing))}; "
            "DarkCovidNet's films come from these two sources"
        )
    return found


def chosen(cases: Sequence[Case], classes: int) -> list[Case]:
    """All three labels, or COVID-19 against no finding."""
    return [c for c in cases if classes == 3 or c.label != "pneumonia"]


def folds(cases: Sequence[Case], apart: bool, seed: int = 2020) -> npt.NDArray[np.int64]:
    """The fold of each case, ``(n,)``: stratified by label, image by image or patient by patient.

    Raises:
        DatasetError: scikit-learn is missing.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
    except ImportError as error:
        raise DatasetError("folds need scikit-learn; install covidnet-lite[training]") from error
    labels = [c.label for c in cases]
    groups = [c.fields.get("group_id") or c.patient or str(c.path) for c in cases]
    split = (StratifiedGroupKFold if apart else StratifiedKFold)(FOLDS, shuffle=True, random_state=seed)
    fold = np.zeros(len(cases), np.int64)
    for k, (_, held_out) in enumerate(split.split(labels, labels, groups)):
        fold[held_out] = k
    return fold


def run(
    cases: Sequence[Case], recipe: Recipe, recipe_path: Path, out: Path, classes: int, apart: bool
) -> dict[str, Any]:
    """Five networks and what they say of the films that each did not see."""
    cases = chosen(cases, classes)
    labels = tuple(label for label in recipe.labels if label in {c.label for c in cases})
    fold = folds(cases, apart)
    patients = np.array([c.fields.get("group_id") or c.patient for c in cases])
    targets = np.array([labels.index(c.label) for c in cases])
    probabilities = np.zeros((len(cases), len(labels)))
    for k in range(FOLDS):
        name = f"{classes}.{'patients' if apart else 'images'}.{k}"
        held_out = fold == k
        network = _train(cases, held_out, apart, replace(recipe, name=name, labels=labels), recipe_path, out)
        seen = [case for case, yes in zip(cases, held_out) if yes]
        logits = outputs(network, pictures(seen, network.manifest.input))["logits"]
        probabilities[held_out] = metrics.softmax(logits)
    right = probabilities.argmax(axis=1) == targets
    crossing = np.mean([np.isin(patients[fold == k], patients[fold != k]).mean() for k in range(FOLDS)])
    pairs = np.array([bool(c.fields.get("matched_pair")) for c in cases])
    of_pairs = pairs & np.isin([c.label for c in cases], ("normal", "pneumonia"))
    return {
        "classes": classes,
        "patients_apart": apart,
        "images": len(cases),
        "by_label": {label: int((targets == i).sum()) for i, label in enumerate(labels)},
        "folds": [float(right[fold == k].mean()) for k in range(FOLDS)],
        "accuracy": float(np.mean([right[fold == k].mean() for k in range(FOLDS)])),
        "interval": list(metrics.wilson(int(right.sum()), len(right))),
        "films_whose_patient_was_trained_on": float(crossing),
        "pairs": int(of_pairs.sum()),
        "pairs_auroc": metrics.auroc(targets[of_pairs] == labels.index("normal"), probabilities[of_pairs, 0])
        if classes == 3
        else None,
    }


def by_file_size(cases: Sequence[Case], classes: int) -> float | None:
    """Accuracy of a logistic regression on the bytes, width and height of the original files, the same folds.

    ``None`` where the manifest does not tell them.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    try:
        told = np.array([[float(c.fields[k]) for k in ("source_bytes", "width0", "height0")] for c in cases])
    except (KeyError, ValueError):
        return None
    labels, fold = np.array([c.label for c in cases]), folds(cases, apart=True)
    features = np.log(np.maximum(told, 1))
    right = []
    for k in range(FOLDS):
        model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=2000))
        model.fit(features[fold != k], labels[fold != k])
        right.append(float((model.predict(features[fold == k]) == labels[fold == k]).mean()))
    return float(np.mean(right))


def markdown(results: Sequence[dict[str, Any]], baselines: dict[int, float | None]) -> str:
    """The figures as a person reads them."""
    lines = [
        "| classes | films | published | ours, int8, same protocol | patients kept apart | file size alone |",
        "|---|---|---|---|---|---|",
    ]
    for classes in (3, 2):
        same, apart = (next(r for r in results if (r["classes"], r["patients_apart"]) == (classes, a)) for a in (0, 1))
        size = baselines[classes]
        cells = [
            str(classes),
            ", ".join(f"{count} {label}" for label, count in same["by_label"].items()),
            f"{PUBLISHED[classes]:.2f} %",
            *(f"{r['accuracy']:.2%} ({min(r['folds']):.1%} to {max(r['folds']):.1%})" for r in (same, apart)),
            "not known" if size is None else f"{size:.2%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    three = {r["patients_apart"]: r for r in results if r["classes"] == 3}
    lines += [
        "",
        f"In the published protocol {three[False]['films_whose_patient_was_trained_on']:.0%} of the films that are "
        "judged are of a patient who was trained on. Normal against pneumonia on the "
        f"{three[True]['pairs']} films of matched pairs, patients apart: AUROC {three[True]['pairs_auroc']:.3f}.",
    ]
    return "\n".join(lines)


def _train(
    cases: Sequence[Case], held_out: npt.NDArray[np.bool_], apart: bool, recipe: Recipe, recipe_path: Path, out: Path
) -> models.Model:
    """One fold's int8 network, trained unless it is there already; it never sees what is held out."""
    folder = out / recipe.name
    made = folder / f"{recipe.name}.tflite"
    if made.is_file():
        return models.load(str(made))
    rest = [case for case, judged in zip(cases, held_out) if not judged]
    ninth = folds(rest, apart, seed=1) == 0
    dealt = [
        replace(case, path=case.path.resolve(), split="val" if val else "train", patient=case.patient if apart else "")
        for case, val in zip(rest, ninth)
    ]
    data = out / f"{recipe.name}.csv"
    out.mkdir(parents=True, exist_ok=True)
    write_manifest(data, dealt)
    keras.backend.clear_session()
    finetune.run(data, recipe, recipe_path, out, verbose=0)
    convert(
        Options(folder / f"{recipe.name}.keras", made, calibration=data, data=data, min_agreement=LEAST_AGREEMENT),
        say=lambda text: None,
    )
    return models.load(str(made))


if __name__ == "__main__":
    sys.exit(main())
