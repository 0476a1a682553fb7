"""The place of the evidence: inside or outside the lungs, and in which zone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..box import Box
from .maps import Array, overlaps

SIDES = ("right", "left")  # of the patient
LEVELS = ("upper", "middle", "lower")  # thirds of the height of the lung box
ZONES = tuple(f"{side} {level}" for side in SIDES for level in LEVELS)
OUTSIDE, DIFFUSE = "mostly outside the lungs", "diffuse"
# Share of the positive evidence in the box below which it lies "mostly outside the lungs" and a positive answer is
# withheld: more than half of it concerns something else. In the hospitals trained on, this withholds nothing: of 315
# (base) and 299 (nano) positive answers to SIIM's validation radiographs, none has less than 0.94 inside.
INSIDE_FROM = 0.5


@dataclass(frozen=True)
class Place:
    """Where the positive evidence of a radiograph lies.

    Positive evidence is the amount, place by place, by which the local probability of "not negative"
    (:func:`covidnet_lite.evidence.maps.local_probabilities`) exceeds one half.

    The patient's right is on the image's left, unless a DICOM header (PatientOrientation) says otherwise. **A mirrored
    radiograph without such a header is not detected**: right and left are then swapped.

    Attributes:
        inside: share of the positive evidence that lies in the lung box, 0 to 1.
        zones: zone ("right upper" to "left lower", from the patient's side) -> share of the positive evidence; their
            sum is ``inside``. Upper, middle and lower are thirds of the box's height, right and left its halves.
        main: in words, as "right lower zone", "both lower zones", "left lung", "diffuse". A zone is named when it
            holds at least half as much as the fullest. "diffuse" where the zones named hold less than half of what lies
            in the box, or are four or more and no pattern; "mostly outside the lungs" where ``inside`` is too small
            for a positive answer.
    """

    inside: float
    zones: dict[str, float]
    main: str

    @property
    def main_zones(self) -> tuple[str, ...]:
        """The zones that ``main`` names; none where it is diffuse or outside."""
        return () if self.main in (OUTSIDE, DIFFUSE) else _main_zones(self.zones)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, rounded."""
        fields = asdict(self)
        return {**fields, "inside": round(self.inside, 4), "zones": {z: round(s, 4) for z, s in self.zones.items()}}


def locate(
    local: Array,
    box: Box,
    inside_from: float = INSIDE_FROM,
    orientation: str = "",
) -> Place | None:
    r"""Locates the positive evidence; ``None`` where there is none.

    Args:
        local: ``(h, w)``, from :func:`covidnet_lite.evidence.maps.local_probabilities`.
        box: the lung box, in fractions of the network's view.
        inside_from: share inside the box below which the evidence lies "mostly outside the lungs".
        orientation: the header's PatientOrientation, as ``L\F``: the sides of the patient to which rows and columns
            run; ``""`` where the header does not say, which counts as ``L\F``.
    """
    excess = np.maximum(local - 0.5, 0)
    total = float(excess.sum())
    if not total > 0:
        return None
    left, top, right, bottom = box
    height, width = excess.shape
    rows = overlaps(height, [top + (bottom - top) * third / 3 for third in range(4)])
    columns = overlaps(width, (left, (left + right) / 2, right))
    shares = rows @ excess @ columns.T / total  # (levels, sides)
    across, _, down = orientation.partition("\\")
    shares = shares[:: -1 if down.startswith("H") else 1, :: -1 if across.startswith("R") else 1]
    zones = dict(zip(ZONES, (float(share) for share in shares.T.ravel())))
    inside = min(1.0, sum(zones.values()))
    return Place(inside, zones, OUTSIDE if inside < inside_from or inside == 0 else _main(zones))


def _main_zones(zones: dict[str, float]) -> tuple[str, ...]:
    fullest = max(zones.values())
    return tuple(zone for zone, share in zones.items() if share >= fullest / 2)


def _main(zones: dict[str, float]) -> str:
    main_zones = _main_zones(zones)
    if sum(zones[zone] for zone in main_zones) < sum(zones.values()) / 2:
        return DIFFUSE
    right, left = ([level for level in LEVELS if f"{side} {level}" in main_zones] for side in SIDES)
    if right == left and len(right) < len(LEVELS):
        return f"both {' and '.join(right)} zones"
    if right and left:
        return DIFFUSE if len(main_zones) > 3 else f"right {_zones(right)} and left {_zones(left)}"
    levels, side = (right, "right") if right else (left, "left")
    return f"{side} lung" if len(levels) == len(LEVELS) else f"{side} {_zones(levels)}"


def _zones(levels: list[str]) -> str:
    return " and ".join(levels) + (" zone" if len(levels) == 1 else " zones")
