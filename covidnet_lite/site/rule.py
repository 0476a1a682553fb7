"""From the scores of a site's radiographs to its thresholds.

Normals alone suffice, since they determine two scores: the one above which a stated share of the site's normals is
called ill, and the one below which a stated share is called normal. Both are order statistics: whatever the
distribution, the shares hold on average (conformal risk control; Angelopoulos et al., ICLR 2024), and their error with
so few radiographs is known exactly (:func:`covidnet_lite.site.chance.order_statistic_rate`).

Normals do not show how the site's ill patients score, and ill patients among them look like a site whose normals score
high. So without labels both thresholds may only fall: the site calls nothing normal that the network alone would not
call normal, and still calls ill all that the network does. A site that wants fewer false alarms gives labels or
``fewer_alarms``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SiteError
from ..network.operating_point import NEVER, OperatingPoint, least_threshold
from ..percent import percent
from .chance import Rate, observed_rate, order_statistic_rate

Array = npt.NDArray[Any]

# The range within which the log-odds threshold for ill may move. The hospitals that the networks were judged on span
# -1.2 (their normals score higher than training's) to 2.1 (docs/site.md); the rest allows for chance with 30 of them.
MAX_HIGHER, MAX_LOWER = 1.5, 3.0
ILL_CALLED_NORMAL, NORMAL_CALLED_ILL = "ill called normal", "normal called ill"
NORMAL_CALLED_NORMAL, ILL_CALLED_ILL = "normal called normal", "ill called ill"


@dataclass(frozen=True)
class Targets:
    """The targets of a site's operating point, as shares of its radiographs.

    Attributes:
        normal_called_ill: of its normals.
        normal_called_normal: of its normals, at most.
        ill_called_normal: of those with an opacity; used where they are labelled.
        fewer_alarms: call fewer ill than the network alone, even without labels, where it calls too many normals ill.
    """

    normal_called_ill: float = 0.07
    normal_called_normal: float = 0.6
    ill_called_normal: float = 0.1
    fewer_alarms: bool = False

    def __post_init__(self) -> None:
        shares = self.normal_called_ill, self.normal_called_normal, self.ill_called_normal
        if not all(0 < share < 1 for share in shares):
            raise SiteError(f"the target shares must be above 0 and below 1, not {shares}")
        if self.normal_called_ill + self.normal_called_normal > 1:
            raise SiteError(
                "normals called ill and normals called normal exceed all normals together; lower one of them"
            )


@dataclass(frozen=True)
class Rule:
    """Thresholds of the network's log-odds: up to ``negative`` a radiograph is called negative, above ``positive`` ill.

    ``shift`` is added to both and to the scores; ``rates`` are the shares of the site's radiographs by error or answer.
    """

    negative: float
    positive: float
    shift: float
    rates: dict[str, Rate]


def odds(logits: Array, negative: int) -> Array:
    """``(n, classes)`` logits -> ``(n,)`` log-odds of not being the class ``negative``."""
    others = np.delete(logits, negative, axis=1)
    peak = others.max(axis=1)
    return np.asarray(peak + np.log(np.exp(others - peak[:, None]).sum(axis=1)) - logits[:, negative])


def rule(well: Array, ill: Array, point: OperatingPoint, targets: Targets) -> Rule:
    """The site's thresholds.

    Args:
        well, ill: log-odds of the site's normals, and of its radiographs labelled ill, which may be empty.
        point: the network's own.
        targets: of the site.

    Raises:
        SiteError: there are too few radiographs for the targets.
    """
    positive, rate = _threshold(well, targets.normal_called_ill)
    rates = {NORMAL_CALLED_ILL: rate}
    called_normal, called_ill = -log_odds(point.negative_from), log_odds(point.positive_from)  # by the network alone
    if positive > called_ill and not len(ill) and not targets.fewer_alarms:
        positive = called_ill
        rates[NORMAL_CALLED_ILL] = observed_rate(int((well > positive).sum()), len(well))
    if len(ill):
        at, rates[ILL_CALLED_NORMAL] = _threshold(-ill, targets.ill_called_normal)
        negative = -at
    else:
        at, rates[NORMAL_CALLED_NORMAL] = _threshold(-well, targets.normal_called_normal)
        negative = min(-at, called_normal)
    if len(ill) or negative == called_normal:
        rates[NORMAL_CALLED_NORMAL] = observed_rate(int((well < negative).sum()), len(well))
    if negative > positive:  # what is not called normal is called ill
        positive = negative
        rates[NORMAL_CALLED_ILL] = observed_rate(int((well > positive).sum()), len(well))
    if len(ill):
        rates[ILL_CALLED_ILL] = observed_rate(int((ill > positive).sum()), len(ill))
    # Shift the middle between the thresholds to the network's own, as long as a radiograph called normal is still more
    # likely normal than not, and one called ill more likely ill.
    shift = (called_normal + called_ill) / 2 - (negative + positive) / 2
    return Rule(negative, positive, float(np.clip(shift, -positive, -negative)), rates)


def _threshold(scores: Array, share: float) -> tuple[float, Rate]:
    """The score that at most ``share`` of radiographs like these are expected to exceed, and the rate above it."""
    if least_threshold(share_of(scores), share) >= NEVER:
        raise SiteError(f"{len(scores)} radiographs are too few for a share of {percent(share)}; give more")
    at = float(np.sort(scores)[len(scores) - 1 - int(np.floor(share * (len(scores) + 1) - 1))])
    return at, order_statistic_rate(len(scores), int((scores > at).sum()))


def check_shift(well: Array, point: OperatingPoint, targets: Targets) -> None:
    """Checks that a site's normals score about as those of some hospital that the network was judged on.

    Raises:
        SiteError: they do not.
    """
    shift = log_odds(point.positive_from) - _threshold(well, targets.normal_called_ill)[0]
    if not -MAX_HIGHER <= shift <= MAX_LOWER:
        direction = "higher" if shift < 0 else "lower"
        raise SiteError(
            f"the site's normals score {abs(shift):.1f} {direction} in log-odds than those that the network was fitted "
            f"on, which is more than at any hospital that it was judged on; see that the radiographs are "
            f"{point.negative}, upright and for presentation, and have the network judged at this site before it is "
            "used there"
        )


def check_separation(well: Array, ill: Array) -> None:
    """Checks that the scores of radiographs labelled ill are higher than those of normals, beyond chance.

    Raises:
        SiteError: they are not: the labels are swapped, or the network does not work at this site.
    """
    area = (ill[:, None] > well).mean() + (ill[:, None] == well).mean() / 2
    chance = np.sqrt((len(well) + len(ill) + 1) / (12 * len(well) * len(ill)))  # Mann and Whitney, 1947
    if area < 0.5 + 1.96 * chance:
        raise SiteError(
            f"the labels contradict the network: it separates ill from normal with an AUROC of {area:.2f}, no better "
            "than chance; see whether the labels are swapped, or do not use the network at this site"
        )


def log_odds(share: float) -> float:
    """The log-odds of a share between 0 and 1."""
    return float(np.log(share) - np.log1p(-share))


def share_of(log_odds: Any) -> Any:
    """The reverse of :func:`log_odds`, also of arrays."""
    return 1 / (1 + np.exp(-np.asarray(log_odds, float)))
