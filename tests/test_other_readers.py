"""The shipped file in the hands of other readers; each test runs where its reader is installed.

docs/other_readers.md holds what these tests measured on the 346 test radiographs. They round differently from
LiteRT, so that near ties may fall the other way: hence the tolerances.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import drawn_chest

from convert.tflite_file import flatbuffer, metadata
from covidnet_lite.dataset import read_dataset
from covidnet_lite.fit import fit
from covidnet_lite.network import model
from covidnet_lite.network.input_spec import InputSpec
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.manifest import Manifest, seal
from covidnet_lite.network.preprocess import look_up

SAME_CLASS = 0.98  # of the pictures, at least
STEPS = 6  # of 255, at most, in a logit
BASE = model.load("base")
LOGITS = BASE.manifest.outputs["logits"]

Reader = Callable[[Any], list[Any]]  # what the network takes -> its outputs in their order


@pytest.fixture(scope="module")
def pictures(request: pytest.FixtureRequest) -> list[Any]:
    """Fitted radiographs of the test split; drawn ones where there are none."""
    from covidnet_lite import radiograph

    spec = BASE.manifest.input
    try:
        folder = request.getfixturevalue("cxr")
    except pytest.skip.Exception:
        return [fit(drawn_chest(i, opaque=bool(i % 2), side=256), spec) for i in range(64)]
    cases = [c for c in read_dataset(folder) if c.split == "test" and c.label in BASE.manifest.labels]
    return [fit(radiograph.read(c.path, at_least=(spec.width, spec.height)).image, spec) for c in cases]


@pytest.fixture(scope="module")
def inputs(pictures: list[Any]) -> list[Any]:
    tables = Interpreter(BASE).tables
    return [look_up(tables, picture) for picture in pictures]


@pytest.fixture(scope="module")
def ours(inputs: list[Any]) -> list[list[Any]]:
    interpreter = Interpreter(BASE)
    return [interpreter.run(values) for values in inputs]


def check_agreement(read: Reader, inputs: list[Any], ours: list[list[Any]]) -> None:
    """The same classes and, within a few steps, the same logits, in outputs of the same shapes."""
    theirs = [read(values) for values in inputs]
    for mine, other in zip(ours[0], theirs[0], strict=True):
        assert (other.dtype, other.shape) == (mine.dtype, mine.shape)
    mine, other = (np.stack([o[LOGITS][0] for o in all_outputs]).astype(int) for all_outputs in (ours, theirs))
    same, steps = int((mine.argmax(1) == other.argmax(1)).sum()), int(np.abs(mine - other).max())
    print(f"same class on {same} of {len(mine)}, logits differ by {steps} steps at most")
    assert steps <= STEPS
    assert same >= SAME_CLASS * len(mine)


def openvino(data: bytes, folder: Path) -> Reader:
    import openvino

    path = folder / "network.tflite"
    path.write_bytes(data)
    # Its default on processors that have bfloat16 is to compute in that, which rounds more; and its int8 kernels
    # saturate at 16 bits on processors without an int8 dot product (VNNI): one class in eight is another then.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    return lambda values: [compiled(values)[i].copy() for i in range(len(compiled.outputs))]


def onnx(data: bytes, folder: Path) -> Reader:
    import onnxruntime
    import tf2onnx

    path = folder / "network.tflite"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's interpreter, which it uses, tells of its end
        converted, _ = tf2onnx.convert.from_tflite(str(path), opset=17)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # its int8 kernels saturate as OpenVINO's do
    session = onnxruntime.InferenceSession(converted.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda values: session.run(None, {session.get_inputs()[0].name: values})


def test_openvino_gives_our_answers(inputs: list[Any], ours: list[list[Any]], tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    check_agreement(openvino(BASE.data, tmp_path), inputs, ours)


def test_onnx_runtime_gives_our_answers(inputs: list[Any], ours: list[list[Any]], tmp_path: Path) -> None:
    for module in ("onnxruntime", "tf2onnx", "tensorflow"):
        pytest.importorskip(module)
    check_agreement(onnx(BASE.data, tmp_path), inputs, ours)


def test_metadata_changes_no_reader_s_answer(inputs: list[Any], tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    described = seal(metadata.attach(BASE.data, BASE.manifest), BASE.manifest)
    before, after = openvino(BASE.data, tmp_path), openvino(described, tmp_path)
    for values in inputs[:4]:
        for a, b in zip(before(values), after(values), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_labels_are_found_by_any_reader_of_zip_archives() -> None:
    with zipfile.ZipFile(BASE.path) as archive:
        assert archive.read("labels.txt").decode().split() == list(BASE.manifest.labels)
    if shutil.which("unzip"):
        process = subprocess.run(["unzip", "-p", BASE.path, "labels.txt"], capture_output=True, text=True, timeout=60)
        assert (process.stdout.split(), process.stderr) == (list(BASE.manifest.labels), "")


def test_the_metadata_is_what_the_schema_s_own_code_reads() -> None:
    standard = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    contents = flatbuffer.unpack(metadata.attach(BASE.data, BASE.manifest), "base")
    (place,) = [e.buffer for e in contents.metadata if e.name == metadata.ENTRY]
    content = bytes(contents.buffers[place].data)
    assert standard.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    result = standard.ModelMetadataT.InitFromObj(standard.ModelMetadata.GetRootAs(content, 0))
    assert (result.name, result.version, result.license, result.minParserVersion) == tuple(
        value.encode() for value in ("base", BASE.manifest.version, BASE.manifest.licence, "1.0.0")
    )
    assert b"not a medical device" in result.description
    (graph,) = result.subgraphMetadata
    (details,) = graph.inputTensorMetadata
    assert details.content.contentPropertiesType == standard.ContentProperties.ImageProperties
    assert details.content.contentProperties.colorSpace == standard.ColorSpaceType.GRAYSCALE
    size = details.content.contentProperties.defaultSize
    assert (size.width, size.height) == (224, 224)
    assert details.processUnits[0].optionsType == standard.ProcessUnitOptions.NormalizationOptions
    assert (list(details.processUnits[0].options.mean), list(details.processUnits[0].options.std)) == ([127], [128])
    assert (list(details.stats.min), list(details.stats.max)) == ([-127 / 128], [1])
    assert [o.name.decode() for o in graph.outputTensorMetadata] == sorted(
        BASE.manifest.outputs, key=BASE.manifest.outputs.__getitem__
    )
    (labels,) = graph.outputTensorMetadata[LOGITS].associatedFiles
    assert (labels.name, labels.type) == (b"labels.txt", standard.AssociatedFileType.TENSOR_AXIS_LABELS)


def three_channels(spec: InputSpec) -> InputSpec:
    return replace(spec, channels=3, mean=spec.mean * 3, std=spec.std * 3) if spec.channels == 1 else spec


def for_mediapipe(network: model.Model) -> tuple[bytes, Manifest]:
    """A network of ours with uint8 ends, three channels and metadata; see docs/other_readers.md."""
    variant = pytest.importorskip("benchmarks.mediapipe_variant").variant
    description = network.manifest
    manifest = replace(
        description, input=three_channels(description.input), outputs={"logits": 0}, guard=None, extent=None
    )
    bare = variant(network.data, description.outputs["logits"])
    return seal(metadata.attach(bare, manifest), manifest), manifest


@contextlib.contextmanager
def image_classifier(data: bytes) -> Any:
    """MediaPipe's classifier: a fitted picture -> its scores, label -> score."""
    media = pytest.importorskip("mediapipe")
    tasks = media.tasks.vision
    options = tasks.ImageClassifierOptions(base_options=media.tasks.BaseOptions(model_asset_buffer=data))
    with tasks.ImageClassifier.create_from_options(options) as classifier:

        def scores(picture: Any) -> dict[str, float]:
            colours = np.ascontiguousarray(np.repeat(picture[..., None], 3, axis=2))
            result = classifier.classify(media.Image(image_format=media.ImageFormat.SRGB, data=colours))
            return {c.category_name: c.score for c in result.classifications[0].categories}

        yield scores


def test_mediapipe_refuses_int8() -> None:
    pytest.importorskip("mediapipe")
    for data in (BASE.data, seal(metadata.attach(BASE.data, BASE.manifest), BASE.manifest)):
        with pytest.raises(ValueError, match="Requested one of these types: uint8/float32, got INT8"):
            with image_classifier(data):
                pass


def test_mediapipe_refuses_a_network_for_gray() -> None:
    pytest.importorskip("mediapipe")
    data, manifest = for_mediapipe(BASE)
    contents = flatbuffer.unpack(data, "base")
    graph = contents.subgraphs[0]
    graph.inputs, graph.operators = [graph.operators[0].outputs[0]], graph.operators[1:]
    bare = flatbuffer.pack(contents)
    for spec, message in ((BASE.manifest.input, "Only RGB color space"), (manifest.input, "depth = 3 or 4")):
        description = replace(manifest, input=spec)
        with pytest.raises(ValueError, match=message):
            with image_classifier(seal(metadata.attach(bare, description), description)):
                pass


def test_mediapipe_takes_the_shipped_network_with_other_ends(pictures: list[Any], ours: list[list[Any]]) -> None:
    pytest.importorskip("mediapipe")
    check_mediapipe(*for_mediapipe(BASE), pictures, [o[LOGITS][0] for o in ours])


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    for i in range(24):
        drawn_chest(i, opaque=bool(i % 2)).save(folder / f"{i}.png")
    return folder


def own(path: Path) -> Any:
    """A small Keras classifier of three channels, saved."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    image = keras.Input((48, 48, 3))
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu6")(image)
    network = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    network.save(path)
    return network


def test_mediapipe_and_an_int8_network_of_ones_own(chests: Path, tmp_path: Path) -> None:
    for module in ("mediapipe", "tensorflow", "litert_quantizer"):
        pytest.importorskip(module)
    from convert import quantize

    own(tmp_path / "own.keras")
    options = ["--calibration", str(chests), "--labels", "clear,clouded", "--input-range", "0", "1"]
    assert quantize.main([str(tmp_path / "own.keras"), *options]) == 0
    network = model.load(tmp_path / "own.tflite")
    with pytest.raises(ValueError, match="uint8/float32, got INT8"):
        with image_classifier(seal(metadata.attach(network.data, network.manifest), network.manifest)):
            pass
    images = [fit(drawn_chest(i, opaque=bool(i % 2)), network.manifest.input) for i in range(24)]
    interpreter = Interpreter(network)
    ours = [interpreter.run(look_up(interpreter.tables, picture))[0][0] for picture in images]
    check_mediapipe(*for_mediapipe(network), images, ours)


def test_mediapipe_takes_a_float_network_as_it_is(tmp_path: Path) -> None:
    for module in ("mediapipe", "keras"):
        pytest.importorskip(module)
    tensorflow = pytest.importorskip("tensorflow")
    manifest = Manifest("own", ("clear", "clouded"), InputSpec(48, 48, 3, (0.0,) * 3, (255.0,) * 3))
    bare = tensorflow.lite.TFLiteConverter.from_keras_model(own(tmp_path / "own.keras")).convert()
    path = tmp_path / "own.tflite"
    path.write_bytes(seal(metadata.attach(bare, manifest), manifest))
    interpreter = Interpreter(model.load(path))
    with image_classifier(path.read_bytes()) as scores:
        for i in range(24):
            picture = fit(drawn_chest(i, opaque=bool(i % 2)), manifest.input)
            expected = interpreter.run(look_up(interpreter.tables, picture))[0][0]
            assert scores(picture) == pytest.approx(dict(zip(manifest.labels, expected)), abs=1e-4)


def check_mediapipe(data: bytes, manifest: Manifest, pictures: list[Any], ours: list[Any]) -> None:
    """MediaPipe runs LiteRT itself, so nothing may differ but the 128 between int8 and uint8."""
    interpreter = Interpreter(model.verify(data, Path("variant")))
    # It writes gray bytes straight into a uint8 input, so that each must be stored as itself.
    np.testing.assert_array_equal(interpreter.tables, [range(256)] * 3)
    with image_classifier(data) as scores:
        for picture, expected in zip(pictures, ours, strict=True):
            real = interpreter.dequantise(0, (expected.astype(int) + 128).astype(np.uint8))
            assert scores(picture) == pytest.approx(dict(zip(manifest.labels, real.tolist())), abs=1e-5)
