"""``covidnet-lite node queue``: what waits and what is quarantined, and what becomes of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exit_codes import BAD_FILE, OK

if TYPE_CHECKING:
    from .entries import Entry, Queued

DESCRIPTION = """Lists the radiographs and results that wait or are quarantined; retries or removes those that are
quarantined. Works beside a running node."""


def add(words: Any) -> None:
    """Adds the word to those of ``covidnet-lite node``."""
    queue = words.add_parser(
        "queue",
        help="list what waits and what is quarantined; retry or drop it",
        description=DESCRIPTION,
        examples=("covidnet-lite node queue list --settings node.toml",),
    )
    actions = queue.add_subparsers(dest="action", required=True, metavar="ACTION")

    listed = actions.add_parser(
        "list",
        help="list what waits and what is quarantined",
        description="Lists radiographs that wait to be classified, results that wait to be sent, and what is "
        "quarantined, with the reason in full. The reason may quote the radiograph's header.",
        examples=("covidnet-lite node queue list --queue /var/lib/covidnet-lite --json",),
    )
    listed.add_argument("--json", action="store_true", help="print JSON instead")
    listed.set_defaults(run=_list)

    retry = actions.add_parser(
        "retry",
        help="classify or send again what is quarantined",
        description="Classifies quarantined radiographs again, and sends quarantined results again.",
        examples=(
            "covidnet-lite node queue retry 1.2.840.9.7 --settings node.toml",
            "covidnet-lite node queue retry --all --settings node.toml",
        ),
    )
    _add_choice(retry)
    retry.set_defaults(run=_retry)

    drop = actions.add_parser(
        "drop",
        help="remove entries for good",
        description="Removes entries for good. What waits can be removed only while no node works with the queue.",
        examples=("covidnet-lite node queue drop 1.2.840.9.7 --settings node.toml",),
    )
    _add_choice(drop)
    drop.add_argument("--yes", action="store_true", help="do not ask first")
    drop.set_defaults(run=_drop)

    for parser in (listed, retry, drop):  # each may stand before the word, too, where the node has it
        where = {"type": Path, "default": argparse.SUPPRESS}
        parser.add_argument(
            "--settings", metavar="FILE", help="the settings of the node, which name its queue", **where
        )
        parser.add_argument("--queue", metavar="DIR", help="the folder of the queue", **where)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="ENTRY", help="its name or UID, as the list has them, or the beginning of its name"
    )
    parser.add_argument("--all", action="store_true", help="all that are quarantined")


def _list(args: argparse.Namespace) -> int:
    entries = _queued(args).entries()
    if args.json:
        print(json.dumps([entry.to_dict() for entry in entries], indent=1))
    else:
        for entry in entries:
            print(entry)
        print(f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}")
    return OK


def _retry(args: argparse.Namespace) -> int:
    queued = _queued(args)
    return _each(queued.chosen(args.names, args.all), queued.retry, "again in the queue")


def _drop(args: argparse.Namespace) -> int:
    from ..errors import SettingsError

    queued = _queued(args)
    chosen = queued.chosen(args.names, args.all)
    if chosen and not args.yes:
        if not sys.stdin.isatty():
            raise SettingsError("nobody is here to be asked; give --yes to remove entries for good")
        for entry in chosen:
            print(entry)
        if input(f"remove {'this' if len(chosen) == 1 else f'these {len(chosen)}'} for good? [y/N] ").strip() != "y":
            print("nothing removed")
            return OK
    return _each(chosen, queued.drop, "removed")


def _each(entries: Sequence[Entry], action: Callable[[Entry], None], done: str) -> int:
    """Does something to each; what cannot be done to one is said, and the others have their turn."""
    from ..errors import OutputError

    code = OK
    if not entries:
        print("nothing is quarantined")
    for entry in entries:
        try:
            action(entry)
        except OutputError as error:
            print(f"covidnet-lite: error: {error}", file=sys.stderr)
            code = BAD_FILE
        else:
            print(f"{entry.name}: {done}")
    return code


def _queued(args: argparse.Namespace) -> Queued:
    from ..errors import MissingExtraError, SettingsError

    try:
        from . import settings
        from .entries import Queued
    except ImportError as error:
        raise MissingExtraError(f"a node needs the extra: pip install 'covidnet-lite[node]' ({error})") from error
    if args.settings:
        built = settings.load(args.settings)
        return Queued(args.queue or built.queue, tuple(built.everywhere))
    if not args.queue:
        raise SettingsError("which queue? name it with --queue DIR, or with --settings FILE")
    return Queued(args.queue)
