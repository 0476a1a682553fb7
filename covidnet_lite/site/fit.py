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
from .rule import Asked, Rule, check_separation, check_shift, log_odds, odds, rule, share_of
from .sample import Sample, Seen, check_contradictions, check_labels, check_level, sample
from .site import Site

Array = npt.NDArray[Any]

EACH = 10  # labelled radiographs of each class, for a temperature
FACTORS = np.exp(np.linspace(np.log(0.5), np.log(2), 41))  # of the network's temperature
FOR_GUARD = 99  # radiographs, at least: 99 % of the site's normals are to pass the guard
MOST_GUARD = 1.5  # times the network's own limit


@dataclass(frozen=True)
class Fit:
    """What came of a fit: the ``site``, and ``remarks`` for whoever asked for it."""

    site: Site
    remarks: tuple[str, ...] = ()


def asked_by(manifest: Manifest) -> Asked:
    """The operating point that a network was fitted for, as far as it says so."""
    risks = manifest.operating_point.risks if manifest.operating_point else {}
    plain = Asked()
    return Asked(
        risks.get("normal called ill", plain.normal_called_ill),
        plain.normal_called_normal,
        risks.get("ill called normal", plain.ill_called_normal),
    )


def fit(
    model: Model,
    asked: Asked,
    normals: Sequence[Seen],
    labelled: Sequence[Seen] = (),
    usual: Sequence[Seen] = (),
    name: str = "site",
    date: str = "",
) -> Fit:
    """Fits a site.

    Args:
        model: the network.
        asked: the operating point that the site asks for.
        normals: radiographs that the site's readers call normal.
        labelled: radiographs with labels, which give the temperature, and what ill patients are called.
        usual: all radiographs of ordinary days, ill and well, for days to be compared with.
        name: of the site.
        date: of today, ``2026-11-30``.

    Raises:
        SiteError: the network has no operating point, or a site fitted on these radiographs would do harm.
    """
    manifest, point = model.manifest, model.manifest.operating_point
    if point is None or max(point.negative_from, point.positive_from) >= 1:
        raise SiteError(f"{model.name}: does not say from when on it calls a film normal or ill; no site can be fitted")
    check_labels(labelled, manifest.labels, point.negative)
    check_contradictions(normals, labelled, point.negative)
    keys = {one.key for one in normals}
    more = [one for one in labelled if one.label == point.negative and one.key not in keys]
    well = sample([*normals, *more], "normals")
    check_level(well.usable)
    ill = sample([one for one in labelled if one.label != point.negative], "ill") if labelled else Sample()
    temperature, chosen = _rule(manifest, point, asked, well.usable, ill.usable)
    ready = _reference("usual", usual) if usual else _reference("normals", normals)
    shift = [0.0] * len(manifest.labels)
    shift[manifest.labels.index(point.negative)] = round(-chosen.shift * temperature, 6)
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
        negative_from=_beyond(1 - share_of(chosen.negative + chosen.shift)),
        positive_from=_beyond(share_of(chosen.positive + chosen.shift)),
        alone_from=_alone_from(point, manifest.temperature / temperature),
        guard_limit=_guard_limit(manifest, normals),
        rates=chosen.rates,
        reference=ready,
    )
    kept = bool(ill.usable) and temperature == manifest.temperature
    remarks = ["the network's temperature is kept: another takes labels of each of its classes"] if kept else []
    return Fit(site, (*well.remarks, *ill.remarks, *remarks))


def _rule(
    manifest: Manifest, point: OperatingPoint, asked: Asked, well: Sequence[Seen], ill: Sequence[Seen]
) -> tuple[float, Rule]:
    """The temperature and the thresholds that go with it.

    The temperature is the one with the least cross-entropy (Guo et al., ICML 2017) of what will be told; it is the
    network's own without labels of each class.
    """
    negative = manifest.labels.index(point.negative)
    healthy, sick = _logits(well, manifest), _logits(ill, manifest)

    def at(temperature: float) -> Rule:
        return rule(odds(healthy / temperature, negative), odds(sick / temperature, negative), point, asked)

    check_shift(odds(healthy / manifest.temperature, negative), point, asked)
    if len(ill):
        check_separation(odds(healthy, negative), odds(sick, negative))
    labels = [*([point.negative] * len(well)), *(one.label for one in ill)]
    counts = [labels.count(label) for label in manifest.labels]
    # Of three classes, the share of one among the other two can be kept at another temperature; of more, it cannot.
    if min(counts) < EACH or sum(counts) < len(labels) or len(manifest.labels) > 3:
        return manifest.temperature, at(manifest.temperature)
    targets, logits = np.array([manifest.labels.index(label) for label in labels]), np.concatenate([healthy, sick])
    losses = []
    for temperature in manifest.temperature * FACTORS:
        scaled = logits / temperature
        scaled[:, negative] -= at(temperature).shift
        losses.append(float((_log_sum(scaled) - scaled[np.arange(len(targets)), targets]).mean()))
    best = float(manifest.temperature * FACTORS[int(np.argmin(losses))])
    return best, at(best)


def _logits(seen: Sequence[Seen], manifest: Manifest) -> Array:
    """``(n, classes)``, but for a constant a film."""
    shares = np.array([one.probabilities for one in seen], float).reshape(len(seen), len(manifest.labels))
    return np.asarray(manifest.temperature * np.log(np.maximum(shares, 1e-300)))


def _log_sum(scaled: Array) -> Array:
    most = scaled.max(axis=1)
    return np.asarray(most + np.log(np.exp(scaled - most[:, None]).sum(axis=1)))


def _alone_from(point: OperatingPoint, factor: float) -> dict[str, float]:
    """The shares from which one label is given alone: the same films reach them at another temperature."""
    return {
        label: round(float(share_of(log_odds(share) * factor)), 6) if share < 1 and factor != 1 else share
        for label, share in point.alone_from.items()
    }


def _guard_limit(manifest: Manifest, normals: Sequence[Seen]) -> float | None:
    """The network's own, raised where too many of the site's normals lie beyond; never lowered.

    With fewer than 99 nobody knows how far the last one in a hundred lies: no reason to let more pass.
    """
    if manifest.guard is None:
        return None
    own, distances = manifest.guard.limit, np.array(_distances(normals))
    if len(distances) < FOR_GUARD:
        return own
    beyond = (len(distances) + 1) // (FOR_GUARD + 1)  # the ranks, from the last, that may be refused
    return float(np.clip(np.sort(distances)[-beyond] * (1 + 1e-6), own, MOST_GUARD * own))


def _reference(of: str, seen: Sequence[Seen]) -> Any:
    read = [one for one in seen if one.kind != "failed"]
    return reference(of, [one.kind for one in read], _distances(read))


def _distances(seen: Sequence[Seen]) -> list[float]:
    return [one.distance for one in seen if one.distance is not None and np.isfinite(one.distance)]


def _beyond(share: float) -> float:
    """The next share of six digits, so that a film at the threshold itself does not reach it."""
    return min(NEVER, float(np.floor(share * 1e6) + 1) / 1e6)
