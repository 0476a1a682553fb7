"""A good client beside a dozen bad ones."""

from __future__ import annotations

import pytest

from benchmarks import bad_clients
from benchmarks.bad_clients import Outcome


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome([10.0, 11.0, 90.0], [20.0, 22.0, 23.0], 0), 0),
        (Outcome([10.0], [20.1], 0), 1),
        (Outcome([10.0], [10.0], 1), 1),
    ],
)
def test_more_than_twice_the_median_or_a_failure_is_told_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome, code: int
) -> None:
    monkeypatch.setattr(bad_clients, "SERVICES", {"serve": lambda seconds: outcome})
    assert bad_clients.main([]) == code


@pytest.mark.slow
@pytest.mark.parametrize("service", ["serve", "node"])
def test_a_dozen_bad_clients_keep_nobody_out(service: str) -> None:
    pytest.importorskip("uvicorn" if service == "serve" else "pynetdicom")
    result = bad_clients.SERVICES[service](8)
    assert result.failures == 0
    assert result.ratio <= bad_clients.MAX_RATIO, result
