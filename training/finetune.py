"""Fine-tunes a network on radiographs: ``python training/finetune.py --data DIR --recipe training/recipes/base.toml``.

Writes ``NAME.keras``, ``NAME.ranges.json``, ``NAME.toml``, ``NAME.csv`` (one line
an epoch) and ``manifest.csv`` (who was in which split) to ``--out``. Started again
after a kill, it goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np

from covidnet_lite import files
from covidnet_lite.dataset import LabelledImage, read_dataset, write_manifest
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.network import lungs
from covidnet_lite.network.input_spec import InputSpec
from training import dataset
from training.data import supervision
from training.data.supervision import Source
from training.fit import backbones, checkpoint, float_stage, int8_stage
from training.fit.batches import Radiographs
from training.fit.recipe import Recipe, read_recipe
from training.fit.run import Run
from training.fit.split import Split

ROOT = Path(__file__).resolve().parent.parent

LUNGS = ROOT / "training/checkpoints/lungs.tflite"  # from locate_lungs.py


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fine-tune a network on radiographs.")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="manifests (CSV), or folders (LABEL/image or SPLIT/LABEL/image)",
    )
    parser.add_argument(
        "--recipe", type=Path, default=ROOT / "training/recipes/base.toml", help="the TOML file that says how"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), help="folder for runs; this one goes to OUT/NAME (default: runs)"
    )
    parser.add_argument("--fresh", action="store_true", help="start again, dropping what an earlier run left")
    parser.add_argument("--quiet", action="store_true", help="print no line for each epoch")
    args = parser.parse_args(argv)
    try:
        run(args.data, read_recipe(args.recipe), args.recipe, args.out, args.fresh, args.quiet)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    return 0


def run(
    data: Sequence[Path], recipe: Recipe, recipe_path: Path, out: Path, fresh: bool = False, quiet: bool = False
) -> keras.Model:
    """Trains one recipe, or goes on with it, and returns the network."""
    cases, sources = split_cases(data, recipe)
    folder, text, finder = out / recipe.name, recipe_path.read_bytes(), _finder(recipe)
    if not fresh and folder.exists() and not is_same_run(out, cases, recipe):
        raise DatasetError(
            f"{folder}: holds a run of another recipe or other data; give another --out, or --fresh to drop it"
        )
    start = float_stage.new_network(recipe)
    spec = replace(start[1], lungs=finder)
    splits = load(cases, recipe, sources, spec)
    if fresh and folder.exists():
        shutil.rmtree(folder)
    digest = fingerprint(cases, recipe)
    files.write_all({folder / f"{recipe.name}.made_from": digest, folder / f"{recipe.name}.toml": text})
    write_manifest(folder / "manifest.csv", cases)  # so that what was held out stays held out
    log: Callable[[str], None] = (lambda _: None) if quiet else (lambda line: print(line, flush=True))
    this = Run(recipe, spec, splits, folder, log)
    begin, *others = (checkpoint.load(Path(p), start[0], recipe.labels) if p else None for p in _networks(recipe))
    trained = [float_stage.train(this, recipe.seed + i) for i in range(recipe.seeds)]
    if trained and recipe.soup.runs:
        trained[-1] = float_stage.soup(this, trained[-1])
    teachers = [*trained, *others]
    network = backbones.copy_of(begin or trained[-1])
    statistics = None  # batch normalisation keeps them until it is folded
    if recipe.quantisation_aware.epochs:
        ranges, statistics = int8_stage.train(this, network, teachers)
        files.write(folder / f"{recipe.name}.ranges.json", json.dumps(ranges, indent=1) + "\n")
    facts = {
        "name": recipe.name,
        "version": recipe.version,
        "licence": recipe.licence,
        "backbone": recipe.backbone,
        "sources": sorted({c.source for c in splits["train"].cases if c.source}),
    }
    checkpoint.save(network, folder / f"{recipe.name}.keras", recipe.labels, spec, facts, statistics)
    log(f"wrote {folder / recipe.name}.keras")
    return network


def fingerprint(cases: Sequence[LabelledImage], recipe: Recipe) -> str:
    """SHA-256 of what decides how a network turns out; a run only goes on where it is the same."""
    rows = [[str(c.path), c.label, c.patient, c.source, c.split] for c in cases]
    contents = [_finder(recipe), *(Path(p).read_bytes() for p in _networks(recipe) if p)]
    text = json.dumps([asdict(recipe), rows, *(hashlib.sha256(data).hexdigest() for data in contents)])
    return hashlib.sha256(text.encode()).hexdigest() + "\n"


def is_same_run(out: Path, cases: Sequence[LabelledImage], recipe: Recipe) -> bool:
    """Whether what lies in the recipe's folder is of this recipe and these cases."""
    made_from = out / recipe.name / f"{recipe.name}.made_from"
    return made_from.is_file() and made_from.read_text() == fingerprint(cases, recipe)


def _networks(recipe: Recipe) -> list[str]:
    """The files of further networks: the one that the second stage begins as (or ""), and its teachers.

    Raises:
        DatasetError: nothing begins the second stage, or teaches it, or a file is missing.
    """
    if (recipe.seeds < 1) != bool(recipe.begin):
        raise DatasetError(f"{recipe.name}: give seeds = 1 or more, or seeds = 0 and a network to begin with")
    if recipe.seeds < 1 and not (recipe.teachers and recipe.quantisation_aware.epochs):
        raise DatasetError(f"{recipe.name}: without seeds there must be teachers, and epochs of quantisation_aware")
    for path in (recipe.begin, *recipe.teachers):
        if path and not Path(path).is_file():
            raise DatasetError(f"{path}: no such network; {recipe.name} names it as begin or teacher")
    return [recipe.begin, *recipe.teachers]


def _finder(recipe: Recipe) -> bytes:
    """The network that finds the lungs, where the recipe wants them found."""
    if not recipe.lungs:
        return b""
    if not LUNGS.is_file():
        raise DatasetError(f"{LUNGS}: is missing; make it with training/locate_lungs.py, or set lungs = false")
    return LUNGS.read_bytes()


def split_cases(data: Sequence[Path], recipe: Recipe) -> tuple[list[LabelledImage], dict[str, Source]]:
    """Reads and checks the cases that the recipe can use, each in a split, and what their sources teach.

    Raises:
        DatasetError: the data set has problems.
    """
    cases = [case for source in data for case in read_dataset(source)]
    if recipe.sources:
        supervision.check(cases, recipe.sources, recipe.labels)
        known_pairs = {(name, label) for name, s in recipe.sources.items() for label in (*s.means, *s.batch)}
        cases = [c for c in cases if (c.source, c.label) in known_pairs]
        dataset.check(cases, sorted({label for _, label in known_pairs}))
        return supervision.assign_splits(cases, recipe.sources), dict(recipe.sources)
    dataset.check(cases, recipe.labels, recipe.ignore)
    cases = dataset.split_by_patient([c for c in cases if c.label in recipe.labels], recipe.seed)
    for warning in dataset.source_contrasts(cases, recipe.labels):
        print(f"warning: {warning}", file=sys.stderr)
    return cases, supervision.default_sources(cases, recipe.labels, recipe.batch_size)


def load(cases: list[LabelledImage], recipe: Recipe, sources: dict[str, Source], spec: InputSpec) -> dict[str, Split]:
    """Decodes the training and validation radiographs.

    Raises:
        DatasetError: a split lacks a label.
    """
    splits = {}
    for name in ("train", "val"):
        selection = [c for c in cases if c.split == name]
        present = {means for c in selection for means in sources[c.source].means.get(c.label, ())}
        if missing := sorted(set(recipe.labels) - present):
            raise DatasetError(f"no image of {', '.join(missing)} in the {name} split; add some or change the splits")
        images = dataset.decode(selection, recipe.decode_side)
        views = [lungs.view(image, spec) for image in images]
        lesson = supervision.lesson(selection, sources, recipe.labels, complete=name == "train")
        radiographs = Radiographs([np.asarray(image) for image in images], views, lesson)
        inputs = dataset.network_inputs(images, spec, views) if name == "val" else np.zeros(0, np.float32)
        splits[name] = Split(selection, radiographs, inputs)
        counts = {label: sum(c.label == label for c in selection) for label in sorted({c.label for c in selection})}
        print(f"{name}: {len(selection)} films, " + ", ".join(f"{n} {label}" for label, n in counts.items()))
    return splits


if __name__ == "__main__":
    sys.exit(main())
