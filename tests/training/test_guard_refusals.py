from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.judge.shown_wrongly import WRONG
from covidnet_lite import radiograph
from covidnet_lite.dataset import read_dataset
from training import guard_refusals


def test_each_kind_is_counted(
    chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = chests / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("clear", "normal").replace("clouded", "covid"))
    folder = tmp_path / "holiday"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (80, 90), (200, 30 * i, 0)).save(folder / f"{i}.png")
    monkeypatch.setattr(guard_refusals, "of_pydicom_data", lambda: iter(()))
    given = ["base", "--data", str(chests), "--pictures", str(folder)]
    assert guard_refusals.main(given) == 0
    told = dict(re.findall(r"\| (.+?) \| .*?(\d+/\d+) \|", capsys.readouterr().out))
    assert told["pictures in holiday"] == "3/3", "flat pictures are blank"
    assert "CT, MR, ultrasound and others of pydicom-data" not in told, "there is none"
    assert told["blank, noisy and drawn"].endswith("/36")
    films = sum(c.split == "test" for c in read_dataset(chests))
    for name in ("radiographs as they are", "radiographs as they are: drawn", *(f"radiographs {w}" for w in WRONG)):
        assert told[name].endswith(f"/{films}")


def test_drawn_pictures_all_differ() -> None:
    images = [np.asarray(p).tobytes() for p in guard_refusals.synthetic_images()]
    assert len(set(images)) == len(images) == 36


def test_the_chest_film_is_no_stranger(film: Path) -> None:
    images = list(guard_refusals.of_pydicom_data())
    assert len(images) > 20
    assert radiograph.read(film).image.size not in {p.size for p in images}


def test_no_radiograph_is_said(chests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard_refusals.main(["base", "--data", str(chests)]) == 1
    assert "has no radiograph in the test split" in capsys.readouterr().err
