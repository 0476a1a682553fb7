"""``covidnet-lite convert`` from a wheel, where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKED = (
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "MODEL_CARD.md",
    "covidnet_lite",
    "convert",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing of an earlier build is packed."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    options = ("--quiet", "--no-deps", "--disable-pip-version-check", "-w", str(out))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, timeout=300)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment's Python, with the wheel alone and, behind it, the libraries of this one."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "behind.pth").write_text(f"{Path(keras.__file__).parents[1]}\n")
    return folder / "bin/python"


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(python), "-m", "covidnet_lite", "convert", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=400)


@pytest.mark.slow
def test_a_network_is_converted_where_there_is_no_checkout(installed: Path, tmp_path: Path) -> None:
    image = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))).save(tmp_path / "own.keras")
    options = ("--labels", "a,b", "--input-range", "0", "1", "--schemes", "dynamic")
    done = run(installed, tmp_path, "own.keras", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "own.tflite").is_file()


@pytest.mark.slow
def test_the_wheel_holds_no_package_that_could_clash_and_asks_for_a_network(
    installed: Path, wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"covidnet_lite"}
    done = run(installed, tmp_path)
    assert done.returncode == 2
    assert "usage: covidnet-lite convert" in done.stderr
    assert "network" in done.stderr
