"""The network's numbers -> the result that a person or a program gets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from .box import WHOLE, Box
from .codes import Code, Note
from .errors import CovidNetLiteError, UnforeseenError
from .evidence.maps import merge_others
from .evidence.place import OUTSIDE, Place
from .network.manifest import Manifest
from .network.operating_point import OperatingPoint
from .percent import distinct_numbers, distinct_percents, percent

if TYPE_CHECKING:
    from PIL import Image

    from .dicom_in.examination import Examination
    from .radiograph import Source
    from .site.site import Site

DISCLAIMER = "Research use only; not a medical device."

Status = Literal["answered", "narrowed", "unsure", "refused", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)
ANSWERS: tuple[Status, ...] = ("answered", "narrowed")  # the rest is no answer


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result for one radiograph.

    Attributes:
        name: the image's name.
        status: ``answered``, with one label; ``narrowed``, with several: not negative, but which of them is open;
            ``unsure`` (it abstains); ``refused`` (no frontal chest radiograph).
        labels: the training classes the radiograph may be like: one, several, or none when it abstains.
        reason: why there is no label, or no single one; ``None`` when there is.
        probabilities: label -> calibrated probability; empty when refused. Of an abstention they are no finding.
        evidence: ``(h, w, labels)`` float32, logits by place within ``view``, or ``None``.
        distance: how far the image is from the training radiographs (about 1 is ordinary), or ``None``.
        view: the part of the image that the network saw, ``(left, top, right, bottom)`` in fractions of its sides.
        timings: milliseconds for ``read``, ``fit``, ``run`` and ``judge``.
        model, sha256: which network answered.
        examination: what a DICOM header says of modality, body part, view and laterality, else ``None``.
        negative: the label that means "no finding", where the network says which that is.
        extent: share of the box around the lungs that the evidence calls opaque, 0 to 1, as radiologists would grade
            it, or ``None`` where it is refused or the network has no scale for it. Of an abstention it is no finding.
        extent_error: the mean absolute error of ``extent`` on patients that its scale was not fitted on, 0 to 1.
        place: where the positive evidence lies, or ``None`` where there is none, it is refused, or the network does not
            say what "negative" is. Of an abstention it is no finding.
        track_record: how often such an answer was right, and how often there is none, in one line; ``None`` where it
            abstains or the network does not say.
        notes: what was ignored in reading the file, or is missing in its header, in words.
        code: of the reason; ``None`` where there is none.
        site: the hospital whose thresholds applied, or ``None`` for the network's own.
        image: the radiograph in gray, reduced for a screen, if it was to be kept and the same decoding yielded it; not
            in JSON, and not in a pickle.
        signed_by: name of the trusted key that signed the network, or ``None``.
    """

    name: str
    status: Status
    labels: tuple[str, ...]
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
    negative: str | None = None
    extent: float | None = None
    extent_error: float | None = None
    place: Place | None = None
    track_record: str | None = None
    notes: tuple[Note, ...] = ()
    code: Code | None = None
    site: Site | None = None
    image: Image.Image | None = field(default=None, repr=False)
    signed_by: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "image": None}

    @property
    def label(self) -> str | None:
        """The one training class the radiograph resembles; ``None`` when it abstains or several are left."""
        return self.labels[0] if len(self.labels) == 1 else None

    @property
    def answer(self) -> str | None:
        """The answer in words: ``covid``, or ``not normal; pneumonia or covid``; ``None`` when it abstains."""
        return self.label if len(self.labels) < 2 else f"not {self.negative}; {' or '.join(self.labels)}"

    @property
    def public_reason(self) -> str | None:
        """The reason for what leaves the machine: it quotes nothing from the file, and holds no numbers."""
        return self.code.public if self.code else None

    @property
    def is_positive(self) -> bool:
        """Whether the answer is surely not ``negative``; never where the network does not say what that is."""
        return bool(self.labels) and self.negative is not None and self.negative not in self.labels

    @property
    def findings(self) -> tuple[str, ...]:
        """Extent and place of the opacity in words, for a positive answer; empty for any other."""
        if not self.is_positive:
            return ()
        extent = f"opacity in about {percent(self.extent or 0, 0)} of the lungs" if self.extent is not None else ""
        if extent and self.extent_error is not None:
            extent += f" (off by {percent(self.extent_error, 0)} of the lungs on average)"
        return tuple(filter(None, (extent, f"evidence: {self.place.main}" if self.place else "")))

    @property
    def most_likely(self) -> str | None:
        """The label with the highest probability, also when unsure."""
        return max(self.probabilities, key=self.probabilities.__getitem__) if self.probabilities else None

    @property
    def confidence(self) -> float | None:
        """The highest probability."""
        return max(self.probabilities.values()) if self.probabilities else None

    def heatmap(
        self,
        label: str | None = None,
        image: Source | None = None,
        opacity: float = 0.45,
        legend: bool = True,
    ) -> Image.Image:
        """The radiograph with the evidence for a label laid over it, RGB, the longer side 1024 pixels at most.

        Args:
            label: whose evidence; ``None`` for the answer's: where several labels are left, the evidence against
                ``negative``; where the network abstains, the most likely label's, which is no finding.
            image: the radiograph, if it is no longer where it was read from.
            opacity: 0 to 1, of the strongest evidence.
            legend: add a band below that names the label and explains the colours.

        Raises:
            CovidNetLiteError: there is no evidence map (refused, or the network has none), no such label,
                or the opacity is out of range.
            InputError: the radiograph cannot be read again.
        """
        from . import radiograph
        from .evidence import heatmap

        if self.evidence is None:
            raise CovidNetLiteError(
                f"{self.name}: has no evidence map: " + (self.reason or "the network does not make one")
            )
        if not (isinstance(opacity, (int, float)) and 0 <= opacity <= 1):
            raise CovidNetLiteError(f"opacity must be between 0 and 1, not {opacity!r}")
        if label is None and len(self.labels) < 2:
            label = self.label or self.most_likely
        if label is not None and label not in self.probabilities:
            raise CovidNetLiteError(f"{label!r} is none of {', '.join(self.probabilities)}")
        source = next((s for s in (image, self.image, self.source) if s is not None), None)
        if source is None:
            raise CovidNetLiteError(f"{self.name}: pass the radiograph as image=")
        gray = radiograph.read(source, at_least=heatmap.SIZE).image
        names, evidence = list(self.probabilities), self.evidence
        if label is None:
            evidence, index = np.asarray(merge_others(evidence, names.index(str(self.negative))), np.float32), 1
        else:
            index = names.index(label)
        overlay = heatmap.overlay(gray, evidence, index, opacity, self.view)
        if not legend:
            return overlay
        title = f"evidence for {label or f'not {self.negative}'}" + ("" if self.labels else " (no answer)")
        return heatmap.with_legend(overlay, title, heatmap.strongest(evidence))

    def to_dict(self) -> dict[str, Any]:
        """Plain types, without the map."""
        return {
            "name": self.name,
            "status": self.status,
            "label": self.label,
            "labels": list(self.labels),
            "code": self.code,
            "reason": self.reason,
            "probabilities": {k: round(v, 6) for k, v in self.probabilities.items()},
            "extent": None if self.extent is None else round(self.extent, 4),
            "extent_error": self.extent_error,
            "place": self.place.to_dict() if self.place else None,
            "track_record": self.track_record,
            "distance": None if self.distance is None else round(float(self.distance), 3),
            "view": [round(side, 4) for side in self.view],
            "timings_ms": {k: round(v, 3) for k, v in self.timings.items()},
            "model": self.model,
            "sha256": self.sha256,
            "signed_by": self.signed_by,
            **({"site": self.site.to_dict()} if self.site else {}),
            **({"examination": self.examination.to_dict()} if self.examination else {}),
            **({"notes": list(self.notes), "note_codes": [n.code for n in self.notes]} if self.notes else {}),
            "note": DISCLAIMER,
        }

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        if not self.labels:
            return f"{self.name}: no answer: {self.reason}  [{DISCLAIMER}]"
        head = "; ".join((f"resembles {self.label}" if self.label else str(self.answer), *self.findings))
        shares = "  ".join(f"{label} {percent(p)}" for label, p in self.probabilities.items())
        record = f"  [{self.track_record}]" if self.track_record else ""
        return f"{self.name}: {head}  ({shares}){record}  [{DISCLAIMER}]"


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, in the place of its :class:`Prediction`."""

    name: str
    error: CovidNetLiteError
    status: Status = "failed"
    labels: tuple[()] = ()
    label: None = None
    answer: None = None

    @property
    def reason(self) -> str:
        """What was wrong and what to do."""
        return str(self.error)

    @property
    def code(self) -> Code:
        """Of the reason."""
        return self.error.code

    @property
    def public_reason(self) -> str:
        """The reason for what leaves the machine: it quotes nothing from the file."""
        return self.error.public

    def to_dict(self) -> dict[str, Any]:
        """Plain types, with the keys of :meth:`Prediction.to_dict` that apply."""
        return {
            "name": self.name,
            "status": self.status,
            "label": None,
            "labels": [],
            "code": self.code,
            "reason": self.reason,
            **({"reference": self.error.reference} if isinstance(self.error, UnforeseenError) else {}),
            "note": DISCLAIMER,
        }

    def to_json(self) -> str:
        """One line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        return f"{self.name}: failed: {self.reason}"


def softmax(logits: npt.NDArray[Any], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """``(..., classes)`` logits -> probabilities, float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))


def calibrated(logits: npt.NDArray[np.float32], manifest: Manifest) -> npt.NDArray[np.float64]:
    """``(..., classes)`` logits -> the calibrated probabilities, float64."""
    shift = np.array(manifest.correction) if manifest.correction else 0.0
    return softmax(logits + shift, manifest.temperature)


@dataclass(frozen=True)
class Verdict:
    """The result of :func:`judge`; the attributes are those of :class:`Prediction`."""

    status: Status
    labels: tuple[str, ...] = ()
    reason: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    code: Code | None = None


def judge(
    logits: npt.NDArray[np.float32],
    distance: float | None,
    manifest: Manifest,
    display_fault: str | None = None,
    place: Place | None = None,
) -> Verdict:
    """``(classes,)`` logits -> the verdict: guard first, then abstention, then one label or several.

    Args:
        distance: of the embedding, by the guard; ``None`` without one.
        display_fault: how it is displayed wrongly, in words, if the guard says so.
        place: where the positive evidence lies, if it is known.
    """
    limit = manifest.guard.limit if manifest.guard else np.inf
    shares = calibrated(logits, manifest)
    if not np.isfinite(shares).all():
        return Verdict("refused", reason=Code.NO_NUMBERS.public, code=Code.NO_NUMBERS)
    if distance is not None and not distance <= limit:  # NaN is refused too
        distance_text, limit_text = distinct_numbers(distance, limit)
        reason = f"{Code.UNLIKE_TRAINING.public} (distance {distance_text}, limit {limit_text})"
        return Verdict("refused", reason=reason, code=Code.UNLIKE_TRAINING)
    if display_fault:
        reason = f"looks like a radiograph {display_fault}; show one alone, upright, with white bones"
        return Verdict("refused", reason=reason, code=Code.SHOWN_WRONGLY)
    probabilities = dict(zip(manifest.labels, (float(p) for p in shares)))
    if manifest.operating_point is not None:
        return _by_operating_point(probabilities, manifest.operating_point, place)
    best = max(probabilities, key=probabilities.__getitem__)
    if probabilities[best] >= manifest.threshold:
        return Verdict("answered", (best,), None, probabilities)
    share, threshold = distinct_percents(probabilities[best], manifest.threshold)
    cause = (
        f"is below the {threshold} from which the network answers"
        if manifest.threshold <= 1
        else "is too low: no threshold was found at which the network errs rarely enough to answer"
    )
    return Verdict("unsure", (), f"unsure: the highest probability, {share}, {cause}", probabilities, Code.UNSURE)


def _by_operating_point(probabilities: dict[str, float], point: OperatingPoint, place: Place | None) -> Verdict:
    labels, negative = point.answer(probabilities), point.negative
    if not labels:
        up_to = 1 - point.positive_from
        share, lower, upper = distinct_percents(probabilities[negative], point.negative_from, up_to)
        reason = (
            f"unsure: the probability of {negative} is {share}; "
            + (f"{negative} is answered from {lower}" if point.negative_from <= 1 else f"{negative} is never answered")
            + (f", not {negative} up to {upper}" if up_to >= 0 else f", not {negative} never")
        )
        return Verdict("unsure", (), reason, probabilities, Code.UNSURE)
    if labels == (negative,):
        return Verdict("answered", labels, None, probabilities)
    if place is not None and place.main == OUTSIDE:
        reason = f"unsure: {percent(1 - place.inside, 0)} of the evidence lies outside the lungs"
        return Verdict("unsure", (), reason, probabilities, Code.OUTSIDE_LUNGS)
    if len(labels) == 1:
        return Verdict("answered", labels, None, probabilities)
    reason = f"{' or '.join(labels)}: the network is not sure enough which of them"
    return Verdict("narrowed", labels, reason, probabilities, Code.NARROWED)
