"""The last catch: an exception that nobody foresaw costs one radiograph, never the run.

The person gets a short reference, which is the same wherever the same fault strikes again; the log has the traceback
under it. Neither quotes the exception's own words: they may hold what a file holds, a name for one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import traceback

from .errors import UnforeseenError

logger = logging.getLogger(__name__)


def unforeseen(name: str, error: BaseException) -> UnforeseenError:
    """What to tell of an exception from the work on ``name``; its traceback goes to the log."""
    chain = _chain(error)
    code = reference(chain)
    trace = "".join(
        f"{type(one).__module__}.{type(one).__qualname__}\n{''.join(traceback.format_tb(one.__traceback__))}"
        for one in chain
    )
    told = UnforeseenError(
        f"{name}: failed in a way that was not foreseen (reference {code}); report it with what the log says of {code}",
        code,
        trace.rstrip(),
    )
    told.__cause__ = error
    log(told)
    return told


def log(error: UnforeseenError) -> None:
    """Writes the traceback of an error to the log."""
    logger.error("unforeseen, reference %s: %s", error.reference, error.trace)


def reference(chain: list[BaseException]) -> str:
    """Eight hexadecimal digits of SHA-256 over kinds of exceptions and where they were raised, values left out."""
    places = [
        (type(one).__qualname__, [(os.path.basename(f.filename), f.name, f.lineno) for f in frames(one)])
        for one in chain
    ]
    return hashlib.sha256(repr(places).encode()).hexdigest()[:8]


def frames(error: BaseException) -> traceback.StackSummary:
    """Where an exception came through, the place it was raised at last."""
    return traceback.extract_tb(error.__traceback__)


def _chain(error: BaseException) -> list[BaseException]:
    """An exception and what caused it, first things last."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) and before not in chain:
        chain.append(before)
    return chain
