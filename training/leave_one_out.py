"""Trains a recipe once without each source, to see what it is worth at a hospital it never saw.

``python training/leave_one_out.py --data MANIFEST --recipe RECIPE --out runs`` fine-tunes a network without each
source in turn, converts it to int8 (``--quick`` leaves it in float), fits temperature, threshold and guard without that
source too, and writes what it says to ``OUT/NAME.left_out.csv``: of all images of the source that was left out and of
the test split of the others. ``training/audit.py --left-out`` reads that file. Started again after a kill, it goes on
where it was.

One thing is not trained anew: with ``lungs = true`` the network that finds the lungs, which saw boxes (no labels) of
the training films of one source.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, from anywhere

import keras
import numpy as np

from convert.conversion import convert
from convert.options import Options
from covidnet_lite import files
from covidnet_lite import model as models
from covidnet_lite.cases import Case
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.interpreter import outputs
from covidnet_lite.prediction import calibrated
from training import finetune
from training.left_out import KNOWN, REFUSED
from training.perturb import pictures
from training.recipe import Recipe, read_recipe

LEAST_AGREEMENT = 0.0  # with float; these networks are measured, not shipped


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train a recipe without each source in turn.")
    parser.add_argument("--data", type=Path, required=True, help="a manifest.csv with a column source")
    parser.add_argument("--recipe", type=Path, required=True, help="the TOML file that says how")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for runs (default: runs)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="half the epochs, and float, for int8 without quantisation-aware fine-tuning errs on unseen sources",
    )
    parser.add_argument("--sources", nargs="+", help="leave out only these, one after another (default: each)")
    args = parser.parse_args(argv)
    try:
        recipe = read_recipe(args.recipe)
        if args.quick:
            recipe = _quick(recipe)
        cases = finetune.deal(args.data, recipe)
        path = args.out / f"{recipe.name}.left_out.csv"
        for source in _sources(cases, args.sources):
            network = without(source, args.data, recipe, args.recipe, args.out)
            kept = [row for row in _read(path) if row["left_out"] != source]
            files.write(path, _csv([*kept, *told(network, source, cases)], recipe.labels))
        print(f"wrote {path}")
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    return 0


def _quick(recipe: Recipe) -> Recipe:
    return replace(
        recipe,
        name=f"{recipe.name}.quick",
        epochs=math.ceil(recipe.epochs / 2),
        average=math.ceil(recipe.average / 2),
        quantisation_aware=replace(recipe.quantisation_aware, epochs=0),
    )


def without(source: str, data: Path, recipe: Recipe, recipe_path: Path, out: Path) -> Path:
    """The network of a recipe that never saw a source, trained unless it is there already.

    int8 where the recipe fine-tunes it for that, else float: with int8 by calibration alone, agreement with float
    fell to 78 % on the source left out.
    """
    name = f"{recipe.name}.without.{source}"
    folder = out / name
    scheme = "int8" if recipe.quantisation_aware.epochs else "float32"
    network, made = folder / f"{name}.keras", folder / f"{name}_{scheme}.tflite"
    lacking = replace(recipe, name=name, exclude_sources=(*recipe.exclude_sources, source))
    begun = finetune.begun(out, finetune.deal(data, lacking), lacking)
    if begun and made.is_file():
        return made
    if not (begun and network.is_file()):
        keras.backend.clear_session()
        finetune.run(data, lacking, recipe_path, out)
    manifest = folder / "manifest.csv"  # what this network may know of
    convert(
        Options(network, made, schemes=(scheme,), data=manifest, min_agreement=LEAST_AGREEMENT),
        say=lambda text: None,
    )
    return made


def told(network: Path, source: str, cases: Sequence[Case]) -> list[dict[str, object]]:
    """A row an image: those of the source that was left out, and the test split of the others.

    ``cases`` each have a split, that in which the network's training had them.
    """
    model = models.load(str(network))
    manifest = model.manifest
    asked = [c for c in cases if c.source == source or c.split == "test"]
    out = outputs(model, pictures(asked, manifest.input))
    probabilities = calibrated(out["logits"], manifest)
    refused = np.zeros(len(asked), bool)
    if manifest.guard:
        wrongly = [manifest.guard.shown_wrongly(e) is not None for e in out["embedding"]]
        refused = (manifest.guard.distance(out["embedding"]) > manifest.guard.limit) | np.array(wrongly)
    return [
        {
            "left_out": source,
            "file": case.path.name,
            "label": case.label,
            "patient": case.patient,
            "source": case.source,
            "split": case.split,
            REFUSED: int(no),
            **{label: f"{p:.5f}" for label, p in zip(manifest.labels, shares)},
        }
        for case, no, shares in zip(asked, refused, probabilities)
    ]


def _sources(cases: Sequence[Case], wanted: Sequence[str] | None) -> list[str]:
    known = sorted({c.source for c in cases if c.source})
    if unknown := sorted(set(wanted or ()) - set(known)):
        raise DatasetError(f"--sources: {', '.join(unknown)}: no such source; there are {', '.join(known) or 'none'}")
    if len(known) < 2:
        raise DatasetError(f"leaving a source out needs two at least; the data name {', '.join(known) or 'none'}")
    return sorted(wanted or known)


def _read(path: Path) -> list[dict[str, object]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _csv(rows: Sequence[dict[str, object]], labels: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*KNOWN, REFUSED, *labels], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
