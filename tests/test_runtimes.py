"""The table of runtimes, and what is made of it."""

from __future__ import annotations

import argparse

from covidnet_lite import options
from covidnet_lite.runtimes import RUNTIMES


def test_the_option_offers_every_runtime() -> None:
    parser = argparse.ArgumentParser()
    options.network(parser)
    (action,) = (action for action in parser._actions if action.dest == "runtime")
    assert action.choices == tuple(RUNTIMES)
