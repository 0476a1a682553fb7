"""Is this a frontal chest radiograph at all?

The network answers anything it is shown, a cat included. The guard compares the
embedding of an image with those of the radiographs the network was trained on:
its Mahalanobis distance within their main directions (Lee et al., NeurIPS 2018)
plus what lies outside those directions altogether. Both terms are scaled to the
training set, so 1 is an ordinary radiograph.

Embeddings are compared by shape, not by size (signed square root, then unit
length, as for Hellinger's distance): what is no radiograph excites the features
weakly, and would otherwise lie close to the middle of everything.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Guard:
    """What training radiographs look like to the network.

    Attributes:
        mean: ``(features,)`` float32, of embeddings as :func:`shape_of` leaves them.
        directions: ``(k, features)`` float32, orthonormal, by falling variance.
        variance: ``(k,)`` float32, along each direction.
        residual: mean squared length outside the directions.
        limit: the distance above which an image is refused.
    """

    mean: Array
    directions: Array
    variance: Array
    residual: float
    limit: float

    def __post_init__(self) -> None:
        shapes = (self.mean.ndim, self.directions.ndim, self.variance.ndim)
        if shapes != (1, 2, 1) or self.directions.shape != (len(self.variance), len(self.mean)):
            raise ValueError("the guard's arrays do not fit each other")
        if not all(np.isfinite(a).all() for a in (self.mean, self.directions, self.variance)):
            raise ValueError("the guard's arrays hold NaN or infinite values")
        if not ((self.variance > 0).all() and 0 < self.residual < np.inf and 0 < self.limit < np.inf):
            raise ValueError("the guard's variances and limits must be positive")

    def distance(self, embedding: Array) -> Array:
        """``(..., features)`` -> ``(...)``; about 1 for an ordinary radiograph, larger for stranger images."""
        centred = shape_of(embedding) - self.mean
        along = centred @ self.directions.T
        inside = (along**2 / self.variance).mean(axis=-1)
        outside = ((centred**2).sum(axis=-1) - (along**2).sum(axis=-1)) / self.residual
        return np.asarray((inside + outside) / 2)

    def to_npz(self) -> bytes:
        """Half precision: the distance changes by less than 1 in 100."""
        arrays = {
            "mean": self.mean.astype(np.float16),
            "directions": self.directions.astype(np.float16),
            "variance": self.variance.astype(np.float32),
            "limits": np.array([self.residual, self.limit], np.float64),
        }
        buffer = io.BytesIO()
        # As numpy.savez does, but with the same bytes from every version of numpy.
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                entry = io.BytesIO()
                np.lib.format.write_array(entry, np.ascontiguousarray(array), version=(1, 0))
                archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), entry.getvalue())
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, data: bytes) -> Guard:
        """The reverse of :meth:`to_npz`.

        Raises:
            ValueError: the bytes are not a guard's.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                residual, limit = (float(v) for v in arrays["limits"])
                mean, directions, variance = (arrays[k].astype(np.float32) for k in ("mean", "directions", "variance"))
        except (EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise ValueError(f"no guard: {error}") from error
        return cls(mean, directions, variance, residual, limit)


def shape_of(embedding: Array) -> npt.NDArray[np.float32]:
    """``(..., features)`` -> the same in signed square roots of unit length, float32."""
    roots = np.sign(embedding) * np.sqrt(np.abs(np.asarray(embedding, np.float32)))
    return np.asarray(roots / np.maximum(np.linalg.norm(roots, axis=-1, keepdims=True), 1e-12), np.float32)


def fit_guard(embeddings: Array, held_out: Array, quantile: float = 0.99, components: int = 64) -> Guard:
    """A guard from training embeddings ``(n, features)``; the limit from radiographs it has not seen.

    ``quantile`` of the held-out radiographs pass.
    """
    # Directions must leave a rest of images and of features, or there is no outside to measure.
    components = max(1, min(components, min(embeddings.shape) // 2))
    shapes = shape_of(embeddings).astype(np.float64)
    mean = shapes.mean(axis=0)
    centred = shapes - mean
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:components]
    variance = singular[:components] ** 2 / len(embeddings)
    residual = float((centred**2).sum(axis=1).mean() - variance.sum())
    # float16 as it is stored, so that the limit belongs to the distances the device computes.
    stored = Guard(mean.astype(np.float32), directions.astype(np.float32), variance.astype(np.float32), residual, 1.0)
    stored = Guard.from_npz(stored.to_npz())
    limit = float(np.quantile(stored.distance(held_out), quantile))
    return Guard(stored.mean, stored.directions, stored.variance, residual, limit)


def is_blank(image: Image.Image) -> bool:
    """Whether a gray image holds next to nothing: fewer than 8 gray levels between its 1st and 99th percentile."""
    counts = np.cumsum(image.histogram())
    low, high = np.searchsorted(counts, (0.01 * counts[-1], 0.99 * counts[-1]))
    return bool(high - low < 8)
