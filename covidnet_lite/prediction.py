"""The network's numbers -> what is told to a person or a program."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import CovidNetLiteError
from .examination import Examination
from .fit import WHOLE, Box
from .manifest import Manifest
from .metrics import softmax

if TYPE_CHECKING:
    from PIL import Image

    from .radiograph import Source

DISCLAIMER = "Research use only; not a medical device."

Status = Literal["answered", "unsure", "refused", "failed"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network makes of one image.

    Attributes:
        name: the image's name.
        status: ``answered``; ``unsure`` (it abstains); ``refused`` (no frontal chest radiograph).
        label: the training class the radiograph resembles, or ``None`` when it abstains.
        reason: why there is no label; ``None`` when there is one.
        probabilities: label -> calibrated probability; empty when refused.
        evidence: ``(h, w, labels)`` float32, logits by place within ``view``, or ``None``.
        distance: how far the image is from the training radiographs (about 1 is ordinary), or ``None``.
        view: the part of the image that the network saw, ``(left, top, right, bottom)`` in fractions of its sides.
        timings: milliseconds for ``read``, ``fit``, ``run`` and ``judge``.
        model, sha256: which network said so.
        examination: what a DICOM header says of modality, body part, view and laterality, else ``None``.
    """

    name: str
    status: Status
    label: str | None
    reason: str | None
    probabilities: dict[str, float]
    timings: dict[str, float]
    model: str
    sha256: str
    evidence: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    distance: float | None = None
    source: Source | None = field(default=None, repr=False)
    view: Box = WHOLE
    examination: Examination | None = None

    @property
    def most_likely(self) -> str | None:
        """The label with the highest probability, also when unsure."""
        return max(self.probabilities, key=self.probabilities.__getitem__) if self.probabilities else None

    @property
    def confidence(self) -> float | None:
        """The highest probability."""
        return max(self.probabilities.values()) if self.probabilities else None

    def heatmap(self, label: str | None = None, image: Source | None = None, opacity: float = 0.45) -> Image.Image:
        """The radiograph with the evidence for a label laid over it, RGB, the longer side 1024 pixels at most.

        Args:
            label: whose evidence; ``None`` for the most likely one.
            image: the radiograph, if it is no longer where it was read from.
            opacity: 0 to 1, of the strongest evidence.

        Raises:
            CovidNetLiteError: there is no evidence map (refused, or the network has none), no such label,
                or the opacity is out of range.
            InputError: the radiograph cannot be read again.
        """
        from . import heatmap, radiograph

        if self.evidence is None:
            raise CovidNetLiteError(
                f"{self.name}: has no evidence map: " + (self.reason or "the network does not make one")
            )
        if not (isinstance(opacity, (int, float)) and 0 <= opacity <= 1):
            raise CovidNetLiteError(f"opacity must be between 0 and 1, not {opacity!r}")
        label = self.most_likely if label is None else label
        if label not in self.probabilities:
            raise CovidNetLiteError(f"{label!r} is none of {', '.join(self.probabilities)}")
        source = image if image is not None else self.source
        if source is None:
            raise CovidNetLiteError(f"{self.name}: pass the radiograph as image=")
        picture = radiograph.read(source, at_least=heatmap.SIZE).image
        return heatmap.overlay(picture, self.evidence, list(self.probabilities).index(label), opacity, self.view)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, without the map."""
        return {
            "name": self.name,
            "status": self.status,
            "label": self.label,
            "reason": self.reason,
            "probabilities": {k: round(v, 4) for k, v in self.probabilities.items()},
            "distance": None if self.distance is None else round(float(self.distance), 3),
            "view": [round(side, 4) for side in self.view],
            "timings_ms": {k: round(v, 3) for k, v in self.timings.items()},
            "model": self.model,
            "sha256": self.sha256,
            **({"examination": self.examination.to_dict()} if self.examination else {}),
            "note": DISCLAIMER,
        }

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        shares = "  ".join(f"{label} {p:.0%}" for label, p in self.probabilities.items())
        head = f"resembles {self.label}" if self.label else f"no answer: {self.reason}"
        return f"{self.name}: {head}" + (f"  ({shares})" if shares else "") + f"  [{DISCLAIMER}]"


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, in the place of its :class:`Prediction`."""

    name: str
    error: CovidNetLiteError
    status: Status = "failed"
    label: None = None

    @property
    def reason(self) -> str:
        """What was wrong and what to do."""
        return str(self.error)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, with the keys of :meth:`Prediction.to_dict` that apply."""
        return {"name": self.name, "status": self.status, "label": None, "reason": self.reason, "note": DISCLAIMER}

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        return f"{self.name}: failed: {self.reason}"


def calibrated(logits: npt.NDArray[np.float32], manifest: Manifest) -> npt.NDArray[np.float64]:
    """``(..., classes)`` logits -> the probabilities that are told, float64."""
    shift = np.array(manifest.correction) if manifest.correction else 0.0
    return np.asarray(softmax(logits + shift, manifest.temperature))


def judge(
    logits: npt.NDArray[np.float32], distance: float | None, manifest: Manifest, shown_wrongly: str | None = None
) -> tuple[Status, str | None, str | None, dict[str, float]]:
    """``(classes,)`` logits -> status, label, reason, probabilities: guard first, then abstention."""
    limit = manifest.guard.limit if manifest.guard else np.inf
    shares = calibrated(logits, manifest)
    if not np.isfinite(shares).all():
        return "refused", None, "the network gave no finite numbers for it", {}
    if distance is not None and not distance <= limit:  # NaN is refused too
        reason = (
            "does not look like the frontal chest radiographs the network was trained on "
            f"(distance {distance:.2f}, limit {limit:.2f})"
        )
        return "refused", None, reason, {}
    if shown_wrongly:
        return "refused", None, f"looks like a radiograph {shown_wrongly}; show it upright, with white bones", {}
    probabilities = dict(zip(manifest.labels, (float(p) for p in shares)))
    best = max(probabilities, key=probabilities.__getitem__)
    if probabilities[best] < manifest.threshold:
        reason = f"unsure: most like {best}, but at {probabilities[best]:.0%}, " + (
            f"below the {manifest.threshold:.0%} from which the network answers"
            if manifest.threshold <= 1
            else "and no confidence was found at which the network errs little enough to answer"
        )
        return "unsure", None, reason, probabilities
    return "answered", best, None, probabilities
