"""What quantisation cost: figures of the float network and of int8, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from convert.calibration import pixels
from covidnet_lite import metrics
from covidnet_lite.cases import Case
from covidnet_lite.errors import DatasetError
from covidnet_lite.interpreter import Interpreter, outputs
from covidnet_lite.model import Model
from covidnet_lite.prediction import calibrated


@dataclass(frozen=True)
class Agreement:
    """Float against int8 on labelled images neither was calibrated on.

    Attributes:
        images: how many.
        top1: share with the same class.
        drift: mean change of the float network's confidence.
        float_correct, int8_correct: images classified rightly.
        differing: names of the images they disagree on.
    """

    images: int
    top1: float
    drift: float
    float_correct: int
    int8_correct: int
    differing: tuple[str, ...]


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of one inference, one thread, taken in turn in one run."""

    float_ms: float
    int8_ms: float


def agreement(float_model: Model, int8_model: Model, cases: Sequence[Case]) -> Agreement:
    """Runs both over labelled cases; probabilities are those the device would tell (same temperature).

    Raises:
        DatasetError: no case has a label of the network's, or an image cannot be read.
    """
    manifest = int8_model.manifest
    cases = [c for c in cases if c.label in manifest.labels]
    if not cases:
        raise DatasetError(f"no image to judge on is labelled {', '.join(manifest.labels)}; check --labels and --data")
    pictures = pixels(cases, manifest.input)
    targets = np.array([manifest.labels.index(c.label) for c in cases])
    p, q = (calibrated(outputs(m, pictures)["logits"], m.manifest) for m in (float_model, int8_model))
    top_p, top_q = p.argmax(1), q.argmax(1)
    rows = np.arange(len(cases))
    return Agreement(
        images=len(cases),
        top1=float((top_p == top_q).mean()),
        drift=float(np.abs(p[rows, top_p] - q[rows, top_p]).mean()),
        float_correct=int((top_p == targets).sum()),
        int8_correct=int((top_q == targets).sum()),
        differing=tuple(str(c.path) for c, same in zip(cases, top_p == top_q) if not same),
    )


def latency(float_model: Model, int8_model: Model, rounds: int = 60) -> Latency:
    """Times both in turn, so that whatever else the machine does hits both."""
    runners = [_runner(m) for m in (float_model, int8_model)]
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for run, taken in zip(runners, times):
            start = time.perf_counter()
            run()
            taken.append((time.perf_counter() - start) * 1e3)
    float_ms, int8_ms = (float(np.median(taken[5:])) for taken in times)
    return Latency(float_ms, int8_ms)


def _runner(model: Model) -> Any:
    interpreter = Interpreter(model, threads=1)
    values: npt.NDArray[Any] = np.zeros(interpreter.input_shape, interpreter.input_dtype)
    return lambda: interpreter.run(values)


def text(float_model: Model, int8_model: Model, found: Agreement | None, taken: Latency) -> str:
    """The table that is printed."""
    ratio = taken.float_ms / taken.int8_ms
    lines = [
        f"{'':<24}{'float':>14}{'int8':>14}",
        f"{'size':<24}{len(float_model.data) / 1e6:>11.2f} MB{len(int8_model.data) / 1e6:>11.2f} MB",
        f"{'latency, one thread':<24}{taken.float_ms:>11.2f} ms{taken.int8_ms:>11.2f} ms   {ratio:.2f} x faster",
    ]
    if found is None:
        return "\n".join([*lines, "agreement and accuracy: not measured; pass --data MANIFEST with a test split"])
    shares = []
    for correct in (found.float_correct, found.int8_correct):
        low, high = metrics.wilson(correct, found.images)
        shares.append(f"{correct / found.images:.1%} ({low:.1%}-{high:.1%})")
    lines += [
        f"{'accuracy (95 %)':<20}  {shares[0]}  {shares[1]}   on {found.images} images",
        f"{'top-1 agreement':<24}{'':>14}{found.top1:>14.2%}",
        f"{'mean confidence drift':<24}{'':>14}{found.drift:>14.4f}",
    ]
    return "\n".join(lines)
