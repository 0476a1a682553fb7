from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from keras.src.legacy.saving import legacy_h5_format
from PIL import Image
from tflites import Net, as_compiled, fake_compiler, packed, unpacked

import covidnet_lite
from convert import quantize
from convert.edgetpu import ops as edgetpu_ops
from convert.judge.network_outputs import outputs
from covidnet_lite.network import model as models
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.manifest import Manifest, seal

ROOT = Path(__file__).resolve().parents[2]


def classifier(head: str = "logits", units: int = 2) -> keras.Model:
    """A small network of one's own, three channels, as Keras users write them."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((48, 48, 3))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU(6.0)(x)
    x = layers.GlobalAveragePooling2D()(x)
    activation = {"softmax": "softmax", "sigmoid": "sigmoid"}.get(head)
    x = layers.Dense(
        units, activation=activation, kernel_initializer=keras.initializers.RandomNormal(stddev=3, seed=2)
    )(x)
    if head == "softmax layer":
        x = layers.Softmax()(x)
    return keras.Model(image, x)


def own(path: Path, **options: object) -> Path:
    classifier(**options).save(path)  # type: ignore[arg-type]
    return path


def arguments(network: Path, chests: Path, *more: str) -> list[str]:
    return [str(network), "--calibration", str(chests), "--labels", "clear,clouded", "--input-range", "0", "1", *more]


def test_without_arguments_it_makes_the_shipped_file_byte_for_byte(tmp_path: Path) -> None:
    out = tmp_path / "again.tflite"
    command = [sys.executable, str(ROOT / "convert/quantize.py"), "-o", str(out)]
    for _ in range(2):
        done = subprocess.run([*command, "--force"], capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert out.read_bytes() == models.load("base").data
    assert "latency, one thread" in done.stdout
    assert "agreement and accuracy: not measured" in done.stdout  # its checkpoint comes without figures


@pytest.mark.parametrize("name", sorted(set(models.shipped()) - {"base"}))
def test_its_relatives_are_made_byte_for_byte_too(name: str, tmp_path: Path) -> None:
    out = tmp_path / "again.tflite"
    assert quantize.main([str(ROOT / f"training/checkpoints/{name}.keras"), "-o", str(out)]) == 0
    assert out.read_bytes() == models.load(name).data


@pytest.mark.slow
def test_a_checkpoint_goes_into_the_package_with_its_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(quantize, "SHIPPED", tmp_path)
    assert quantize.main([str(quantize.CHECKPOINT)]) == 0
    assert (tmp_path / "base.tflite").read_bytes() == models.load("base").data
    assert (tmp_path / "SHA256SUMS").read_text() == (models.SHIPPED / "SHA256SUMS").read_text()


@pytest.mark.parametrize("form", ["own.keras", "own.h5", "own_saved", "given.tflite"])
def test_a_network_of_ones_own_in_every_format(
    form: str, chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tmp_path / form
    if form == "given.tflite":
        network.write_bytes(to_tflite(classifier()))
    elif network.suffix:
        own(network)
    else:
        classifier().export(network, verbose=False)
    out = tmp_path / "own.tflite"
    assert quantize.main(arguments(network, chests, "-o", str(out))) == 0
    printed = capsys.readouterr().out
    for figure in ("size", "latency", "accuracy", "top-1 agreement", "mean confidence drift"):
        assert figure in printed, figure
    loaded = models.load(out)
    assert Interpreter(loaded).input_dtype == np.int8
    assert loaded.manifest.input.channels == 3
    prediction = covidnet_lite.classify(chests / "0.png", model=out)
    assert set(prediction.probabilities) == {"clear", "clouded"}


def nested() -> keras.Model:
    return keras.Sequential([keras.Input((48, 48, 3)), classifier("softmax")])


ENDS = {
    "softmax": lambda d: saved(classifier("softmax"))(d),
    "softmax layer": lambda d: saved(classifier("softmax layer"))(d),
    "softmax in .h5": lambda d: saved(classifier("softmax"), "own.h5")(d),
    "softmax in a SavedModel": lambda d: exported(classifier("softmax"))(d),
    "softmax in a .tflite": lambda d: content("given.tflite", to_tflite(classifier("softmax")))(d),
    "softmax of a network in the network": lambda d: saved(nested())(d),
    "one sigmoid": lambda d: saved(classifier("sigmoid", 1))(d),
    "one sigmoid in a .tflite": lambda d: content("given.tflite", to_tflite(classifier("sigmoid", 1)))(d),
    "one sigmoid in a SavedModel": lambda d: exported(classifier("sigmoid", 1))(d),
    "one logit, not a sigmoid": lambda d: saved(classifier(units=1))(d),
    "one logit, not a sigmoid, in a .tflite": lambda d: content("given.tflite", to_tflite(classifier(units=1)))(d),
    "one sigmoid behind a layer": lambda d: saved(
        keras.Sequential([keras.Input((48, 48, 3)), classifier(units=1), layers.Activation("sigmoid")])
    )(d),
    "one sigmoid of a Sequential": lambda d: saved(
        keras.Sequential([keras.Input((48, 48, 3)), *classifier("sigmoid", 1).layers[1:]])
    )(d),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_answers_are_those_of_the_network_itself(end: str, chests: Path, tmp_path: Path) -> None:
    network, out = ENDS[end](tmp_path), tmp_path / "out.tflite"
    given = (chests / "manifest.csv").read_text()
    (chests / "manifest.csv").write_text(given.replace("val", "train"))  # nothing to fit a temperature on
    assert quantize.main(arguments(network, chests, "-o", str(out))) == 0
    original = classifier("sigmoid", 1) if "sigmoid" in end else classifier("softmax")
    classify = covidnet_lite.Classifier(out).classify
    for name in ("1.png", "12.png"):
        pixels = np.asarray(Image.open(chests / name).resize((48, 48), Image.Resampling.BILINEAR, reducing_gap=2.0))
        told = np.asarray(original(np.repeat(pixels[None, ..., None] / 255, 3, axis=3)))[0]
        expected = told if len(told) == 2 else [1 - told[0], told[0]]  # the sigmoid is the second label's
        assert [*classify(chests / name).probabilities.values()] == pytest.approx(expected, abs=0.02)


def test_a_file_that_is_there_is_not_written_over(
    chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, out = own(tmp_path / "own.keras"), tmp_path / "own.tflite"
    out.write_bytes(b"precious")
    assert quantize.main(arguments(network, chests)) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert quantize.main(arguments(network, chests, "--force")) == 0
    assert len(out.read_bytes()) > 1000


COMPILED = """Edge TPU Compiler version 16.0.384591198
Number of operations that will run on Edge TPU: 4
Number of operations that will run on CPU: 1
Compilation succeeded!
"""


@pytest.mark.slow
def test_with_edgetpu_the_compiled_file_lies_beside(
    chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network, out, compiled = (tmp_path / name for name in ("own.keras", "own.tflite", "own_edgetpu.tflite"))
    monkeypatch.setenv("PATH", str(tmp_path))
    command = arguments(own(network), chests, "--edgetpu")
    assert quantize.main(command) == 0
    printed = capsys.readouterr().out
    assert printed.index("latency") < printed.index("own.tflite: ") < printed.index("edgetpu_compiler is not installed")
    assert "operations map to the Edge TPU" in printed
    assert "so there is no own_edgetpu.tflite" in printed
    assert out.is_file()
    assert not compiled.exists()

    folder = fake_compiler(tmp_path / "bin", COMPILED, as_compiled(out.read_bytes()))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
    assert quantize.main([*command, "--force"]) == 0
    assert f"wrote {compiled}  4 operations on the Edge TPU" in capsys.readouterr().out
    assert models.load(compiled).manifest.labels == models.load(out).manifest.labels
    assert compiled.with_suffix(".log").read_text() == COMPILED

    out.unlink()
    assert quantize.main(command) == 1
    assert f"{compiled}: is there already" in capsys.readouterr().err


def test_with_edgetpu_nothing_is_written_where_it_cannot_be_compiled(
    chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(own(tmp_path / "own.keras"), chests, "--edgetpu", "--record")
    folder = fake_compiler(tmp_path / "bin", "Internal compiler error\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
    assert quantize.main(command) == 1
    assert "edgetpu_compiler failed: Internal compiler error" in capsys.readouterr().err
    monkeypatch.setattr(edgetpu_ops, "VERSIONS", {})  # as if the Edge TPU had no operation at all
    assert quantize.main(command) == 1
    assert "no operation maps to the Edge TPU" in capsys.readouterr().err
    assert [p.name for p in tmp_path.glob("own*")] == ["own.keras"]


def weights_only(path: Path) -> Path:
    classifier().save_weights(path / "own.weights.h5")
    return path / "own.weights.h5"


def weights_under_another_name(path: Path) -> Path:
    return weights_only(path).rename(path / "own.h5")


def legacy_weights(path: Path) -> Path:
    """As ``model.save_weights("own.h5")`` of Keras 2 wrote them."""
    with h5py.File(path / "own.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, classifier())
    return path / "own.h5"


def not_finite() -> keras.Model:
    network = classifier()
    network.layers[1].set_weights([np.full_like(network.layers[1].get_weights()[0], np.nan)])
    return network


def saved(network: keras.Model, name: str = "own.keras") -> Callable[[Path], Path]:
    return lambda path: network.save(path / name) or path / name


def exported(network: keras.Model) -> Callable[[Path], Path]:
    return lambda path: (network.export(path / "own", verbose=False) and None) or path / "own"


def two_inputs() -> keras.Model:
    a, b = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    return keras.Model([a, b], layers.Dense(2)(layers.Flatten()(layers.Add()([a, b]))))


def of_any_size() -> keras.Model:
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))))


def with_layer(layer: Callable[[Any], Any], shape: tuple[int, ...] = (16, 16, 3), **options: Any) -> keras.Model:
    image = keras.Input(shape, **options)
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(layer(layers.Conv2D(4, 3)(image)))))


def of_ones_own(path: Path) -> Path:
    """A layer whose code the converter does not have."""

    @keras.saving.register_keras_serializable("mine")
    class Twice(layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    with_layer(Twice()).save(path / "own.keras")
    keras.saving.get_custom_objects().clear()
    return path / "own.keras"


def in_policy(policy: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        keras.config.set_dtype_policy(policy)
        try:
            network = classifier()
        finally:
            keras.config.set_dtype_policy("float32")
        network.save(path / "own.keras")
        return path / "own.keras"

    return make


def of_two_outputs(names: bool = False) -> keras.Model:
    """As a MobileNet with its features beside, by users who name nothing."""
    image = keras.Input((16, 16, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    answer = layers.Dense(2, activation="softmax")(features)
    return keras.Model(image, {"answer": answer, "features": features} if names else [answer, features])


def never_built(path: Path) -> Path:
    keras.Sequential([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(2)]).save(path / "own.keras")
    return path / "own.keras"


class Length(tf.Module):
    """A SavedModel that takes no image."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def count(self, text: tf.Tensor) -> tf.Tensor:
        return tf.strings.length(text)


class Mean(tf.Module):
    """A SavedModel that takes anything."""

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32)])
    def count(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(x)


def served(module: tf.Module) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        tf.saved_model.save(module, str(path / "own"), signatures={"serving_default": module.count})
        return path / "own"

    return make


def content(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(data)
        return path / name if name != "own/saved_model.pb" else path / "own"

    return make


def folder(name: str) -> Callable[[Path], Path]:
    return lambda path: (path / name).mkdir() or path / name


NETWORKS = {
    "missing": (lambda d: d / "none.keras", "no such network"),
    "a text file": (content("own.keras", b"no network"), "Keras cannot load it"),
    "an empty folder": (lambda d: d, "no SavedModel"),
    "a folder named .tflite": (folder("own.tflite"), "own.tflite: cannot be read (Is a directory)"),
    "a damaged SavedModel": (content("own/saved_model.pb", b"junk" * 99), "cannot be served"),
    "weights only": (weights_only, "save the whole model"),
    "weights only under another name": (weights_under_another_name, "save the whole model"),
    "weights only as Keras 2 saved them": (legacy_weights, "save the whole model"),
    "two inputs": (lambda d: saved(two_inputs())(d), "2 inputs"),
    "two outputs without names": (lambda d: saved(of_two_outputs())(d), "2 unnamed outputs; name them"),
    "two outputs with other names": (lambda d: saved(of_two_outputs(names=True))(d), "has outputs answer, features"),
    "images of any size": (lambda d: saved(of_any_size())(d), "images of any size (None, None, 3)"),
    "images of any size in a SavedModel": (lambda d: exported(of_any_size())(d), "images of any size (None, None, 3)"),
    "four images at once": (lambda d: saved(with_layer(layers.ReLU(), batch_size=4))(d), "takes 4 images at a time"),
    "two channels": (lambda d: saved(with_layer(layers.ReLU(), (16, 16, 2)))(d), "takes (16, 16, 2)"),
    "no image": (served(Length()), "an image classifier takes"),
    "anything": (served(Mean()), "an image classifier takes"),
    "a picture out": (lambda d: saved(keras.Model(i := keras.Input((16, 16, 3)), layers.Conv2D(2, 1)(i)))(d), "has outputs of shape (1, 16, 16, 2)"),
    "a layer of one's own": (of_ones_own, "it has a layer of your own"),
    "a Lambda": (lambda d: saved(with_layer(layers.Lambda(lambda x: 2 * x)))(d), "it has a Lambda layer"),
    "a Lambda in .h5": (lambda d: saved(with_layer(layers.Lambda(lambda x: 2 * x)), "own.h5")(d), "it has a Lambda layer"),
    "an operation that TFLite lacks": (lambda d: saved(with_layer(keras.ops.erfinv))(d), "replace by layers that TFLite has, in float32: Erfinv ("),
    "never built": (never_built, "does not say what it takes"),
    "NaN weights": (lambda d: saved(not_finite())(d), "/kernel hold NaN"),
    "float64": (in_policy("float64"), "computes in float64"),
    "mixed float16": (in_policy("mixed_float16"), "computes in float16"),
    "two sigmoid units": (lambda d: saved(classifier("sigmoid"))(d), "ends in 2 sigmoids"),
    "three classes": (lambda d: saved(classifier(units=3))(d), "has outputs of shape (1, 3) but 2 labels (clear, clouded)"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize("what", NETWORKS)
def test_what_is_no_keras_classifier_is_said_in_one_line_and_nothing_is_written(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = NETWORKS[what]
    network = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert quantize.main(arguments(network, tmp_path / "none", "--report", str(tmp_path / "report"))) == 1
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("error: ")
    assert message in said
    assert len(said) < 800
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def lite() -> bytes:
    return to_tflite(classifier())


def to_tflite(network: keras.Model, **options: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    for name, value in options.items():
        setattr(converter, name, value)
    return bytes(converter.convert())


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    contents = unpacked(data)
    change(contents)
    return packed(contents)


def custom(contents: Any) -> None:
    contents.operatorCodes[0].builtinCode = contents.operatorCodes[0].deprecatedBuiltinCode = 32
    contents.operatorCodes[0].customCode = b"Mine"


def newer(contents: Any) -> None:
    contents.operatorCodes[0].version = 99


def short(contents: Any) -> None:
    weights = next(
        t for t in contents.subgraphs[0].tensors if len(t.shape) == 4 and contents.buffers[t.buffer].data is not None
    )
    contents.buffers[weights.buffer].data = contents.buffers[weights.buffer].data[:40]


def twice(contents: Any) -> None:
    contents.subgraphs = contents.subgraphs * 2


def emptied(contents: Any) -> None:
    contents.subgraphs[0].operators = []


def lower_precision(network: keras.Model, *types: Any) -> bytes:
    return to_tflite(
        network, optimizations=[tf.lite.Optimize.DEFAULT], target_spec=tf.lite.TargetSpec(supported_types=types)
    )


def wide() -> keras.Model:
    """With enough weights that TensorFlow quantises them."""
    return keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(64, 5), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )


def read_on(network: keras.Model) -> keras.Model:
    """Its probabilities go out, and into another output too."""
    answer = network.output
    return keras.Model(network.input, {"logits": answer, "embedding": layers.Dense(3)(answer)})


LITE = {
    "quantised": (lambda d: int8_net(), "is quantised already"),
    "weights in int8": (lambda d: lower_precision(wide()), "is quantised already"),
    "weights in float16": (lambda d: lower_precision(wide(), tf.float16), "half precision"),
    "cut short": (lambda d: d[: len(d) // 2], "is damaged"),
    "cut off at once": (lambda d: d[:20], "is damaged"),
    "empty": (lambda d: b"", "is no TFLite file; give a float .tflite"),
    "garbage": (lambda d: b"\x1c\0\0\0TFL3" + bytes(range(1, 256)) * 20, "is damaged"),
    "text": (lambda d: b"a text, not a network at all", "is no TFLite file; give a float .tflite"),
    "a custom operation": (lambda d: changed(d, custom), "has the operation Mine"),
    "an operation of the future": (lambda d: changed(d, newer), "LiteRT cannot run it (Didn't find op"),
    "weights cut short": (lambda d: changed(d, short), "is damaged"),
    "two graphs": (lambda d: changed(d, twice), "holds 2 graphs"),
    "no operation": (lambda d: changed(d, emptied), "holds no operation"),
    "NaN weights": (lambda d: to_tflite(not_finite()), "hold NaN"),
    "two inputs": (lambda d: to_tflite(two_inputs()), "2 inputs"),
    "images of any size": (lambda d: to_tflite(of_any_size()), "images of any size (-1, -1, 3)"),
    "two sigmoids": (lambda d: to_tflite(classifier("sigmoid")), "ends in 2 sigmoids"),
    "outputs without names": (lambda d: to_tflite(of_two_outputs()), "has 2 outputs, none called logits"),
    "a softmax that is read on": (lambda d: to_tflite(read_on(classifier("softmax"))), "puts out probabilities"),
}  # fmt: skip


def int8_net() -> bytes:
    net = Net()
    image, answer = net.tensor(1, 48, 48, 3), net.tensor(1, 2)
    net.op("FULLY_CONNECTED", [image, net.constant(np.zeros((2, 48 * 48 * 3), np.int8))], [answer])
    return net.bytes([image], [answer])


@pytest.mark.parametrize("what", LITE)
def test_what_is_no_float_tflite_classifier_is_said_in_one_line(
    what: str, lite: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = LITE[what]
    (tmp_path / "given.tflite").write_bytes(make(lite))
    assert quantize.main(arguments(tmp_path / "given.tflite", tmp_path, "-o", str(tmp_path / "out.tflite"))) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert [p.name for p in tmp_path.iterdir()] == ["given.tflite"]


def test_a_damaged_seal_of_ours_is_refused(lite: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sealed = bytearray(
        seal(lite, Manifest("own", ("clear", "clouded"), InputSpec(48, 48, 3, (0.0,) * 3, (255.0,) * 3)))
    )
    sealed[len(lite) // 2] ^= 1
    (tmp_path / "given.tflite").write_bytes(sealed)
    assert quantize.main(arguments(tmp_path / "given.tflite", tmp_path, "-o", str(tmp_path / "out.tflite"))) == 1
    assert "do not match their own SHA-256; copy it again" in capsys.readouterr().err


ARGUMENTS = {
    "no labels": (["--input-range", "0", "1"], "pass --labels"),
    "a label without a name": (["--labels", ",a", "--input-range", "0", "1"], "labels must be names"),
    "a label twice": (["--labels", "a,a", "--input-range", "0", "1"], "two or more different"),
    "no input range": (["--labels", "a,b"], "--input-range LOW HIGH"),
    "input range turned round": (["--labels", "a,b", "--input-range", "1", "0"], "must be above"),
    "an infinite range": (["--labels", "a,b", "--input-range", "0", "inf"], "no range of gray levels"),
    "no number as range": (["--labels", "a,b", "--input-range", "nan", "nan"], "must be above"),
    "a folder as output": (["--labels", "a,b", "--input-range", "0", "1", "-o", "."], "is a folder"),
    "itself as output": (["--labels", "a,b", "--input-range", "0", "1", "--force", "-o", "own.tflite"], "choose another name"),
    "its ranges as output": (["--labels", "a,b", "--input-range", "0", "1", "--force", "--ranges", "images.npz", "-o", "images.npz"], "choose another name"),
    "no ranges": (["--labels", "a,b", "--input-range", "0", "1", "-o", "out.tflite"], "pass --calibration"),
    "no text as name": (["--labels", "a,b", "--input-range", "0", "1", "--name", "\udcff"], "give it plain names"),
    "a name longer than any disk takes": (["--labels", "a,b", "--input-range", "0", "1", "-o", "x" * 300], "too long"),
}  # fmt: skip


@pytest.mark.parametrize("what", ARGUMENTS)
def test_arguments_that_do_not_fit_are_said_in_one_line(
    what: str, lite: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.tflite").write_bytes(lite)
    np.savez("images.npz", images=np.zeros((1, 96, 96), np.uint8))
    given, message = ARGUMENTS[what]
    given = given if "--ranges" in given or what == "no ranges" else [*given, "--calibration", "images.npz"]
    given = given if "-o" in given else [*given, "-o", "out.tflite"]
    assert quantize.main(["own.tflite", *given]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images.npz", "own.tflite"]


USAGE = {
    "--count": ("0", "-1", "1.5", "many", "1" + 12 * "0"),
    "--min-agreement": ("nan", "2", "-0.1", "high"),
    "--target-error": ("nan", "2"),
    "--schemes": ("int4", "int8,int4", "", "int8,,int16"),
    "--input-range": ("a b", "0"),
}


@pytest.mark.parametrize(("option", "value"), [(o, v) for o, values in USAGE.items() for v in values])
def test_values_out_of_range_are_usage_errors(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        quantize.main(["own.keras", option, *(value.split() if option == "--input-range" else [value])])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"argument {option}: " in said
    assert "invalid _" not in said


@pytest.mark.parametrize("given", [".", ""])
def test_the_folder_one_is_in_may_be_the_network(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.v1").mkdir()
    monkeypatch.chdir(tmp_path / "net.v1")
    assert quantize.main([given, "--labels", "a,b"]) == 1
    assert "net.v1: is a folder without saved_model.pb" in capsys.readouterr().err
    assert quantize.options(quantize.build_parser().parse_args([given])).out == tmp_path / "net.v1.tflite"


def test_labels_may_hold_spaces_within_and_around(lite: bytes, chests: Path, tmp_path: Path) -> None:
    (tmp_path / "given.tflite").write_bytes(lite)
    argv = arguments(tmp_path / "given.tflite", chests, "-o", str(tmp_path / "out.tflite"))
    argv[argv.index("clear,clouded")] = " clear , very clouded|lung "
    for name in ("manifest.csv",):
        (chests / name).write_text((chests / name).read_text().replace("clouded", "very clouded|lung"))
    assert quantize.main(argv) == 0
    assert models.load(tmp_path / "out.tflite").manifest.labels == ("clear", "very clouded|lung")


@pytest.mark.parametrize("change", ["one name for all", "no name"])
def test_a_tflite_whose_tensors_have_no_names_of_their_own(
    change: str, lite: bytes, chests: Path, tmp_path: Path
) -> None:
    def rename(contents: Any) -> None:
        for tensor in contents.subgraphs[0].tensors:
            tensor.name = b"same" if change == "one name for all" else b""

    for name, data in (("named", lite), ("given", changed(lite, rename))):
        (tmp_path / f"{name}.tflite").write_bytes(data)
        assert (
            quantize.main(arguments(tmp_path / f"{name}.tflite", chests, "-o", str(tmp_path / f"{name}_int8.tflite")))
            == 0
        )
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    named, given = (outputs(models.load(tmp_path / f"{n}_int8.tflite"), pixels)["logits"] for n in ("named", "given"))
    np.testing.assert_allclose(given, named, atol=0.02)


@pytest.mark.slow
def test_the_same_command_makes_the_same_file_anywhere(chests: Path, tmp_path: Path) -> None:
    """In another process, in another folder, with another order of sets."""
    own(tmp_path / "own.keras")
    assert quantize.main(arguments(tmp_path / "own.keras", chests)) == 0
    once = (tmp_path / "own.tflite").read_bytes()
    assert quantize.main(arguments(tmp_path / "own.keras", chests, "--force")) == 0
    assert (tmp_path / "own.tflite").read_bytes() == once
    (tmp_path / "elsewhere").mkdir()
    command = [
        sys.executable,
        str(ROOT / "convert/quantize.py"),
        *arguments(Path("../own.keras"), Path(".."), "--force"),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=tmp_path / "elsewhere", env=environment
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "own.tflite").read_bytes() == once


def test_every_option_has_help() -> None:
    assert [a.option_strings or a.dest for a in quantize.build_parser()._actions if not a.help] == []
