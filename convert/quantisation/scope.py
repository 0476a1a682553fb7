"""Layers that a person keeps off 8 bits, by name, and whether the ladder may do so by itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from covidnet_lite.errors import ConversionError


@dataclass(frozen=True)
class Scope:
    """What int8 is not for.

    Attributes:
        keep_float, keep_int16: names of layers, as the report tells them, or patterns such as ``block_1*``.
        allow_int16: whether the ladder may keep the noisiest layers in 16 bits, which is slower than float on a CPU.
    """

    keep_float: tuple[str, ...] = ()
    keep_int16: tuple[str, ...] = ()
    allow_int16: bool = False

    @property
    def description(self) -> str:
        """In words, for the manifest; empty where all is int8."""
        kept = {"float": self.keep_float, "16 bits": self.keep_int16}
        return "; ".join(f"kept in {kind}: {', '.join(names)}" for kind, names in kept.items() if names)


EVERYTHING = Scope()  # in 8 bits


def matching(patterns: Sequence[str], layers: Iterable[str], option: str) -> tuple[str, ...]:
    """Those of the layers that a pattern names, with a layer's further activations (``stem#2``).

    Raises:
        ConversionError: a pattern names none.
    """
    names = list(dict.fromkeys(layers))
    matches: list[str] = []
    for pattern in patterns:
        matched = [layer for layer in names if fnmatchcase(layer, pattern) or fnmatchcase(layer.split("#")[0], pattern)]
        if not matched:
            similar = difflib.get_close_matches(pattern, names, 3, 0.3) or names[:3]
            raise ConversionError(f"{option} {pattern}: there is no such layer; there are {', '.join(similar)}, ...")
        matches += matched
    return tuple(dict.fromkeys(matches))
