"""The last resort: an unforeseen exception fails one radiograph, never the run.

The user gets a short reference, which is the same each time the same fault occurs; the log has the traceback under it.
Neither quotes the exception's own message: it may hold what a file holds, such as a name.
"""

from __future__ import annotations

import hashlib
import logging
import os
import traceback

from .codes import Code
from .errors import UnforeseenError
from .logs import coded

logger = logging.getLogger(__name__)


def unforeseen(name: str, error: BaseException) -> UnforeseenError:
    """The error to raise or report for an exception from the work on ``name``; its traceback goes to the log."""
    chain = _chain(error)
    code = reference(chain)
    trace = "".join(
        f"{type(exception).__module__}.{type(exception).__qualname__}\n{''.join(traceback.format_tb(exception.__traceback__))}"
        for exception in chain
    )
    report = UnforeseenError(
        f"{name}: failed in a way that was not foreseen (reference {code}); report it with what the log says of {code}",
        code,
        trace.rstrip(),
    )
    report.__cause__ = error
    log(report)
    return report


def log(error: UnforeseenError) -> None:
    """Writes the traceback of an error to the log."""
    text = "unforeseen, reference %s: %s"
    logger.error(text, error.reference, error.trace, **coded(Code.UNFORESEEN, reference=error.reference))


def reference(chain: list[BaseException]) -> str:
    """Eight hexadecimal digits of SHA-256 over the types of exceptions and where they were raised, without values."""
    origins = [
        (type(exception).__qualname__, [(os.path.basename(f.filename), f.name, f.lineno) for f in frames(exception)])
        for exception in chain
    ]
    return hashlib.sha256(repr(origins).encode()).hexdigest()[:8]


def frames(error: BaseException) -> traceback.StackSummary:
    """The frames that an exception came through; the last is where it was raised."""
    return traceback.extract_tb(error.__traceback__)


def _chain(error: BaseException) -> list[BaseException]:
    """An exception and its causes, the first cause last."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) and before not in chain:
        chain.append(before)
    return chain
