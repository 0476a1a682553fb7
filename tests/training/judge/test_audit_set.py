from __future__ import annotations

from pathlib import Path

import pytest

from covidnet_lite.errors import DatasetError
from training.data.supervision import Source
from training.judge.audit_set import read_audit_set, right_classes

LABELS = ("normal", "pneumonia", "covid")


def manifest(folder: Path, rows: list[str]) -> Path:
    folder.mkdir()
    (folder / "manifest.csv").write_text("file,label,patient_id,source,split\n" + "\n".join(rows) + "\n")
    return folder / "manifest.csv"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    rows = [f"{split}{i}.png,{label},{split}{i},own,{split}" for split in ("train", "val", "test") for i, label in
            enumerate(("normal", "indeterminate", "covid", "other"))]  # fmt: skip
    return manifest(tmp_path / "home", rows)


@pytest.fixture
def away(tmp_path: Path) -> Path:
    rows = [f"{i}.png,covid,p{i},graded,test" for i in range(40)]
    rows += ["a.png,pneumonia,a,mined,train", "b.png,normal,b,mined,train", "c.png,pneumonia,c,mined,test"]
    return manifest(tmp_path / "away", rows)


def names(films: tuple) -> set[str]:
    return {case.path.name for case in films}


def test_what_a_label_means() -> None:
    assert right_classes("covid", LABELS) == ("covid",)
    assert right_classes("indeterminate", LABELS) == right_classes("opacity", LABELS) == ("pneumonia", "covid")
    assert right_classes("other", LABELS) == ()
    assert right_classes("indeterminate", ("normal", "indeterminate")) == ("indeterminate",)


def test_films_that_were_trained_on_are_not_judged(home: Path, away: Path) -> None:
    sources = {"own": Source(), "graded": Source(patients=0.6)}
    films = read_audit_set([home, away], LABELS, sources)
    assert names(films.training) == {"train0.png", "train1.png", "train2.png"}
    assert names(films.own) == {f"{split}{i}.png" for split in ("val", "test") for i in range(3)}
    graded = [case for case in films.unseen if case.source == "graded"]
    assert 8 <= len(graded) <= 24  # some two fifths of forty
    # Of a source that the recipe does not name, every split is new to the network.
    assert {"a.png", "b.png", "c.png"} <= names(films.unseen)
    assert films.partly == ("graded",)


def test_a_patient_who_was_trained_on_is_not_judged_by_another_source_either(home: Path, tmp_path: Path) -> None:
    away = manifest(
        tmp_path / "two", ["a.png,normal,p1,graded,test", "b.png,normal,p1,mined,test", "c.png,normal,,mined,test"]
    )
    assert names(read_audit_set([home, away], LABELS, {"own": Source(), "graded": Source(patients=1)}).unseen) == {
        "c.png"
    }
    assert names(read_audit_set([home, away], LABELS, {"own": Source()}).unseen) == {"a.png", "b.png", "c.png"}


def test_where_the_recipe_names_no_source_training_splits_are_left_out(home: Path, away: Path) -> None:
    films = read_audit_set([home, away], LABELS, {})
    assert len(films.unseen) == 41
    assert films.partly == ("mined",)
    assert not {"a.png", "b.png"} & names(films.unseen)


def test_films_whose_label_is_known_to_be_wrong_are_left_out(home: Path, away: Path, tmp_path: Path) -> None:
    listed = "file,label_in_manifest\na.png,pneumonia\nb.png,normal\n"
    (away.parent / "rsna_normal.csv").write_text(listed)
    sources = {"own": Source()}
    assert not {"a.png"} & names(read_audit_set([home, away], LABELS, sources).unseen)
    assert {"b.png", "c.png"} <= names(read_audit_set([home, away.parent], LABELS, sources).unseen)
    (tmp_path / "more.csv").write_text("file\nc.png\n")
    result = names(read_audit_set([home, away], LABELS, sources, [tmp_path / "more.csv"]).unseen)
    assert not {"a.png", "c.png"} & result
    (tmp_path / "more.csv").write_text("name\nc.png\n")
    with pytest.raises(DatasetError, match="more.csv: cannot be read as a CSV with a column 'file'"):
        read_audit_set([home, away], LABELS, sources, [tmp_path / "more.csv"])


def test_without_a_test_split_there_is_nothing_to_judge(away: Path, tmp_path: Path) -> None:
    bare = manifest(tmp_path / "bare", ["a.png,normal,a,own,train"])
    with pytest.raises(DatasetError, match="is in the test split"):
        read_audit_set([bare, away], LABELS, {})
