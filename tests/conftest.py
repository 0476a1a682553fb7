"""What several test files share."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import inputs
from covidnet_lite.evidence.extent import ExtentScale
from covidnet_lite.network import model, signature, trial
from covidnet_lite.network.manifest import seal
from covidnet_lite.network.operating_point import OperatingPoint

ROOT = Path(__file__).resolve().parent.parent
TESTS = Path(__file__).resolve().parent

# Which marker a test gets by where it lies and by the fixtures and helpers it takes, so that none can be forgotten.
PLACES = {
    "convert": "training",
    "training": "training",
    "test_radiographs.py": "training",
    "test_other_readers.py": "training",
    "test_systemd_units.py": "external",
    "test_raspberry_pi_install.py": "external",
    "test_screen_archive.py": "external",  # Ray
    "test_no_header_text_leaves.py": "external",
    "benchmarks/test_raspberry_pi.py": "external",
    "machine/test_benchmark.py": "external",
    "readers": "external",
    "watch/test_command.py": "external",
    "node/test_check.py": "external",
    "node/test_fetch.py": "external",
    "node/test_monitor.py": "external",
    "node/test_node.py": "external",
    "node/test_receiver.py": "external",
    "node/test_sender.py": "external",
    "node/test_service.py": "external",
    "node/test_stow.py": "external",
    "web/test_api.py": "external",
    "web/test_certificates.py": "external",
    "web/test_command.py": "external",
    "web/test_drain.py": "external",
    "web/test_security.py": "external",
    "web/test_page.py": "browser",
    "watch/test_mqtt.py": "external",
    "dicom_in/test_against_dcmtk.py": "external",
}


# Tests of services and of other people's programs, which may reach this machine. All others open no socket.
LOCAL = ("benchmarks", "convert", "node", "training", "watch", "web", "test_no_header_text_leaves.py")
LOCAL += ("test_examples.py", "test_screen_archive.py", "test_systemd_units.py", "test_unforeseen.py")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Pipes between processes are no network."""
    config.option.allow_unix_socket = True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing here reaches another machine, and the library proper opens no socket at all (pytest-socket)."""
    for item in items:
        for place, marker in PLACES.items():
            if item.path.is_relative_to(TESTS / place):
                item.add_marker(marker)
        part = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        local = part in LOCAL or item.get_closest_marker("local")
        item.add_marker(pytest.mark.allow_hosts(["127.0.0.1", "::1"]) if local else pytest.mark.disable_socket)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collecting a test imports TensorFlow, even where `make test-fast` then leaves it out."""
    fast = "training" in config.option.markexpr and config.option.markexpr.startswith("not (")
    heavy = any(collection_path == TESTS / place for place, marker in PLACES.items() if marker == "training")
    return True if fast and heavy else None


@pytest.fixture(scope="session", autouse=True)
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A key that is trusted, and nothing else of this account: neither its keys nor which networks it has survived."""
    folder = tmp_path_factory.mktemp("trust")
    path = folder / "a-test.pem"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(signature.TRUSTED, str(folder))
        patch.setenv(trial.CACHE, str(folder))
        signature.make_key(path)
        yield path


@pytest.fixture(scope="session")
def cxr() -> Path:
    """The folder of labelled radiographs, which is not part of the repository."""
    folder = Path(os.environ.get("COVIDNET_LITE_DATA", ROOT.parent / "shared/data/cxr"))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"needs the radiographs: no {folder / 'manifest.csv'} (set COVIDNET_LITE_DATA)")
    return folder


@pytest.fixture(scope="session")
def siim() -> Path:
    """The folder of films of the network's own hospitals, in radiologists' grades; not part of the repository either."""
    folder = Path(os.environ.get("COVIDNET_LITE_SIIM", ROOT.parent / "shared/data/siim"))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"needs graded radiographs: no {folder / 'manifest.csv'} (set COVIDNET_LITE_SIIM)")
    return folder


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """Coral's photographs, which are no radiographs either."""
    folder = Path(os.environ.get("COVIDNET_LITE_PHOTOGRAPHS", ROOT.parent / "shared/data/coral"))
    paths = sorted(p for p in folder.glob("*") if p.suffix in (".jpg", ".bmp"))
    if not paths:
        pytest.skip(f"needs photographs: none in {folder} (set COVIDNET_LITE_PHOTOGRAPHS)")
    return paths


@pytest.fixture(scope="session")
def film() -> Path:
    """The real PA chest radiograph of pydicom-data."""
    result = inputs.real_radiograph()
    if result is None:
        pytest.skip("needs pydicom-data")
    return result


@pytest.fixture(scope="session")
def film_image(film: Path) -> Image.Image:
    """The same film as an 8-bit gray picture."""
    from covidnet_lite import radiograph

    return radiograph.read(film, at_least=(900, 900)).image


@pytest.fixture
def film_png(film_image: Image.Image, tmp_path: Path) -> Path:
    """The same film as a PNG file."""
    path = tmp_path / "film.png"
    film_image.save(path)
    return path


def with_rules(folder: Path, network: str = "nano", **fields: Any) -> Path:
    """A shipped network with rules of a test's own in its manifest, and none else; the network itself is as it was."""
    fields = {"operating_point": None, "extent": None, **fields}
    shipped = model.load(network)
    with zipfile.ZipFile(io.BytesIO(shipped.data)) as archive:
        graph = shipped.data[: min(entry.header_offset for entry in archive.infolist())]
    path = folder / f"{network}.tflite"
    path.write_bytes(seal(graph, replace(shipped.manifest, **fields)))
    signature.sign(path.read_bytes(), path, Path(os.environ[signature.TRUSTED]) / "a-test.pem")
    return path


@pytest.fixture(scope="session")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`nano`, which answers with "pneumonia" or "covid" whatever it does not refuse."""
    always = {"pneumonia": 1e-6, "covid": 1e-6}
    point = OperatingPoint("normal", 1.01, 1e-6, always, inside_from=0.0)
    return with_rules(tmp_path_factory.mktemp("answering"), operating_point=point)


@pytest.fixture(scope="session")
def abstaining(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`nano`, which abstains from whatever it does not refuse."""
    never = {"pneumonia": 1.01, "covid": 1.01}
    point = OperatingPoint("normal", 1.01, 1.01, never)
    return with_rules(tmp_path_factory.mktemp("abstaining"), operating_point=point)


@pytest.fixture(scope="session")
def narrowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`nano`, which calls whatever it does not refuse "not normal; pneumonia or covid"."""
    never = {"pneumonia": 1.01, "covid": 1.01}
    facts = {"answered": 0.71, "right": 0.94, "data": "500 made-up films"}
    point = OperatingPoint("normal", 1.01, 1e-6, never, inside_from=0.0, accuracy=facts)
    scale = ExtentScale((0.0, 1.0), (0.0, 1.0), 0.09)
    return with_rules(tmp_path_factory.mktemp("narrowing"), operating_point=point, extent=scale)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The decodings in this process, as they happen: ``DICOM``, or the format of an image file."""
    from covidnet_lite.dicom_in import pixels
    from covidnet_lite.image_in import image_file

    calls: list[str] = []
    read_pixels, open_image = pixels.read, image_file.open_image

    def counted_values(*args: Any) -> Any:
        calls.append("DICOM")
        return read_pixels(*args)

    def counted_image(data: Any) -> Image.Image:
        image = open_image(data)
        calls.append(str(image.format))
        return image

    monkeypatch.setattr(pixels, "read", counted_values)
    monkeypatch.setattr(image_file, "open_image", counted_image)
    return calls


def drawn_chest(seed: int, opaque: bool, side: int = 96) -> Image.Image:
    """Two dark lungs in a gray body, one clouded if ``opaque``: for training tests, not for judging."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    body = 150 + 20 * rng.standard_normal()
    picture = np.full((side, side), body) + rng.normal(0, 6, (side, side))
    for centre in (-0.42, 0.42):
        lung = ((x - centre) / 0.3) ** 2 + (y / 0.7) ** 2 < 1
        picture[lung] -= 90
        if opaque and centre > 0:
            picture[lung & (y > 0)] += 70
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


@pytest.fixture
def chests(tmp_path: Path) -> Path:
    """A folder of drawn chests with a manifest: 2 labels, 24 patients, 3 splits."""
    lines = ["file,label,patient_id,source,split"]
    for i in range(48):
        label, split = ("clear", "clouded")[i % 2], ("train", "train", "val", "test")[i // 2 % 4]
        drawn_chest(i, opaque=bool(i % 2)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{label},p{i // 2},drawn,{split}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path
