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
from training.data.supervision import Lesson
from training.data.variant import Pixels, Strength, coverage, variant

T = TypeVar("T")
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Films:
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
    """Batches in an epoch: the films that have a label are drawn about once each, on average."""
    drawn = sum(count for films, count in lesson.pools if not _ranked(lesson, films))
    held = sum(len(films) for films, _ in lesson.pools if not _ranked(lesson, films))
    return max(1, round(held / drawn)) if drawn else max(1, len(lesson.allowed) // sum(n for _, n in lesson.pools))


def _ranked(lesson: Lesson, films: Array) -> bool:
    return bool((lesson.severity[films] >= 0).all())


def drawn(lesson: Lesson, seed: int, epoch: int) -> Iterator[npt.NDArray[np.int64]]:
    """The films of each batch of an epoch. Each pool is gone through in a new order, again and again."""
    rng = np.random.default_rng((seed, epoch))
    count = steps(lesson)
    parts = []
    for films, n in lesson.pools:
        rounds = -(-count * n // len(films))
        order = np.concatenate([rng.permutation(films) for _ in range(rounds)])[: count * n]
        parts.append(order.reshape(count, n))
    return iter(np.concatenate(parts, axis=1))


def pixel_batches(
    films: Films, spec: InputSpec, cells: int, strength: Strength, seed: int, epoch: int
) -> Iterator[Batch]:
    """Augmented batches of an epoch; two cores draw them while the network is trained."""

    def one(index: int, key: tuple[int, ...]) -> tuple[Pixels, Array]:
        return draw(films, index, spec, cells, np.random.default_rng(key), strength)

    with ThreadPoolExecutor(2) as pool:
        for step, chosen in enumerate(drawn(films.lesson, seed, epoch)):
            made = list(pool.map(one, chosen, [(seed, epoch, step, i) for i in range(len(chosen))]))
            yield batch(
                normalise(np.stack([p for p, _ in made]), spec), np.stack([c for _, c in made]), films.lesson, chosen
            )


def draw(
    films: Films, index: int, spec: InputSpec, cells: int, rng: np.random.Generator, strength: Strength
) -> tuple[Pixels, Array]:
    """A random variant of one film and how much of each place of its map is opacity."""
    pixels, matrix = variant(films.images[index], films.views[index], spec.height, rng, strength, spec.equalise)
    boxes = films.lesson.boxes[index]
    if not boxes:
        return pixels, np.zeros((cells, cells), np.float32)
    return pixels, coverage(boxes, films.images[index].shape, matrix, spec.height, cells)


def crop(image: Pixels, view: Box, spec: InputSpec) -> Pixels:
    """A film as it is, prepared by the runtime's own code."""
    return fit(Image.fromarray(image), spec, view)


def batch(inputs: Array, covered: Array, lesson: Lesson, chosen: Array) -> Batch:
    """A batch of these films."""
    return Batch(
        inputs,
        lesson.allowed[chosen],
        covered.astype(np.float32),
        lesson.mapped[chosen],
        lesson.severity[chosen],
    )


def ahead(items: Callable[[], Iterable[T]], room: int = 4) -> Iterator[T]:
    """The same items, made by another thread while they are used; what fails there is raised here."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(room)
    over = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not over.is_set():
            try:
                return waiting.put((kind, value), timeout=0.5)
            except queue.Full:
                pass

    def work() -> None:
        try:
            for item in items():
                put("item", item)
                if over.is_set():
                    return
        except BaseException as error:
            return put("error", error)
        put("end", None)

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
        over.set()


def predict(model: keras.Model, inputs: npt.NDArray[np.float32], batch_size: int = 32) -> Any:
    """What a network makes of inputs, as ``model.predict`` gives it, batch by batch.

    The pipeline behind ``predict`` was seen to wait for ever on two cores.
    """
    batches = (inputs[i : i + batch_size] for i in range(0, len(inputs), batch_size))
    found = [model.predict_on_batch(batch) for batch in batches]
    if isinstance(found[0], dict):
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return np.concatenate(found)
