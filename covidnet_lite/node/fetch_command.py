"""``covidnet-lite node fetch``: the command."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from .. import options
from ..exit_codes import BAD_FILE, OK

DESCRIPTION = """Fetches a day's radiographs from a DICOMweb archive (QIDO-RS, WADO-RS) into the queue of a node, which
may run meanwhile. Radiographs that the queue holds, or that were answered, are skipped, so the same command continues
a fetch that was stopped. They are classified after those that modalities send."""
EXAMPLES = (
    "covidnet-lite node fetch --settings node.toml",
    "covidnet-lite node fetch --settings node.toml --date 2026-11-30 --modality DX --most 200",
)


def add(words: Any) -> None:
    """Adds the word to those of ``covidnet-lite node``."""
    parser = words.add_parser(
        "fetch",
        help="fetch a day's radiographs from a DICOMweb archive into the queue",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--settings", type=Path, required=True, metavar="FILE", help="the settings of the node, with an [archive]"
    )
    parser.add_argument(
        "--date", type=_day, metavar="YYYY-MM-DD", help="the date of the studies (default: today)", default=None
    )
    parser.add_argument("--modality", action="append", metavar="CODE", help="CR or DX; may be repeated (default: both)")
    parser.add_argument(
        "--most", type=_count, default=1000, metavar="N", help="fetch at most N radiographs (default: 1000)"
    )
    options.log_format(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetches; returns the exit code.

    Raises:
        CovidNetLiteError: the archive or the queue cannot be used.
    """
    import warnings

    from .. import logs
    from ..errors import MissingExtraError

    try:
        from . import settings
        from .fetch import MODALITIES, fetch
    except ImportError as error:
        raise MissingExtraError(f"a node needs the extra: pip install 'covidnet-lite[node]' ({error})") from error
    node_settings = settings.load(args.settings)
    day = args.date or datetime.date.today()
    with logs.writing(args.log_format), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom's quote the header
        tally = fetch(node_settings, day, args.modality or MODALITIES, args.most)
    print(f"{day}: {tally}")
    return BAD_FILE if tally.failed else OK


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write 2026-11-30") from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)
