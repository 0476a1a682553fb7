"""The extent: the share of the lungs that is opaque according to the evidence map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..box import Box
from .maps import Array, overlaps


def raw_extent(local: Array, box: Box) -> float:
    """The mean local probability of "not negative" over the lung box, 0 to 1, not yet calibrated.

    Args:
        local: ``(h, w)``, from :func:`covidnet_lite.evidence.maps.local_probabilities`.
        box: the lung box, in fractions of the network's view; a cell is weighted by its share within the box.
    """
    left, top, right, bottom = box
    height, width = local.shape
    (rows,), (columns,) = overlaps(height, (top, bottom)), overlaps(width, (left, right))
    return float(rows @ local @ columns / (rows.sum() * columns.sum()))


@dataclass(frozen=True)
class ExtentScale:
    """Maps :func:`raw_extent` to the extent that radiologists would give, fitted on radiographs that they graded.

    Attributes:
        raw, extent: knots, equally many, 0 to 1; ``raw`` rises, ``extent`` never falls. Between the knots the scale is
            linear, and beyond the first or the last it is constant.
        error: mean absolute error of the extent, 0 to 1, on patients that the scale was not fitted on.
        offset: added to the local logits, see :func:`covidnet_lite.evidence.maps.local_probabilities`.
    """

    raw: tuple[float, ...]
    extent: tuple[float, ...]
    error: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("raw", 1e-9), ("extent", 0.0)):
            knots = getattr(self, name)
            if not (isinstance(knots, tuple) and all(_is_share(knot) for knot in knots)):
                raise ValueError(f"{name} must be numbers between 0 and 1, not {knots!r}")
            if not all(after - before >= least for before, after in pairwise(knots)):
                raise ValueError(f"{name} must rise, not {knots}")
        if len(self.raw) != len(self.extent) or len(self.raw) < 2:
            raise ValueError(f"raw and extent must be two or more knots, equally many, not {self.raw}, {self.extent}")
        if not _is_share(self.error):
            raise ValueError(f"the error of the extent must be between 0 and 1, not {self.error!r}")
        if not (isinstance(self.offset, (int, float)) and abs(self.offset) < 100):
            raise ValueError(f"offset must be a small number, not {self.offset!r}")

    def __call__(self, local: Array, box: Box) -> float:
        """The extent, 0 to 1; the arguments are those of :func:`raw_extent`."""
        return float(np.interp(raw_extent(local, box), self.raw, self.extent))

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ExtentScale:
        """The reverse of :meth:`to_dict`.

        Raises:
            ValueError, TypeError: a field is unknown, missing or out of range.
        """
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
