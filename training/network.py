"""A network to be judged, whatever it is kept in: a shipped ``.tflite``, one of one's own, or a float ``.keras``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.network import read_facts
from covidnet_lite import metrics
from covidnet_lite import model as models
from covidnet_lite.errors import ModelError
from covidnet_lite.fit import InputSpec, normalise
from covidnet_lite.interpreter import outputs

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Network:
    """What takes fitted radiographs and gives numbers.

    Attributes:
        name: the name in its manifest, or of its file.
        sha256: of the file.
        labels: in the order of the logits.
        spec: how a radiograph is prepared.
        run: ``(n, height, width)`` uint8 -> ``logits`` and, where it has them, ``evidence`` and ``embedding``.
        correction, temperature, threshold: see :class:`covidnet_lite.manifest.Manifest`.
    """

    name: str
    sha256: str
    labels: tuple[str, ...]
    spec: InputSpec
    run: Callable[[npt.NDArray[np.uint8]], dict[str, Array]]
    correction: tuple[float, ...] = ()
    temperature: float = 1.0
    threshold: float = 0.0

    def probabilities(self, logits: Array) -> npt.NDArray[np.float64]:
        """``(n, classes)`` logits -> the probabilities that are told."""
        shift = np.array(self.correction) if self.correction else 0.0
        return np.asarray(metrics.softmax(logits + shift, self.temperature))


def load(model: str) -> Network:
    """A ``.keras`` file, a ``.tflite``, or a shipped network by its name.

    Raises:
        ModelError: it cannot be loaded.
    """
    if model.endswith(".keras"):
        return _keras(Path(model))
    loaded = models.load(model)
    manifest = loaded.manifest
    return Network(
        manifest.name or loaded.path.stem,
        loaded.sha256,
        manifest.labels,
        manifest.input,
        lambda pictures: dict(outputs(loaded, pictures)),
        manifest.correction,
        manifest.temperature,
        manifest.threshold,
    )


def _keras(path: Path) -> Network:
    facts = read_facts(path) if path.is_file() else {}
    if "labels" not in facts:
        raise ModelError(f"{path}: is no network that training/finetune.py wrote")
    import keras

    from training.batches import predict

    try:
        spec = InputSpec.from_dict(facts["input"], facts.get("lungs", b""))
        network = keras.models.load_model(path, compile=False)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(f"{path}: cannot be loaded ({error}); save it again with training/finetune.py") from error

    def run(pictures: npt.NDArray[np.uint8]) -> dict[str, Array]:
        found = predict(network, normalise(pictures, spec))
        return {name: np.asarray(values) for name, values in found.items()}

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Network(path.stem, digest, tuple(facts["labels"]), spec, run)
