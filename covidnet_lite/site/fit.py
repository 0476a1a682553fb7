"""A hospital's own radiographs, as a network sees them -> its :class:`~covidnet_lite.site.site.Site`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SiteError
from ..network.manifest import Manifest
from ..network.model import Model
from ..network.operating_point import NEVER, OperatingPoint
from .reference import reference
from .rule import Rule, Targets, check_separation, check_shift, log_odds, odds, rule, share_of
from .sample import Observation, Sample, check_contradictions, check_labels, check_level, sample
from .site import Site

Array = npt.NDArray[Any]

MIN_PER_CLASS = 10  # labelled radiographs, for a temperature
FACTORS = np.exp(np.linspace(np.log(0.5), np.log(2), 41))  # of the network's temperature
MIN_FOR_GUARD = 99  # radiographs, at least: 99 % of the site's normals are to pass the guard
MAX_GUARD_FACTOR = 1.5  # times the network's own limit


@dataclass(frozen=True)
class Fit:
    """The result of a fit: the ``site``, and ``remarks`` for the user."""

    site: Site
    remarks: tuple[str, ...] = ()


def default_targets(manifest: Manifest) -> Targets:
    """The targets that a network's own operating point was fitted for, as far as its manifest names them."""
    risks = manifest.operating_point.risks if manifest.operating_point else {}
    defaults = Targets()
    return Targets(
        risks.get("normal called ill", defaults.normal_called_ill),
        defaults.normal_called_normal,
        risks.get("ill called normal", defaults.ill_called_normal),
    )


def fit(
    model: Model,
    targets: Targets,
    normals: Sequence[Observation],
    labelled: Sequence[Observation] = (),
    usual: Sequence[Observation] = (),
    name: str = "site",
    date: str = "",
) -> Fit:
    """Fits a site.

    Args:
        model: the network.
        targets: the operating point that the site asks for.
        normals: radiographs that the site's readers call normal.
        labelled: radiographs with labels, for the temperature and for how ill patients are answered.
        usual: all radiographs of ordinary days, ill and well, as the reference for later days.
        name: of the site.
        date: of today, ``2026-11-30``.

    Raises:
        SiteError: the network has no operating point, or a site fitted on these radiographs would do harm.
    """
    manifest, point = model.manifest, model.manifest.operating_point
    if point is None or max(point.negative_from, point.positive_from) >= 1:
        raise SiteError(f"{model.name}: has no thresholds for normal and ill, so that no site can be fitted")
    check_labels(labelled, manifest.labels, point.negative)
    check_contradictions(normals, labelled, point.negative)
    keys = {observation.key for observation in normals}
    more = [
        observation for observation in labelled if observation.label == point.negative and observation.key not in keys
    ]
    well = sample([*normals, *more], "normals")
    check_level(well.usable)
    ill = (
        sample([observation for observation in labelled if observation.label != point.negative], "ill")
        if labelled
        else Sample()
    )
    temperature, thresholds = _rule(manifest, point, targets, well.usable, ill.usable)
    site_reference = _reference("usual", usual) if usual else _reference("normals", normals)
    shift = [0.0] * len(manifest.labels)
    shift[manifest.labels.index(point.negative)] = round(-thresholds.shift * temperature, 6)
    site = Site(
        name=name,
        network=model.name,
        sha256=model.sha256,
        negative=point.negative,
        date=date,
        radiographs=len(well.usable),
        ill=len(ill.usable),
        shift=tuple(shift),
        temperature=round(temperature, 6),
        negative_from=_next_above(1 - share_of(thresholds.negative + thresholds.shift)),
        positive_from=_next_above(share_of(thresholds.positive + thresholds.shift)),
        alone_from=_alone_from(point, manifest.temperature / temperature),
        guard_limit=_guard_limit(manifest, normals),
        rates=thresholds.rates,
        reference=site_reference,
    )
    keeps_temperature = bool(ill.usable) and temperature == manifest.temperature
    remarks = (
        ["the network's temperature is kept: another takes labels of each of its classes"] if keeps_temperature else []
    )
    return Fit(site, (*well.remarks, *ill.remarks, *remarks))


def _rule(
    manifest: Manifest, point: OperatingPoint, targets: Targets, well: Sequence[Observation], ill: Sequence[Observation]
) -> tuple[float, Rule]:
    """The temperature and the thresholds that go with it.

    The temperature is the one with the lowest cross-entropy of the calibrated probabilities (Guo et al., ICML 2017);
    without labels of each class it is the network's own.
    """
    negative = manifest.labels.index(point.negative)
    healthy, sick = _logits(well, manifest), _logits(ill, manifest)

    def at(temperature: float) -> Rule:
        return rule(odds(healthy / temperature, negative), odds(sick / temperature, negative), point, targets)

    check_shift(odds(healthy / manifest.temperature, negative), point, targets)
    if len(ill):
        check_separation(odds(healthy, negative), odds(sick, negative))
    labels = [*([point.negative] * len(well)), *(observation.label for observation in ill)]
    counts = [labels.count(label) for label in manifest.labels]
    # With three classes, the shares of the other two can be kept at another temperature; with more, they cannot.
    if min(counts) < MIN_PER_CLASS or sum(counts) < len(labels) or len(manifest.labels) > 3:
        return manifest.temperature, at(manifest.temperature)
    classes, logits = np.array([manifest.labels.index(label) for label in labels]), np.concatenate([healthy, sick])
    losses = []
    for temperature in manifest.temperature * FACTORS:
        scaled_logits = logits / temperature
        scaled_logits[:, negative] -= at(temperature).shift
        losses.append(float((_log_sum(scaled_logits) - scaled_logits[np.arange(len(classes)), classes]).mean()))
    best = float(manifest.temperature * FACTORS[int(np.argmin(losses))])
    return best, at(best)


def _logits(observations: Sequence[Observation], manifest: Manifest) -> Array:
    """``(n, classes)`` logits, up to a constant per radiograph."""
    shares = np.array([observation.probabilities for observation in observations], float).reshape(
        len(observations), len(manifest.labels)
    )
    return np.asarray(manifest.temperature * np.log(np.maximum(shares, 1e-300)))


def _log_sum(logits: Array) -> Array:
    peak = logits.max(axis=1)
    return np.asarray(peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1)))


def _alone_from(point: OperatingPoint, factor: float) -> dict[str, float]:
    """The shares from which one label is given alone: the same radiographs reach them at another temperature."""
    return {
        label: round(float(share_of(log_odds(share) * factor)), 6) if share < 1 and factor != 1 else share
        for label, share in point.alone_from.items()
    }


def _guard_limit(manifest: Manifest, normals: Sequence[Observation]) -> float | None:
    """The network's own limit, raised where too many of the site's normals lie beyond it; never lowered.

    Fewer than 99 radiographs do not show how far the last one in a hundred lies, so that the limit stays.
    """
    if manifest.guard is None:
        return None
    own, distances = manifest.guard.limit, np.array(_distances(normals))
    if len(distances) < MIN_FOR_GUARD:
        return own
    beyond = (len(distances) + 1) // (MIN_FOR_GUARD + 1)  # the ranks, from the last, that may be refused
    return float(np.clip(np.sort(distances)[-beyond] * (1 + 1e-6), own, MAX_GUARD_FACTOR * own))


def _reference(of: str, observations: Sequence[Observation]) -> Any:
    readable = [observation for observation in observations if observation.kind != "failed"]
    return reference(of, [observation.kind for observation in readable], _distances(readable))


def _distances(observations: Sequence[Observation]) -> list[float]:
    return [
        observation.distance
        for observation in observations
        if observation.distance is not None and np.isfinite(observation.distance)
    ]


def _next_above(share: float) -> float:
    """The next higher share with six digits, so that a radiograph at the threshold itself does not reach it."""
    return min(NEVER, float(np.floor(share * 1e6) + 1) / 1e6)
