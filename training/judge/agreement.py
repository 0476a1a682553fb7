"""Whether int8 says what the float network says."""

from __future__ import annotations

import numpy as np

from training.judge.contrasts import Contrast, has_both, sides
from training.judge.figure import Figure, auroc_difference, mean, missing, rate
from training.judge.pointing import has_boxes, hits
from training.judge.reading import Reading


def agreement(int8: Reading, floating: Reading, contrast: Contrast) -> dict[str, Figure]:
    """Of the same radiographs: the same likeliest class, the same answer, and by how much probability, AUROC and map
    move.

    ``contrast`` is that of which the AUROCs are compared, int8 less float.
    """
    patients = int8.patients
    same_class = int8.probabilities.argmax(axis=1) == floating.probabilities.argmax(axis=1)
    row = {
        "same class": rate(same_class, patients),
        "same answer": rate((int8.decision == floating.decision).all(axis=1), patients),
        "P(not normal) moves by": mean(np.abs(int8.ill - floating.ill), patients),
        "AUROC, int8 less float": missing("only one class"),
        "map moves by": missing("no evidence map, or another grid"),
    }
    if has_both(int8, contrast):
        part, positive, scores = sides(int8, contrast)
        _, _, float_scores = sides(floating, contrast)
        row["AUROC, int8 less float"] = auroc_difference(positive, scores, float_scores, part.patients)
    maps = int8.local, floating.local
    if maps[0] is not None and maps[1] is not None and maps[0].shape == maps[1].shape:
        row["map moves by"] = mean(np.abs(maps[0] - maps[1]).mean(axis=(1, 2)), patients)
        if (is_boxed := has_boxes(int8)).any():
            int8_hits = hits(int8.of(is_boxed), maps[0][is_boxed])[0].astype(float)
            float_hits = hits(floating.of(is_boxed), maps[1][is_boxed])[0].astype(float)
            row["pointing, int8 less float"] = mean(int8_hits - float_hits, patients[is_boxed])
    return row
