"""Fine-tunes a network on radiographs: ``python training/finetune.py --data DIR --recipe training/recipes/base.toml``.

Writes ``NAME.keras``, ``NAME.ranges.json``, ``NAME.toml``, ``NAME.csv`` (one line
an epoch) and ``manifest.csv`` (who was in which split) to ``--out``. Started again
after a kill, it goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, from anywhere

import keras
import numpy as np
import numpy.typing as npt

from convert import synthetic
from covidnet_lite import files, metrics
from covidnet_lite.cases import Case, read_cases, write_manifest
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.fit import InputSpec
from training import backbones, checkpoint, dataset, quantisation_aware, readout
from training.batches import Batches, predict
from training.equalise_channels import equalise_channels
from training.recipe import Recipe, read_recipe

LUNGS = ROOT / "training/checkpoints/lungs.tflite"  # from locate_lungs.py


@dataclass(frozen=True)
class Split:
    """Decoded cases of one split and their targets, ``(n,)`` int64."""

    cases: list[Case]
    images: list[Any]
    targets: npt.NDArray[np.int64]


@dataclass
class Progress:
    """Where a run is, kept on disk beside its weights."""

    epoch: int = 0  # epochs done
    best: float = math.inf  # lowest validation loss
    waited: int = 0  # epochs since then
    done: bool = False
    averaged: int = 0  # epochs whose weights are in the mean

    @classmethod
    def load(cls, path: Path) -> Progress:
        return cls(**json.loads(path.read_text())) if path.is_file() else cls()

    def save(self, path: Path) -> None:
        files.write(path, json.dumps(asdict(self)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fine-tune a network on radiographs.")
    parser.add_argument(
        "--data", type=Path, required=True, help="a manifest.csv, or a folder (LABEL/image or SPLIT/LABEL/image)"
    )
    parser.add_argument(
        "--recipe", type=Path, default=ROOT / "training/recipes/base.toml", help="the TOML file that says how"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), help="folder for runs; this one goes to OUT/NAME (default: runs)"
    )
    parser.add_argument("--fresh", action="store_true", help="start again, dropping what an earlier run left")
    parser.add_argument(
        "--verbose",
        choices=(0, 1, 2),
        type=int,
        default=1,
        help="0 silent, 1 progress bar, 2 one line an epoch (default: 1)",
    )
    args = parser.parse_args(argv)
    try:
        run(args.data, read_recipe(args.recipe), args.recipe, args.out, args.fresh, args.verbose)
    except CovidNetLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    return 0


def run(data: Path, recipe: Recipe, recipe_path: Path, out: Path, fresh: bool = False, verbose: int = 1) -> keras.Model:
    """Trains one recipe, or goes on with it, and returns the network."""
    cases = deal(data, recipe)
    folder, text, finder = out / recipe.name, recipe_path.read_bytes(), _finder(recipe)
    if not fresh and folder.exists() and not begun(out, cases, recipe):
        raise DatasetError(
            f"{folder}: holds a run of another recipe or other data; give another --out, or --fresh to drop it"
        )
    splits = load(cases, recipe)
    if fresh and folder.exists():
        shutil.rmtree(folder)
    mark = fingerprint(cases, recipe)
    files.write_all({folder / f"{recipe.name}.made_from": mark, folder / f"{recipe.name}.toml": text})
    write_manifest(folder / "manifest.csv", cases)  # so that what was held out stays held out
    keras.utils.set_random_seed(recipe.seed)
    backbone = backbones.build(
        recipe.backbone, side=recipe.side, weights=recipe.weights, equalise=recipe.equalise, blocks=recipe.blocks
    )
    if recipe.readout.layers:
        backbone = backbones.tap(backbone, recipe.readout.layers)
    network = backbones.with_head(backbone, recipe.labels, recipe.dropout)
    spec = replace(backbone.spec, lungs=finder)
    if recipe.readout.layers:
        _read_out(network, splits, spec, recipe, folder)
    else:
        backbones.freeze(network, recipe.freeze)
        classifier = keras.Model(network.inputs[0], network.output["logits"])
        _train(classifier, "float", splits, spec, recipe, folder, verbose)
    for layer in network.layers:
        layer.trainable = True

    statistics = None  # batch normalisation keeps them until it is folded
    if recipe.quantisation_aware.epochs:
        network = quantisation_aware.fold_batch_norm(network)
        calibration = _calibration_images(splits["train"], spec, recipe)
        equalise_channels(network, calibration)
        imitated = quantisation_aware.imitate_int8(network, calibration)
        _train(
            imitated.trainer(recipe.quantisation_aware.consistency),
            "int8",
            splits,
            spec,
            recipe,
            folder,
            verbose,
        )
        imitated.settle()
        statistics = synthetic.record(network, calibration)
        files.write(folder / f"{recipe.name}.ranges.json", json.dumps(imitated.ranges(), indent=1) + "\n")
    facts = {
        "name": recipe.name,
        "version": recipe.version,
        "licence": recipe.licence,
        "backbone": recipe.backbone,
        "sources": sorted({c.source for c in splits["train"].cases if c.source}),
    }
    checkpoint.save(network, folder / f"{recipe.name}.keras", recipe.labels, spec, facts, statistics)
    print(f"wrote {folder / recipe.name}.keras")
    return network


def fingerprint(cases: Sequence[Case], recipe: Recipe) -> str:
    """SHA-256 of what decides how a network turns out; a run only goes on where it is the same."""
    told = [[str(c.path), c.label, c.patient, c.source, c.split] for c in cases]
    given = json.dumps([asdict(recipe), told, hashlib.sha256(_finder(recipe)).hexdigest()])
    return hashlib.sha256(given.encode()).hexdigest() + "\n"


def begun(out: Path, cases: Sequence[Case], recipe: Recipe) -> bool:
    """Whether what lies in the recipe's folder is of this recipe and these cases."""
    made_from = out / recipe.name / f"{recipe.name}.made_from"
    return made_from.is_file() and made_from.read_text() == fingerprint(cases, recipe)


def _finder(recipe: Recipe) -> bytes:
    """The network that finds the lungs, where the recipe wants them found."""
    if not recipe.lungs:
        return b""
    if not LUNGS.is_file():
        raise DatasetError(f"{LUNGS}: is missing; make it with training/locate_lungs.py, or set lungs = false")
    return LUNGS.read_bytes()


def deal(data: Path, recipe: Recipe) -> list[Case]:
    """Reads and checks the cases of the recipe's labels and sources, each in a split.

    Raises:
        DatasetError: the data set has problems.
    """
    cases = read_cases(data)
    dataset.check(cases, recipe.labels, recipe.ignore)
    if unknown := sorted(set(recipe.exclude_sources) - {c.source for c in cases}):
        raise DatasetError(f"exclude_sources: the data have no source {unknown[0]}; check the recipe's spelling")
    # Dealt first: whoever leaves out a source has the others in the splits that all have them in.
    cases = dataset.split_by_patient([c for c in cases if c.label in recipe.labels], recipe.seed)
    cases = [c for c in cases if c.source not in recipe.exclude_sources]
    if recipe.exclude_licences and (silent := [c for c in cases if not c.fields.get("licence")]):
        raise DatasetError(f"exclude_licences: {silent[0].path} has no licence in the manifest; add the column")
    return [c for c in cases if not any(word in c.fields.get("licence", "") for word in recipe.exclude_licences)]


def load(cases: list[Case], recipe: Recipe) -> dict[str, Split]:
    """Decodes the training and validation images.

    Raises:
        DatasetError: a split lacks a label.
    """
    splits = {}
    for name in ("train", "val"):
        chosen = [c for c in cases if c.split == name]
        missing = sorted(set(recipe.labels) - {c.label for c in chosen})
        if missing:
            raise DatasetError(f"no image of {', '.join(missing)} in the {name} split; add some or change the splits")
        targets = np.array([recipe.labels.index(c.label) for c in chosen])
        splits[name] = Split(chosen, dataset.decode(chosen, recipe.decode_side), targets)
        print(
            f"{name}: {len(chosen)} images, "
            + ", ".join(f"{n} {label}" for label, n in zip(recipe.labels, np.bincount(targets)))
        )
    return splits


def _read_out(network: keras.Model, splits: dict[str, Split], spec: InputSpec, recipe: Recipe, folder: Path) -> None:
    """Sets the last layer, all others staying as they are; from disk where an earlier start has found it already."""
    found, evidence = folder / "readout.npz", network.get_layer("evidence")
    if found.is_file():
        evidence.set_weights(_read_arrays(found))
        return
    train, val = splits["train"], splits["val"]
    embedding = keras.Model(network.inputs[0], network.output["embedding"])
    features, films = readout.gather(
        embedding, train.images, spec, recipe.augment, recipe.readout.variants, recipe.seed
    )
    weights = dataset.case_weights(train.cases, recipe.balance, recipe.source_weights)[films]
    sources = [train.cases[i].source for i in films]
    kernel, bias = readout.fit(
        features, train.targets[films], sources, weights, recipe.labels, recipe.readout, recipe.label_smoothing
    )
    evidence.set_weights([kernel[None, None], bias])
    classifier = keras.Model(network.inputs[0], network.output["logits"])
    row = _row("readout", 0, {}, predict(classifier, dataset.network_inputs(val.images, spec)), val, recipe)
    _log(folder / f"{recipe.name}.csv", row)
    print("readout: " + ", ".join(f"{k} {v:.4f}" for k, v in row.items() if k.startswith("val_")), flush=True)
    _write_arrays(found, evidence.get_weights())


def _train(
    model: keras.Model,
    stage: str,
    splits: dict[str, Split],
    spec: InputSpec,
    recipe: Recipe,
    folder: Path,
    verbose: int,
) -> None:
    """One stage; leaves in ``model`` the best weights.

    Those are the mean of the recipe's last epochs, or of the best validation epoch where it averages none; in stage
    ``int8`` those of the last epoch.
    """
    int8 = stage == "int8"
    average = 0 if int8 else recipe.average
    epochs = recipe.quantisation_aware.epochs if int8 else recipe.epochs
    peak = recipe.quantisation_aware.learning_rate if int8 else recipe.learning_rate
    train, val = splits["train"], splits["val"]
    one_hot = np.eye(len(recipe.labels), dtype=np.float32)
    weights = dataset.case_weights(train.cases, recipe.balance, recipe.source_weights)
    seed = recipe.seed + (1000 if int8 else 0)
    batches = Batches(train.images, one_hot[train.targets], weights, spec, recipe.augment, recipe.batch_size, seed)
    steps = len(batches)
    if steps == 0:
        raise DatasetError(
            f"{len(train.cases)} training images are fewer than one batch of {recipe.batch_size}; lower batch_size"
        )
    warmup = 0 if int8 else round(recipe.warmup_epochs * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else peak,
        max(1, epochs * steps - warmup),
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=5.0),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        weighted_metrics=[] if int8 else [keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,  # XLA's convolutions on a CPU take ten times as long
    )
    model.optimizer.build(model.trainable_variables)  # so that its state is restored too
    state, best = folder / f"{stage}.json", folder / f"{stage}.best.weights.h5"
    progress = Progress.load(state)

    def last() -> Path:
        return folder / f"{stage}.last.{progress.epoch}.weights.h5"

    def mean() -> Path:
        return folder / f"{stage}.mean.{progress.averaged}.npz"

    if progress.epoch:
        model.load_weights(last())
    inputs = dataset.network_inputs(val.images, spec)
    while progress.epoch < epochs and not progress.done:
        batches.epoch = progress.epoch
        _seed_dropout(model, seed + progress.epoch)
        history = model.fit(
            batches,
            initial_epoch=progress.epoch,
            epochs=progress.epoch + 1,
            verbose=verbose,
            shuffle=False,  # batches are already, and alike after a restart
        ).history
        logits = predict(model, inputs)
        row = _row(stage, progress.epoch, history, logits, val, recipe)
        _log(folder / f"{recipe.name}.csv", row)
        if verbose:
            print("  " + "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k.startswith("val_")), flush=True)
        if int8 or row["val_loss"] < progress.best:  # int8: what counts is agreement, best when all is done
            progress.best, progress.waited = row["val_loss"], 0
            _write_weights(model, best)
        else:
            progress.waited += 1
        # Under names of their own until the state names them: a kill in between repeats this epoch as it was.
        passed = [last(), mean()]
        progress.epoch += 1
        progress.done = not average and progress.waited >= recipe.patience
        if progress.epoch > epochs - average:
            progress.averaged += 1
            _write_mean(model, passed[1], mean(), progress.averaged)
        _write_weights(model, last())
        progress.save(state)
        for path in set(passed) - {last(), mean()}:
            path.unlink(missing_ok=True)
    model.load_weights(best)
    if progress.averaged:
        model.set_weights(_read_arrays(mean()))


def _seed_dropout(model: keras.Model, seed: int) -> None:
    """Weights files do not hold it; so a run that is resumed draws what an unbroken one would."""
    for layer in model._flatten_layers():
        if generator := getattr(layer, "seed_generator", None):
            generator.state.assign([seed, 0])


def _write_mean(model: keras.Model, before: Path, after: Path, count: int) -> None:
    """Stochastic weight averaging (Izmailov et al., UAI 2018): a mean with the ``count``-th epoch added."""
    weights = model.get_weights()
    if count > 1:
        weights = [old + (new - old) / count for old, new in zip(_read_arrays(before), weights)]
    _write_arrays(after, weights)


def _write_arrays(path: Path, arrays: Sequence[npt.NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    files.write(path, buffer.getvalue())


def _read_arrays(path: Path) -> list[npt.NDArray[Any]]:
    with np.load(path) as kept:
        return [kept[name] for name in kept.files]


def _write_weights(model: keras.Model, path: Path) -> None:
    temporary = path.with_name(f"tmp.{path.name}")
    model.save_weights(temporary)  # the optimizer's state included
    temporary.replace(path)


def _row(
    stage: str,
    epoch: int,
    history: dict[str, list[float]],
    logits: npt.NDArray[Any],
    val: Split,
    recipe: Recipe,
) -> dict[str, Any]:
    weights = dataset.case_weights(val.cases, recipe.balance, recipe.source_weights)
    probabilities = metrics.softmax(logits)
    loss = -np.log(np.maximum(probabilities[np.arange(len(val.targets)), val.targets], 1e-9))
    return {
        "stage": stage,
        "epoch": epoch + 1,
        **{k: v[0] for k, v in history.items()},
        "val_loss": float((loss * weights).sum() / weights.sum()),
        "val_accuracy": float((probabilities.argmax(1) == val.targets).mean()),
        "val_auroc": metrics.macro_auroc(val.targets, probabilities),
    }


def _log(path: Path, row: dict[str, Any]) -> None:
    columns = ("stage", "epoch", "loss", "accuracy", "consistency", "val_loss", "val_accuracy", "val_auroc")
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.5f}" if isinstance(v, float) else v for k, v in row.items()})


def _calibration_images(train: Split, spec: InputSpec, recipe: Recipe) -> npt.NDArray[np.float32]:
    """Training images for activation ranges, drawn so that labels and sources are level."""
    weights = dataset.case_weights(train.cases, 1.0, {}).astype(np.float64)
    count = min(recipe.quantisation_aware.calibration_images, len(train.cases))
    rng = np.random.default_rng(recipe.seed)
    chosen = rng.choice(len(train.cases), count, replace=False, p=weights / weights.sum())
    return dataset.network_inputs([train.images[i] for i in chosen], spec)


if __name__ == "__main__":
    sys.exit(main())
