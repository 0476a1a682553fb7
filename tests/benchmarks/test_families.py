"""The page about 25 networks says what was measured."""

from __future__ import annotations

from typing import Any

from benchmarks import families
from benchmarks.family_networks import NETWORKS


def row(int8: float, **more: Any) -> dict[str, Any]:
    result = {"right": 0.8, "near": 0.1, "loads": True, "int8": int8, "TFLiteConverter": 0.97, "litert-quantizer": 0.95}
    off = {
        "float differs in colour": 1e-6,
        "float differs in gray": 1e-6,
        "seconds": 20.0,
        "rung": "bias",
        "rules": families.RULES,
    }
    return {**result, **off, **more}


def test_networks_behind_another_converter_and_wrong_ones_are_named() -> None:
    first, second, third, fourth = [name for name in NETWORKS if name not in families.SEEN][:4]
    result = {
        first: row(0.99),
        second: row(0.96),
        third: row(0.98, **{"float differs in gray": 0.3}),
        fourth: row(0.9, loads=False, why="ConversionError: no"),
    }

    text = families.document(result)

    assert f"Measured: 4 of {len(NETWORKS)}. 3 load." in text
    assert f"\n1 of 3 ({second});" in text
    assert f"0.01 on 1 ({third})." in text
    assert "does not load" in text
    assert "it is +2.0 points" in text


def test_networks_that_were_seen_while_rules_were_settled_count_apart() -> None:
    seen = {name: row(0.99) for name in families.SEEN}
    other = next(name for name in NETWORKS if name not in seen)

    text = families.document({**seen, other: row(0.94)})

    assert set(families.SEEN) < set(NETWORKS)
    assert f"\n1 of {len(seen) + 1} ({other});\non the median network it is +3.0 points" in text
    assert f"\n1 of 1 ({other});\non the median network it is -2.0 points" in text


def test_networks_that_older_rules_measured_are_named() -> None:
    first, second = list(NETWORKS)[:2]

    text = families.document({first: row(0.99), second: row(0.94, rules=families.RULES - 1)})

    assert f"another choice among the fallbacks, on 1 of 2 networks: {second}.\n" in text
    assert "With the rules of today, int8 agrees less than the better of the other two on\n0 of 1;\n" in text
    assert "earlier rules" not in families.document({first: row(0.99)})


def test_there_are_25_networks_of_both_keras() -> None:
    assert len(NETWORKS) == 25
    assert {member.keras for member in NETWORKS.values()} == {2, 3}
    assert len({families.slug(name) for name in NETWORKS}) == 25
