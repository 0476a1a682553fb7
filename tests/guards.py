"""Made-up embeddings, to fit guards on."""

from __future__ import annotations

import numpy as np

FEATURES, WITHIN = 80, 12  # embeddings vary in WITHIN directions, and a little in all


def embeddings(n, seed):
    directions = np.random.default_rng(99).normal(size=(WITHIN, FEATURES))
    rng = np.random.default_rng(seed)
    return 3 + rng.normal(size=(n, WITHIN)) @ directions + 0.2 * rng.normal(size=(n, FEATURES))


def moved(ordinary, axis):
    out = ordinary.copy()
    out[:, axis] += 25
    return out
