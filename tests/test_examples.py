from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def run(name: str, *args: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    assert [p.name for p in (ROOT / "examples").glob("*.py") if f'"{p.name}"' not in here] == []


def test_demo(film: Path, tmp_path: Path) -> None:
    out = run("demo.py", tmp_path)
    for word in ("answer", "normal", "pneumonia", "covid", "read ", "run ", "sha256", "not a medical device"):
        assert word in out, word
    picture = np.asarray(Image.open(tmp_path / "radiograph.png"), int)
    film, overlay = picture[:, : picture.shape[1] // 2 - 4], picture[:, picture.shape[1] // 2 + 4 :]
    assert np.ptp(film, axis=2).max() == 0  # gray
    assert np.ptp(overlay, axis=2).max() > 50  # with colours over it


def test_one_call(film_png: Path) -> None:
    assert "film.png" in run("one_call.py", film_png)


def test_folder_to_csv(film_png: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    run("folder_to_csv.py", tmp_path, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert rows["bad.png"]["status"] == "failed"
    assert float(rows["film.png"]["normal"]) >= 0


def test_heat_map(film_png: Path, tmp_path: Path) -> None:
    run("heat_map.py", film_png, tmp_path / "map.png", "covid")
    assert Image.open(tmp_path / "map.png").mode == "RGB"
