from __future__ import annotations

from typing import Any

from training.judge import audit_table
from training.judge.figure import missing, share


def figures() -> dict[str, Any]:
    """A row or two in some sections."""
    area = {"kind": "auroc", "value": 0.861, "interval": [0.84, 0.88], "positive": 681, "negative": 338}
    sections: dict[str, Any] = {name: {} for name in audit_table.SECTIONS}
    sections["contrasts"] = {
        "any opacity v negative": {"test split": area, "lungs black": missing("few")},
        "typical v atypical": {"test split": area},
    }
    sections["called"] = {"hannover_covid19: covid": {"called normal": share(1, 10)}}
    return {"model": "net", "sha256": "ab", "partly": ["ralo"], "operating_point": False, "sections": sections}


def test_a_row_a_line_and_every_column_that_any_row_has() -> None:
    assert audit_table.table(figures()["sections"]["contrasts"]).splitlines() == [
        "| | test split | lungs black |",
        "|---|---|---|",
        "| any opacity v negative | 0.861 (0.840-0.880), 681 v 338 | not measured: few |",
        "| typical v atypical | 0.861 (0.840-0.880), 681 v 338 |  |",
    ]


def test_the_card_has_every_section_and_says_how_films_were_called() -> None:
    text = audit_table.card(figures())
    for title, note in audit_table.SECTIONS.values():
        assert f"#### {title}\n\n{note}" in text
    assert text.count("Not measured: the data have nothing for it.") == len(audit_table.SECTIONS) - 2
    assert "None of them was trained on. Of the network's own hospitals, the test split. Others of ralo were." in text
    assert audit_table.ARGMAX in text
    assert audit_table.POINT in audit_table.card({**figures(), "operating_point": True})


def test_the_summary_has_six_lines() -> None:
    lines = audit_table.summary(figures()).splitlines()
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == 6
    assert rows[0].endswith("| 0.861 (0.840-0.880) |")
    assert sum(row.endswith("| - |") for row in rows) == 4


def test_the_lines_of_the_summary_name_sections_that_there_are() -> None:
    assert {section for _, section, _, _ in audit_table.SUMMARY} <= set(audit_table.SECTIONS)


def test_a_block_takes_the_place_of_an_older_one_of_its_kind() -> None:
    old = {**figures(), "sha256": "0", "sections": {}}
    other = audit_table.card({**figures(), "model": "network"})
    for make, kept in ((audit_table.card, audit_table.summary), (audit_table.summary, audit_table.card)):
        before = f"# Card\n\n{other}\n\n{make(old)}\n\n{kept(old)}\n\nThe end.\n"
        placed = audit_table.replace_block(before, make(figures()))
        assert placed == f"# Card\n\n{other}\n\n{make(figures())}\n\n{kept(old)}\n\nThe end.\n"
    assert audit_table.replace_block("nothing", audit_table.card(figures())) == "nothing"


def test_the_report_shows_every_plot() -> None:
    text = audit_table.report(figures(), ["operating_curve.png"])
    assert "![operating curve](operating_curve.png)" in text
    assert audit_table.card(figures()) in text
    assert audit_table.summary(figures()) in text
