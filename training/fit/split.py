"""One split of the radiographs, decoded, and what a network makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from convert import metrics
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.prediction import softmax
from training.fit.batches import Radiographs, predict


@dataclass(frozen=True, eq=False)
class Split:
    """Decoded cases of one split."""

    cases: list[LabelledImage]
    radiographs: Radiographs
    inputs: npt.NDArray[np.float32]  # (n, height, width, channels), of validation radiographs as they are; else empty


def evaluate(network: keras.Model, inputs: npt.NDArray[Any], val: Split) -> dict[str, float]:
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
