"""The first stage: networks in float, and the mean of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from convert.float_input import normalise
from covidnet_lite.network.input_spec import InputSpec
from training.data.augmentation import variant
from training.fit import backbones, frozen, heads, losses, quantisation_aware, trainer
from training.fit.batches import Batch, Radiographs, pixel_batches, predict, steps
from training.fit.recipe import Recipe
from training.fit.run import Run
from training.fit.split import evaluate

ADAPTED = 20  # batches of which batch normalisation takes its statistics


def new_network(recipe: Recipe) -> tuple[keras.Model, InputSpec]:
    """The network as ImageNet left it, with a head that begins at random."""
    backbone = backbones.build(
        recipe.backbone, side=recipe.side, weights=recipe.weights, equalise=recipe.equalise, blocks=recipe.blocks
    )
    if recipe.taps:
        return heads.with_evidence(backbone.network, recipe.taps, recipe.labels, recipe.dropout), backbone.spec
    return backbones.with_head(backbone, recipe.labels, recipe.dropout), backbone.spec


def train(run: Run, seed: int, begin: keras.Model | None = None) -> keras.Model:
    """One network of the first stage, batch normalisation folded into its convolutions; it may go on from another."""
    keras.utils.set_random_seed(seed)
    recipe, spec, val = run.recipe, run.spec, run.splits["val"]
    radiographs = run.splits["train"].radiographs
    network = begin or _folded(recipe, radiographs, spec)
    cells = backbones.cells(network)
    trained, low = network, None
    if recipe.freeze:
        low = backbones.below(network, recipe.freeze)
        trained = keras.Model(low.output, network.output)
        features = frozen.compute_features(
            low, radiographs, spec, cells, recipe.augment, recipe.variants, recipe.seed, run.folder
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

    val_inputs = val.inputs if low is None else predict(low, val.inputs)
    count = steps(radiographs.lesson)
    stage = trainer.Stage(
        f"float.{seed}",
        recipe.epochs,
        batches,
        loss,
        _groups(trained, recipe, count),
        lambda: evaluate(trained, val_inputs, val),
        recipe.momentum,
        trained.non_trainable_variables,
    )
    trainer.train(stage, run.folder, run.table, run.log)
    return network


def soup(run: Run, network: keras.Model) -> keras.Model:
    """The mean, weight by weight, of networks that all go on from this one."""
    how, first = run.recipe.soup, run.recipe.seed + run.recipe.seeds
    recipe = replace(run.recipe, epochs=how.epochs, learning_rate=how.learning_rate, head_rate=how.head_rate)
    further = replace(run, recipe=recipe)
    trained = [train(further, first + i, backbones.copy_of(network)) for i in range(how.runs)]
    mean = backbones.copy_of(network)
    mean.set_weights([np.mean(weights, axis=0) for weights in zip(*(one.get_weights() for one in trained))])
    return mean


def _folded(recipe: Recipe, radiographs: Radiographs, spec: InputSpec) -> keras.Model:
    """The network at its start; the same statistics for all seeds, so that they stand on the same frozen layers."""
    network, _ = new_network(recipe)
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
