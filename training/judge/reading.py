"""What a network says of radiographs: probabilities, evidence, answers, and which of these are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from covidnet_lite.dataset import LabelledImage
from covidnet_lite.evidence.extent import raw_extent
from covidnet_lite.evidence.maps import local_probabilities
from covidnet_lite.evidence.place import locate
from covidnet_lite.network.lungs import lung_box
from covidnet_lite.network.manifest import Manifest
from covidnet_lite.prediction import calibrated, judge
from training.judge.audit_set import right_classes
from training.judge.outputs import Arrays

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

NORMAL = "normal"


@dataclass(frozen=True, eq=False)
class Reading:
    """What a network says of ``n`` radiographs.

    Attributes:
        manifest: by which its numbers were read.
        cases: the radiographs.
        right: ``(n, classes)``, the classes that are right for each.
        probabilities: ``(n, classes)``, also of radiographs that it does not answer.
        answer: ``(n, classes)``, the classes of its answer: one, several, or none where there is no answer.
        statuses: ``(n,)``, see :class:`covidnet_lite.Prediction`.
        views: ``(n, 4)``, which part of each radiograph it saw.
        local: ``(n, h, w)``, the probability of "not normal" by place, or ``None`` without an evidence map.
        extents: ``(n,)``, how much of the lungs it calls opaque, 0 to 1, or ``None`` without an evidence map.
    """

    manifest: Manifest
    cases: tuple[LabelledImage, ...]
    right: Bools
    probabilities: Floats
    answer: Bools
    statuses: npt.NDArray[np.str_]
    views: npt.NDArray[np.float32]
    local: Floats | None
    extents: Floats | None

    @property
    def negative(self) -> int:
        """Index of the class that means no finding."""
        return negative(self.manifest)

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """One identifier a radiograph; an unknown patient is one of his own. Two sources may give two the same
        number."""
        return np.array([f"{case.source}/{case.patient or case.path}" for case in self.cases], str)

    @property
    def ill(self) -> Floats:
        """``(n,)``, the probability of "not normal"."""
        return np.asarray(1 - self.probabilities[:, self.negative])

    @property
    def is_ill(self) -> Bools:
        """Which radiographs are not normal."""
        return ~self.right[:, self.negative]

    @property
    def decision(self) -> Bools:
        """``(n, classes)``: the answer at the operating point; of a network without one, the likeliest class."""
        if self.manifest.operating_point is not None:
            return self.answer
        return np.asarray(np.eye(self.probabilities.shape[1], dtype=bool)[self.probabilities.argmax(axis=1)])

    @property
    def called_normal(self) -> Bools:
        """Which radiographs are called normal."""
        return np.asarray(self.decision[:, self.negative])

    @property
    def answered(self) -> Bools:
        """Which radiographs get an answer, of one class or several."""
        return np.asarray(self.answer.any(axis=1))

    @property
    def correct(self) -> Bools:
        """Whose answer holds a class that is right; of no answer, none."""
        return np.asarray((self.answer & self.right).any(axis=1))

    def share(self, label: str) -> Floats:
        """``(n,)``: a class's share of the probability that is not normal."""
        return np.asarray(self.probabilities[:, self.manifest.labels.index(label)] / np.maximum(self.ill, 1e-12))

    def labelled(self, *labels: str) -> Bools:
        """Which radiographs have one of these labels."""
        return np.array([case.label in labels for case in self.cases], bool)

    def of_source(self, *sources: str) -> Bools:
        """Which radiographs are of one of these sources."""
        return np.array([case.source in sources for case in self.cases], bool)

    def in_split(self, *splits: str) -> Bools:
        """Which radiographs are in one of these splits."""
        return np.array([case.split in splits for case in self.cases], bool)

    def of(self, selection: Bools) -> Reading:
        """The same for some of the radiographs."""
        parts: dict[str, Any] = {
            field.name: value[selection]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        cases = tuple(case for case, is_selected in zip(self.cases, selection) if is_selected)
        return replace(self, cases=cases, **parts)


def negative(manifest: Manifest) -> int:
    """Index of the class without a finding: the operating point's, else the one called normal, else the first."""
    name = manifest.negative or NORMAL
    return manifest.labels.index(name) if name in manifest.labels else 0


def read(manifest: Manifest, cases: Sequence[LabelledImage], outputs: Arrays) -> Reading:
    """Outputs of a network (see :func:`training.judge.outputs.outputs`) -> what it says, as the device says it."""
    logits, evidence, index = outputs["logits"], outputs.get("evidence"), negative(manifest)
    point, scale, guard = manifest.operating_point, manifest.extent, manifest.guard
    boxes = [lung_box(_box(view)) for view in outputs["views"]]
    local = extents = None
    if evidence is not None:
        local = np.stack([local_probabilities(e, index, scale.offset if scale else 0.0) for e in evidence])
        extents = np.array([(scale or raw_extent)(*pair) for pair in zip(local, boxes)])
    verdicts = []
    for i, numbers in enumerate(logits):
        distance = float(guard.distance(outputs["embedding"][i])) if guard else None
        wrongly = guard.display_fault(outputs["embedding"][i]) if guard else None
        place = None
        if point is not None and local is not None:
            place = locate(local[i], boxes[i], point.inside_from)
        verdicts.append(judge(numbers, distance, manifest, wrongly, place))
    allowed = [right_classes(case.label, manifest.labels) for case in cases]
    return Reading(
        manifest,
        tuple(cases),
        np.array([[label in right for label in manifest.labels] for right in allowed], bool),
        calibrated(logits, manifest),
        np.array([[label in verdict.labels for label in manifest.labels] for verdict in verdicts], bool),
        np.array([verdict.status for verdict in verdicts], str),
        outputs["views"],
        local,
        extents,
    )


def _box(view: npt.NDArray[np.float32]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(side) for side in view)
    return left, top, right, bottom
