from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from covidnet_lite.errors import ModelError
from training.fit import backbones, imagenet

# Made once with PyTorch 2.13 and efficientnet_lite_pytorch 0.1.0 on `picture`: every 25th of the 1000 logits.
PYTORCH = json.loads((Path(__file__).parent.parent / "pytorch_logits.json").read_text())


def picture(side: int, channels: int) -> np.ndarray:
    y, x, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(channels), indexing="ij")
    return (np.sin(x / 7 + c) * np.cos(y / 11 - c)).astype(np.float32)[None]


@pytest.mark.parametrize(("variant", "side"), [(0, 224), (1, 240), (2, 260)])
def test_the_port_has_the_logits_of_the_pytorch_network(variant: int, side: int) -> None:
    network = backbones.efficientnet_lite(variant, classes=1000)
    backbones.load_imagenet(network, imagenet.efficientnet_lite_weights(variant))
    logits = np.asarray(network(picture(side, 3)))[0]
    assert logits[::25] == pytest.approx(PYTORCH[str(variant)], abs=2e-4)


def test_the_one_channel_stem_is_an_identity_for_gray() -> None:
    weights = imagenet.efficientnet_lite_weights(0)
    colour, gray = (backbones.efficientnet_lite(0, side=64, channels=n) for n in (3, 1))
    for network in (colour, gray):
        backbones.load_imagenet(network, weights)
    x = picture(64, 1)
    np.testing.assert_allclose(gray(x), colour(np.repeat(x, 3, axis=3)), atol=1e-4)


def test_the_logits_are_the_mean_of_the_evidence_map() -> None:
    network = backbones.with_head(backbones.build("EfficientNetLite0", side=64, weights="none"), ("a", "b", "c"))
    out = network(picture(64, 1))
    assert out["evidence"].shape == (1, 2, 2, 3)
    assert out["embedding"].shape == (1, 1280)
    np.testing.assert_allclose(np.mean(out["evidence"], axis=(1, 2)), out["logits"], atol=1e-5)


@pytest.mark.parametrize("name", ["MobileNet", "VGG16"])
def test_keras_applications_take_one_gray_channel(name: str) -> None:
    backbone = backbones.build(name, side=64, weights="none")
    out = backbones.with_head(backbone, ("a", "b"))(picture(64, 1))
    assert out["logits"].shape == (1, 2)
    assert backbone.spec.channels == 1


@pytest.mark.parametrize(
    ("name", "preprocess"),
    [
        ("MobileNet", keras.applications.mobilenet.preprocess_input),
        ("VGG16", keras.applications.vgg16.preprocess_input),
        ("DenseNet121", keras.applications.densenet.preprocess_input),
        ("ResNet50V2", keras.applications.resnet_v2.preprocess_input),
    ],
)
def test_gray_becomes_what_the_family_was_trained_to_see(name: str, preprocess: object) -> None:
    gray = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    adapted = backbones.gray_to_colour(name)((gray - 127) / 128)
    expected = preprocess(np.repeat(gray, 3, axis=3).copy())  # type: ignore[operator]
    np.testing.assert_allclose(adapted, expected, atol=1e-3)


def test_an_unknown_network_is_named_with_those_that_exist() -> None:
    with pytest.raises(ModelError, match="MobileNetV2"):
        backbones.build("AlexNet")
    with pytest.raises(ModelError, match="EfficientNetLite0, 1 and 2"):
        backbones.build("EfficientNetLite7")


def test_a_state_dict_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("code ran",)

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError, match="refuses builtins.print"):
        imagenet.read_state_dict(path)


def test_a_network_cut_after_some_blocks_begins_as_the_whole_one_does() -> None:
    whole, cut = (
        backbones.build("EfficientNetLite0", side=64, weights="imagenet", blocks=n).network for n in (None, 3)
    )
    ends = [keras.Model(n.inputs[0], n.get_layer("block2_add").output)(picture(64, 1)) for n in (whole, cut)]
    np.testing.assert_array_equal(*ends)
    assert cut.output.shape == (None, 16, 16, 256)
    assert "block3_expand" not in [layer.name for layer in cut.layers]
    assert cut.count_params() < whole.count_params() / 50


def test_all_the_blocks_are_the_whole_network() -> None:
    whole, counted = (backbones.efficientnet_lite(0, 64, blocks=n) for n in (None, 16))
    assert whole.count_params() == counted.count_params()


@pytest.mark.parametrize(("name", "blocks"), [("EfficientNetLite0", 0), ("EfficientNetLite0", 17), ("MobileNet", 3)])
def test_blocks_that_are_not_there_are_refused(name: str, blocks: int) -> None:
    with pytest.raises(ModelError, match="blocks"):
        backbones.build(name, side=64, weights="none", blocks=blocks)


def test_the_part_below_a_layer_ends_in_it() -> None:
    network = backbones.build("EfficientNetLite0", side=32, weights="none", blocks=4).network
    low = backbones.below(network, "block2_add")
    assert low.output.shape == (None, 8, 8, 24)
    with pytest.raises(ModelError, match="no such layer"):
        backbones.below(network, "block99")


def test_what_begins_at_random_is_the_head() -> None:
    backbone = backbones.build("EfficientNetLite0", side=32, weights="none", blocks=4)
    assert backbones.randomly_initialised(backbones.with_head(backbone, ("a", "b"))) == [
        "neck",
        "neck_bn",
        "neck_relu",
        "evidence",
        "logits",
    ]
