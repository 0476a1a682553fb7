"""A site: the file ``site.json`` with a hospital's thresholds for one network, and how it changes the manifest.

A network's scores differ between hospitals. The file shifts the log-odds of "no finding" by an amount fitted on the
hospital's own radiographs, and holds the thresholds that go with it. The relative shares of the other classes stay as
the network has them.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from .. import files
from ..errors import SiteError
from ..network.manifest import Manifest
from ..network.operating_point import NEVER
from .chance import Rate
from .reference import Reference, number

FORMAT = 1
MAX_NAME = 64  # characters, as a DICOM text of kind LO
MAX_BYTES = 1 << 20  # bytes of a file
MAX_SHIFT = 20.0  # of a logit, either way


@dataclass(frozen=True, eq=False)
class Site:
    """A fitted site.

    Attributes:
        name: of the site.
        network, sha256: the network's name and the hash of its file; the site applies to no other.
        negative: the network's class that means "no finding".
        date: of the fit, ``2026-11-30``.
        radiographs: normals that it was fitted on.
        shift: added to the logits, one value a class.
        temperature: divides the logits, in place of the network's own.
        negative_from, positive_from, alone_from: as in
            :class:`~covidnet_lite.network.operating_point.OperatingPoint`.
        guard_limit: the distance above which an image is refused; ``None`` for a network without a guard.
        rates: error or answer -> its share of the site's radiographs, where the fit can estimate it, and the 95 %
            interval.
        reference: the results that days are compared with.
        ill: radiographs with an opacity that it was fitted on; 0 without labels.
    """

    name: str
    network: str
    sha256: str
    negative: str
    date: str
    radiographs: int
    shift: tuple[float, ...]
    temperature: float
    negative_from: float
    positive_from: float
    alone_from: Mapping[str, float]
    guard_limit: float | None
    rates: Mapping[str, Rate]
    reference: Reference = field(repr=False)
    ill: int = 0

    def __post_init__(self) -> None:
        if not (_text(self.name) and len(self.name) <= MAX_NAME and "\\" not in self.name):
            raise ValueError(f"name must be 1 to {MAX_NAME} printable characters without \\, not {self.name!r}")
        for name in ("network", "negative"):
            if not _text(getattr(self, name)):
                raise ValueError(f"{name} must be a name, not {getattr(self, name)!r}")
        if not (isinstance(self.sha256, str) and re.fullmatch("[0-9a-f]{64}", self.sha256)):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, not {self.sha256!r}")
        datetime.date.fromisoformat(self.date)
        for name, minimum in (("radiographs", 1), ("ill", 0)):
            if type(getattr(self, name)) is not int or getattr(self, name) < minimum:
                raise ValueError(f"{name} must be a whole number of {minimum} or more, not {getattr(self, name)!r}")
        if not all(number(s) and abs(s) <= MAX_SHIFT for s in self.shift):
            raise ValueError(f"shift must be numbers of at most {MAX_SHIFT:g} either way, not {self.shift}")
        if not (number(self.temperature) and 0.05 <= self.temperature <= 20):
            raise ValueError(f"temperature must be between 0.05 and 20, not {self.temperature!r}")
        for name in ("negative_from", "positive_from"):
            if not (number(getattr(self, name)) and 0 < getattr(self, name) <= NEVER):
                raise ValueError(f"{name} must be above 0 and at most {NEVER:g}, not {getattr(self, name)!r}")
        if not (isinstance(self.alone_from, Mapping) and all(number(share) for share in self.alone_from.values())):
            raise ValueError(f"alone_from must map labels to shares, not {self.alone_from!r}")
        if self.guard_limit is not None and not (number(self.guard_limit) and self.guard_limit > 0):
            raise ValueError(f"guard_limit must be above 0, not {self.guard_limit!r}")
        for name, rate in self.rates.items():
            if not (all(number(value) and 0 <= value <= 1 for value in rate) and rate.low <= rate.share <= rate.high):
                raise ValueError(f"the rate of {name!r} must be a share within its interval, not {rate!r}")

    def applied(self, manifest: Manifest, sha256: str) -> Manifest:
        """The manifest of a network at this site: its logits shifted, with the site's thresholds and limit.

        The accuracy at the hospitals that the network was trained on does not apply to another operating point, so it
        is removed.

        Raises:
            SiteError: the site was fitted for another network, or does not fit its classes.
        """
        if sha256 != self.sha256:
            raise SiteError(
                f"site {self.name!r}: was fitted for {self.network} (SHA-256 {self.sha256[:12]}...), not for "
                f"{manifest.name} {manifest.version} (SHA-256 {sha256[:12]}...); run: covidnet-lite site fit"
            )
        point, guard = manifest.operating_point, manifest.guard
        try:
            if point is None or point.negative != self.negative:
                raise ValueError(f"{self.negative!r} is not its label for no finding")
            if len(self.shift) != len(manifest.labels):
                raise ValueError(f"shift needs one value for each of {', '.join(manifest.labels)}")
            if (guard is None) != (self.guard_limit is None):
                raise ValueError("it needs a guard_limit if the network has a guard, and none otherwise")
            correction = manifest.correction or (0.0,) * len(self.shift)
            return replace(
                manifest,
                correction=tuple(c + s for c, s in zip(correction, self.shift)),
                temperature=self.temperature,
                guard=replace(guard, limit=self.guard_limit) if guard and self.guard_limit else None,
                operating_point=replace(
                    point,
                    negative_from=self.negative_from,
                    positive_from=self.positive_from,
                    alone_from=dict(self.alone_from),
                    risks={
                        **{k: round(v.share, 4) for k, v in self.rates.items()},
                        "method": f"fitted for {self.name}",
                    },
                    accuracy={},
                ),
            )
        except ValueError as error:
            raise SiteError(f"site {self.name!r}: does not fit {manifest.name} ({error}); fit it again") from error

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of :meth:`to_json`, which identifies a fit."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Site) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"{self.name} (fitted {self.date} on {self.radiographs} normals, SHA-256 {self.digest[:12]})"

    def to_dict(self) -> dict[str, str]:
        """Name and hash, for a result."""
        return {"name": self.name, "sha256": self.digest}

    def to_json(self) -> str:
        """The whole file; keys in a fixed order."""
        fields = {
            "format": FORMAT,
            "name": self.name,
            "network": self.network,
            "sha256": self.sha256,
            "negative": self.negative,
            "date": self.date,
            "radiographs": self.radiographs,
            "ill": self.ill,
            "shift": list(self.shift),
            "temperature": self.temperature,
            "negative_from": self.negative_from,
            "positive_from": self.positive_from,
            "alone_from": dict(self.alone_from),
            "guard_limit": self.guard_limit,
            "rates": {name: list(rate) for name, rate in self.rates.items()},
            "reference": self.reference.to_dict(),
        }
        return json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "site") -> Site:
        """The reverse of :meth:`to_json`.

        Raises:
            SiteError: the text is no site of this version, or a value is out of range.
        """
        try:
            fields = json.loads(text)
            if fields.pop("format", None) != FORMAT:
                raise ValueError(f"its format is not {FORMAT}; fit it again, or upgrade covidnet-lite")
            fields["shift"] = tuple(fields["shift"])
            fields["rates"] = {name: Rate(*rate) for name, rate in fields["rates"].items()}
            fields["reference"] = Reference.from_dict(fields["reference"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            cause = f"{error} is missing" if isinstance(error, KeyError) else error
            raise SiteError(f"{where}: is no site's file ({cause}); write one: covidnet-lite site fit") from error


def read(path: str | os.PathLike[str]) -> Site:
    """The site in a file.

    Raises:
        SiteError: the file cannot be read, or is no site's file.
    """
    where = str(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise SiteError(
            f"{where}: the site's file cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    if len(data) > MAX_BYTES:
        raise SiteError(f"{where}: is no site's file (larger than {MAX_BYTES >> 20} MB)")
    return Site.from_json(data, where)


def write(path: str | os.PathLike[str], site: Site) -> Path:
    """Writes the file of a site, completely or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    return files.write(Path(path), site.to_json())


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()
