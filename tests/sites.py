"""Made-up sites, and radiographs as a network would see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from covidnet_lite.network import model
from covidnet_lite.network.model import Model
from covidnet_lite.site.chance import Rate
from covidnet_lite.site.reference import Reference
from covidnet_lite.site.rule import odds, share_of
from covidnet_lite.site.sample import Observation
from covidnet_lite.site.site import Site

DATE = "2026-11-30"
NETWORK = f"nano {model.load('nano').manifest.version}"


def network() -> Model:
    return model.load("nano")


def films(log_odds: Iterable[float], name: str = "well", label: str = "", covid: float = 0.5) -> list[Observation]:
    """One film for each of the log-odds of not being normal; ``covid`` is its share of what is not normal."""
    point = network().manifest.operating_point
    assert point is not None
    calls = []
    for i, z in enumerate(log_odds):
        ill = float(share_of(z))
        kind = "positive" if ill >= point.positive_from else "negative" if 1 - ill >= point.negative_from else "unsure"
        shares = (1 - ill, ill * (1 - covid), ill * covid)
        calls.append(Observation(f"{name}{i}.png", f"{name}{i}", kind, shares, 0.8 + i / 1000, label))
    return calls


def spread(middle: float, n: int = 100, width: float = 1.0) -> list[float]:
    """So many log-odds around a middle, evenly spread over a normal distribution's bulk."""
    return (middle + width * np.linspace(-2, 2, n)).tolist()


def scores(observations: list[Observation], site: Site | None = None) -> Any:
    """The log-odds of films, at a site if there is one."""
    manifest = network().manifest
    logits = manifest.temperature * np.log([one.probabilities for one in observations])
    shift, temperature = (site.shift, site.temperature) if site else (0.0, manifest.temperature)
    return odds((logits + shift) / temperature, manifest.labels.index("normal"))


def reference(of: str = "usual", **changes: Any) -> Reference:
    answers = {"negative": 60, "positive": 20, "unsure": 18, "refused": 2}
    distances = tuple(round(float(d), 3) for d in np.linspace(0.5, 2.0, 100))
    return Reference(**{"of": of, "answers": answers, "distances": distances, **changes})


def site(**changes: Any) -> Site:
    """One that fits ``nano``, shifted towards ill by one."""
    manifest, sha256 = network().manifest, network().sha256
    assert manifest.guard is not None
    fields: dict[str, Any] = {
        "name": "St. Elsewhere",
        "network": NETWORK,
        "sha256": sha256,
        "negative": "normal",
        "date": DATE,
        "radiographs": 100,
        "shift": (-1.0, 0.0, 0.0),
        "temperature": manifest.temperature,
        "negative_from": 0.55,
        "positive_from": 0.8,
        "alone_from": {"pneumonia": 0.3, "covid": 0.9},
        "guard_limit": float(manifest.guard.limit),
        "rates": {"normal called ill": Rate(0.07, 0.03, 0.13)},
        "reference": reference(),
    }
    return Site(**{**fields, **changes})
