"""``covidnet-lite node``: the command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import options
from ..exit_codes import OK
from . import fetch_command, queue_command

if TYPE_CHECKING:
    from .settings import Settings

DESCRIPTION = """Receives chest radiographs from a modality or PACS (DICOM C-STORE), classifies them, and sends a
Structured Report and a Secondary Capture to a PACS. A radiograph that the node has acknowledged is on disk and
survives kills and power cuts. A TOML file can hold every setting; see docs/node.md.
Research use only; not a medical device."""
EXAMPLES = (
    "covidnet-lite node --settings node.toml",
    "covidnet-lite node --pacs ORTHANC@pacs:4242 --queue /var/lib/queue --check",
    "covidnet-lite node queue list --settings node.toml",
)


def add(commands: Any) -> None:
    """Adds the command to the subparsers of ``covidnet-lite``."""
    parser = commands.add_parser(
        "node",
        help="run a DICOM node: receive radiographs, send results to a PACS",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="a TOML file of settings; the options below override it"
    )
    parser.add_argument("--pacs", metavar="AE@HOST:PORT", help="the PACS that receives the results")
    parser.add_argument(
        "--queue", type=Path, metavar="DIR", help="the folder in which radiographs wait, on a disk of this machine"
    )
    parser.add_argument("--ae-title", metavar="AE", help="the AE title of this node (default: COVIDNET)")
    parser.add_argument("--host", metavar="ADDRESS", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, metavar="N", help="the port to listen on (default: 11112; 0: any free port)"
    )
    parser.add_argument("--allow-unsigned", action="store_true", help="run a network that no trusted key has signed")
    parser.add_argument(
        "--site",
        type=Path,
        metavar="FILE",
        help="use the thresholds of the hospital in this file (see: covidnet-lite site fit)",
    )
    parser.add_argument(
        "--check", action="store_true", help="test settings, queue, neural network, port and destinations, then exit"
    )
    options.log_format(parser)
    parser.set_defaults(run=run)
    words = parser.add_subparsers(metavar="WORD")
    queue_command.add(words)
    fetch_command.add(words)


def run(args: argparse.Namespace) -> int:
    """Runs the node until SIGTERM or SIGINT; returns the exit code.

    Raises:
        CovidNetLiteError: it cannot start, or a disk or network failed it meanwhile.
    """
    import signal
    import threading
    import warnings

    from .. import logs
    from ..errors import MissingExtraError
    from ..quiet import silent_runtime

    try:
        from .check import check
        from .service import Node
    except ImportError as error:
        raise MissingExtraError(f"a node needs the extra: pip install 'covidnet-lite[node]' ({error})") from error
    with silent_runtime(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom's quote the header, and names have no place in a log
        if args.check:
            for line in check(settings_of(args)):
                print(line)
            return OK
        stop, reload = threading.Event(), threading.Event()
        for name, event in {"SIGTERM": stop, "SIGINT": stop, "SIGHUP": reload}.items():
            if hasattr(signal, name):  # Windows has no SIGHUP
                signal.signal(getattr(signal, name), lambda *_, event=event: event.set())
        with logs.writing(args.log_format):
            Node(settings_of(args)).run(stop, reload, lambda: settings_of(args))
    return OK


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings of the file, with those of the options over them.

    Raises:
        SettingsError: one is missing or impossible, or the file cannot be read.
    """
    from . import settings

    tables = settings.read(args.settings) if args.settings else {}
    named = ("queue", "ae_title", "host", "port")
    tables |= {name: getattr(args, name) for name in named if getattr(args, name) is not None}
    if args.queue:
        tables["queue"] = str(args.queue.absolute())
    if args.site:
        tables["network"] = {**tables.get("network", {}), "site": str(args.site.absolute())}
    if args.allow_unsigned:
        tables["network"] = {**tables.get("network", {}), "allow_unsigned": True}
    if args.pacs:
        tables["pacs"] = {**tables.get("pacs", {}), **settings.pacs(args.pacs)}
    return settings.build(tables, args.settings.absolute().parent if args.settings else Path.cwd())
