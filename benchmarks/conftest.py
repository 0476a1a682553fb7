"""What the benchmarks share: the image, and a run that is timed against its yardstick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import inputs
from benchmarks.figures import Figure
from benchmarks.measure import milliseconds

Paired = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="few rounds: shows that all works, measures nothing")


@pytest.fixture(scope="session")
def quick(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--quick"))


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> file; see :func:`benchmarks.inputs.all_kinds`."""
    return inputs.all_kinds(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def paired(benchmark: Any, quick: bool) -> Paired:
    """Times a run, each round right after one of its yardstick, and keeps both with the benchmark."""

    def measure(
        name: str, run: Callable[[], object], against: str, yardstick: Callable[[], object], rounds: int
    ) -> None:
        run()
        yardstick()
        yardstick_milliseconds: list[float] = []
        benchmark.pedantic(
            run, setup=lambda: yardstick_milliseconds.append(milliseconds(yardstick)), rounds=3 if quick else rounds
        )
        values = [seconds * 1e3 for seconds in benchmark.stats.stats.data]
        benchmark.extra_info["figures"] = [Figure.of(name, "ms", values, against, yardstick_milliseconds).to_dict()]

    return measure
