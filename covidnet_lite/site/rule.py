"""From the scores of a site's radiographs to its thresholds.

Normals alone suffice, for two things can be read off them: from which score on a stated share of the site's normals is
called ill, and up to which a stated share is called normal. Both are order statistics: whatever the distribution, the
shares hold on average (conformal risk control; Angelopoulos et al., ICLR 2024), and how far they may be off with so few
radiographs is known exactly (:func:`covidnet_lite.site.chance.beyond_order`).

Normals say nothing of the site's ill patients, and ill patients among them look like a site whose normals score high.
So without labels both thresholds may only fall: nothing is called normal that the network alone would not call so, and
all that it calls ill still is. A site that wants fewer false alarms gives labels, or says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SiteError
from ..network.operating_point import NEVER, OperatingPoint, least_threshold
from ..percent import percent
from .chance import beyond_order, counted
from .site import Rate

Array = npt.NDArray[Any]

# By how much the log-odds from which a film is called ill may move. The hospitals that the networks were judged on span
# -1.2 (their normals score higher than training's) to 2.1 (docs/site.md); the rest is for chance with 30 radiographs.
MOST_HIGHER, MOST_LOWER = 1.5, 3.0
ILL_CALLED_NORMAL, NORMAL_CALLED_ILL = "ill called normal", "normal called ill"
NORMAL_CALLED_NORMAL, ILL_CALLED_ILL = "normal called normal", "ill called ill"


@dataclass(frozen=True)
class Asked:
    """The operating point that a site asks for, as shares of its radiographs.

    Attributes:
        normal_called_ill: of its normals.
        normal_called_normal: of its normals, at most.
        ill_called_normal: of those with an opacity; counts where they are labelled.
        fewer_alarms: also without labels, call fewer ill than the network alone where too many normals are called so.
    """

    normal_called_ill: float = 0.07
    normal_called_normal: float = 0.6
    ill_called_normal: float = 0.1
    fewer_alarms: bool = False

    def __post_init__(self) -> None:
        shares = self.normal_called_ill, self.normal_called_normal, self.ill_called_normal
        if not all(0 < share < 1 for share in shares):
            raise SiteError(f"the shares asked for must be above 0 and below 1, not {shares}")
        if self.normal_called_ill + self.normal_called_normal > 1:
            raise SiteError("normals called ill and normals called normal are more than all normals; ask for less")


@dataclass(frozen=True)
class Rule:
    """Log-odds of not being negative, by the network: to ``negative`` a film is called so, beyond ``positive`` ill.

    ``shift`` is added to both and to the scores; ``rates`` tells what share of the site's films is called what.
    """

    negative: float
    positive: float
    shift: float
    rates: dict[str, Rate]


def odds(logits: Array, negative: int) -> Array:
    """``(n, classes)`` logits -> ``(n,)`` log-odds of not being the class ``negative``."""
    others = np.delete(logits, negative, axis=1)
    most = others.max(axis=1)
    return np.asarray(most + np.log(np.exp(others - most[:, None]).sum(axis=1)) - logits[:, negative])


def rule(well: Array, ill: Array, point: OperatingPoint, asked: Asked) -> Rule:
    """The site's thresholds.

    Args:
        well, ill: log-odds of the site's normals, and of its films that are labelled ill, of which there may be none.
        point: the network's own.
        asked: what the site asks for.

    Raises:
        SiteError: the films are too few for it.
    """
    positive, reached = _threshold(well, asked.normal_called_ill)
    rates = {NORMAL_CALLED_ILL: reached}
    called_normal, called_ill = -log_odds(point.negative_from), log_odds(point.positive_from)  # by the network alone
    if positive > called_ill and not len(ill) and not asked.fewer_alarms:
        positive = called_ill
        rates[NORMAL_CALLED_ILL] = counted(int((well > positive).sum()), len(well))
    if len(ill):
        at, rates[ILL_CALLED_NORMAL] = _threshold(-ill, asked.ill_called_normal)
        negative = -at
    else:
        at, rates[NORMAL_CALLED_NORMAL] = _threshold(-well, asked.normal_called_normal)
        negative = min(-at, called_normal)
    if len(ill) or negative == called_normal:
        rates[NORMAL_CALLED_NORMAL] = counted(int((well < negative).sum()), len(well))
    if negative > positive:  # what is not called normal is called ill
        positive = negative
        rates[NORMAL_CALLED_ILL] = counted(int((well > positive).sum()), len(well))
    if len(ill):
        rates[ILL_CALLED_ILL] = counted(int((ill > positive).sum()), len(ill))
    # The middle between the thresholds comes to lie where the network's is, as far as what is called normal is then
    # likelier to be so than not, and what is called ill too.
    shift = (called_normal + called_ill) / 2 - (negative + positive) / 2
    return Rule(negative, positive, float(np.clip(shift, -positive, -negative)), rates)


def _threshold(scores: Array, share: float) -> tuple[float, Rate]:
    """The score that at most ``share`` of films like these are expected to exceed, and what share that may be."""
    if least_threshold(share_of(scores), share) >= NEVER:
        raise SiteError(f"{len(scores)} radiographs are too few for a share of {percent(share)}; give more")
    at = float(np.sort(scores)[len(scores) - 1 - int(np.floor(share * (len(scores) + 1) - 1))])
    return at, beyond_order(len(scores), int((scores > at).sum()))


def check_shift(well: Array, point: OperatingPoint, asked: Asked) -> None:
    """Whether a site's normals score about as those of some hospital that the network was judged on.

    Raises:
        SiteError: they are farther off.
    """
    shift = log_odds(point.positive_from) - _threshold(well, asked.normal_called_ill)[0]
    if not -MOST_HIGHER <= shift <= MOST_LOWER:
        way = "higher" if shift < 0 else "lower"
        raise SiteError(
            f"the site's normals score {abs(shift):.1f} {way} in log-odds than those that the network was fitted on, "
            f"which is more than at any hospital that it was judged on; see that the radiographs are {point.negative}, "
            "upright and for presentation, and have the network judged at this site before it is used there"
        )


def check_separation(well: Array, ill: Array) -> None:
    """Whether the scores of ill films are higher than those of normals, beyond chance.

    Raises:
        SiteError: they are not: the labels are swapped, or the network is of no use at this site.
    """
    area = (ill[:, None] > well).mean() + (ill[:, None] == well).mean() / 2
    chance = np.sqrt((len(well) + len(ill) + 1) / (12 * len(well) * len(ill)))  # Mann and Whitney, 1947
    if area < 0.5 + 1.96 * chance:
        raise SiteError(
            f"the labels contradict the network: it tells ill from normal with an AUROC of {area:.2f}, no better than "
            "chance; see whether the labels are swapped, or do not use the network at this site"
        )


def log_odds(share: float) -> float:
    """Of a share between 0 and 1."""
    return float(np.log(share) - np.log1p(-share))


def share_of(log_odds: Any) -> Any:
    """The reverse of :func:`log_odds`, also of arrays."""
    return 1 / (1 + np.exp(-np.asarray(log_odds, float)))
