from __future__ import annotations

from pathlib import Path
from typing import Any

from training import audit_table, left_out
from training.figure import count, missing, percent, share


def figures(both: bool = True) -> dict[str, Any]:
    """One line in most sections."""
    line = {"int8": share(3, 4), **({"float": share(1, 4), "points": 50.0, "apart": True} if both else {})}
    sections: dict[str, Any] = {name: {} for name in audit_table.SECTIONS}
    sections["accuracy"] = {"accuracy": line, "covid: sensitivity": line}
    sections["left_out"] = {"there: unseen covid against all negatives": {"any": missing("few")}}
    sections["copies"] = {"pairs in different splits": {"any": count(12)}}
    steady = {"int8": percent(0.9), **({"float": percent(0.9), "points": -0.04, "apart": False} if both else {})}
    sections["invariances"] = {"mirrored: same answer": line, "gamma 0.7: same answer": steady}
    pair = {"files": ["a", "b"], "splits": ["train", "test"], "patients": ["p", ""], "likeness": 0.9}
    return {
        "model": "net", "sha256": "ab", "float_sha256": "cd" if both else None, "split": "test split",
        "images": 4, "patients": 2, "sections": sections, "copies": [pair] * 12 + [{**pair, "splits": ["test", "test"]}],
    }  # fmt: skip


def test_the_short_table() -> None:
    assert audit_table.main_table(figures()).splitlines() == [
        "| | int8 as shipped (95 %) | float (95 %) | points apart |",
        "|---|---|---|---|",
        "| accuracy | 75.0% (30.1%-95.4%), 3/4 | 25.0% (4.6%-69.9%), 1/4 | **+50.0** |",
        "| least steady: mirrored: same answer | 75.0% (30.1%-95.4%), 3/4 | 25.0% (4.6%-69.9%), 1/4 | **+50.0** |",
        "| near-duplicates: pairs in different splits | 12 |  |  |",
        "",
        "| retrained without | there |",
        "|---|---|",
        "| unseen covid against all negatives | not measured: few |",
        "",
        audit_table.NOTE,
    ]


def test_of_a_source_left_out_the_short_table_hides_nothing(tmp_path: Path) -> None:
    rows = [f"away,{i}.png,{label},{i},{source},test,0.6,0.3,0.1,0"
            for i, (label, source) in enumerate([("covid", "away"), ("normal", "away"), ("normal", "here"), ("covid", "here")] * 5)]  # fmt: skip
    path = tmp_path / "left_out.csv"
    again = [row.replace("away,", "here,", 1) for row in rows]
    path.write_text(
        "\n".join(["left_out,file,label,patient,source,split,normal,pneumonia,covid,refused", *rows, *again])
    )
    given = figures()
    lines = left_out.left_out(path)
    given["sections"]["left_out"] = {name: {"any": figure} for name, figure in lines.items()}
    text = audit_table.main_table(given)
    assert "\n| retrained without | away | here |\n|---|---|---|\n" in text
    for name in lines:
        assert f"\n| {name.partition(': ')[2]} | " in text
    assert "| unseen normal called covid | 0.0% (0.0%-43.4%), 0/5 | 0.0% (0.0%-43.4%), 0/5 |" in text
    assert "| unseen covid against negatives of here | 0.500 (0.500-0.500), 5 v 5 |  |" in text
    assert len({name.partition(": ")[2] for name in lines}) == 11


def test_no_file_of_sources_left_out_is_said_in_the_short_table() -> None:
    given = figures()
    given["sections"]["left_out"] = {"a source": {"any": missing("no file")}}
    text = audit_table.main_table(given)
    assert "| retrained without a source | not measured: no file |" in text
    assert "| retrained without |" not in text


def test_the_report_says_what_its_figures_are_of() -> None:
    text = audit_table.report({**figures(), "split": "no split: may hold training images"}, [])
    assert "4 images of 2 patients; no split: may hold training images. Intervals" in text
    assert "takes the films of one patient as independent" in text
    assert "before the guard and before the network abstains" in text


def test_without_a_float_network_there_is_one_column() -> None:
    text = audit_table.report(figures(both=False), [])
    assert "| | int8 as shipped (95 %) |\n|---|---|\n" in text
    assert "float (95 %)" not in text
    assert "Not measured: no float network" in text


def test_it_is_found_by_its_marks() -> None:
    text = audit_table.marked(figures())
    assert text.startswith("<!-- audit net sha256:ab -->\n\n| | int8")
    assert text.endswith(f"{audit_table.NOTE}\n\n<!-- /audit -->")


def test_it_takes_the_place_of_an_older_one() -> None:
    old = audit_table.marked({**figures(), "sha256": "0", "images": 1})
    other = audit_table.marked({**figures(), "model": "network"})
    placed = audit_table.placed(f"# Card\n\n{other}\n\n{old}\n\nThe end.\n", figures())
    assert placed == f"# Card\n\n{other}\n\n{audit_table.marked(figures())}\n\nThe end.\n"


def test_the_report_has_every_section_every_plot_and_what_differs() -> None:
    text = audit_table.report(figures(), ["risk_coverage.png"])
    for title, note, _, _ in audit_table.SECTIONS.values():
        assert f"## {title}\n\n{note}" in text
    assert "![risk coverage](risk_coverage.png)" in text
    assert "3 of 4 lines are more than half a point apart" in text
    assert "| gamma 0.7: same answer | 90.0% | 90.0% | +0.0 |" in text


def test_copies_across_splits_are_named_but_not_all() -> None:
    text = audit_table.report(figures(), [])
    assert text.count("* `a` (train, p) and `b` (test, no patient): likeness 0.90") == audit_table.SHOWN
    assert "and 2 more" in text


def test_a_copy_of_no_split_is_not_named_for_it_is_not_counted() -> None:
    given = figures()
    given["copies"] = [{**given["copies"][0], "splits": ["train", ""]}]
    assert "likeness" not in audit_table.report(given, [])
