"""What the radiographs of each source teach, as the recipe says it.

The rule: no contrast between sources is ever rewarded. A network that is shown normal radiographs from one hospital and
ill ones from another learns to tell the hospitals apart (docs/what_was_tried.md). So a source either teaches several
classes that it holds itself, or the order of its own radiographs, or nothing; sources of one hospital may be taken
together.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from covidnet_lite.box import Box
from covidnet_lite.dataset import LabelledImage
from covidnet_lite.errors import DatasetError


@dataclass(frozen=True)
class Source:
    """What the radiographs of one source teach.

    Attributes:
        means: label of the manifest -> the classes it allows: one, or several where it leaves them open.
        batch: label of the manifest -> radiographs of it in each batch.
        hospital: sources with the same name count as one; empty for the source alone.
        boxes: the manifest's column of opacity boxes (``x0 y0 x1 y1`` in fractions, ``;`` between).
        boxes_complete: whether each opacity of a radiograph with boxes has one; if not, nothing is taught outside them.
        clear: labels whose radiographs have no opacity, so that the whole map is known.
        rank: the manifest's column of a reader's grade, by which the source's radiographs are ordered.
        patients: share of the source's patients that are trained on, where the manifest names none for training; the
            others stay apart for judging (:func:`trained_on`).
    """

    means: dict[str, tuple[str, ...]] = field(default_factory=dict)
    batch: dict[str, int] = field(default_factory=dict)
    hospital: str = ""
    boxes: str = ""
    boxes_complete: bool = True
    clear: tuple[str, ...] = ()
    rank: str = ""
    patients: float = 0.0


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is known of some radiographs.

    Attributes:
        allowed: ``(n, classes)`` float32, 1 for each class that the label allows; all 1 where there is no label.
        boxes: of each radiograph, around its opacities, in fractions of its sides.
        mapped: ``(n,)`` float32, 1 where the boxes are all there are.
        severity: ``(n,)`` float32, a reader's grade, or -1.
        pools: the radiographs that each part of a batch is drawn from, and how many.
    """

    allowed: npt.NDArray[np.float32]
    boxes: list[tuple[Box, ...]]
    mapped: npt.NDArray[np.float32]
    severity: npt.NDArray[np.float32]
    pools: tuple[tuple[npt.NDArray[np.int64], int], ...]


def default_sources(cases: Sequence[LabelledImage], labels: Sequence[str], batch_size: int) -> dict[str, Source]:
    """For data of which the recipe says nothing: each label is a class, and batches hold as many of each."""
    per_label = max(1, batch_size // len(labels))
    sources = {case.source: None for case in cases}
    means: dict[str, tuple[str, ...]] = {label: (label,) for label in labels}
    shared = Source(means, dict.fromkeys(labels, per_label), hospital="all")
    return dict.fromkeys(sources, shared)


def trained_on(case: LabelledImage, source: Source) -> bool:
    """Whether a radiograph is for training: by its split, or by its patient where the source deals patients itself."""
    if not source.patients:
        return case.split == "train"
    # By hospital: one patient may have radiographs in two sources of it.
    digest = hashlib.sha256(f"{source.hospital or case.source}/{case.patient or case.path.name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < source.patients


def assign_splits(cases: Sequence[LabelledImage], sources: Mapping[str, Source]) -> list[LabelledImage]:
    """The cases of these sources; those that deal patients themselves get ``train`` and ``test`` anew."""
    return [
        replace(case, split="train" if trained_on(case, sources[case.source]) else "test")
        if sources[case.source].patients
        else case
        for case in cases
        if case.source in sources
    ]


def check(cases: Sequence[LabelledImage], sources: Mapping[str, Source], labels: Sequence[str]) -> None:
    """Refuses what would reward a contrast between sources.

    Raises:
        DatasetError: a source is not in the data, its radiographs mean an unknown class, or a hospital teaches one
            class.
    """
    present = {case.source for case in cases}
    if missing := sorted(set(sources) - present):
        raise DatasetError(
            f"sources.{missing[0]}: the data have no such source; they have {', '.join(sorted(present)) or 'none'}"
        )
    taught: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for name, source in sources.items():
        for label, means in source.means.items():
            if unknown := [m for m in means if m not in labels]:
                raise DatasetError(f"sources.{name}.means.{label}: {unknown[0]!r} is none of {', '.join(labels)}")
        for label in source.batch:
            if label not in source.means and not source.rank:
                raise DatasetError(f"sources.{name}.batch.{label}: the recipe does not say what {label!r} means")
            if source.means.get(label):
                taught[source.hospital or name].add(tuple(source.means[label]))
    for hospital, classes in taught.items():
        if len(classes) < 2:
            raise DatasetError(
                f"sources of {hospital or 'no source'} teach {' or '.join(next(iter(classes)))} and nothing else: the "
                "network would learn the hospital. Add another class of the same hospital, rank its films, or leave it "
                "out"
            )


def lesson(
    cases: Sequence[LabelledImage], sources: Mapping[str, Source], labels: Sequence[str], complete: bool = True
) -> Lesson:
    """What is known of radiographs, and how batches are made of them.

    Args:
        cases: the radiographs.
        sources: what each of their sources teaches.
        labels: the classes.
        complete: whether each pool of a batch must have a radiograph, as where batches are drawn.

    Raises:
        DatasetError: a pool has no radiograph, or a box or grade cannot be read.
    """
    allowed = np.ones((len(cases), len(labels)), np.float32)
    severity = np.full(len(cases), -1, np.float32)
    mapped = np.zeros(len(cases), np.float32)
    boxes: list[tuple[Box, ...]] = []
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, case in enumerate(cases):
        source = sources[case.source]
        members[case.source, case.label].append(i)
        if means := source.means.get(case.label):
            allowed[i] = [label in means for label in labels]
        boxes.append(read_boxes(case, source.boxes) if source.boxes else ())
        mapped[i] = (bool(boxes[-1]) and source.boxes_complete) or case.label in source.clear
        if source.rank:
            severity[i] = _grade(case, source.rank)
    # Sources that are taken together fill a label's places together.
    pools: dict[tuple[str, str], tuple[list[int], int]] = {}
    for name, source in sources.items():
        for label, count in source.batch.items():
            key = (source.hospital or name, label)
            pools[key] = (pools.get(key, ([], 0))[0] + members[name, label], count)
    for (hospital, label), (members_, _) in pools.items():
        if complete and not members_:
            raise DatasetError(f"{hospital or 'the data'}: no film labelled {label} in the train split")
    return Lesson(allowed, boxes, mapped, severity, tuple((np.array(p, np.int64), n) for p, n in pools.values()))


def read_boxes(case: LabelledImage, column: str) -> tuple[Box, ...]:
    """The boxes of a radiograph, in fractions of its sides.

    Raises:
        DatasetError: they are not four numbers each.
    """
    boxes = []
    for text in filter(str.strip, case.fields.get(column, "").split(";")):
        try:
            left, top, right, bottom = (float(v) for v in text.split()[-4:])
        except ValueError:
            raise DatasetError(f"{case.path}: {column} holds {text!r}; write x0 y0 x1 y1 in fractions") from None
        boxes.append((left, top, right, bottom))
    return tuple(boxes)


def _grade(case: LabelledImage, column: str) -> float:
    text = case.fields.get(column, "")
    try:
        grade = float(text) if text else -1.0
    except ValueError:
        grade = math.nan
    if not math.isfinite(grade):
        raise DatasetError(f"{case.path}: {column} holds {text!r}; write a number")
    return grade
