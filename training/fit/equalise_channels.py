"""Cross-layer equalisation of a Keras network: the converter's, with the weights brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from convert.quantisation.activations import by_tensor, record
from convert.quantisation.equalise import equalise
from convert.source import keras_network, tflite_network
from convert.source.network import FloatNetwork
from convert.tflite_file.editor import Editor
from covidnet_lite.network.input_spec import InputSpec

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)
WEIGHTED = (*CONVOLUTIONS, layers.Dense)


def equalise_channels(model: keras.Model, images: npt.NDArray[np.uint8], spec: InputSpec) -> None:
    """Rescales the channels of a batch-norm-free model in place, so that int8 holds them better.

    Args:
        model: of one image, as :class:`InputSpec` describes it.
        images: ``(n, height, width)`` uint8, which show the range of each channel.
        spec: how they are prepared.
    """
    image = keras.Input(batch_shape=(1, *model.input.shape[1:]))
    float_file = keras_network.to_tflite(keras.Model(image, model(image)), Path(model.name))
    network = FloatNetwork(tflite_network.canonical(float_file, model.name), (), spec, {}, {}, {})
    equalised, _ = equalise(network.tflite, by_tensor(record(network, images), network))
    before, after = Editor(network.tflite), Editor(equalised)
    unmatched = list(zip(before.operators, after.operators))
    for layer in model.layers:
        if isinstance(layer, WEIGHTED):
            operators = next(pair for pair in unmatched if _runs(layer, before, pair[0]))
            unmatched.remove(operators)
            weights = [after.constant(int(t)) for t in operators[1].inputs[1:] if t >= 0]  # a bias of zeros is left out
            layer.kernel.assign(_of_keras(weights[0], layer))
            if layer.use_bias and len(weights) > 1:
                layer.bias.assign(weights[1])


def _runs(layer: layers.Layer, editor: Editor, operator: Any) -> bool:
    """Whether an operation has a layer's weights."""
    if len(operator.inputs) < 2 or not editor.is_constant(int(operator.inputs[1])):
        return False
    kernel = editor.constant(int(operator.inputs[1]))
    return kernel.size == np.size(layer.kernel) and np.array_equal(_of_keras(kernel, layer), layer.kernel)


def _of_keras(kernel: npt.NDArray[np.float32], layer: layers.Layer) -> npt.NDArray[np.float32]:
    """``(out, ..., in)``, or of a depthwise convolution ``(1, h, w, in)``, as Keras has it."""
    if not isinstance(layer, layers.DepthwiseConv2D):
        kernel = np.moveaxis(kernel, 0, -1)
    return np.reshape(kernel, layer.kernel.shape)


def consumers(layer: layers.Layer) -> list[layers.Layer]:
    """The layers that read a layer's output."""
    return [node.operation for node in layer._outbound_nodes]
