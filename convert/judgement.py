"""From raw int8 outputs to honest answers: temperature, abstention threshold and guard.

All three are fitted on the int8 network as it ships, on images it was not
trained on. They are numbers, so they can be kept beside the network and used
where there are no X-rays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.calibration import choose, pixels
from covidnet_lite import files, metrics
from covidnet_lite.cases import Case
from covidnet_lite.errors import ConversionError, DatasetError
from covidnet_lite.guard import Guard, fit_guard
from covidnet_lite.interpreter import outputs
from covidnet_lite.model import Model

GUARD_IMAGES = 600


@dataclass(frozen=True)
class Judgement:
    """What turns logits into an answer; see :class:`covidnet_lite.manifest.Manifest`."""

    temperature: float = 1.0
    threshold: float = 0.0
    target_error: float = 0.0
    guard: Guard | None = None


def fit(model: Model, cases: Sequence[Case], target_error: float) -> Judgement:
    """Fits temperature and threshold on the validation split, the guard on both others but the test split.

    Without a validation split there is nothing to fit on, and the network answers as it is.

    Raises:
        DatasetError: the validation split has none of the network's labels, or an image cannot be read.
    """
    labels = model.manifest.labels
    held_out = [c for c in cases if c.split == "val"]
    val = [c for c in held_out if c.label in labels]
    if held_out and not val:
        raise DatasetError(f"no validation image is labelled {', '.join(labels)}; check --labels and --data")
    if not val:
        return Judgement()
    out = outputs(model, pixels(val, model.manifest.input))
    targets = np.array([labels.index(c.label) for c in val])
    temperature = metrics.fit_temperature(targets, out["logits"])
    threshold = metrics.abstention_threshold(targets, metrics.softmax(out["logits"], temperature), target_error)
    guard = None
    train = [c for c in cases if c.split == "train"]
    if "embedding" in out and train:
        seen = outputs(model, pixels(choose(train, GUARD_IMAGES), model.manifest.input))
        guard = fit_guard(seen["embedding"], out["embedding"])
    return Judgement(round(temperature, 4), round(threshold, 4), target_error, guard)


def save(judgement: Judgement, stem: Path) -> None:
    """Writes ``STEM.judgement.json`` and ``STEM.guard.npz``."""
    numbers = {k: getattr(judgement, k) for k in ("temperature", "threshold", "target_error")}
    files.write(stem.with_suffix(".judgement.json"), json.dumps(numbers, indent=1) + "\n")
    if judgement.guard is not None:
        files.write(stem.with_suffix(".guard.npz"), judgement.guard.to_npz())


def load(stem: Path) -> Judgement:
    """Reads what :func:`save` wrote; a neutral judgement where there is none.

    Raises:
        ConversionError: a file is damaged.
    """
    numbers, guard = stem.with_suffix(".judgement.json"), stem.with_suffix(".guard.npz")
    if not numbers.is_file():
        return Judgement()
    try:
        kept = Guard.from_npz(guard.read_bytes()) if guard.is_file() else None
        return Judgement(guard=kept, **json.loads(numbers.read_text()))
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ConversionError(f"{numbers}: cannot be read ({error}); fit it again with --data ... --record") from error
