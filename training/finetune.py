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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from convert import metrics
from convert.float_input import normalise
from convert.quantisation import synthetic
from convert.quantisation.ranges import range_of_logits
from covidnet_lite import files
from covidnet_lite.dataset import LabelledImage, read_dataset, write_manifest
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.network import lungs
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.prediction import softmax
from training import dataset
from training.data import supervision
from training.data.augmentation import variant
from training.data.supervision import Source
from training.fit import backbones, checkpoint, frozen, heads, losses, quantisation_aware, trainer
from training.fit.batches import Batch, Radiographs, batch_indices, crop, pixel_batches, predict, steps
from training.fit.equalise_channels import equalise_channels
from training.fit.recipe import Recipe, read_recipe

ROOT = Path(__file__).resolve().parent.parent

LUNGS = ROOT / "training/checkpoints/lungs.tflite"  # from locate_lungs.py
ADAPTED = 20  # batches of which batch normalisation takes its statistics


@dataclass(frozen=True, eq=False)
class Split:
    """Decoded cases of one split."""

    cases: list[LabelledImage]
    radiographs: Radiographs
    inputs: npt.NDArray[np.float32]  # (n, height, width, channels), of validation radiographs as they are; else empty


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
    start = _network(recipe)
    spec = replace(start[1], lungs=finder)
    splits = load(cases, recipe, sources, spec)
    if fresh and folder.exists():
        shutil.rmtree(folder)
    digest = fingerprint(cases, recipe)
    files.write_all({folder / f"{recipe.name}.made_from": digest, folder / f"{recipe.name}.toml": text})
    write_manifest(folder / "manifest.csv", cases)  # so that what was held out stays held out
    log: Callable[[str], None] = (lambda _: None) if quiet else (lambda line: print(line, flush=True))
    begin, *others = (checkpoint.load(Path(p), start[0], recipe.labels) if p else None for p in _networks(recipe))
    trained = [_float_stage(recipe, recipe.seed + i, splits, spec, folder, log) for i in range(recipe.seeds)]
    if trained and recipe.soup.runs:
        trained[-1] = _soup(trained[-1], recipe, splits, spec, folder, log)
    teachers = [*trained, *others]
    network = _copy(begin or trained[-1])
    statistics = None  # batch normalisation keeps them until it is folded
    if recipe.quantisation_aware.epochs:
        images = _calibration_images(splits["train"].radiographs, spec, recipe)
        equalise_channels(network, images, spec)
        calibration = normalise(images, spec)
        imitation = quantisation_aware.imitate_int8(network, calibration)
        _int8_stage(imitation, teachers, recipe, splits, spec, folder, log)
        imitation.settle()
        statistics = synthetic.record(network, calibration)
        ranges = imitation.ranges() | {"logits": _range_of_logits(network, calibration)}
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


def _network(recipe: Recipe) -> tuple[keras.Model, InputSpec]:
    """The network as ImageNet left it, with a head that begins at random."""
    backbone = backbones.build(
        recipe.backbone, side=recipe.side, weights=recipe.weights, equalise=recipe.equalise, blocks=recipe.blocks
    )
    if recipe.taps:
        return heads.with_evidence(backbone.network, recipe.taps, recipe.labels, recipe.dropout), backbone.spec
    return backbones.with_head(backbone, recipe.labels, recipe.dropout), backbone.spec


def _cells(network: keras.Model) -> int:
    return int(network.output["evidence"].shape[1])


def _soup(
    network: keras.Model, recipe: Recipe, splits: dict[str, Split], spec: InputSpec, folder: Path, log: Any
) -> keras.Model:
    """The mean, weight by weight, of networks that all go on from this one."""
    soup, first = recipe.soup, recipe.seed + recipe.seeds
    further = replace(recipe, epochs=soup.epochs, learning_rate=soup.learning_rate, head_rate=soup.head_rate)
    runs = [_float_stage(further, first + i, splits, spec, folder, log, _copy(network)) for i in range(soup.runs)]
    mean = _copy(network)
    mean.set_weights([np.mean(weights, axis=0) for weights in zip(*(run.get_weights() for run in runs))])
    return mean


def _float_stage(
    recipe: Recipe,
    seed: int,
    splits: dict[str, Split],
    spec: InputSpec,
    folder: Path,
    log: Any,
    begin: keras.Model | None = None,
) -> keras.Model:
    """One network of the first stage, batch normalisation folded into its convolutions; it may go on from another."""
    keras.utils.set_random_seed(seed)
    radiographs = splits["train"].radiographs
    network = begin or _folded(recipe, radiographs, spec)
    cells = _cells(network)
    trained, low = network, None
    if recipe.freeze:
        low = backbones.below(network, recipe.freeze)
        trained = keras.Model(low.output, network.output)
        features = frozen.compute_features(
            low, radiographs, spec, cells, recipe.augment, recipe.variants, recipe.seed, folder
        )

    def batches(epoch: int) -> Iterator[Batch]:
        if low is not None:
            return features.batches(radiographs, seed, epoch)
        return pixel_batches(radiographs, spec, cells, recipe.augment, seed, epoch)

    def loss(inputs: Any, allowed: Any, covered: Any, mapped: Any, severity: Any) -> dict[str, Any]:
        outputs = trained(keras.ops.cast(inputs, "float32"), training=True)
        parts = {
            "labels": losses.open_cross_entropy(outputs["logits"], allowed, recipe.label_smoothing),
            "map": losses.map_cross_entropy(outputs["evidence"], covered, mapped),
            "order": losses.ranking(outputs["evidence"], severity),
        }
        return {
            "loss": parts["labels"] + recipe.map_weight * parts["map"] + recipe.rank_weight * parts["order"],
            **parts,
        }

    val = splits["val"]
    val_inputs = val.inputs if low is None else predict(low, val.inputs)
    count = steps(radiographs.lesson)
    stage = trainer.Stage(
        f"float.{seed}",
        recipe.epochs,
        batches,
        loss,
        _groups(trained, recipe, count),
        lambda: _evaluate(trained, val_inputs, val, recipe),
        recipe.momentum,
        trained.non_trainable_variables,
    )
    trainer.train(stage, folder, folder / f"{recipe.name}.csv", log)
    return network


def _folded(recipe: Recipe, radiographs: Radiographs, spec: InputSpec) -> keras.Model:
    """The network at its start; the same statistics for all seeds, so that they stand on the same frozen layers."""
    network, _ = _network(recipe)
    _adapt(network, radiographs, spec, recipe)
    return quantisation_aware.fold_batch_norm(network)


def _adapt(network: keras.Model, radiographs: Radiographs, spec: InputSpec, recipe: Recipe) -> None:
    """Batch normalisation's statistics, of radiographs instead of ImageNet's photographs (Li et al., AdaBN, 2018)."""
    rng = np.random.default_rng(recipe.seed)
    size = min(32, len(radiographs.images))
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.8
    for _ in range(ADAPTED if norms else 0):
        indices = rng.choice(len(radiographs.images), size, replace=False)
        images = [
            variant(radiographs.images[i], radiographs.views[i], spec.height, rng, recipe.augment, spec.equalise)[0]
            for i in indices
        ]
        network(normalise(np.stack(images), spec), training=True)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def _groups(trained: keras.Model, recipe: Recipe, count: int) -> list[tuple[list[Any], keras.optimizers.Optimizer]]:
    """The variables that begin with ImageNet's weights, and those that begin at random, which learn faster."""
    random = set(backbones.randomly_initialised(trained))
    split: dict[bool, list[Any]] = {True: [], False: []}
    for layer in trained.layers:
        split[layer.name in random] += layer.trainable_variables
    warmup = round(recipe.warmup_epochs * count)

    def optimizer(peak: float) -> keras.optimizers.Optimizer:
        schedule = keras.optimizers.schedules.CosineDecay(
            peak * 0.05 if warmup else peak,
            max(1, recipe.epochs * count - warmup),
            alpha=0.02,
            warmup_target=peak if warmup else None,
            warmup_steps=warmup,
        )
        return keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=1.0)

    rates = {True: recipe.learning_rate * recipe.head_rate, False: recipe.learning_rate}
    return [(variables, optimizer(rates[is_random])) for is_random, variables in split.items() if variables]


def _copy(network: keras.Model) -> keras.Model:
    """The same network with weights of its own."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def _int8_stage(
    imitation: quantisation_aware.Imitation,
    teachers: Sequence[keras.Model],
    recipe: Recipe,
    splits: dict[str, Split],
    spec: InputSpec,
    folder: Path,
    log: Any,
) -> None:
    """The second stage: the imitations of int8 learn to say what the first stage's networks say together."""
    radiographs, val, aware = splits["train"].radiographs, splits["val"], recipe.quantisation_aware
    cells = _cells(imitation.network)
    teacher = quantisation_aware.mean_of(teachers)
    count = min(aware.steps or steps(radiographs.lesson), steps(radiographs.lesson))
    variables = imitation.trainable_variables(recipe.freeze)
    schedule = keras.optimizers.schedules.CosineDecay(aware.learning_rate, max(1, aware.epochs * count))
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=1.0)

    def batches(epoch: int) -> Iterator[Batch]:
        return islice(pixel_batches(radiographs, spec, cells, recipe.augment, recipe.seed + 1000, epoch), count)

    def loss(inputs: Any, *_: Any) -> dict[str, Any]:
        if aware.mixed:
            inputs = quantisation_aware.mix(inputs)
        return quantisation_aware.distances(teacher, imitation, inputs, aware.consistency, aware.map_weight)

    stage = trainer.Stage(
        "int8",
        aware.epochs,
        batches,
        loss,
        [(variables, optimizer)],
        lambda: _evaluate(imitation.whole, val.inputs, val, recipe),
    )
    trainer.train(stage, folder, folder / f"{recipe.name}.csv", log)


def _range_of_logits(network: keras.Model, calibration: npt.NDArray[np.float32]) -> list[float]:
    """As the converter chooses it: an answer hardly depends on extreme logits, but on the step between two."""
    return list(range_of_logits(predict(network, calibration)["logits"]))


def _evaluate(network: keras.Model, inputs: npt.NDArray[Any], val: Split, recipe: Recipe) -> dict[str, float]:
    """What the log says of an epoch: on validation radiographs whose label is one class."""
    allowed = val.radiographs.lesson.allowed
    single = allowed.sum(1) == 1
    outputs = predict(network, inputs[single].astype(np.float32))
    targets, probabilities = allowed[single].argmax(1), softmax(outputs["logits"])
    loss = -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-9))
    return {
        "val_loss": float(loss.mean()),
        "val_accuracy": float((probabilities.argmax(1) == targets).mean()),
        "val_auroc": metrics.macro_auroc(targets, probabilities),
    }


def _calibration_images(radiographs: Radiographs, spec: InputSpec, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """Training radiographs for activation ranges, drawn as batches are."""
    count = min(recipe.quantisation_aware.calibration_images, len(radiographs.images))
    order = np.concatenate(list(batch_indices(radiographs.lesson, recipe.seed, 0)))
    indices = list(dict.fromkeys(order.tolist()))[:count]
    return np.stack([crop(radiographs.images[i], radiographs.views[i], spec) for i in indices])


if __name__ == "__main__":
    sys.exit(main())
