"""Options that several commands have in common."""

from __future__ import annotations

import argparse

from . import logs
from .runtimes import RUNTIMES


def service(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the commands that run as services."""
    classifier(parser)
    site(parser)
    _unsigned(parser)


def classifier(parser: argparse.ArgumentParser) -> None:
    """Adds the options of all commands that classify: memory, threads and network."""
    _memory(parser)
    _threads(parser)
    network(parser)


def network(parser: argparse.ArgumentParser) -> None:
    """Adds the options on which network to use, and what runs it."""
    parser.add_argument(
        "-m",
        "--model",
        default="base",
        help="a network's name (see: covidnet-lite models) or a .tflite file (default: base)",
    )
    parser.add_argument(
        "--runtime",
        choices=tuple(RUNTIMES),
        help="TFLite runtime (default: the first installed)",
    )
    parser.add_argument(
        "--edgetpu",
        metavar="DEVICE",
        help="the Edge TPU to use, for a network compiled for one: usb, pci, usb:N, pci:N or :N (default: the first "
        "found)",
    )


def _unsigned(parser: argparse.ArgumentParser) -> None:
    """Adds the option for a service to run an unsigned network."""
    parser.add_argument(
        "--allow-unsigned",
        dest="unsigned",
        action="store_const",
        const="allow",
        default="refuse",
        help="run a network that no trusted key has signed (see: covidnet-lite models)",
    )


def _memory(parser: argparse.ArgumentParser) -> None:
    """Adds the option on the memory for reading one radiograph."""
    parser.add_argument(
        "--memory",
        type=int,
        metavar="MB",
        help="memory that decoding one radiograph may take (default: a quarter of the machine's, but "
        "at least 128 and at most 384)",
    )


def _threads(parser: argparse.ArgumentParser) -> None:
    """Adds the option on the threads for one inference."""
    parser.add_argument(
        "-t", "--threads", type=int, metavar="N", help="threads for one inference (default: one per core, four at most)"
    )


def site(parser: argparse.ArgumentParser) -> None:
    """Adds the option on the hospital whose thresholds apply."""
    parser.add_argument(
        "--site",
        metavar="FILE",
        help="use the thresholds of the hospital in this file (see: covidnet-lite site fit; default: the "
        "network's own)",
    )


def log_format(parser: argparse.ArgumentParser) -> None:
    """Adds the option on the form of the log."""
    parser.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default="text",
        help="write the log as lines of text, or as one JSON object a line (default: text)",
    )
