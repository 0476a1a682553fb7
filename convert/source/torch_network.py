"""A network of PyTorch, as ``torch.export.save`` writes it: exported to ONNX by PyTorch itself, and read as that."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

from convert.source import onnx_network
from convert.source.frozen import Frozen, first_cause
from covidnet_lite.errors import ConversionError, MissingExtraError

EXPORT_HINT = (
    "where its code is, write torch.export.save(torch.export.export(network.eval(), "
    "(torch.zeros(1, 3, HEIGHT, WIDTH),)), 'NAME.pt2') and give that, or torch.onnx.export it"
)
PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")


def load(path: Path) -> Frozen:
    """Its function of one image, channels last.

    Raises:
        ConversionError: it cannot be read or exported, or is no classifier of one image.
        MissingExtraError: PyTorch or a package that its exporter needs is not installed.
    """
    try:
        import onnxscript  # noqa: F401 - what PyTorch exports by
        import torch
    except ImportError as error:
        raise MissingExtraError(
            f"reading PyTorch needs other packages: pip install 'covidnet-lite[torch]' ({error})"
        ) from error
    try:
        with _quiet():
            program = torch.export.load(path)
    except Exception as error:  # zip, JSON, pickle and PyTorch each have their own
        raise ConversionError(f"{path}: PyTorch cannot load it ({first_cause(error)}); {EXPORT_HINT}") from error
    try:
        with _quiet():
            exported: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    except Exception as error:  # of its own kind for every step, and of the operation's
        raise ConversionError(f"{path}: PyTorch cannot export it to ONNX ({first_cause(error)})") from error
    return onnx_network.of_model(exported.model_proto, path)


@contextlib.contextmanager
def _quiet() -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
