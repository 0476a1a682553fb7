"""The whole way, with what surrounds a network: images, recorded numbers, schemes, reports, disks."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import drawn_chest
from keras import layers
from PIL import Image

from convert import quantize
from convert.judge import report
from convert.options import stem_of
from convert.quantisation import fallbacks
from covidnet_lite import files
from covidnet_lite.network import model as models

Say = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen drawn chests: train, train, val, test; never written to."""
    path = tmp_path_factory.mktemp("drawn")
    lines = ["file,label,split"]
    for i in range(16):
        drawn_chest(i, opaque=bool(i % 2)).save(path / f"{i}.png")
        lines.append(f"{i}.png,{('clear', 'clouded')[i % 2]},{('train', 'train', 'val', 'test')[i // 2 % 4]}")
    (path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def float_network(folder: Path) -> bytes:
    """A ``.tflite`` of another's that tells bright pictures from dim ones."""
    image = keras.Input((32, 32, 1))
    x = layers.Conv2D(2, 3, 2, name="stem")(image)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(x))
    network = keras.Model(image, layers.Dense(2)(x))
    kernel = np.full((3, 3, 1, 2), 1 / 9) * (1, 0.05)  # unequal, so that equalising has something to do
    network.get_layer("stem").set_weights([kernel, np.zeros(2)])
    pictures = np.stack([np.asarray(Image.open(p).resize((32, 32)), np.float32) for p in sorted(folder.glob("*.png"))])
    seen = np.asarray(keras.Model(image, x)(pictures[..., None] / 255)).sum(axis=1)
    network.layers[-1].set_weights([np.array([[0, 40], [0, 40]], np.float32), np.array([0, -40 * np.median(seen)])])
    return bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())


@pytest.fixture
def given(float_network: bytes, tmp_path: Path) -> Path:
    (tmp_path / "own.tflite").write_bytes(float_network)
    return tmp_path / "own.tflite"


def command(network: Path, *more: object) -> list[str]:
    """Writes to ``out.tflite`` beside the network."""
    out = ["-o", network.parent / "out.tflite"] if "-o" not in more else []
    return [str(a) for a in (network, "--labels", "clear,clouded", "--input-range", 0, 1, *out, *more)]


def held(path: Path) -> dict[str, bytes]:
    """All that lies in a folder."""
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else b"" for p in path.rglob("*")}


def refuse(argv: list[str], message: str, tmp_path: Path, capsys: Say) -> None:
    before = held(tmp_path)
    assert quantize.main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert held(tmp_path) == before


def inside(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist() if not name.endswith(".npz")}


# --- what a file holds


def test_a_file_carries_its_card_labels_and_manifest(given: Path, folder: Path, tmp_path: Path) -> None:
    assert quantize.main(command(given, "--calibration", folder, "--licence", "CC0", "--model-version", "7")) == 0
    said = inside(tmp_path / "out.tflite")
    assert said["labels.txt"] == "clear\nclouded\n"
    manifest = json.loads(said["manifest.json"])
    assert (manifest["name"], manifest["version"], manifest["licence"]) == ("own", "7", "CC0")
    assert manifest["provenance"]["calibration"] == "8 representative images"
    for told in ("# own 7", "clear, clouded", "32 x 32", "min-max", "CC0", "int8 accuracy", "8 representative"):
        assert told in said["MODEL_CARD.md"], told


def test_images_that_are_not_labelled_are_judged_by_agreement_alone(
    given: Path, folder: Path, tmp_path: Path, capsys: Say
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for i in range(6):
        drawn_chest(50 + i, opaque=bool(i % 2)).save(data / f"{i}.png")
    assert quantize.main(command(given, "--calibration", folder, "--data", data)) == 0
    printed = capsys.readouterr().out
    assert "judged on 6 images" in printed
    assert "0 of them labelled" in printed
    assert "accuracy (95 %)" not in printed


# --- calibration


@pytest.mark.parametrize("key", ["images", "other"])
def test_pictures_in_an_archive_calibrate_as_the_files_do(key: str, given: Path, folder: Path, tmp_path: Path) -> None:
    train = [i for i in range(16) if i // 2 % 4 < 2]
    np.savez(tmp_path / "x.npz", **{key: np.stack([np.asarray(Image.open(folder / f"{i}.png")) for i in train])})
    assert quantize.main(command(given, "--calibration", tmp_path / "x.npz", "--data", folder)) == 0
    assert quantize.main(command(given, "--calibration", folder, "-o", tmp_path / "files.tflite")) == 0
    assert (tmp_path / "out.tflite").read_bytes() == (tmp_path / "files.tflite").read_bytes()


def test_a_network_makes_its_own_pictures_from_its_batch_statistics(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convert.quantisation import synthetic

    monkeypatch.setattr(synthetic, "STEPS", 2)
    image = keras.Input((32, 32, 1))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(4, 3, 2)(image)))
    keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))).save(tmp_path / "own.keras")
    assert quantize.main(command(tmp_path / "own.keras", "--calibration", "synthetic", "--count", 3)) == 0
    origin = models.load(tmp_path / "out.tflite").manifest.provenance["calibration"]
    assert origin == "3 synthetic images, matching the statistics of 1 layers"


def test_too_many_pictures_of_its_own_are_refused(given: Path, tmp_path: Path, capsys: Say) -> None:
    refuse(command(given, "--calibration", "synthetic", "--count", 10**8), "too many; 2000 at most", tmp_path, capsys)


def text_pictures(path: Path) -> Path:
    (path / "images").mkdir()
    (path / "images/a.png").write_text("no picture")
    return path / "images"


def text_files(path: Path) -> Path:
    (path / "images").mkdir()
    (path / "images/notes.txt").write_text("no picture")
    return path / "images"


def nothing(path: Path) -> Path:
    (path / "images").mkdir()
    return path / "images"


def archive(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path / "x.npz", **arrays)
    return path / "x.npz"


def renamed_npy(path: Path) -> Path:
    np.save(path / "x.npy", np.zeros((2, 96, 96), np.uint8))
    return (path / "x.npy").rename(path / "x.npz")


def no_array(path: Path) -> Path:
    with zipfile.ZipFile(path / "x.npz", "w") as file:
        file.writestr("images", b"raw")
    return path / "x.npz"


def bomb(path: Path) -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 10**4, 10**3)}
    )
    with zipfile.ZipFile(path / "x.npz", "w") as file:
        file.writestr("images.npy", header.getvalue())
    return path / "x.npz"


WRONG_IMAGES = {
    "text named .png": (text_pictures, "a.png: not an image"),
    "a folder of text": (text_files, "holds no radiograph"),
    "an empty folder": (nothing, "holds no radiograph"),
    "the network itself": (lambda d: d / "own.tflite", "no CSV file"),
    "no such archive": (lambda d: d / "none.npz", "no such file"),
    "no such folder": (lambda d: d / "none", "no such manifest or folder"),
    "one picture": (lambda d: archive(d, images=np.zeros((96, 96))), "has shape (96, 96)"),
    "no picture": (lambda d: archive(d, images=np.zeros((0, 96, 96))), "has shape (0, 96, 96)"),
    "channels first": (lambda d: archive(d, images=np.zeros((2, 3, 96, 96))), "is no image"),
    "objects": (lambda d: archive(d, images=np.array([None, {}], object)), "is no NumPy archive"),
    "text": (lambda d: archive(d, images=np.full((2, 96, 96), "x")), "no gray levels"),
    "NaN": (lambda d: archive(d, images=np.full((2, 96, 96), np.nan)), "NaN"),
    "no array": (lambda d: archive(d), "holds nothing"),
    "two arrays": (lambda d: archive(d, a=np.zeros((2, 96, 96)), b=np.zeros(2)), "holds a, b"),
    "another file in it": (no_array, "has shape ()"),
    "an .npy named .npz": (renamed_npy, "is no zip archive"),
    "more than any memory": (bomb, "is no NumPy archive"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_IMAGES)
def test_images_of_the_wrong_kind_are_refused(what: str, given: Path, tmp_path: Path, capsys: Say) -> None:
    make, message = WRONG_IMAGES[what]
    refuse(command(given, "--calibration", make(tmp_path)), message, tmp_path, capsys)


def same_file(calibrating: Path, judged: Path) -> None:
    shutil.copy(calibrating / "3.png", judged / "3.png")


def copied(calibrating: Path, judged: Path) -> None:
    shutil.copy(calibrating / "3.png", judged / "renamed.png")


def as_bmp(calibrating: Path, judged: Path) -> None:
    Image.open(calibrating / "3.png").save(judged / "other.bmp")


@pytest.mark.parametrize("repeat", [same_file, copied, as_bmp])
def test_an_image_that_calibrates_is_not_judged_on(repeat: object, given: Path, tmp_path: Path, capsys: Say) -> None:
    calibrating, judged = tmp_path / "calibrating", tmp_path / "judged"
    calibrating.mkdir()
    judged.mkdir()
    for i in range(4):
        drawn_chest(i, opaque=bool(i % 2)).save(calibrating / f"{i}.png")
        drawn_chest(10 + i, opaque=bool(i % 2)).save(judged / f"{10 + i}.png")
    argv = command(given, "--calibration", calibrating, "--data", judged)
    assert quantize.main(argv) == 0
    repeat(calibrating, judged)  # type: ignore[operator]
    refuse([*argv, "--force"], "1 of 5 images to judge on were also given to calibrate", tmp_path, capsys)


def test_one_folder_without_splits_is_divided(given: Path, tmp_path: Path, capsys: Say) -> None:
    images = tmp_path / "images"
    for i in range(10):
        (images / ("clear", "clouded")[i % 2]).mkdir(parents=True, exist_ok=True)
        drawn_chest(i, opaque=bool(i % 2)).save(images / ("clear", "clouded")[i % 2] / f"{i}.png")
    assert quantize.main(command(given, "--calibration", images, "--data", images, "--count", 4)) == 0
    assert "judged on 6 images (images that calibration left over), 6 of them labelled" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["unknown labels", "training images"])
def test_data_that_nothing_can_be_judged_on_are_refused(
    what: str, given: Path, folder: Path, tmp_path: Path, capsys: Say
) -> None:
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    lines = (data / "manifest.csv").read_text()
    changed = (
        lines.replace("val", "train").replace("test", "train")
        if what == "training images"
        else lines.replace("cl", "x").replace("val", "").replace("test", "").replace("train", "")
    )
    (data / "manifest.csv").write_text(changed)
    refuse(
        command(given, "--calibration", folder, "--data", data),
        "none of its 16 images can be judged on",
        tmp_path,
        capsys,
    )


def test_a_validation_split_with_other_labels_is_refused(
    given: Path, folder: Path, tmp_path: Path, capsys: Say
) -> None:
    argv = command(given, "--calibration", folder)
    argv[argv.index("clear,clouded")] = "a,b"
    refuse(argv, "no validation image is labelled a, b", tmp_path, capsys)


# --- recorded numbers


def test_recorded_numbers_make_the_same_file_without_images(given: Path, folder: Path, tmp_path: Path) -> None:
    assert quantize.main(command(given, "--calibration", folder, "--record")) == 0
    assert {"own.ranges.json", "own.judgement.json", "own.figures.json"} <= {p.name for p in tmp_path.iterdir()}
    assert quantize.main(command(given, "-o", tmp_path / "again.tflite")) == 0
    shutil.move(tmp_path / "own.ranges.json", tmp_path / "moved.json")
    assert quantize.main(command(given, "--ranges", tmp_path / "moved.json", "-o", tmp_path / "third.tflite")) == 0
    first = (tmp_path / "out.tflite").read_bytes()
    assert (tmp_path / "again.tflite").read_bytes() == first
    assert (tmp_path / "third.tflite").read_bytes() == first


@pytest.mark.parametrize("name", [fallback.name for fallback in fallbacks.FALLBACKS])
def test_recorded_numbers_make_the_same_file_on_every_fallback(
    name: str, given: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, names = fallbacks.search, iter(fallback.name for fallback in fallbacks.FALLBACKS)
    monkeypatch.setattr(fallbacks, "best_of", lambda attempts: attempts[-1])

    def search(network: Any, calibration: Any, measure: Any, *rest: Any) -> list[fallbacks.Attempt]:
        only_this = measure and (lambda graph: measure(graph) if next(names) == name else 0.1)
        return real(network, calibration, only_this, *rest)

    monkeypatch.setattr(fallbacks, "search", search)
    argv = command(given, "--calibration", folder, "--record", "--min-agreement", "0.2", "--allow-int16")
    assert quantize.main(argv) == 0
    recorded = json.loads((tmp_path / "own.ranges.json").read_text())
    assert recorded["rung"] == name
    # What a fallback learnt from the images alone is kept with the ranges.
    assert ("equalised" in recorded["activations"]["logits"]) == (name in ("equalised", "int16 10 %", "int16 25 %"))
    assert quantize.main(command(given, "-o", tmp_path / "again.tflite")) == 0
    assert (tmp_path / "again.tflite").read_bytes() == (tmp_path / "out.tflite").read_bytes()


def test_int8_is_recorded_wherever_it_stands_among_the_schemes(given: Path, folder: Path, tmp_path: Path) -> None:
    assert quantize.main(command(given, "--calibration", folder, "--record", "--schemes", "float32,int8")) == 0
    assert quantize.main(command(given, "-o", tmp_path / "again.tflite")) == 0
    assert (tmp_path / "out_int8.tflite").read_bytes() == (tmp_path / "again.tflite").read_bytes()
    assert "int8 accuracy" in json.loads((tmp_path / "own.figures.json").read_text())
    assert quantize.main(command(given, "--schemes", "float16", "-o", tmp_path / "half.tflite")) == 0
    assert "int8" not in inside(tmp_path / "half.tflite")["MODEL_CARD.md"]


def test_networks_that_differ_behind_a_dot_share_no_numbers(
    given: Path, folder: Path, tmp_path: Path, capsys: Say
) -> None:
    for version in ("net.v1.tflite", "net.v2.tflite"):
        shutil.copy(given, tmp_path / version)
    assert (
        quantize.main(
            command(tmp_path / "net.v1.tflite", "--calibration", folder, "--record", "-o", tmp_path / "a.tflite")
        )
        == 0
    )
    assert (tmp_path / "net.v1.ranges.json").is_file()
    refuse(command(tmp_path / "net.v2.tflite"), "pass --calibration", tmp_path, capsys)
    (tmp_path / "saved.v1").mkdir()
    assert stem_of(tmp_path / "saved.v1") == tmp_path / "saved.v1"


DAMAGED = {
    "no JSON": ("ranges", "{", "holds no ranges"),
    "a list": ("ranges", "[[0, 1]]", "holds no ranges"),
    "too deep": ("ranges", "[" * 10**5, "holds no ranges"),
    "too large": ("ranges", '{"stem": [0, 1' + 400 * "0" + "]}", "holds no ranges"),
    "NaN": ("ranges", '{"stem": [NaN, 1]}', "holds no ranges"),
    "another network's": ("ranges", '{"stem": [0, 1]}', "belong to another network"),
    "a temperature in words": ("judgement", '{"correction": [], "temperature": "warm"}', "does not fit this network"),
    "a negative temperature": ("judgement", '{"correction": [], "temperature": -1}', "does not fit this network"),
    "three corrections": ("judgement", '{"correction": [1, 2, 3]}', "does not fit this network"),
    "judgement cut short": ("judgement", '{"correction": [', "cannot be read"),
    "judgement too deep": ("judgement", "[" * 10**5, "cannot be read"),
    "figures cut short": ("figures", "{", "figures.json: cannot be read"),
    "figures in a list": ("figures", "[1]", "figures.json: cannot be read"),
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(float_network: bytes, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded")
    (path / "own.tflite").write_bytes(float_network)
    assert quantize.main(command(path / "own.tflite", "--calibration", folder, "--record")) == 0
    (path / "out.tflite").unlink()
    return path


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_records_are_refused(what: str, recorded: Path, tmp_path: Path, capsys: Say) -> None:
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    name, text, message = DAMAGED[what]
    (tmp_path / f"own.{name}.json").write_text(text)
    refuse(command(tmp_path / "own.tflite"), message, tmp_path, capsys)


# --- schemes


def test_several_schemes_make_as_many_files_and_one_table(
    given: Path, folder: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.conversion.latencies", lambda interpreters: [1.0] * len(interpreters))
    assert (
        quantize.main(command(given, "--calibration", folder, "--schemes", "int8,int16,float16,dynamic,float32")) == 0
    )
    printed = capsys.readouterr().out
    made = sorted(p.name for p in tmp_path.glob("out*"))
    assert made == [f"out_{scheme}.tflite" for scheme in ("dynamic", "float16", "float32", "int16", "int8")]
    heading = next(line for line in printed.splitlines() if "float16" in line)
    assert heading.split() == ["float", "int8", "int16", "float16", "dynamic", "float32"]
    assert "not worth having, since another is better all round: " in printed
    worse = printed.split("all round: ")[1].splitlines()[0]
    assert "int16" in worse
    assert "float32" not in worse  # as fast and as good here, and the smallest: there is hardly a weight to round
    for name in made:
        assert models.load(tmp_path / name).manifest.labels == ("clear", "clouded")


def test_one_scheme_that_fails_keeps_all_from_being_written(
    given: Path, folder: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    from covidnet_lite.errors import ConversionError

    def fail(*_: object) -> bytes:
        raise ConversionError("int16: no kernel")

    monkeypatch.setattr(fallbacks, "plain", fail)
    refuse(command(given, "--calibration", folder, "--schemes", "int8,int16"), "no kernel", tmp_path, capsys)


def test_one_file_that_is_there_keeps_all_from_being_written(
    given: Path, folder: Path, tmp_path: Path, capsys: Say
) -> None:
    (tmp_path / "out_float16.tflite").write_text("precious")
    argv = command(given, "--calibration", folder, "--schemes", "int8,float16")
    refuse(argv, "out_float16.tflite: is there already", tmp_path, capsys)
    assert quantize.main([*argv, "--force"]) == 0


def test_schemes_that_need_no_ranges_need_no_image(given: Path, tmp_path: Path) -> None:
    assert quantize.main(command(given, "--schemes", "dynamic,float16")) == 0
    assert models.load(tmp_path / "out_dynamic.tflite").manifest.provenance.get("calibration") is None


def test_a_float32_file_of_ours_says_the_rest_itself(given: Path, folder: Path, tmp_path: Path) -> None:
    assert (
        quantize.main(
            command(given, "--calibration", folder, "--schemes", "float32", "--name", "chest", "--target-error", "0.3")
        )
        == 0
    )
    first = models.load(tmp_path / "out.tflite").manifest
    assert first.temperature != 1
    argv = [str(tmp_path / "out.tflite"), "--calibration", str(folder / "0.png"), "-o", str(tmp_path / "int8.tflite")]
    np.savez(tmp_path / "x.npz", images=np.stack([np.asarray(drawn_chest(i, opaque=False)) for i in range(4)]))
    argv[2] = str(tmp_path / "x.npz")
    assert quantize.main(argv) == 0
    second = models.load(tmp_path / "int8.tflite").manifest
    assert (second.name, second.labels, second.input) == ("chest", first.labels, first.input)
    assert (second.temperature, second.threshold) == (first.temperature, first.threshold)


def test_the_edge_tpu_takes_int8_alone(given: Path, folder: Path, tmp_path: Path, capsys: Say) -> None:
    argv = command(given, "--calibration", folder, "--schemes", "float16", "--edgetpu")
    refuse(argv, "the Edge TPU runs int8 alone", tmp_path, capsys)


# --- the bar


@pytest.fixture
def hopeless(recorded: Path, tmp_path: Path) -> Path:
    """Ranges so wide that int8 sees nothing."""
    layers_ = json.loads((recorded / "own.ranges.json").read_text())["activations"]
    path = tmp_path / "wide.json"
    path.write_text(json.dumps({name: [-1e4, 1e4] for name in layers_}))
    return path


def test_below_the_agreement_asked_for_the_good_file_stays(
    given: Path, folder: Path, hopeless: Path, tmp_path: Path, capsys: Say
) -> None:
    (tmp_path / "out.tflite").write_bytes(b"good")
    argv = command(
        given, "--ranges", hopeless, "--data", folder, "--force", "--record", "--report", tmp_path / "report"
    )
    refuse(argv, "no way to int8 reaches the agreement asked for, 99.00%", tmp_path, capsys)
    assert quantize.main([*argv, "--min-agreement", "0"]) == 0
    assert (tmp_path / "out.tflite").read_bytes() != b"good"


# --- the report


def test_the_report_says_everything(given: Path, folder: Path, hopeless: Path, tmp_path: Path) -> None:
    argv = command(
        given, "--ranges", hopeless, "--data", folder, "--min-agreement", "0", "--report", tmp_path / "new/report"
    )
    assert quantize.main([*argv, "--schemes", "int8,float16"]) == 0
    place = tmp_path / "new/report"
    told = json.loads((place / "report.json").read_text())
    int8, half = told["schemes"]
    measured = int8["agreement"]
    assert measured["images"] == measured["labelled"] == 4
    assert 0 <= measured["top1"] < 1
    assert len(measured["differing"]) == round(4 * (1 - measured["top1"]))
    assert all(Path(name).is_file() for name in measured["differing"])
    assert measured["drift"] > 0
    for name, correct in (("accuracy", "correct"), ("float_accuracy", "float_correct")):
        assert measured[name]["share"] == measured[correct] / 4
        assert measured[name]["low"] < measured[name]["share"] + 1e-9
        assert measured[name]["share"] < measured[name]["high"] + 1e-9
    assert 0 <= measured["mcnemar_p"] <= 1
    assert int8["bytes"] == len((tmp_path / "out_int8.tflite").read_bytes())
    assert half["sha256"] == models.load(tmp_path / "out_float16.tflite").sha256
    assert int8["times_as_fast_as_float"] == pytest.approx(int8["float_latency_ms"] / int8["latency_ms"], rel=0.5)
    noise = [layer["snr"] for layer in told["layers"]]
    assert noise == sorted(noise)
    assert any(layer["weights"] and layer["channels"] for layer in told["layers"])
    assert all(len(layer["range"]) == 2 for layer in told["layers"])
    assert told["calibration"] == "recorded ranges"
    assert told["network_sha256"]
    assert {"tensorflow", "litert-quantizer"} <= set(told["packages"])
    assert [attempt["rung"] for attempt in told["rungs"]] == ["min-max"]

    text = (place / "report.md").read_text()
    for part in (
        "## Schemes",
        "McNemar",
        "95 %",
        "## Fallbacks",
        "noisiest first",
        "disagree",
        told["network_sha256"],
        int8["sha256"],
        "float16",
    ):
        assert part in text, part
    for name in measured["differing"]:
        assert name in text
    for picture in ("schemes.png", "layers.png", "ranges.png"):
        assert f"({picture})" in text
        with Image.open(place / picture) as image:
            assert image.format == "PNG"
            assert min(image.size) > 100


def test_the_report_hashes_the_pictures_that_calibrated(given: Path, folder: Path, tmp_path: Path) -> None:
    assert quantize.main(command(given, "--calibration", folder, "--report", tmp_path)) == 0
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["calibration"] == "8 representative images"
    assert len(told["calibration_sha256"]) == 64


def test_a_report_that_is_there_is_not_written_over(given: Path, folder: Path, tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "report.md").write_text("precious")
    argv = command(given, "--calibration", folder, "--report", tmp_path)
    refuse(argv, "report.md: is there already", tmp_path, capsys)
    assert quantize.main([*argv, "--force"]) == 0


# --- disks


def test_a_file_in_the_place_of_a_folder_is_refused(given: Path, folder: Path, tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "file").write_text("precious")
    for more in (
        ["--report", tmp_path / "file"],
        ["-o", tmp_path / "file/out.tflite"],
        ["--report", tmp_path / "file/deep/er"],
    ):
        refuse(command(given, "--calibration", folder, *more), "choose another folder", tmp_path, capsys)


def test_what_fails_leaves_no_empty_folder(given: Path, tmp_path: Path, capsys: Say) -> None:
    argv = command(
        given, "--calibration", tmp_path / "none", "-o", tmp_path / "a/b/out.tflite", "--report", tmp_path / "c/d"
    )
    refuse(argv, "no such manifest or folder", tmp_path, capsys)


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_disk_that_fills_up_leaves_all_as_it_was(
    after: int, given: Path, folder: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is the last that fits."""
    (tmp_path / "out_int8.tflite").write_bytes(b"good")
    argv = command(
        given, "--calibration", folder, "--force", "--record", "--report", tmp_path, "--schemes", "int8,float16"
    )
    left, sync = [after], os.fsync

    def fsync(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    refuse(argv, "No space left on device", tmp_path, capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' full device")
def test_a_full_device_is_said_in_one_line(
    given: Path, folder: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open
    monkeypatch.setattr(files, "open", lambda path, mode, **more: real("/dev/full", "wb"), raising=False)
    refuse(
        command(given, "--calibration", folder),
        "out.tflite: cannot be written (No space left on device)",
        tmp_path,
        capsys,
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_refused_at_once(given: Path, folder: Path, tmp_path: Path, capsys: Say) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    refuse(
        command(given, "--calibration", folder, "-o", tmp_path / "closed/out.tflite"),
        "Permission denied",
        tmp_path,
        capsys,
    )


def test_a_folder_that_cannot_be_written_to_is_found_out_before_the_long_work(
    given: Path, folder: Path, tmp_path: Path, capsys: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    def closed(**_: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", closed)
    monkeypatch.setattr("convert.source.network.load", lambda *_: pytest.fail("loaded the network"))
    refuse(command(given, "--calibration", folder), "cannot be written to (Permission denied)", tmp_path, capsys)


def test_figures_are_empty_without_images() -> None:
    assert report.figures("int8", None) == {}


def test_a_c_array_lies_beside_each_file(given: Path, folder: Path, tmp_path: Path, capsys: Say) -> None:
    argv = command(given, "--calibration", folder, "--schemes", "int8,float32", "--format", "c-array")
    assert quantize.main(argv) == 0
    assert "out_int8.h" in capsys.readouterr().out
    assert "#define OUT_INT8_INPUT_SCALE" in (tmp_path / "out_int8.h").read_text()
    assert "INPUT_SCALE" not in (tmp_path / "out_float32.h").read_text()
    for made in tmp_path.glob("out*.tflite"):
        made.unlink()
    refuse(argv, "out_int8.h: is there already", tmp_path, capsys)
