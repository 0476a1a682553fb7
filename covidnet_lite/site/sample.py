"""A site's radiographs, as a network alone sees them; which of them can be used, and when none should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..codes import Code
from ..errors import SiteError
from ..percent import percent

LEAST = 30  # radiographs: below, the interval of a share of 7 % reaches beyond 17 %
MOST_REFUSED, MOST_REPEATED = 0.1, 0.1  # shares of a folder beyond which it is no sample of the site's films
MOST_ILL = 0.2  # of the normals, called ill by the network alone: of four sources' normals 0 to 18 %


@dataclass(frozen=True)
class Seen:
    """One radiograph, as the network alone sees it.

    Attributes:
        name: of the file.
        key: what is the same only for the same picture.
        kind: what it came to: ``negative``, ``positive``, ``unsure``, ``refused`` or ``failed``.
        probabilities: in the order of the labels; empty where it is refused.
        distance: from the training radiographs, or ``None``.
        label: a class of the network, ``not NEGATIVE``, or ``""``.
        code: of a refusal.
    """

    name: str
    key: str
    kind: str
    probabilities: tuple[float, ...] = ()
    distance: float | None = None
    label: str = ""
    code: Code | None = None


@dataclass(frozen=True)
class Sample:
    """The radiographs that can be used, each once, and ``remarks`` on what was left out."""

    usable: tuple[Seen, ...] = ()
    remarks: tuple[str, ...] = ()


def sample(seen: Sequence[Seen], what: str, least: int = LEAST) -> Sample:
    """Leaves out what repeats, is refused or cannot be read.

    Args:
        seen: one folder's.
        what: they are, in words.
        least: how many there must be.

    Raises:
        SiteError: that is too much, or too little is left.
    """
    once = list({one.key: one for one in seen}.values())
    repeated, kinds = len(seen) - len(once), Counter(one.kind for one in once)
    usable = tuple(one for one in once if one.probabilities and np.isfinite(one.probabilities).all())
    reasons = Counter(one.code.public for one in once if one.kind == "refused" and one.code).most_common(1)
    why = f" (most often: {reasons[0][0]})" if reasons else ""
    if repeated > MOST_REPEATED * len(seen):
        raise SiteError(f"{repeated} of the {len(seen)} {what} are pictures given before; give each radiograph once")
    if kinds["refused"] > MOST_REFUSED * len(once):
        raise SiteError(
            f"{kinds['refused']} of the {len(once)} {what} are refused{why}; give frontal chest radiographs, or do not "
            "use the network at this site"
        )
    left_out = {"given twice": repeated, "refused": kinds["refused"], "not readable": kinds["failed"]}
    told = ", ".join(f"{count} {word}" for word, count in left_out.items() if count)
    if len(usable) < least:
        raise SiteError(f"there are {len(usable)} usable {what}{f' ({told})' if told else ''}; give {least} or more")
    return Sample(usable, (f"of the {what} are left out: {told}{why}",) if told else ())


def check_labels(labelled: Sequence[Seen], labels: Sequence[str], negative: str) -> None:
    """Whether every label is one.

    Raises:
        SiteError: one is not.
    """
    known = (*labels, f"not {negative}")
    if unknown := sorted({one.label for one in labelled} - set(known)):
        raise SiteError(f"the label {unknown[0]!r} is none of {', '.join(known)}; correct the manifest")


def check_contradictions(normals: Sequence[Seen], labelled: Sequence[Seen], negative: str) -> None:
    """Whether a picture that is given twice has one label.

    Raises:
        SiteError: it has two.
    """
    first: dict[str, Seen] = {}
    for one in [*(replace(normal, label=negative) for normal in normals), *labelled]:
        before = first.setdefault(one.key, one)
        if before.label != one.label:
            raise SiteError(
                f"{one.name} is the same picture as {before.name}, but one is labelled {one.label} and the other "
                f"{before.label}; decide which it is"
            )


def check_level(normals: Sequence[Seen]) -> None:
    """Whether normals look normal.

    Raises:
        SiteError: so many look ill that ill patients are likely to be among them.
    """
    called = sum(one.kind == "positive" for one in normals)
    if called > MOST_ILL * len(normals):
        raise SiteError(
            f"{called} of the {len(normals)} normals look ill to the network (at most {percent(MOST_ILL, 0)} may): ill "
            "patients are likely to be among them; look at these radiographs again, or use the network without a site"
        )
