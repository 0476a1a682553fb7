"""Labelled radiographs on disk: a manifest in CSV, or a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import DatasetError


def manifest(folder, text, encoding="utf-8"):
    path = folder / "manifest.csv"
    path.write_text(text, encoding=encoding)
    return path


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_manifest_gives_one_case_a_row_with_paths_relative_to_itself(tmp_path):
    path = manifest(
        tmp_path,
        "file,label,patient_id,source,split,age\na/1.png,covid,p1,Leeds,train,62\nb.png,normal,p2,Hull,test,\n",
    )
    first, second = read_dataset(path)
    assert first == LabelledImage(tmp_path / "a/1.png", "covid", "p1", "Leeds", "train")
    assert second == LabelledImage(tmp_path / "b.png", "normal", "p2", "Hull", "test")
    assert (first.fields["age"], second.fields["age"]) == ("62", "")


def test_only_the_file_must_be_known(tmp_path):
    assert read_dataset(manifest(tmp_path, "file\nb.png\n")) == [LabelledImage(tmp_path / "b.png", "", "", "", "")]


def test_an_absolute_path_in_a_manifest_stays_absolute(tmp_path):
    elsewhere = Path(tmp_path.anchor, "archive", "x.png")
    assert read_dataset(manifest(tmp_path, f"file\n{elsewhere}\n"))[0].path == elsewhere


def test_the_group_joins_patients_and_the_patient_stands_in_for_it(tmp_path):
    cases = read_dataset(manifest(tmp_path, "file,patient_id,group_id\na.png,p1,g1\nb.png,p2,\n"))
    assert [case.patient for case in cases] == ["g1", "p2"]


def test_short_and_long_rows_are_read(tmp_path):
    cases = read_dataset(manifest(tmp_path, "file,label,source\na.png\nb.png,covid,Hull,more\n"))
    assert [(c.label, c.source) for c in cases] == [("", ""), ("covid", "Hull")]
    assert cases[1].fields == {"file": "b.png", "label": "covid", "source": "Hull"}


def test_a_manifest_saved_by_a_spreadsheet_is_read(tmp_path):
    cases = read_dataset(manifest(tmp_path, 'file,label\r\n"été, 1.png",covid\r\n', encoding="utf-8-sig"))
    assert cases == [LabelledImage(tmp_path / "été, 1.png", "covid")]


def test_a_folder_with_a_manifest_is_read_through_it(tmp_path):
    touch(tmp_path, "covid/1.png", "covid/2.png")
    manifest(tmp_path, "file,label\ncovid/1.png,normal\n")
    assert read_dataset(tmp_path) == [LabelledImage(tmp_path / "covid/1.png", "normal")]


def test_a_folder_of_label_folders_gives_labels(tmp_path):
    touch(tmp_path, "normal/2.JPG", "covid/1.png", "covid/deep.dcm", "covid/notes.txt", "loose.tif")
    assert read_dataset(str(tmp_path)) == [
        LabelledImage(tmp_path / "covid/1.png", "covid"),
        LabelledImage(tmp_path / "covid/deep.dcm", "covid"),
        LabelledImage(tmp_path / "loose.tif", ""),
        LabelledImage(tmp_path / "normal/2.JPG", "normal"),
    ]


def test_a_folder_of_splits_gives_splits_and_labels(tmp_path):
    touch(tmp_path, "test/covid/1.png", "train/normal/2.png", "other/covid/3.png")
    assert {(c.path.name, c.split, c.label) for c in read_dataset(tmp_path)} == {
        ("1.png", "test", "covid"),
        ("2.png", "train", "normal"),
        ("3.png", "", "covid"),
    }


def test_a_missing_path_is_a_dataset_error(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: no such manifest or folder; check the path"):
        read_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "path,label\na.png,covid\n"])
def test_a_manifest_without_a_file_column_is_a_dataset_error(text, tmp_path):
    with pytest.raises(DatasetError, match=r"manifest\.csv: is no manifest: it has no column 'file'"):
        read_dataset(manifest(tmp_path, text))


def test_a_picture_given_as_a_manifest_is_a_dataset_error(tmp_path):
    (tmp_path / "scan.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(DatasetError, match=r"scan\.png: is no CSV file in UTF-8"):
        read_dataset(tmp_path / "scan.png")


def test_a_folder_or_manifest_without_radiographs_is_a_dataset_error(tmp_path):
    touch(tmp_path, "covid/notes.txt")
    with pytest.raises(DatasetError, match=r"holds no radiograph \(.*\.dcm, .*\.png"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"manifest\.csv: holds no radiograph"):
        read_dataset(manifest(tmp_path, "file,label\n"))
