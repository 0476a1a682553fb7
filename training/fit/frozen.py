"""The layers that keep their ImageNet weights see each variant of a radiograph once, not once an epoch.

Several variants of each training radiograph are drawn beforehand, and what the frozen layers make of them is kept on
disk in half precision. An epoch then takes one of the variants of each radiograph, and trains the layers above.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from convert.float_input import normalise
from covidnet_lite.network.input_spec import InputSpec
from training.data.augmentation import Strength
from training.fit.batches import Batch, Radiographs, batch, batch_indices, random_variant

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Frozen:
    """``features`` ``(radiographs, variants, h, w, channels)`` float16, ``covered`` ``(radiographs, variants, cells,
    cells)``."""

    features: Array
    covered: Array

    def batches(self, radiographs: Radiographs, seed: int, epoch: int) -> Iterator[Batch]:
        """As :func:`training.fit.batches.pixel_batches`, with features for pixels."""
        rng = np.random.default_rng((seed, epoch, 1))
        for indices in batch_indices(radiographs.lesson, seed, epoch):
            variants = rng.integers(self.features.shape[1], size=len(indices))
            yield batch(self.features[indices, variants], self.covered[indices, variants], radiographs.lesson, indices)


class Below:
    """A float network, run by TensorFlow Lite, which takes a fifth of the time; one interpreter a thread."""

    def __init__(self, network: keras.Model) -> None:
        one = keras.Input(batch_shape=(1, *network.input.shape[1:]))
        self._data = tf.lite.TFLiteConverter.from_keras_model(keras.Model(one, network(one))).convert()
        self._local = threading.local()

    def __call__(self, inputs: npt.NDArray[np.float32]) -> Array:
        """``(height, width, channels)`` -> the network's output without its batch dimension."""
        if not hasattr(self._local, "interpreter"):
            self._local.interpreter = tf.lite.Interpreter(model_content=self._data, num_threads=1)
            self._local.interpreter.allocate_tensors()
        interpreter = self._local.interpreter
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs[None])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])


def compute_features(
    network: keras.Model,
    radiographs: Radiographs,
    spec: InputSpec,
    cells: int,
    strength: Strength,
    variants: int,
    seed: int,
    folder: Path,
) -> Frozen:
    """What ``network``, the frozen layers, makes of variants of all radiographs; read from ``folder`` where it is
    kept."""
    features_file, covered_file = folder / "frozen.npy", folder / "covered.npy"
    if not (features_file.is_file() and covered_file.is_file()):
        below, count = Below(network), len(radiographs.images)
        unfinished = folder / "frozen.part.npy"
        shape = (count, variants, *network.output.shape[1:])
        features = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)
        covered = np.zeros((count, variants, cells, cells), np.float16)

        def one(index: int) -> None:
            rng = np.random.default_rng((seed, index))
            for v in range(variants):
                pixels, covered[index, v] = random_variant(radiographs, index, spec, cells, rng, strength)
                features[index, v] = below(normalise(pixels, spec))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, range(count)))
        features.flush()
        np.save(covered_file, covered)
        unfinished.replace(features_file)
    return Frozen(np.load(features_file, mmap_mode="r"), np.load(covered_file))
