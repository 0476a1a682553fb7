"""Trains a recipe once without each source, to see what it is worth at a hospital it never saw.

``python training/leave_one_out.py --data MANIFEST --recipe RECIPE --out runs`` fine-tunes a network without each
source in turn, converts it to int8, fits temperature, threshold and guard without that source too, and writes what it
says to ``OUT/NAME.left_out.csv``: of all images of the source that was left out and of the test split of the others.
``training/audit.py --left-out`` reads that file. Started again after a kill, it goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import io
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
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.interpreter import outputs
from covidnet_lite.prediction import calibrated
from training import finetune
from training.left_out import KNOWN, REFUSED
from training.perturb import pictures
from training.recipe import Recipe, read_recipe

LEAST_AGREEMENT = 0.95  # with float; these networks are measured, not shipped


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train a recipe without each source in turn.")
    parser.add_argument("--data", type=Path, required=True, help="a manifest.csv with a column source")
    parser.add_argument("--recipe", type=Path, required=True, help="the TOML file that says how")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for runs (default: runs)")
    parser.add_argument(
        "--quick", action="store_true", help="without quantisation-aware fine-tuning: int8 by calibration alone"
    )
    parser.add_argument("--sources", nargs="+", help="leave out only these, one after another (default: each)")
    args = parser.parse_args(argv)
    try:
        recipe = read_recipe(args.recipe)
        if args.quick:
            recipe = replace(recipe, quantisation_aware=replace(recipe.quantisation_aware, epochs=0))
        cases = [c for c in read_cases(args.data) if c.label in recipe.labels]
        rows: list[dict[str, object]] = []
        for source in _sources(cases, args.sources):
            network = without(source, args.data, recipe, args.recipe, args.out)
            rows += told(network, source, cases)
            files.write(args.out / f"{recipe.name}.left_out.csv", _csv(rows, recipe.labels))
        print(f"wrote {args.out / recipe.name}.left_out.csv")
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    return 0


def without(source: str, data: Path, recipe: Recipe, recipe_path: Path, out: Path) -> Path:
    """The int8 network of a recipe that never saw a source, trained unless it is there already."""
    name = f"{recipe.name}.without.{source}"
    folder = out / name
    network, int8 = folder / f"{name}.keras", folder / f"{name}.tflite"
    if int8.is_file():
        return int8
    keras.backend.clear_session()
    finetune.run(data, replace(recipe, name=name, exclude_sources=(*recipe.exclude_sources, source)), recipe_path, out)
    manifest = folder / "manifest.csv"  # what this network may know of
    convert(
        Options(network, int8, calibration=manifest, data=manifest, min_agreement=LEAST_AGREEMENT, force=True),
        say=lambda text: None,
    )
    return int8


def told(network: Path, source: str, cases: Sequence[Case]) -> list[dict[str, object]]:
    """A row an image: those of the source that was left out, and the test split of the others."""
    model = models.load(str(network))
    manifest = model.manifest
    asked = [c for c in cases if c.source == source or c.split in ("test", "")]
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


def _csv(rows: Sequence[dict[str, object]], labels: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*KNOWN, REFUSED, *labels], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
