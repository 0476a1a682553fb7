"""Options that several commands have in common."""

from __future__ import annotations

import argparse

from .runtimes import RUNTIMES


def network(parser: argparse.ArgumentParser) -> None:
    """Which network, and what runs it."""
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


def unsigned(parser: argparse.ArgumentParser) -> None:
    """Whether a service takes a network that nobody trusted has signed."""
    parser.add_argument(
        "--allow-unsigned",
        dest="unsigned",
        action="store_const",
        const="allow",
        default="refuse",
        help="run a network that no trusted key has signed (see: covidnet-lite models)",
    )


def memory(parser: argparse.ArgumentParser) -> None:
    """How much reading one radiograph may take."""
    parser.add_argument(
        "--memory",
        type=int,
        metavar="MB",
        help="memory that decoding one radiograph may take (default: a quarter of the machine's, but "
        "at least 128 and at most 384)",
    )


def threads(parser: argparse.ArgumentParser) -> None:
    """How many for one inference."""
    parser.add_argument(
        "-t", "--threads", type=int, metavar="N", help="threads for one inference (default: one per core, four at most)"
    )


def site(parser: argparse.ArgumentParser) -> None:
    """By whose thresholds it answers."""
    parser.add_argument(
        "--site",
        metavar="FILE",
        help="use the thresholds of the hospital in this file (see: covidnet-lite site fit; default: the "
        "network's own)",
    )
