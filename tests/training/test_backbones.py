from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from covidnet_lite.errors import ModelError
from training import backbones, imagenet

# Made once with PyTorch 2.13 and efficientnet_lite_pytorch 0.1.0 on `picture`: every 25th of the 1000 logits.
PYTORCH = json.loads((Path(__file__).parent / "pytorch_logits.json").read_text())


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


def test_frozen_layers_do_not_learn() -> None:
    network = backbones.with_head(backbones.build("EfficientNetLite0", side=32, weights="none"), ("a", "b"))
    backbones.freeze(network, "block2_add")
    frozen = {v.path for v in network.non_trainable_variables}
    assert {"stem/kernel", "block2_project_bn/gamma"} <= frozen
    assert not {"block3_expand/kernel", "evidence/kernel"} & frozen
    with pytest.raises(ModelError, match="no such layer"):
        backbones.freeze(network, "block99")


def test_a_tapped_network_ends_in_its_layers_side_by_side_on_the_coarsest_grid() -> None:
    backbone = backbones.build("EfficientNetLite0", side=64, weights="none")
    tapped = backbones.tap(backbone, ["block10_add", "block14_add"])
    parts = keras.Model(
        backbone.network.inputs[0], [backbone.network.get_layer(n).output for n in ("block10_add", "block14_add")]
    )
    fine, coarse = (np.asarray(values) for values in parts(picture(64, 1)))
    found = np.asarray(tapped.network(picture(64, 1)))
    np.testing.assert_allclose(found[..., 112:], coarse, atol=1e-5)
    np.testing.assert_allclose(found[..., :112], fine.reshape(1, 2, 2, 2, 2, 112).mean((2, 4)), atol=1e-5)
    assert "head" not in {layer.name for layer in tapped.network.layers}  # what nobody reads is gone


def test_one_tapped_layer_is_the_end_itself() -> None:
    tapped = backbones.tap(backbones.build("EfficientNetLite0", side=64, weights="none"), ["block8_project_bn"])
    assert tapped.network.output.shape == (None, 4, 4, 112)


@pytest.mark.parametrize(
    ("side", "names", "said"),
    [(64, ["block99_add"], "no layer 'block99_add'"), (80, ["block10_add", "block14_add"], "does not divide")],
)
def test_a_layer_that_cannot_be_tapped_is_named(side: int, names: list[str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        backbones.tap(backbones.build("EfficientNetLite0", side=side, weights="none"), names)
