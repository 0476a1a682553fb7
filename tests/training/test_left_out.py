from __future__ import annotations

from pathlib import Path

import pytest

from covidnet_lite.errors import DatasetError
from training import left_out

HEAD = "left_out,file,label,patient,source,split,normal,pneumonia,covid"


def written(folder: Path, rows: list[tuple[str, str, str, float]]) -> Path:
    """``(label, source, split, probability of covid)`` of a network without ``there``."""
    lines = [
        f"there,{i}.png,{label},p{i},{source},{split},{(1 - p) * 0.9},{(1 - p) * 0.1},{p}"
        for i, (label, source, split, p) in enumerate(rows)
    ]
    path = folder / "left_out.csv"
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return path


def test_unseen_is_told_from_seen(tmp_path: Path) -> None:
    rows = [("covid", "there", "train", 0.6)] * 6 + [("normal", "there", "val", 0.7)] * 5
    rows += [("normal", "there", "test", 0.1)] * 5 + [("pneumonia", "here", "test", 0.2)] * 10
    rows += [("covid", "here", "test", 0.9)] * 5 + [("covid", "here", "train", 0.0)] * 50
    rows += [("other", "there", "test", 0.5)] * 5
    found = left_out.left_out(written(tmp_path, rows))
    assert found["there: unseen covid against all negatives"]["value"] == pytest.approx(15 / 20)
    assert found["there: covid against the rest within it"]["value"] == pytest.approx(5 / 10)
    assert found["there: seen covid against unseen negatives"]["value"] == 1
    assert found["there: seen covid against unseen negatives"]["positive"] == 5
    assert found["there: unseen covid called covid"]["value"] == 1
    assert (
        found["there: unseen normal called normal"]["count"],
        found["there: unseen normal called covid"]["count"],
    ) == (5, 5)
    assert found["there: unseen normal called covid"]["total"] == 10


def test_each_source_of_negatives_that_has_enough_has_a_line(tmp_path: Path) -> None:
    rows = [("covid", "there", "train", 0.6)] * 6 + [("normal", "there", "val", 0.5)] * 5
    rows += [("pneumonia", "adults", "test", 0.9)] * 5 + [("normal", "children", "test", 0.1)] * 45
    rows += [("normal", "few", "test", 0.1)] * 4 + [("covid", "adults", "test", 0.9)] * 9
    rows += [("normal", "adults", "train", 0.0)] * 9
    found = left_out.left_out(written(tmp_path, rows))
    against = {name: f for name, f in found.items() if "negatives of" in name}
    assert {name: (f["value"], f["positive"], f["negative"]) for name, f in against.items()} == {
        "there: unseen covid against negatives of adults": (0, 6, 5),
        "there: unseen covid against negatives of children": (1, 6, 45),
    }
    assert found["there: unseen covid against all negatives"]["negative"] == 59


def test_an_image_of_no_split_whose_source_was_seen_may_be_one_of_training(tmp_path: Path) -> None:
    rows = [("covid", "there", "", 0.6)] * 6 + [("normal", "here", "test", 0.1)] * 5
    found = left_out.left_out(written(tmp_path, rows + [("normal", "here", "", 0.9)] * 5))
    assert found["there: unseen covid against all negatives"]["negative"] == 5


def test_a_network_without_covid_still_tells_normal(tmp_path: Path) -> None:
    path = tmp_path / "left_out.csv"
    path.write_text("left_out,file,label,patient,source,split,normal,ill\nthere,1.png,normal,a,there,test,0.6,0.4\n")
    found = left_out.left_out(path)
    assert list(found)[:2] == ["there: left out", "there: unseen normal called normal"]
    assert found["there: left out"]["why"] == "the network has no label covid"
    assert found["there: unseen normal called normal"]["value"] == 1


def test_a_network_without_normal_still_tells_covid(tmp_path: Path) -> None:
    path = written(tmp_path, [("covid", "there", "test", 0.6)] * 5 + [("pneumonia", "here", "test", 0.1)] * 5)
    path.write_text(path.read_text().replace(",normal,pneumonia", ",sound,pneumonia"))
    assert left_out.left_out(path)["there: unseen covid against all negatives"]["value"] == 1


def test_a_source_without_covid_has_only_its_negatives(tmp_path: Path) -> None:
    found = left_out.left_out(
        written(tmp_path, [("normal", "there", "test", 0.1)] * 5 + [("covid", "here", "test", 0.9)] * 5)
    )
    assert list(found) == [
        "there: seen covid against unseen negatives",
        "there: unseen normal called normal",
        "there: unseen normal called covid",
        "there: unseen film answered",
        "there: unseen film right when answered",
    ]


def test_no_file_is_not_measured() -> None:
    assert "--left-out" in left_out.left_out(None)["a source"]["why"]


def test_what_is_no_such_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "left_out.csv"
    with pytest.raises(DatasetError, match="no such file"):
        left_out.read(path)
    path.write_text("file,label\na.png,normal\n")
    with pytest.raises(DatasetError, match="needs the columns"):
        left_out.read(path)
    path.write_text(f"{HEAD}\nthere,a.png,normal,p,there,test,0.1,0.2,much\n")
    with pytest.raises(DatasetError, match="is no number"):
        left_out.read(path)
    path.write_text(f"{HEAD}\nthere,a.png,normal,p,there,test,0.1,0.2,nan\n")
    with pytest.raises(DatasetError, match="not finite"):
        left_out.read(path)


def test_other_labels_are_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "left_out.csv"
    path.write_text("left_out,file,label,patient,source,split,a,b\nthere,1.png,a,p,there,test,0.5,0.5\n")
    assert left_out.left_out(path)["there: left out"]["kind"] == "missing"


def test_what_the_guard_refused_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path, [("normal", "there", "val", 0.1)] * 4 + [("covid", "here", "test", 0.9)] * 5)
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head + ",refused", *(f"{row},{int(i in (1, 6))}" for i, row in enumerate(rows))]))
    found = left_out.left_out(path)["there: unseen film refused by the guard"]
    assert (found["count"], found["total"]) == (1, 4)


def test_what_is_answered_from_the_threshold_is_judged_of_unseen_films_only(tmp_path: Path) -> None:
    rows = [("covid", "there", "train", 0.9)] * 3 + [("normal", "there", "val", 0.8)] * 2
    rows += [("covid", "there", "train", 0.6)] * 5 + [("normal", "here", "test", 0.99)] * 20
    found = left_out.left_out(written(tmp_path, rows), threshold=0.8)
    answered, right = found["there: unseen film answered"], found["there: unseen film right when answered"]
    assert (answered["count"], answered["total"]) == (5, 10)
    assert (right["count"], right["total"]) == (3, 5)


def test_where_nothing_is_answered_nothing_is_right(tmp_path: Path) -> None:
    found = left_out.left_out(written(tmp_path, [("normal", "there", "test", 0.5)] * 5), threshold=0.99)
    assert found["there: unseen film answered"]["count"] == 0
    assert "there: unseen film right when answered" not in found
