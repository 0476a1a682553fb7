"""``covidnet-lite watch``: radiographs that arrive as files, results beside them and over MQTT."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import logs, options
from ..exit_codes import OK
from ..logs import coded

if TYPE_CHECKING:
    from ..site.drift import Report
    from .mqtt import Publisher

log = logging.getLogger(__name__)

INCOMPLETE = 1  # exit code: not everything was classified or delivered
DELIVERY_SECONDS = 10.0  # to deliver results at the end; with --once, a minute


def add(commands: Any) -> None:
    """Adds the command to those of the command line."""
    watch = commands.add_parser(
        "watch",
        help="classify radiographs as they arrive in a folder",
        description="Watches a folder and its subfolders. Writes a JSON result beside each radiograph that arrives, "
        "and for each radiograph in a zip archive; with --mqtt, also publishes the result. Does not classify "
        "again what the same network has already classified. Research use only; not a medical device.",
        examples=(
            "covidnet-lite watch /srv/radiographs",
            "covidnet-lite watch /media/stick --out /srv/results --once",
        ),
    )
    watch.add_argument("folder", type=Path, metavar="DIR", help="the folder to watch")
    watch.add_argument("--out", type=Path, metavar="DIR", help="write results here (default: beside the radiographs)")
    watch.add_argument(
        "--heatmap", action="store_true", help="also write each answered radiograph with its evidence map"
    )
    watch.add_argument("--once", action="store_true", help="process the files that are there, then exit")
    watch.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="SECONDS", help="time between two scans (default: 1)"
    )
    watch.add_argument(
        "--settle",
        type=_seconds,
        default=2.0,
        metavar="SECONDS",
        help="a file that has not changed for this long is complete (default: 2)",
    )
    watch.add_argument(
        "--mqtt",
        metavar="HOST[:PORT]",
        help="also publish results at this broker; the environment variables COVIDNET_LITE_MQTT_USER and "
        "COVIDNET_LITE_MQTT_PASSWORD hold user and password",
    )
    watch.add_argument(
        "--topic",
        help="publish results to TOPIC/result, and online or offline to TOPIC/status (default: covidnet-lite)",
    )
    watch.add_argument("--tls", action="store_true", help="encrypt the connection; trust the system's CAs")
    watch.add_argument(
        "--ca", type=Path, metavar="FILE", help="encrypt the connection; trust only this certificate (PEM)"
    )
    options.service(watch)
    options.log_format(watch)
    watch.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Watches until SIGTERM or SIGINT; returns the exit code.

    Raises:
        SettingsError: the folder does not exist, or the broker's address cannot be used.
        MissingExtraError: filelock is not installed, or aiomqtt is not and --mqtt needs it.
        OutputError: results cannot be written, or another watcher writes to the same folder.
        ModelError, BackendError: the network cannot be used.
    """
    from .. import files
    from ..codes import Code
    from ..errors import SettingsError

    if args.folder.is_file():
        raise SettingsError(f"{args.folder}: is a file; give the folder to watch, or use: covidnet-lite classify")
    if not args.folder.is_dir():
        raise SettingsError(f"{args.folder}: no such folder; make it, or mount what it is on", Code.NOT_OPENED)
    if not args.mqtt and (args.topic or args.tls or args.ca):
        raise SettingsError("--topic, --tls and --ca are for a broker; name it with --mqtt HOST")
    out = args.out or args.folder
    files.check_folder(out)
    message = f"another watcher is at work in {out}; stop it, or choose another folder with --out"
    with ExitStack() as stack:
        with suppress(OSError):  # a share that knows no locks
            stack.enter_context(files.claim(out, message))
        return _watch(args, out)


def _watch(args: argparse.Namespace, out: Path) -> int:
    import signal
    import threading

    from ..classifier import Classifier
    from ..quiet import silent_runtime
    from ..readers.pool import Readers
    from ..site.drift import drift_monitor
    from . import folder as watch
    from . import mqtt
    from .result_files import ResultFiles

    folder, results = watch.Folder(args.folder, args.settle, args.heatmap), ResultFiles(out)
    results.tidy()
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(silent_runtime())
        readers = stack.enter_context(Readers())
        classifier = Classifier(
            args.model,
            args.runtime,
            args.threads,
            edgetpu=args.edgetpu,
            read=readers.read,
            site=args.site,
            unsigned=args.unsigned,
        )

        stack.enter_context(logs.writing(args.log_format, "covidnet-lite: %(message)s"))
        publisher = None
        if args.mqtt:
            broker = mqtt.parse_broker(args.mqtt, args.topic or mqtt.TOPIC, args.tls, args.ca)
            publisher = mqtt.Publisher(broker, results, log.info)
            publisher.start()
        if drift := drift_monitor(classifier.site, lambda report: _report_drift(report, publisher)):
            classifier.on_prediction = drift.add
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        text = "watching %s with %s. Research use only; not a medical device."
        log.info(text, args.folder, classifier.model.name, **coded("started"))
        report = _print_json if args.log_format == "json" else _print
        watcher = watch.Watch(
            folder, results, classifier, report, log.warning, publisher.deliver if publisher else None
        )
        succeeded = watch.run(watcher, log.warning, stop, args.interval, args.once)
        waiting = publisher.close(60.0 if args.once else DELIVERY_SECONDS) if publisher else 0
        if waiting:
            text = "%d result%s not delivered; the next start delivers what is left"
            log.warning(text, waiting, "s were" if waiting > 1 else " was", **coded("not-delivered", count=waiting))
    return INCOMPLETE if args.once and (waiting or not succeeded) else OK


def _print(line: object) -> None:
    """Prints a line; a full disk costs the line, and not the result that it is about.

    Raises:
        BrokenPipeError: nobody reads the output any more.
    """
    try:
        print(line, file=sys.stdout, flush=True)
    except BrokenPipeError:
        raise
    except OSError:  # of the disk that it goes to; the result is in its file
        logs.drop_unwritten(sys.stdout)


def _print_json(line: object) -> None:
    _print(logs.line(str(line), "classified", **vars(line)))


def _report_drift(report: Report, publisher: Publisher | None) -> None:
    """Reports on a day that is over: in the log if it differs from the site's fit, and always to the broker."""
    if report.drifted:
        log.warning("drift: %s", report, **coded("drift", **report.to_dict()))
    if publisher:
        publisher.publish_drift(report.to_dict())


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.05 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.05 to 86400")
    return value
