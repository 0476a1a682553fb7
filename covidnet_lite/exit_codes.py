"""The exit codes of the commands, and which results count as answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .prediction import Failure, Prediction

OK, BAD_FILE, USAGE, NO_ANSWER = 0, 1, 2, 3

MEANINGS = """exit codes:
  0  every image was answered, with one label or narrowed to several
  1  at least one image could not be read (the others were still classified)
  2  the command could not run: wrong usage, no network, or the output cannot be written
  3  every image was read, but at least one got no answer: the network abstained, or the image was refused"""


def after(code: int, result: Prediction | Failure) -> int:
    """The exit code of a run after one more result: the worse of ``code`` and the result's."""
    from .prediction import ANSWERS  # brings numpy, which `--help` does without

    if result.status == "failed":
        return BAD_FILE
    return NO_ANSWER if result.status not in ANSWERS and code == OK else code
