"""Training radiographs in memory, served batch by batch; the same batches for the same seed and epoch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import numpy as np
import numpy.typing as npt
from PIL import Image

from convert.float_input import normalise
from covidnet_lite.box import Box
from covidnet_lite.fit import fit
from covidnet_lite.network.input_spec import InputSpec
from training.data.augmentation import Pixels, Strength, coverage, variant
from training.data.supervision import Lesson

T = TypeVar("T")
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Radiographs:
    """Radiographs to train on, and what is known of them.

    Attributes:
        images: ``(height, width)`` uint8 each.
        views: the box around the lungs of each.
        lesson: what they teach.
    """

    images: Sequence[Pixels]
    views: Sequence[Box]
    lesson: Lesson


@dataclass(frozen=True, eq=False)
class Batch:
    """``(n, ...)`` float32 each.

    Attributes:
        inputs: of the network, or of what is trained of it.
        allowed, mapped, severity: as in :class:`training.data.supervision.Lesson`.
        covered: ``(n, cells, cells)``, the share of each place of the map that lies in a drawn box.
    """

    inputs: Array
    allowed: Array
    covered: Array
    mapped: Array
    severity: Array


def steps(lesson: Lesson) -> int:
    """Batches in an epoch: the radiographs that have a label are drawn about once each, on average."""
    per_batch = sum(count for pool, count in lesson.pools if not _ranked(lesson, pool))
    labelled = sum(len(pool) for pool, _ in lesson.pools if not _ranked(lesson, pool))
    if per_batch:
        return max(1, round(labelled / per_batch))
    return max(1, len(lesson.allowed) // sum(n for _, n in lesson.pools))


def _ranked(lesson: Lesson, pool: Array) -> bool:
    return bool((lesson.severity[pool] >= 0).all())


def batch_indices(lesson: Lesson, seed: int, epoch: int) -> Iterator[npt.NDArray[np.int64]]:
    """The radiographs of each batch of an epoch. Each pool is gone through in a new order, again and again."""
    rng = np.random.default_rng((seed, epoch))
    count = steps(lesson)
    parts = []
    for pool, n in lesson.pools:
        rounds = -(-count * n // len(pool))
        order = np.concatenate([rng.permutation(pool) for _ in range(rounds)])[: count * n]
        parts.append(order.reshape(count, n))
    return iter(np.concatenate(parts, axis=1))


def pixel_batches(
    radiographs: Radiographs, spec: InputSpec, cells: int, strength: Strength, seed: int, epoch: int
) -> Iterator[Batch]:
    """Augmented batches of an epoch; two cores draw them while the network is trained."""

    def one(index: int, key: tuple[int, ...]) -> tuple[Pixels, Array]:
        return random_variant(radiographs, index, spec, cells, np.random.default_rng(key), strength)

    with ThreadPoolExecutor(2) as pool:
        for step, indices in enumerate(batch_indices(radiographs.lesson, seed, epoch)):
            variants = list(pool.map(one, indices, [(seed, epoch, step, i) for i in range(len(indices))]))
            yield batch(
                normalise(np.stack([p for p, _ in variants]), spec),
                np.stack([c for _, c in variants]),
                radiographs.lesson,
                indices,
            )


def random_variant(
    radiographs: Radiographs, index: int, spec: InputSpec, cells: int, rng: np.random.Generator, strength: Strength
) -> tuple[Pixels, Array]:
    """A random variant of one radiograph and how much of each place of its map is opacity."""
    pixels, matrix = variant(
        radiographs.images[index], radiographs.views[index], spec.height, rng, strength, spec.equalise
    )
    boxes = radiographs.lesson.boxes[index]
    if not boxes:
        return pixels, np.zeros((cells, cells), np.float32)
    return pixels, coverage(boxes, radiographs.images[index].shape, matrix, spec.height, cells)


def crop(image: Pixels, view: Box, spec: InputSpec) -> Pixels:
    """A radiograph as it is, prepared by the runtime's own code."""
    return fit(Image.fromarray(image), spec, view)


def batch(inputs: Array, covered: Array, lesson: Lesson, indices: Array) -> Batch:
    """A batch of these radiographs."""
    return Batch(
        inputs,
        lesson.allowed[indices],
        covered.astype(np.float32),
        lesson.mapped[indices],
        lesson.severity[indices],
    )


def prefetch(items: Callable[[], Iterable[T]], capacity: int = 4) -> Iterator[T]:
    """The same items, made by another thread while they are used; what fails there is raised here."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(capacity)
    stopped = threading.Event()

    def enqueue(kind: str, value: Any) -> None:
        while not stopped.is_set():
            try:
                return waiting.put((kind, value), timeout=0.5)
            except queue.Full:
                pass

    def work() -> None:
        try:
            for item in items():
                enqueue("item", item)
                if stopped.is_set():
                    return
        except BaseException as error:
            return enqueue("error", error)
        enqueue("end", None)

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()


def predict(model: keras.Model, inputs: npt.NDArray[np.float32], batch_size: int = 32) -> Any:
    """What a network makes of inputs, as ``model.predict`` gives it, batch by batch.

    The pipeline behind ``predict`` was seen to wait for ever on two cores.
    """
    batches = (inputs[i : i + batch_size] for i in range(0, len(inputs), batch_size))
    outputs = [model.predict_on_batch(batch) for batch in batches]
    if isinstance(outputs[0], dict):
        return {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}
    return np.concatenate(outputs)
