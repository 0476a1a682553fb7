"""How fine the grain of a radiograph is, and giving it the grain of another.

Detectors, compression and post-processing leave each collection with its own share of fine detail: measured here,
Hannover's films have twice the high frequencies of NIH's, NIH's normal films fewer than its pneumonias, and
Guangzhou's the other way round. A network reads that as the label. Swapping the radial amplitude spectrum between
images of any source and label leaves it nothing to read (after Fourier domain adaptation, Yang and Soatto, CVPR 2020,
which swaps the lowest frequencies only).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

BANDS = 40  # from the mean gray to the finest grain along an axis
KEPT = 2  # the lowest bands: where the chest is
MOST = 20.0  # times that a band is made stronger or weaker

Spectrum = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def radial(pixels: Pixels) -> Spectrum:
    """``(side, side)`` uint8 -> the root mean square amplitude in each band, float32."""
    bands, counts, window = _geometry(len(pixels))
    centred = (pixels.astype(np.float32) - pixels.mean(dtype=np.float32)) * window
    power = np.abs(np.fft.rfft2(centred)) ** 2
    mean = np.bincount(bands.ravel(), power.ravel(), len(counts)) / np.maximum(counts, 1)
    return np.asarray(np.sqrt(mean) + 1e-2, np.float32)


def impose(pixels: Pixels, target: Spectrum, share: float = 1.0) -> Pixels:
    """The same picture with its radial spectrum moved towards another's, by a share of the way, 0 to 1."""
    counts = _geometry(len(pixels))[1]
    gain = np.clip((target / radial(pixels)) ** share, 1 / MOST, MOST)
    gain[:KEPT] = 1
    smooth = np.interp(_frequency(len(pixels)) - 0.5, np.arange(len(counts)), gain)
    changed = np.fft.irfft2(np.fft.rfft2(pixels.astype(np.float32)) * smooth, s=pixels.shape)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _frequency(side: int) -> npt.NDArray[np.float64]:
    """Radial frequency of each coefficient of ``rfft2``, in bands."""
    return np.asarray(np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * 2 * BANDS)


@lru_cache(maxsize=4)
def _geometry(side: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Band of each coefficient, coefficients in each band, and a window against the edges."""
    bands = _frequency(side).astype(np.int64)
    return bands, np.bincount(bands.ravel()), np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
