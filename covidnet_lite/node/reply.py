"""What a destination answers to one object."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SUCCESS, DUPLICATE = 0x0000, 0x0111


class Verdict(Enum):
    """Whether it has the object, may take it later, or never will."""

    TAKEN, LATER, NEVER = range(3)


@dataclass(frozen=True)
class Reply:
    """A verdict, and in words what was answered, to follow the destination's name."""

    verdict: Verdict
    words: str = ""

    @classmethod
    def later(cls, words: str) -> Reply:
        """It may be taken at another attempt."""
        return cls(Verdict.LATER, words)

    @classmethod
    def never(cls, words: str) -> Reply:
        """No attempt will help."""
        return cls(Verdict.NEVER, words)

    @classmethod
    def of_status(cls, status: int) -> Reply:
        """A status of C-STORE (PS3.4, B.2.3), which STOW-RS gives as reasons too (PS3.18, 10.5.3).

        Taken: success, a warning, or there already. Never: the object does not match its class, or cannot be
        understood. What else is wrong another attempt may mend.
        """
        words = f"answered 0x{status:04X}"
        if status in (SUCCESS, DUPLICATE) or status >> 12 == 0xB:
            return cls(Verdict.TAKEN, words)
        return cls(Verdict.NEVER if status >> 8 == 0xA9 or status >> 12 == 0xC else Verdict.LATER, words)
