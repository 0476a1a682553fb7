"""A linear classifier on what an ImageNet network sees, fitted so that a label looks alike in all its sources.

Fine-tuning a network on a few hospitals teaches it the hospitals (docs/what_was_tried.md). Here the network stays as
ImageNet left it, and only the 1x1 convolution at its end is found, as the minimum of a convex function of its kernel W:

    cross entropy + ridge / 2 |W|^2 + alignment / 2 sum over labels of the mean over its sources of |W' (m - m_label)|^2

where m is the mean of the features of a label's films from one source. The last term asks that the mean logits of,
say, normal films do not move from hospital to hospital: matching the means of domains, class by class, as in
conditional maximum mean discrepancy with a linear kernel (Long et al., ICCV 2013), put on the classifier instead of
the features. Films are seen in several augmented variants; features are standardised for the fit, which the kernel
returned undoes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from PIL import Image

from covidnet_lite.errors import MissingExtraError
from covidnet_lite.fit import InputSpec
from training import dataset
from training.augment import Strength
from training.batches import Batches, predict
from training.recipe import Readout

LEAST = 5  # films of a label from one source, for a mean that says something

Array = npt.NDArray[Any]


def gather(
    features: keras.Model,
    images: Sequence[Image.Image],
    spec: InputSpec,
    strength: Strength,
    variants: int,
    seed: int,
) -> tuple[Array, npt.NDArray[np.int64]]:
    """What a network makes of films as they are, and of augmented variants of them.

    Args:
        features: ``(batch, height, width, channels)`` -> ``(batch, f)``.
        images: gray pictures.
        spec: how they are prepared.
        strength: of the augmentation.
        variants: augmented ones of each film.
        seed: of the augmentation.

    Returns:
        ``(m, f)`` float32, and of which film each row is, ``(m,)``.
    """
    everyone = np.arange(len(images))
    size = min(32, len(images))
    batches = Batches(images, everyone, np.ones(len(images), np.float32), spec, strength, size, seed)
    rows, films = [predict(features, dataset.network_inputs(images, spec, batches.views))], [everyone]
    with ThreadPoolExecutor(2) as pool:  # the next batches are drawn while the network looks at one
        for batches.epoch in range(variants):
            for inputs, which, _ in pool.map(batches.__getitem__, range(len(batches))):
                rows.append(features.predict_on_batch(inputs))
                films.append(which)
    return np.concatenate(rows), np.concatenate(films)


def fit(
    features: Array,
    targets: npt.NDArray[np.int64],
    sources: Sequence[str],
    weights: Array,
    labels: Sequence[str],
    how: Readout,
    smoothing: float = 0.0,
) -> tuple[Array, Array]:
    """The classifier: kernel ``(f, labels)`` and bias ``(labels,)``, so that ``features @ kernel + bias`` are logits.

    Args:
        features: ``(m, f)``.
        targets: index of each row's label, ``(m,)``.
        sources: of each row.
        weights: of each row, any scale, ``(m,)``.
        labels: in the order of the logits.
        how: ridge and alignment.
        smoothing: of the labels, 0 to 1.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise MissingExtraError("a readout needs SciPy: pip install 'covidnet-lite[training]'") from None
    share = (weights / weights.sum()).astype(np.float64)[:, None]
    mean = (share * features).sum(axis=0)
    spread = np.sqrt((share * (features - mean) ** 2).sum(axis=0)) + 1e-3  # a channel that never moves stays finite
    x = ((features - mean) / spread).astype(np.float32)
    count = len(labels)
    wanted = np.eye(count)[targets] * (1 - smoothing) + smoothing / count
    aligned = [labels.index(name) for name in how.align if name in labels]
    penalty = how.ridge * np.eye(x.shape[1]) + how.alignment * between_sources(x, targets, sources, aligned)

    def loss(flat: Array) -> tuple[float, Array]:
        kernel, bias = flat[:-count].reshape(-1, count), flat[-count:]
        logits = (x @ kernel.astype(np.float32)).astype(np.float64) + bias
        logits -= logits.max(axis=1, keepdims=True)
        log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        slope = share * (np.exp(log) - wanted)
        pull = penalty @ kernel
        value = -(share * wanted * log).sum() + (kernel * pull).sum() / 2
        gradient = x.T @ slope.astype(np.float32) + pull
        return float(value), np.concatenate([gradient.ravel(), slope.sum(axis=0)]).astype(np.float64)

    start = np.zeros((x.shape[1] + 1) * count)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    kernel = found[:-count].reshape(-1, count) / spread[:, None]
    return kernel, found[-count:] - mean @ kernel


def between_sources(
    features: Array, targets: npt.NDArray[np.int64], sources: Sequence[str], labels: Sequence[int]
) -> Array:
    """How far the sources' mean features lie apart within a label, summed over ``labels``: ``(f, f)``.

    Sources with fewer than :data:`LEAST` rows of a label do not count there.
    """
    of = np.asarray(sources)
    scatter = np.zeros((features.shape[1],) * 2)
    for label in labels:
        cells = [features[(targets == label) & (of == source)] for source in sorted(set(sources))]
        means = np.array([cell.mean(axis=0, dtype=np.float64) for cell in cells if len(cell) >= LEAST])
        if len(means):
            apart = means - means.mean(axis=0)
            scatter += apart.T @ apart / len(means)
    return scatter
