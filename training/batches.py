"""Radiographs in memory, served to Keras batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from PIL import Image

from covidnet_lite import lungs
from covidnet_lite.fit import WHOLE, Box, InputSpec, fit, normalise
from training import spectrum
from training.augment import Strength, augment


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented batches ``(x, y, weight)``; the same for the same seed and epoch, also after a restart.

    ``epoch`` is set by whoever trains: Keras ends an epoch while its last batches are still being made.
    """

    def __init__(
        self,
        images: Sequence[Image.Image],
        targets: npt.NDArray[Any],
        weights: npt.NDArray[np.float32],
        spec: InputSpec,
        strength: Strength,
        batch_size: int,
        seed: int,
        first_epoch: int = 0,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self.images, self.targets, self.weights = images, targets, weights
        self.spec, self.strength, self.batch_size, self.seed = spec, strength, batch_size, seed
        self.epoch = first_epoch
        self.views = [lungs.view(image, spec) for image in images]
        self.cropped = replace(spec, lungs=b"")  # how what is cropped already is prepared
        seen = zip(images, self.views) if strength.spectrum else ()
        self.spectra = [spectrum.radial(fit(image, spec, view)) for image, view in seen]

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], ...]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.images))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        pixels = np.stack([self._variant(i, rng) for i in chosen])
        return normalise(pixels, self.spec), self.targets[chosen], self.weights[chosen]

    def _variant(self, index: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        image = self.images[index]
        if self.spec.lungs:
            image = lungs.crop(image, _jittered(self.views[index], rng))
        pixels = fit(augment(image, rng, self.strength), self.cropped)
        if self.spectra and rng.random() < self.strength.spectrum:
            target = self.spectra[rng.integers(len(self.spectra))]
            pixels = fit(Image.fromarray(spectrum.impose(pixels, target, rng.uniform(0.6, 1))), self.cropped)
        return pixels


def predict(model: keras.Model, inputs: npt.NDArray[np.float32], batch_size: int = 32) -> Any:
    """What a network makes of inputs, as ``model.predict`` gives it, batch by batch.

    The pipeline behind ``predict`` was seen to wait for ever on two cores.
    """
    batches = (inputs[i : i + batch_size] for i in range(0, len(inputs), batch_size))
    found = [model.predict_on_batch(batch) for batch in batches]
    if isinstance(found[0], dict):
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return np.concatenate(found)


def _jittered(view: Box, rng: np.random.Generator) -> Box:
    """Another box near one, as a finder that errs would find it; now and then all of the picture."""
    if rng.random() < 0.1:
        return WHOLE
    left, top, right, bottom = view
    across, down = (right - left) * rng.uniform(-0.1, 0.12), (bottom - top) * rng.uniform(-0.1, 0.12)
    sides = np.array([left - across, top - down, right + across, bottom + down]) + rng.normal(0, 0.02, 4)
    left, top, right, bottom = (float(side) for side in np.clip(sides, 0, 1))
    return left, top, right, bottom
