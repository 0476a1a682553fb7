"""A network that Keras 2 wrote, TensorFlow's Keras up to 2.15: read by its last release, the package tf-keras."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convert.source.frozen import Frozen, first_cause, freeze
from convert.source.keras_file import UNLOADABLE, check_kinds, check_outputs, input_shape, named_as_hdf5, writer
from covidnet_lite.errors import ConversionError


def reads(path: Path) -> bool:
    """Whether Keras 2 wrote a file and is there to read it."""
    return writer(path).startswith("2.") and find_spec("tf_keras") is not None


def load(path: Path) -> tuple[Any, Frozen]:
    """A ``tf_keras.Model`` and its function of one image.

    Raises:
        ConversionError: it cannot be loaded, or is no classifier of one image.
    """
    model = _load(path)
    if not model.inputs:
        raise ConversionError(
            f"{path}: does not say what it takes; begin it with keras.Input((height, width, 3)) and save it again"
        )
    check_kinds([layer.compute_dtype for layer in model._flatten_layers()], path)
    function = freeze(lambda image: model(image, training=False), input_shape(model.inputs, path), path)
    check_outputs(list(function.outputs), path)
    return model, function


def _load(path: Path) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tf_keras
    from tf_keras.src.saving import serialization_lib

    tf_keras.backend.clear_session()
    try:
        # HDF5 files are otherwise read with Lambda layers and all, which run whatever a stranger wrote in them.
        with serialization_lib.SafeModeScope(True), named_as_hdf5(path) as hdf5_path:
            return tf_keras.models.load_model(hdf5_path, compile=False)
    except UNLOADABLE as error:
        cause = first_cause(error)
        hint = (
            "it has a Lambda layer, whose code a file cannot hold safely; write it with Keras' own layers"
            if "lambda" in cause.lower()
            else "is it a whole network?"
        )
        raise ConversionError(f"{path}: Keras 2 cannot load it: {hint} ({cause})") from error
