"""From raw int8 outputs to honest answers: bias correction, temperature, abstention threshold and guard.

All are fitted on the int8 network as it ships. They are numbers, so they can be kept beside the network and used
where there are no X-rays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from convert import metrics
from convert.judge.dead_leaves import dead_leaves
from convert.judge.guard import MIN_RADIOGRAPHS, fit_guard
from convert.judge.network_outputs import outputs
from convert.judge.shown_wrongly import WRONG
from convert.quantisation.representative_images import choose, pixels
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import ConversionError, DatasetError
from covidnet_lite.evidence.extent import ExtentScale
from covidnet_lite.fit import fit as fit_image
from covidnet_lite.network.guard import Guard
from covidnet_lite.network.model import Model
from covidnet_lite.network.operating_point import OperatingPoint
from covidnet_lite.prediction import softmax

TRAIN_IMAGES = 2000
FOREIGN_IMAGES = 1000


@dataclass(frozen=True)
class Judgement:
    """What turns logits into an answer; see :class:`covidnet_lite.network.manifest.Manifest`."""

    correction: tuple[float, ...] = ()
    temperature: float = 1.0
    threshold: float = 0.0
    target_error: float = 0.0
    guard: Guard | None = None
    operating_point: OperatingPoint | None = None
    extent: ExtentScale | None = None

    def rules(self) -> dict[str, Any]:
        """What of it stands in a manifest, by the manifest's names."""
        names = ("correction", "temperature", "threshold", "guard", "operating_point", "extent")
        return {name: getattr(self, name) for name in names}


def fit(model: Model, float_model: Model, cases: Sequence[LabelledImage], target_error: float) -> Judgement:
    """Fits temperature and threshold on the validation split, correction and guard on the training split.

    The guard's limit comes from the validation split too, or from sources left out. Without a validation
    split there is nothing to fit on, and the network answers as it is.

    Raises:
        DatasetError: the validation split has none of the network's labels, the training split has too few images for
            a guard, or an image cannot be read.
        ConversionError: no guard can be fitted to the embedding.
    """
    labels, spec = model.manifest.labels, model.manifest.input
    held_out = [c for c in cases if c.split == "val"]
    val = [c for c in held_out if c.label in labels]
    if held_out and not val:
        raise DatasetError(f"no validation image is labelled {', '.join(labels)}; check --labels and --data")
    if not val:
        return Judgement()
    train = [c for c in cases if c.split == "train" and c.label in labels]
    correction, guard = np.zeros(len(labels)), None
    val_outputs = outputs(model, pixels(val, spec))
    if train:
        train = choose(train, TRAIN_IMAGES)
        images = pixels(train, spec)
        train_outputs = outputs(model, images)
        correction = (outputs(float_model, images)["logits"] - train_outputs["logits"]).mean(axis=0)
        if "embedding" in val_outputs:
            guard = _guard(model, train, train_outputs["embedding"], val_outputs["embedding"])
    targets = np.array([labels.index(c.label) for c in val])
    shift = tuple(round(float(v), 5) for v in correction)
    logits = val_outputs["logits"] + np.array(shift)
    temperature = metrics.fit_temperature(targets, logits)
    threshold = metrics.abstention_threshold(targets, softmax(logits, temperature), target_error)
    return Judgement(shift, round(temperature, 4), round(threshold, 4), target_error, guard)


def _guard(
    model: Model, train: Sequence[LabelledImage], embeddings: npt.NDArray[Any], held_out: npt.NDArray[Any]
) -> Guard:
    if len(train) < MIN_RADIOGRAPHS:
        raise DatasetError(
            f"{len(train)} training images are too few for the guard, which needs {MIN_RADIOGRAPHS}; add some, or give "
            "only a validation split for a network without a guard"
        )
    sources = [case.source for case in train]
    wrong, foreign = wrong_embeddings(model, train), foreign_embeddings(model)
    try:
        return fit_guard(embeddings, held_out, wrong=wrong, sources=sources, foreign=foreign)
    except ValueError as error:  # NaN, or no variance
        raise ConversionError(
            f"no guard can be fitted to the embeddings of the training images ({error}); convert the network without "
            "its output embedding"
        ) from error


def wrong_embeddings(model: Model, cases: Sequence[LabelledImage]) -> dict[str, npt.NDArray[Any]]:
    """Embeddings of radiographs shown in each wrong way."""
    spec = model.manifest.input
    return {name: outputs(model, pixels(cases, spec, change))["embedding"] for name, change in WRONG.items()}


def foreign_embeddings(model: Model) -> npt.NDArray[Any]:
    """``(FOREIGN_IMAGES, features)`` embeddings of synthetic outliers."""
    spec = model.manifest.input
    images = [fit_image(dead_leaves(seed, spec.in_colour), spec) for seed in range(FOREIGN_IMAGES)]
    return np.asarray(outputs(model, np.stack(images))["embedding"])


def path_beside(stem: Path, suffix: str) -> Path:
    """``STEM`` and a suffix; ``net.v2`` keeps its ``.v2``, so that two networks never share a file."""
    return stem.with_name(stem.name + suffix)


def contents(judgement: Judgement, stem: Path) -> dict[Path, bytes | str]:
    """The files ``STEM.judgement.json`` and ``STEM.guard.npz``, for :func:`load`."""
    numbers = {k: getattr(judgement, k) for k in ("correction", "temperature", "threshold", "target_error")}
    for name in ("operating_point", "extent"):
        if (rules := getattr(judgement, name)) is not None:
            numbers[name] = rules.to_dict()
    files: dict[Path, bytes | str] = {path_beside(stem, ".judgement.json"): json.dumps(numbers, indent=1) + "\n"}
    if judgement.guard is not None:
        files[path_beside(stem, ".guard.npz")] = judgement.guard.to_npz()
    return files


def load(stem: Path) -> Judgement:
    """Reads what :func:`contents` gave; a neutral judgement where there is none.

    Raises:
        ConversionError: a file is damaged.
    """
    numbers_path, guard_path = path_beside(stem, ".judgement.json"), path_beside(stem, ".guard.npz")
    if not numbers_path.is_file():
        return Judgement()
    try:
        guard = Guard.from_npz(guard_path.read_bytes()) if guard_path.is_file() else None
        fields = json.loads(numbers_path.read_text())
        if "operating_point" in fields:
            fields["operating_point"] = OperatingPoint(**fields["operating_point"])
        if "extent" in fields:
            fields["extent"] = ExtentScale.from_dict(fields["extent"])
        return Judgement(guard=guard, **{**fields, "correction": tuple(fields["correction"])})
    except (ValueError, TypeError, KeyError, OSError, RecursionError) as error:
        raise ConversionError(
            f"{numbers_path}: cannot be read ({error}); fit it again with --data ... --record"
        ) from error
