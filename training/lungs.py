"""Whether an answer hangs on the lungs: AUROC with parts of the radiograph blacked out, and where the evidence lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from covidnet_lite import heatmap
from covidnet_lite.cases import Case
from covidnet_lite.fit import WHOLE, Box
from training.evaluate import Answers
from training.figure import Array, Figure, auroc, macro_auroc, mean, missing, share_of
from training.perturb import Change, lung_boxes, lung_mask, lungs_only, without_border, without_lungs
from training.yardsticks import COVID, PNEUMONIA, against_rest, between, lacks

CHANGES: dict[str, Change | None] = {
    "untouched": None,
    "lungs black": without_lungs,
    "lungs only": lungs_only,
    "border black": without_border,
}
FINE = 32  # pixels a field of the evidence map is divided into along each side

Ask = Callable[[list[Case], Change | None], Answers]


def lungs(ask: Ask, untouched: Answers) -> dict[str, Figure]:
    """COVID-19 against the rest and against pneumonia, without lungs, with nothing else, and without the border.

    A network that looks at lungs falls to 0.5 when they are black, and stays where
    it was when only they are left. ``ask`` says what the network makes of changed
    radiographs; one that crops to the lungs sees the part it saw of the untouched ones.
    """
    if lacking := lacks(untouched, COVID):
        return {"covid with lungs black": lacking}
    boxed = untouched.of(has_boxes(untouched))
    if not boxed.cases:
        return {"covid with lungs black": missing("no image has lung_boxes")}
    lines = {}
    for name, change in CHANGES.items():
        seen = boxed if change is None else ask(boxed.cases, change)
        lacking = lacks(seen, PNEUMONIA)
        lines[f"covid against pneumonia, {name}"] = lacking or between(seen, COVID, PNEUMONIA)
        lines[f"covid against the rest, {name}"] = against_rest(seen, COVID)
    return lines


def border(ask: Ask, untouched: Answers) -> dict[str, Figure]:
    """Accuracy and macro AUROC on all images, as they are and without the border."""
    lines = {}
    for name, seen in (("untouched", untouched), ("border black", ask(untouched.cases, without_border))):
        lines[f"accuracy, {name}"] = share_of(seen.correct)
        lines[f"macro AUROC, {name}"] = macro_auroc(seen.targets, seen.probabilities, seen.patients, seen.labels)
    return lines


def evidence(answers: Answers, views: Sequence[Box]) -> dict[str, Figure]:
    """The mean share of the evidence for the class named that lies in the lungs, next to the share of the area.

    ``views`` are the parts of the radiographs that the network saw, over which its maps lie.
    """
    if "evidence" not in answers.outputs:
        return {"evidence in the lungs": missing("the network gives no evidence map")}
    boxed, views = answers.of(has_boxes(answers)), [v for v, has in zip(views, has_boxes(answers)) if has]
    named = boxed.probabilities.argmax(axis=1)
    maps = [heatmap.strength(e, k) for e, k in zip(boxed.outputs["evidence"], named)]
    some = np.array([strength.sum() > 0 for strength in maps], bool)
    if not some.any():
        return {"evidence in the lungs": missing("no image has lung_boxes and evidence")}
    covers = [
        lung_cover(case, (strength.shape[0], strength.shape[1]), view)
        for case, strength, view in zip(boxed.cases, maps, views)
    ]
    inside = np.array([(s * c).sum() / s.sum() for s, c, k in zip(maps, covers, some) if k])
    area = np.array([c.mean() for c, k in zip(covers, some) if k])
    # Where the stronger evidence lies: 0.5 is anywhere, whatever the size of the lungs.
    strengths, cells = np.concatenate([s.ravel() for s in maps]), np.concatenate([c.ravel() for c in covers])
    patients = np.repeat(boxed.patients, maps[0].size)
    return {
        "evidence in the lungs": mean(inside, boxed.patients[some]),
        "area of the lungs": mean(area, boxed.patients[some]),
        "fields in the lungs against fields outside, by evidence": auroc(
            cells > 0.5, strengths, patients, ("inside", "outside")
        ),
    }


def has_boxes(answers: Answers) -> Array:
    """Which cases have lung boxes."""
    return np.array([bool(lung_boxes(case)) for case in answers.cases], bool)


def lung_cover(case: Case, shape: tuple[int, int], view: Box = WHOLE) -> Array:
    """``(h, w)``: how much of each field of the evidence map the boxes cover, 0 to 1.

    The fields divide the view, as :func:`covidnet_lite.heatmap.overlay` lays them.
    """
    height, width = shape
    fine = lung_mask(case, (width * FINE, height * FINE), view)
    return np.asarray(np.asarray(fine, float).reshape(height, FINE, width, FINE).mean(axis=(1, 3)) / 255)
