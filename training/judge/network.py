"""A network to be judged, whatever it is kept in: a shipped ``.tflite``, one of one's own, or a float ``.keras``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.float_input import normalise
from convert.judge.network_outputs import outputs
from convert.source.network import read_facts
from covidnet_lite.errors import ModelError
from covidnet_lite.network import model as models
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.manifest import Manifest
from covidnet_lite.prediction import calibrated

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Network:
    """What takes fitted radiographs and gives numbers.

    Attributes:
        sha256: of its file.
        manifest: how its numbers are read; of a float network, only name, labels and input are known.
        run: ``(n, height, width)`` uint8 -> ``logits`` and, where it has them, ``evidence`` and ``embedding``.
    """

    sha256: str
    manifest: Manifest
    run: Callable[[npt.NDArray[np.uint8]], dict[str, Array]]

    @property
    def name(self) -> str:
        """The name in its manifest, or of its file."""
        return self.manifest.name

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return self.manifest.labels

    @property
    def spec(self) -> InputSpec:
        """How a radiograph is prepared."""
        return self.manifest.input

    def probabilities(self, logits: Array) -> npt.NDArray[np.float64]:
        """``(n, classes)`` logits -> the probabilities that are told."""
        return calibrated(logits, self.manifest)


def load(model: str) -> Network:
    """A ``.keras`` file, a ``.tflite``, or a shipped network by its name.

    Raises:
        ModelError: it cannot be loaded.
    """
    if model.endswith(".keras"):
        return _keras(Path(model))
    loaded = models.load(model)
    return Network(loaded.sha256, loaded.manifest, lambda images: dict(outputs(loaded, images)))


def _keras(path: Path) -> Network:
    facts = read_facts(path) if path.is_file() else {}
    if "labels" not in facts:
        raise ModelError(f"{path}: is no network that training/finetune.py wrote")
    import keras

    from training.fit.batches import predict

    try:
        spec = InputSpec.from_dict(facts["input"], facts.get("lungs", b""))
        network = keras.models.load_model(path, compile=False)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(f"{path}: cannot be loaded ({error}); save it again with training/finetune.py") from error

    def run(images: npt.NDArray[np.uint8]) -> dict[str, Array]:
        outputs_ = predict(network, normalise(images, spec))
        return {name: np.asarray(values) for name, values in outputs_.items()}

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Network(digest, Manifest(path.stem, tuple(facts["labels"]), spec), run)
