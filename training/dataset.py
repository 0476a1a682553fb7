"""The radiographs a network is trained on: checked before the first step, split by patient, served in batches."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from PIL import Image

from covidnet_lite import radiograph
from covidnet_lite.cases import Case
from covidnet_lite.errors import CovidNetLiteError, DatasetError
from covidnet_lite.fit import InputSpec, fit, normalise
from training.augment import Strength, augment

SPLITS = ("train", "val", "test")


def problems(cases: Sequence[Case], labels: Sequence[str], ignore: Sequence[str] = ()) -> list[str]:
    """Everything wrong with a data set, one sentence each; empty when it can be used."""
    found = [f"{case.path}: no such file" for case in cases if not case.path.is_file()]
    unknown = Counter(case.label for case in cases if case.label not in labels and case.label not in ignore)
    found += [
        f"label {label!r} on {count} images is none of {', '.join(labels)}; name it in the recipe's labels or ignore"
        for label, count in sorted(unknown.items())
    ]
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.split not in ("", *SPLITS):
            found.append(f"{case.path}: split {case.split!r} is none of {', '.join(SPLITS)}")
        if case.patient and case.split:
            splits[case.patient].add(case.split)
    found += [
        f"patient {patient} is in {' and '.join(sorted(names))}; put all images of one patient in one split"
        for patient, names in sorted(splits.items())
        if len(names) > 1
    ]
    # The same bytes twice, within a split or across, count one image twice.
    same: dict[str, list[Path]] = defaultdict(list)
    for case in cases:
        if case.path.is_file():
            same[hashlib.sha256(case.path.read_bytes()).hexdigest()].append(case.path)
    found += [
        f"{paths[0]} is repeated as {', '.join(str(p) for p in paths[1:])}; keep one"
        for paths in same.values()
        if len(paths) > 1
    ]
    return found


def check(cases: Sequence[Case], labels: Sequence[str], ignore: Sequence[str] = ()) -> None:
    """Raises one :class:`DatasetError` with all :func:`problems`, if there are any."""
    found = problems(cases, labels, ignore)
    if found:
        shown = "\n  ".join(found[:20]) + (f"\n  and {len(found) - 20} more" if len(found) > 20 else "")
        raise DatasetError(f"the data set has {len(found)} problem{'s' * (len(found) > 1)}:\n  {shown}")


def split_by_patient(
    cases: Sequence[Case], seed: int, fractions: tuple[float, float, float] = (0.7, 0.12, 0.18)
) -> list[Case]:
    """Gives cases without a split one, so that no patient is in two.

    Patients are dealt label by label and source by source, so each split sees
    each. Images whose patient is not known count as a patient each.
    """
    rng = np.random.default_rng(seed)
    strata: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)  # dict keys: a set that keeps its order
    unit = [case.patient or str(case.path) for case in cases]
    dealt = {u: case.split for u, case in zip(unit, cases) if case.split}
    for u, case in zip(unit, cases):
        if u not in dealt:
            strata[case.label, case.source][u] = None
    for _, patients in sorted(strata.items()):
        names = [p for p in patients if p not in dealt]
        rng.shuffle(names)
        bounds = np.rint(np.cumsum(fractions) * len(names)).astype(int)
        for i, name in enumerate(names):
            dealt[name] = SPLITS[int(np.searchsorted(bounds, i, side="right"))]
    return [replace(case, split=dealt[u]) for u, case in zip(unit, cases)]


def case_weights(cases: Sequence[Case], balance: float, source_weights: dict[str, float]) -> npt.NDArray[np.float32]:
    """Weight of each case in the loss, mean 1.

    The images of one label from one source form a cell. With ``balance`` 0 every
    image counts the same, with 1 every cell does; labels always end up level.
    ``source_weights`` multiplies the cells of a source.
    """
    cells = Counter((case.label, case.source) for case in cases)
    raw = {cell: (1 / n) ** balance * source_weights.get(cell[1], 1.0) for cell, n in cells.items()}
    total: dict[str, float] = defaultdict(float)
    for cell, n in cells.items():
        total[cell[0]] += raw[cell] * n
    weights = np.array([raw[c.label, c.source] / total[c.label] for c in cases], np.float64)
    return (weights / weights.mean()).astype(np.float32)


def decode(cases: Sequence[Case], side: int) -> list[Image.Image]:
    """All radiographs in memory, 8-bit gray, the shorter side about ``side`` pixels or as stored if smaller.

    Raises:
        DatasetError: at least one cannot be read; all such are named.
    """

    def one(case: Case) -> Image.Image | str:
        try:
            image = radiograph.read(case.path, at_least=(side, side)).image
        except CovidNetLiteError as error:
            return str(error)
        factor = side / min(image.size)
        if factor < 1:
            image = image.resize([round(s * factor) for s in image.size], Image.Resampling.BILINEAR, reducing_gap=2.0)
        return image

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(one, cases))
    broken = [image for image in images if isinstance(image, str)]
    if broken:
        raise DatasetError("these radiographs cannot be read:\n  " + "\n  ".join(broken))
    return [image for image in images if not isinstance(image, str)]


def network_inputs(images: Sequence[Image.Image], spec: InputSpec) -> npt.NDArray[np.float32]:
    """``(n, height, width, channels)`` float32, unchanged by chance."""
    return normalise(np.stack([fit(image, spec) for image in images]), spec)


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented batches ``(x, y, weight)``; the same for the same seed and epoch, also after a restart."""

    def __init__(
        self,
        images: Sequence[Image.Image],
        targets: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32],
        spec: InputSpec,
        strength: Strength,
        batch_size: int,
        seed: int,
        first_epoch: int = 0,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self.images, self.targets, self.weights = images, targets, weights
        self.spec, self.strength, self.batch_size, self.seed = spec, strength, batch_size, seed
        self.epoch = first_epoch

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], ...]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.images))
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        pixels = np.stack([fit(augment(self.images[i], rng, self.strength), self.spec) for i in chosen])
        return normalise(pixels, self.spec), self.targets[chosen], self.weights[chosen]

    def on_epoch_end(self) -> None:
        self.epoch += 1
