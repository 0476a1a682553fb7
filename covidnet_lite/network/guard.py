"""Is this a frontal chest radiograph at all?

The network answers for any image, a cat included. The guard compares the
embedding of an image with those of the radiographs the network was trained on:
its Mahalanobis distance within their main directions (Lee et al., NeurIPS 2018)
plus what lies outside those directions altogether. Both terms are scaled to the
training set, so 1 is an ordinary radiograph. A third term grows in the direction
from radiographs to synthetic outliers (outlier exposure; Hendrycks et al., ICLR
2019); radiographs of another hospital lie off in other directions.

Embeddings are compared by shape, not by size (signed square root, then unit
length, as for Hellinger's distance): images of other things excite the features
weakly, and would otherwise lie close to the centre.

A radiograph on its side or inverted still resembles one. A linear discriminant
each (Fisher, 1936) separates those from upright ones; it was fitted on the
training radiographs, turned and inverted.
"""

from __future__ import annotations

import io
import math
import zipfile
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from . import plain_zip

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Guard:
    """What training radiographs look like to the network.

    Attributes:
        mean: ``(features,)`` float32, of embeddings after :func:`shape_of`.
        directions: ``(k, features)`` float32, orthonormal, by falling variance.
        variance: ``(k,)`` float32, along each direction.
        residual: mean squared length outside the directions.
        limit: the distance above which an image is refused.
        faults: ways to display a radiograph wrongly, in words.
        normals: ``(len(faults), features)`` float32, of the planes between right and wrong.
        offsets: ``(len(faults),)`` float32; ``normals @ embedding > offsets`` is wrong.
        foreign: ``(features,)`` float32, the direction from radiographs to synthetic outliers; or ``(0,)``.
        foreign_offset: of an ordinary radiograph; how far an image lies beyond it adds to its distance.
    """

    mean: Array
    directions: Array
    variance: Array
    residual: float
    limit: float
    faults: tuple[str, ...] = ()
    normals: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    offsets: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    foreign: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    foreign_offset: float = 0.0

    def __post_init__(self) -> None:
        shapes = (self.mean.ndim, self.directions.ndim, self.variance.ndim)
        if shapes != (1, 2, 1) or self.directions.shape != (len(self.variance), len(self.mean)):
            raise ValueError("the guard's arrays do not fit each other")
        if self.foreign.shape not in ((0,), self.mean.shape):
            raise ValueError("the guard's direction to other images does not fit its arrays")
        if self.normals.ndim != 2 or self.offsets.shape != (len(self.faults),) or len(self.normals) != len(self.faults):
            raise ValueError("the guard's planes do not fit its arrays")
        if self.faults and self.normals.shape[1] != len(self.mean):
            raise ValueError("the guard's planes do not fit its arrays")
        if not all(name and name.isprintable() for name in self.faults):
            raise ValueError("the guard's names for what is shown wrongly must be printable")
        arrays = (self.mean, self.directions, self.variance, self.foreign, self.normals, self.offsets)
        if not all(np.isfinite(a).all() for a in arrays):
            raise ValueError("the guard's arrays hold NaN or infinite values")
        if not np.isfinite(self.foreign_offset):
            raise ValueError("the guard's offset must be finite")
        if not ((self.variance > 0).all() and 0 < self.residual < np.inf and 0 < self.limit < np.inf):
            raise ValueError("the guard's variances and limits must be positive")

    def distance(self, embedding: Array) -> Array:
        """``(..., features)`` -> ``(...)``; about 1 for an ordinary radiograph, larger for stranger images."""
        shapes = shape_of(embedding)
        centred = shapes - self.mean
        along = centred @ self.directions.T
        inside = (along**2 / self.variance).mean(axis=-1)
        outside = ((centred**2).sum(axis=-1) - (along**2).sum(axis=-1)) / self.residual
        distance = (inside + outside) / 2
        if self.foreign.size:
            distance = distance + np.maximum(shapes @ self.foreign - self.foreign_offset, 0)
        return np.asarray(distance)

    def display_fault(self, embedding: Array) -> str | None:
        """``(features,)`` -> the most likely of ``faults``, or ``None`` for a radiograph displayed correctly."""
        if not self.faults:
            return None
        beyond = self.normals @ shape_of(embedding) - self.offsets
        worst = int(beyond.argmax())
        return self.faults[worst] if beyond[worst] > 0 else None

    def to_npz(self) -> bytes:
        """Half precision: the distance changes by less than 1 in 100."""
        arrays = {
            "mean": self.mean.astype(np.float16),
            "directions": self.directions.astype(np.float16),
            "variance": self.variance.astype(np.float32),
            "limits": np.array([self.residual, self.limit], np.float64),
        }
        if self.foreign.size:
            arrays["foreign"] = self.foreign.astype(np.float16)
            arrays["foreign_offset"] = np.array([self.foreign_offset], np.float64)
        if self.faults:
            arrays["wrong"] = np.array(self.faults)
            arrays["normals"] = self.normals.astype(np.float16)
            arrays["offsets"] = self.offsets.astype(np.float32)
        buffer = io.BytesIO()
        # As numpy.savez does, but with the same bytes from every version of numpy, and on every day.
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                entry = io.BytesIO()
                np.lib.format.write_array(entry, np.ascontiguousarray(array), version=(1, 0))
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, data: bytes) -> Guard:
        """The reverse of :meth:`to_npz`.

        Raises:
            ValueError: the bytes are not a guard's.
        """
        try:
            arrays = _arrays(data)
            residual, limit = (float(v) for v in arrays["limits"])
            mean, directions, variance = (arrays[k].astype(np.float32) for k in ("mean", "directions", "variance"))
            further: dict[str, Any] = {}
            if "foreign" in arrays:
                offset = arrays["foreign_offset"].astype(np.float64).item()  # a ValueError unless it is one value
                further = {"foreign": arrays["foreign"].astype(np.float32), "foreign_offset": offset}
            if "wrong" in arrays:
                names = tuple(str(name) for name in arrays["wrong"])
                normals, offsets = arrays["normals"].astype(np.float32), arrays["offsets"].astype(np.float32)
                further |= {"faults": names, "normals": normals, "offsets": offsets}
        except (*plain_zip.ZIP_ERRORS, TypeError, AttributeError, SyntaxError) as error:
            raise ValueError(f"no guard: {error}") from error
        return cls(mean, directions, variance, residual, limit, **further)


def _arrays(data: bytes) -> dict[str, Array]:
    """The arrays of an ``.npz`` that packs nothing; each is as long as its header says before memory is taken for it.

    Raises:
        One of ``plain_zip.ZIP_ERRORS``: it is none.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = plain_zip.read(archive)
    for name, data in entries.items():
        entry = io.BytesIO(data)
        if np.lib.format.read_magic(entry) != (1, 0):
            raise ValueError(f"{name} is of another format")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(entry)
        values = entry.read()
        if dtype.kind not in "fU" or fortran:
            raise ValueError(f"{name} holds no plain numbers")
        if math.prod(shape) * dtype.itemsize != len(values):
            raise ValueError(f"{name} is not as long as its shape {shape} says")
        arrays[name.removesuffix(".npy")] = np.frombuffer(values, dtype).reshape(shape)
    return arrays


def shape_of(embedding: Array) -> npt.NDArray[np.float32]:
    """``(..., features)`` -> the same in signed square roots of unit length, float32."""
    roots = np.sign(embedding) * np.sqrt(np.abs(np.asarray(embedding, np.float32)))
    return np.asarray(roots / np.maximum(np.linalg.norm(roots, axis=-1, keepdims=True), 1e-12), np.float32)


def is_blank(histogram: Sequence[int]) -> bool:
    """Whether a gray image with this histogram (256 counts) holds next to nothing: fewer than 8 gray levels between
    its 1st and 99th percentile."""
    counts = list(accumulate(histogram))
    low, high = (bisect_left(counts, share * counts[-1]) for share in (0.01, 0.99))
    return high - low < 8
