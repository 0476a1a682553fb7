"""The second stage: int8 is imitated, and learns to say what the first stage's networks say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from convert.float_input import normalise
from convert.quantisation import synthetic
from convert.quantisation.ranges import range_of_logits
from training.fit import backbones, quantisation_aware, trainer
from training.fit.batches import Batch, batch_indices, crop, pixel_batches, predict, steps
from training.fit.equalise_channels import equalise_channels
from training.fit.run import Run
from training.fit.split import evaluate


def train(
    run: Run, network: keras.Model, teachers: Sequence[keras.Model]
) -> tuple[dict[str, list[float]], synthetic.Statistics]:
    """Changes a network's weights to what int8 can store, and returns what the quantiser needs beside them.

    Returns:
        The range of each layer's output, and the statistics of its activations.
    """
    images = _calibration_images(run)
    equalise_channels(network, images, run.spec)
    calibration = normalise(images, run.spec)
    imitation = quantisation_aware.imitate_int8(network, calibration)
    _train(run, imitation, teachers)
    imitation.settle()
    ranges = imitation.ranges() | {"logits": _range_of_logits(network, calibration)}
    return ranges, synthetic.record(network, calibration)


def _train(run: Run, imitation: quantisation_aware.Imitation, teachers: Sequence[keras.Model]) -> None:
    """The imitations learn to say what the teachers say together."""
    recipe, radiographs, val = run.recipe, run.splits["train"].radiographs, run.splits["val"]
    aware = recipe.quantisation_aware
    cells = backbones.cells(imitation.network)
    teacher = quantisation_aware.mean_of(teachers)
    count = min(aware.steps or steps(radiographs.lesson), steps(radiographs.lesson))
    variables = imitation.trainable_variables(recipe.freeze)
    schedule = keras.optimizers.schedules.CosineDecay(aware.learning_rate, max(1, aware.epochs * count))
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=1.0)

    def batches(epoch: int) -> Iterator[Batch]:
        return islice(pixel_batches(radiographs, run.spec, cells, recipe.augment, recipe.seed + 1000, epoch), count)

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
        lambda: evaluate(imitation.whole, val.inputs, val),
    )
    trainer.train(stage, run.folder, run.table, run.log)


def _range_of_logits(network: keras.Model, calibration: npt.NDArray[np.float32]) -> list[float]:
    """As the converter chooses it: an answer hardly depends on extreme logits, but on the step between two."""
    return list(range_of_logits(predict(network, calibration)["logits"]))


def _calibration_images(run: Run) -> npt.NDArray[np.uint8]:
    """Training radiographs for activation ranges, drawn as batches are."""
    radiographs, recipe = run.splits["train"].radiographs, run.recipe
    count = min(recipe.quantisation_aware.calibration_images, len(radiographs.images))
    order = np.concatenate(list(batch_indices(radiographs.lesson, recipe.seed, 0)))
    indices = list(dict.fromkeys(order.tolist()))[:count]
    return np.stack([crop(radiographs.images[i], radiographs.views[i], run.spec) for i in indices])
