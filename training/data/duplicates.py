"""Pictures that are copies of one another, though no byte of them need agree.

A copy may be compressed again, reduced, brighter, of another gamma or contrast,
equalised, mirrored, or have lost a few per cent at its edges. Candidates are
nearest neighbours by two hashes; a candidate counts once the pair, laid over one
another, agrees in its fine detail. That second step is what matters: all chests
look alike, and only copies agree rib by rib.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from covidnet_lite.network.preprocess import equalisation

Array = npt.NDArray[np.float32]

SIDE = 64  # pixels of a thumbnail
HASH = 16  # a hash has this many bits squared
DISTANCE = 90  # bits of 256; two hashes that differ in more are no candidates
NEIGHBOURS = 4  # candidates of an image, for each way of looking
LIKENESS = 0.8  # correlation of the fine detail from which a pair is one of copies
PROMISING = 0.85  # correlation at half the size from which it is worth looking at the whole
STEPS = 6  # of the alignment, for each coarseness
FARTHEST = 0.12  # of half a side, by which a copy may be shifted or stretched
BLOCK = 512  # images or pairs at a time, which bounds the memory


@dataclass(frozen=True, eq=False)
class View:
    """One way of looking at all images: ``(n, 256)`` hashes of -1 and 1, ``(n, 64, 64)`` thumbnails."""

    difference: Array
    cosine: Array
    thumbnails: Array

    def mirrored(self) -> View:
        """The same of the mirror images."""
        return _view(self.thumbnails[:, :, ::-1])


def near_duplicates(
    images: Sequence[Image.Image], distance: int = DISTANCE, likeness: float = LIKENESS
) -> list[tuple[int, int, float]]:
    """Pairs of copies, most alike first, as ``(i, j, likeness)`` with ``i < j`` and a likeness of at most 1.

    ``images`` are 8-bit gray. Of a crowd of copies each is joined to its nearest
    only; :func:`groups` puts them together.
    """
    pairs_: dict[tuple[int, int], float] = {}
    trimmed = [trim(image) for image in images]
    framed = np.array([b.size != image.size for b, image in zip(trimmed, images)], bool)
    # Without their frames only pairs of which one has a frame look any different.
    for versions, counts in ((images, np.ones(len(images), bool)), (trimmed, framed)):
        if not counts.any():
            continue
        view = _view(_thumbnails(versions))
        for other in (view, view.mirrored()):
            pairs = _candidates(view, other, distance)
            pairs = pairs[counts[pairs].any(axis=1)]
            for start in range(0, len(pairs), BLOCK):
                part = pairs[start : start + BLOCK]
                alikes = agreement(view.thumbnails[part[:, 0]], other.thumbnails[part[:, 1]])
                for (i, j), alike in zip(part.tolist(), alikes.tolist()):
                    if alike >= likeness:
                        pairs_[i, j] = min(1.0, max(pairs_.get((i, j), 0.0), alike))
    return sorted(((i, j, alike) for (i, j), alike in pairs_.items()), key=lambda pair: (-pair[2], pair[:2]))


def groups(pairs: Sequence[tuple[int, int, float]], count: int) -> list[int]:
    """The number of its group for each of ``count`` images: the lowest index that a chain of pairs leads to."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, _ in pairs:
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    return [root(i) for i in range(count)]


def trim(image: Image.Image) -> Image.Image:
    """An image without the frame of nearly constant gray around it, if it has one."""
    pixels = np.asarray(image, np.float32)
    rows, columns = (np.flatnonzero(pixels.std(axis=axis) > 6) for axis in (1, 0))
    if len(rows) < len(pixels) / 2 or len(columns) < pixels.shape[1] / 2:
        return image  # so much frame would be no frame
    return image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def agreement(first: Array, second: Array) -> Array:
    """Correlation of the fine detail of ``(n, 64, 64)`` thumbnails, each pair aligned by shift and stretch.

    Pairs that are not promising at half the size, where it is cheap to look, get 0.
    """
    one, two = _halved(first), _halved(second)
    warp = np.zeros((len(first), 4), np.float32)
    for sigma in (1.5, 0.75):
        warp = _aligned(one, two, warp, sigma)
    promising = np.flatnonzero(_correlation(one, two, warp, 0.75) >= PROMISING)
    warp = _aligned(first[promising], second[promising], warp[promising], 0.65)
    alike = np.zeros(len(first), np.float32)
    alike[promising] = _correlation(first[promising], second[promising], warp, 0.65)
    return alike


def _thumbnails(images: Sequence[Image.Image]) -> Array:
    """``(n, 64, 64)`` in -1 to 1, equalised, which takes out brightness, contrast and gamma."""
    small = [image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0) for image in images]
    equalised = [equalisation(np.asarray(s.histogram(), np.int64))[np.asarray(s)] for s in small]
    return np.stack(equalised).astype(np.float32) / 127.5 - 1 if equalised else np.zeros((0, SIDE, SIDE), np.float32)


def _view(thumbnails: Array) -> View:
    block = thumbnails.reshape(len(thumbnails), HASH, SIDE // HASH, HASH, SIDE // HASH).mean(axis=(2, 4))
    right = np.concatenate([block[:, :, 1:], block[:, :, :1]], axis=2)
    place = (np.arange(SIDE) + 0.5) / SIDE
    basis = np.cos(np.pi * np.arange(1, HASH + 1)[:, None] * place).astype(np.float32)
    cosine = basis @ thumbnails @ basis.T
    median = np.median(cosine, axis=(1, 2), keepdims=True)
    signs = [np.where(a, 1, -1).astype(np.float32).reshape(len(a), -1) for a in (right > block, cosine > median)]
    return View(signs[0], signs[1], thumbnails)


def _candidates(one: View, other: View, distance: int) -> npt.NDArray[np.int64]:
    """``(pairs, 2)`` indices, the first below the second: the nearest by either hash, if near enough."""
    n, keep = len(one.thumbnails), min(NEIGHBOURS + 1, len(one.thumbnails))
    candidates = [np.zeros((0, 2), np.int64)]
    for hashes, others in ((one.difference, other.difference), (one.cosine, other.cosine)):
        for start in range(0, n, BLOCK):
            distances = (HASH**2 - hashes[start : start + BLOCK] @ others.T) / 2
            nearest = np.argpartition(distances, keep - 1, axis=1)[:, :keep]
            near = np.take_along_axis(distances, nearest, axis=1) <= distance
            rows = np.repeat(np.arange(len(distances))[:, None] + start, keep, axis=1)
            candidates.append(np.sort(np.stack([rows[near], nearest[near]], axis=1), axis=1))
    pairs = np.unique(np.concatenate(candidates), axis=0)
    return np.asarray(pairs[pairs[:, 0] < pairs[:, 1]])


def _halved(thumbnails: Array) -> Array:
    n, side = thumbnails.shape[0], thumbnails.shape[1] // 2
    return np.asarray(thumbnails.reshape(n, side, 2, side, 2).mean(axis=(2, 4)))


def _blur(sigma: float, side: int) -> Array:
    away = np.arange(side)[:, None] - np.arange(side)
    kernel = np.exp(-0.5 * (away / sigma) ** 2)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True), np.float32)


def _detail(thumbnails: Array, sigma: float) -> Array:
    """What is finer than the chest as a whole and coarser than the grain of JPEG, as strong everywhere."""
    fine, broad, around = (_blur(factor * sigma, thumbnails.shape[1]) for factor in (1, 3.5, 7))
    band = fine @ thumbnails @ fine.T - broad @ thumbnails @ broad.T
    power = np.maximum(around @ band**2 @ around.T, 0)
    return np.asarray(band / np.sqrt(power + 1e-3), np.float32)


def _standard(detail: Array) -> Array:
    return np.asarray(detail / np.maximum(detail.std(axis=(1, 2), keepdims=True), 1e-3))


def _aligned(first: Array, second: Array, warp: Array, sigma: float) -> Array:
    """Better shifts and stretches ``(n, 4)`` of the second to lie on the first, after Lucas and Kanade."""
    fixed, moving = _standard(_detail(first, sigma)), _detail(second, sigma)
    slope = _slopes(fixed)
    across = slope.transpose(0, 2, 1)
    curvature = across @ slope + 1e-3 * np.eye(4, dtype=np.float32)
    for _ in range(STEPS):
        error = (_standard(_warped(moving, warp)[0]) - fixed).reshape(len(first), slope.shape[1], 1)
        warp = np.clip(warp - np.linalg.solve(curvature, across @ error)[..., 0], -FARTHEST, FARTHEST)
    return warp


def _correlation(first: Array, second: Array, warp: Array, sigma: float) -> Array:
    """Where both images reach, ``(n,)``."""
    fixed, (moved, inside) = _detail(first, sigma), _warped(_detail(second, sigma), warp)
    count = np.maximum(inside.sum(axis=(1, 2), keepdims=True), 1)
    one, two = ((a - (a * inside).sum(axis=(1, 2), keepdims=True) / count) * inside for a in (fixed, moved))
    norm = np.sqrt((one**2).sum(axis=(1, 2)) * (two**2).sum(axis=(1, 2)))
    return np.asarray((one * two).sum(axis=(1, 2)) / np.maximum(norm, 1e-6), np.float32)


def _places(side: int) -> Array:
    return np.asarray((np.arange(side) * 2 + 1) / side - 1, np.float32)


def _slopes(fixed: Array) -> Array:
    """``(n, pixels, 4)``: how each pixel changes as the image is shifted and stretched along x and y."""
    down, across = (np.asarray(a) * (fixed.shape[1] / 2) for a in np.gradient(fixed, axis=(1, 2)))
    place = _places(fixed.shape[1])
    parts = (across, across * place, down, down * place[:, None])
    return np.asarray(np.stack(parts, axis=-1).reshape(len(fixed), fixed.shape[1] * fixed.shape[2], 4), np.float32)


def _warped(moving: Array, warp: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Each image shifted and stretched by its row of ``warp``, and where that stayed inside it."""
    side = moving.shape[1]
    place = _places(side)
    x, y = (((place * (1 + warp[:, k + 1, None]) + warp[:, k, None] + 1) * side - 1) / 2 for k in (0, 2))
    inside = ((y > -0.5) & (y < side - 0.5))[:, :, None] & ((x > -0.5) & (x < side - 0.5))[:, None, :]
    return np.asarray(_sampler(y) @ moving @ _sampler(x).transpose(0, 2, 1)), inside


def _sampler(place: Array) -> Array:
    """``(n, side, side)`` matrices that read a line of pixels at ``(n, side)`` places, linear between neighbours."""
    side = place.shape[1]
    away = np.clip(place, 0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32)
    return np.asarray(np.maximum(0, 1 - np.abs(away)), np.float32)
