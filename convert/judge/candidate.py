"""One network in one scheme, ready to be written, and what the step from float cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convert.judge.agreement import Agreement, compare
from convert.judge.held_out import HeldOut
from covidnet_lite.network.manifest import Manifest
from covidnet_lite.network.model import Model
from covidnet_lite.prediction import calibrated


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network in one scheme.

    Attributes:
        scheme: a key of :data:`convert.quantisation.scheme.SCHEMES`.
        model: the file to be written.
        agreement: with float, on the images the report is about; ``None`` where there are none.
        all_agreement: top-1, on all held-out images.
        latency: median milliseconds of one inference, one thread.
        float_latency: the same of the float network, in the same run.
    """

    scheme: str
    model: Model
    agreement: Agreement | None
    all_agreement: float | None
    latency: float
    float_latency: float

    @property
    def speed(self) -> float:
        """How many times as fast as float."""
        return self.float_latency / self.latency

    @property
    def quality(self) -> float | None:
        """What it is ranked by: accuracy where images are labelled, else agreement with float."""
        a = self.agreement
        return None if a is None else a.correct / a.labelled if a.labelled else a.top1


NOISE = 0.05  # latencies nearer than this are alike


def dominated(candidates: list[Candidate]) -> list[str]:
    """Schemes for which another is at least as good, as fast and as small, and better in one of the three."""

    def better(a: Candidate, b: Candidate) -> bool:
        quality_a, quality_b = a.quality or 0.0, b.quality or 0.0
        size_a, size_b = len(a.model.data), len(b.model.data)
        as_good = quality_a >= quality_b and size_a <= size_b and a.latency <= b.latency * (1 + NOISE)
        return as_good and (quality_a > quality_b or size_a < size_b or a.latency < b.latency * (1 - NOISE))

    return [b.scheme for b in candidates if any(better(a, b) for a in candidates if a is not b)]


def agree(
    held_out: HeldOut,
    float_logits: npt.NDArray[np.float32],
    float_manifest: Manifest,
    logits: npt.NDArray[np.float32],
    manifest: Manifest,
) -> tuple[Agreement, float]:
    """Float logits and their manifest against another's: the report's images, and top-1 on all."""
    p, q = calibrated(float_logits, float_manifest), calibrated(logits, manifest)
    rows = held_out.reported
    names = [name for name, is_reported in zip(held_out.names, rows) if is_reported]
    overall = float((p.argmax(1) == q.argmax(1)).mean())
    return compare(names, held_out.targets[rows], p[rows], q[rows]), overall
