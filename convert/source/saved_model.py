"""A SavedModel, called through the signature by which it is served."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from convert.source.frozen import Frozen, first_cause, freeze
from convert.source.keras_file import UNLOADABLE, check_outputs, input_shape, missing
from covidnet_lite.errors import ConversionError


def load(path: Path) -> Frozen:
    """Its function of one image.

    Raises:
        ConversionError: it cannot be served, or is no classifier of one image.
        MissingExtraError: TensorFlow is not installed.
    """
    if not (path / "saved_model.pb").is_file():
        raise ConversionError(f"{path}: is a folder without saved_model.pb, so no SavedModel")
    loaded, signature = _signature(path)
    inputs = signature.structured_input_signature[1]
    shape = input_shape(list(inputs.values()), path)
    (name,) = inputs
    frozen = freeze(lambda radiograph: signature(**{name: radiograph}), shape, path)
    check_outputs(list(frozen.outputs), path)
    del loaded  # held until here: the variables are the model's
    return frozen


def _signature(path: Path) -> tuple[Any, Any]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise missing(error) from error
    try:
        loaded = tf.saved_model.load(str(path))
        return loaded, loaded.signatures["serving_default"]
    except (*UNLOADABLE, tf.errors.OpError) as error:
        raise ConversionError(
            f"{path}: cannot be served; make it with model.export('FOLDER') ({first_cause(error)})"
        ) from error
