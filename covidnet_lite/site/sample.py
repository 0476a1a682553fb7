"""The network's results for a site's radiographs, and the checks that a site can be fitted on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..codes import Code
from ..errors import SiteError
from ..percent import percent

MIN_RADIOGRAPHS = 30  # with fewer, the interval of a share of 7 % reaches beyond 17 %
MAX_REFUSED, MAX_REPEATED = 0.1, 0.1  # shares of a folder above which it does not represent the site's radiographs
MAX_ILL = 0.2  # of the normals, called ill by the network alone: of four sources' normals 0 to 18 %


@dataclass(frozen=True)
class Observation:
    """The network's result for one radiograph, without a site.

    Attributes:
        name: of the file.
        key: equal for the same image only.
        kind: of the result: ``negative``, ``positive``, ``unsure``, ``refused`` or ``failed``.
        probabilities: in the order of the labels; empty for a refusal.
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
    """The usable radiographs, each once, and ``remarks`` on the others."""

    usable: tuple[Observation, ...] = ()
    remarks: tuple[str, ...] = ()


def sample(observations: Sequence[Observation], description: str, minimum: int = MIN_RADIOGRAPHS) -> Sample:
    """Selects the usable radiographs: no repetitions, refusals or unreadable files.

    Args:
        observations: of one folder.
        description: of the radiographs, for messages.
        minimum: number of usable radiographs.

    Raises:
        SiteError: too many are not usable, or too few are.
    """
    unique = list({observation.key: observation for observation in observations}.values())
    repeated, kinds = len(observations) - len(unique), Counter(observation.kind for observation in unique)
    usable = tuple(
        observation
        for observation in unique
        if observation.probabilities and np.isfinite(observation.probabilities).all()
    )
    reasons = Counter(
        observation.code.public for observation in unique if observation.kind == "refused" and observation.code
    ).most_common(1)
    hint = f" (most often: {reasons[0][0]})" if reasons else ""
    if repeated > MAX_REPEATED * len(observations):
        raise SiteError(
            f"{repeated} of the {len(observations)} {description} are repetitions; give each radiograph once"
        )
    if kinds["refused"] > MAX_REFUSED * len(unique):
        raise SiteError(
            f"{kinds['refused']} of the {len(unique)} {description} are refused{hint}; give frontal chest radiographs, "
            "or do not use the network at this site"
        )
    left_out = {"given twice": repeated, "refused": kinds["refused"], "not readable": kinds["failed"]}
    omissions = ", ".join(f"{count} {word}" for word, count in left_out.items() if count)
    if len(usable) < minimum:
        excluded = f" ({omissions})" if omissions else ""
        raise SiteError(f"there are {len(usable)} usable {description}{excluded}; give {minimum} or more")
    return Sample(usable, (f"of the {description} are left out: {omissions}{hint}",) if omissions else ())


def check_labels(labelled: Sequence[Observation], labels: Sequence[str], negative: str) -> None:
    """Checks that every label is one of the network's, or ``not NEGATIVE``.

    Raises:
        SiteError: one is not.
    """
    allowed = (*labels, f"not {negative}")
    if unknown := sorted({observation.label for observation in labelled} - set(allowed)):
        raise SiteError(f"the label {unknown[0]!r} is none of {', '.join(allowed)}; correct the manifest")


def check_contradictions(normals: Sequence[Observation], labelled: Sequence[Observation], negative: str) -> None:
    """Checks that an image that occurs twice has the same label.

    Raises:
        SiteError: it has two labels.
    """
    by_key: dict[str, Observation] = {}
    for observation in [*(replace(normal, label=negative) for normal in normals), *labelled]:
        earlier = by_key.setdefault(observation.key, observation)
        if earlier.label != observation.label:
            raise SiteError(
                f"{observation.name} is the same image as {earlier.name}, but one is labelled {observation.label} and "
                f"the other {earlier.label}; decide which it is"
            )


def check_level(normals: Sequence[Observation]) -> None:
    """Checks that normals look normal to the network.

    Raises:
        SiteError: so many look ill that ill patients are probably among them.
    """
    positives = sum(observation.kind == "positive" for observation in normals)
    if positives > MAX_ILL * len(normals):
        raise SiteError(
            f"{positives} of the {len(normals)} normals look ill to the network (at most {percent(MAX_ILL, 0)} may): "
            "ill patients are probably among them; check these radiographs again, or use the network without a site"
        )
