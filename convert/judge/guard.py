"""Fits the guard of a network: what its training radiographs look like, shown rightly and wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from covidnet_lite.network.guard import Guard, shape_of

Array = npt.NDArray[Any]

HOSPITAL_QUANTILE = 0.98  # of a hospital, to pass a guard of another
FOREIGN_DISTANCE = 20.0  # between radiographs and synthetic outliers, by the term for these
ROOM = 0.2  # of the way from the limit to the nearest 1 % of these, for hospitals that lie farther off
PLANE = 0.55  # of the way from radiographs to those shown wrongly, where the plane between them lies
MIN_RADIOGRAPHS = 20  # of a hospital, and of all, for a limit that means something


def fit_guard(
    embeddings: Array,
    held_out: Array,
    quantile: float = 0.99,
    components: int = 64,
    wrong: Mapping[str, Array] | None = None,
    sources: Sequence[str] = (),
    hospital_quantile: float = HOSPITAL_QUANTILE,
    foreign: Array | None = None,
) -> Guard:
    """A guard from training embeddings ``(n, features)``; the limit from radiographs it has not seen.

    ``quantile`` of the held-out radiographs are near enough to pass; each plane may refuse another
    ``(1 - quantile) / 2``. Radiographs of a hospital that was not trained on lie farther off: where ``sources`` names
    the hospital of each embedding, the limit lets ``hospital_quantile`` of every hospital pass by a guard fitted on one
    other hospital alone, the one that knows it best. A guard fitted on all others knows it too well: of two further
    hospitals, such a limit refused 13 and 26 %.
    ``wrong`` holds embeddings of training radiographs shown wrongly, by what is wrong with them; what the network
    cannot distinguish from the right way is left out. ``foreign`` holds embeddings of images that are no radiographs
    (``dead_leaves``): the guard gets a term for the way to them, and its limit moves ``ROOM`` of that way. A network
    that hardly distinguishes them gets neither.
    """
    shapes = shape_of(embeddings).astype(np.float64)
    others = None if foreign is None else shape_of(foreign).astype(np.float64)
    if others is not None and not _are_apart(shapes, others):
        others = None
    guard = _around(shapes, components, others)
    limits = [np.quantile(guard.distance(held_out), quantile)]
    source_of = np.asarray(sources)
    members = {source: np.flatnonzero(source_of == source) for source in sorted(set(sources))}
    members = {source: inside for source, inside in members.items() if len(inside) >= MIN_RADIOGRAPHS}
    guards = {source: _around(shapes[inside], components, others) for source, inside in members.items()}
    for source, inside in members.items():
        seen = [other.distance(embeddings[inside]) for name, other in guards.items() if name != source]
        limits += [min(np.quantile(distances, hospital_quantile) for distances in seen)] if seen else []
    limit = max(limits)
    if guard.foreign.size:
        limit += ROOM * max(0.0, np.quantile(guard.distance(np.asarray(foreign)), 0.01) - limit)
    guard = replace(guard, limit=float(limit))
    planes = {name: _plane(shapes, shape_of(rows).astype(np.float64)) for name, rows in (wrong or {}).items()}
    # A network that hardly tells the two apart has no such plane.
    held_out_shapes = shape_of(held_out)
    planes = {
        name: (n, offset)
        for name, (n, offset) in planes.items()
        if (held_out_shapes @ n > offset).mean() <= (1 - quantile) / 2
    }
    if planes:
        normals, offsets = (np.array(part, np.float32) for part in zip(*planes.values()))
        guard = replace(guard, faults=tuple(planes), normals=normals, offsets=offsets)
    return Guard.from_npz(guard.to_npz())


def _around(shapes: Array, components: int, others: Array | None) -> Guard:
    """A guard without a limit yet, from embeddings as :func:`shape_of` leaves them."""
    # Directions must leave a rest of images and of features, or there is no outside to measure.
    components = max(1, min(components, min(shapes.shape) // 2))
    mean = shapes.mean(axis=0)
    centred = shapes - mean
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:components]
    variance = singular[:components] ** 2 / len(shapes)
    residual = float((centred**2).sum(axis=1).mean() - variance.sum())
    guard = Guard(mean.astype(np.float32), directions.astype(np.float32), variance.astype(np.float32), residual, 1.0)
    if others is not None:
        normal = _discriminant(shapes, others)
        with np.errstate(over="ignore"):
            foreign = (normal * (FOREIGN_DISTANCE / float(normal @ (others.mean(axis=0) - mean)))).astype(np.float16)
        if np.isfinite(foreign).all():  # not where embeddings differ by less than half precision can store
            offset = float(foreign.astype(float) @ mean)
            guard = replace(guard, foreign=foreign.astype(np.float32), foreign_offset=offset)
    # float16 as it is stored, so that a limit belongs to the distances the device computes.
    return Guard.from_npz(guard.to_npz())


def _are_apart(shapes: Array, others: Array) -> bool:
    """Whether all but 1 % of each lie on their own side along the discriminant."""
    normal = _discriminant(shapes, others)
    return bool(np.quantile(shapes @ normal, 0.99) < np.quantile(others @ normal, 0.01))


def _plane(right: Array, wrong: Array, shrinkage: float = 0.3) -> tuple[Array, float]:
    """The normal of Fisher's discriminant and its offset, ``PLANE`` of the way between the two means.

    A little beyond half-way, and not as near to ``right`` as held-out radiographs allow: those of a hospital that was
    not trained on lie off the mean, and there the nearer plane refused 10 to 30 % of them.
    """
    normal = _discriminant(right, wrong, shrinkage)
    normal = (normal / np.linalg.norm(normal)).astype(np.float16).astype(np.float64)
    return normal, float(normal @ ((1 - PLANE) * right.mean(axis=0) + PLANE * wrong.mean(axis=0)))


def _discriminant(right: Array, wrong: Array, shrinkage: float = 0.3) -> Array:
    """The direction of Fisher's discriminant from ``right`` to ``wrong``, of any length."""
    centre, other = right.mean(axis=0), wrong.mean(axis=0)
    within = np.concatenate([right - centre, wrong - other])
    covariance = within.T @ within / len(within)
    covariance += np.eye(len(covariance)) * (shrinkage * np.trace(covariance) / len(covariance) + 1e-12)
    return np.asarray(np.linalg.solve(covariance, other - centre))
