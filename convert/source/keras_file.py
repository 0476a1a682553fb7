"""What holds for a Keras file and the network in it, whichever Keras wrote and reads it."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covidnet_lite.errors import ConversionError, MissingExtraError

HDF5 = b"\x89HDF\r\n\x1a\n"
OUTPUTS = ("logits", "evidence", "embedding")

HALF_OR_DOUBLE = ("float16", "bfloat16", "float64")  # TFLite's convolutions know none of them

# What Keras raises on files it cannot load.
UNLOADABLE = (
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def missing(error: ImportError) -> MissingExtraError:
    """What to raise where TensorFlow, or Keras, cannot be imported."""
    return MissingExtraError(f"converting needs TensorFlow: pip install 'covidnet-lite[convert]' ({error})")


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, whatever it is called."""
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


def writer(path: Path) -> str:
    """The version of Keras that wrote a file, such as ``2.12.0``; empty where it does not say."""
    try:
        if is_hdf5(path):
            import h5py

            with h5py.File(path, "r") as file:
                version = file.attrs.get("keras_version", "")
        else:
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json")).get("keras_version", "")
        return version.decode() if isinstance(version, bytes) else str(version)
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        return ""  # damaged: told of by whoever reads all of it


@contextmanager
def named_as_hdf5(path: Path) -> Iterator[Path]:
    """The same file under a name by which Keras knows it for what it is: HDF5 is often called ``.keras``."""
    if not is_hdf5(path) or path.suffix in (".h5", ".hdf5"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"{path.stem}.h5"
        os.symlink(path.resolve(), link)
        yield link


def check_kinds(kinds: Sequence[str], path: Path) -> None:
    """Raises :class:`ConversionError` where a layer computes in half or double precision."""
    for kind in kinds:
        if kind in HALF_OR_DOUBLE:
            raise ConversionError(
                f"{path}: computes in {kind}; build it again under keras.config.set_dtype_policy('float32') "
                "and copy the weights"
            )


def input_shape(inputs: Sequence[Any], path: Path) -> tuple[int, int, int]:
    """``(height, width, channels)`` of a network's only input, a tensor of any Keras or of TensorFlow.

    Raises:
        ConversionError: it does not take one image of a fixed size in float32.
    """
    if len(inputs) != 1:
        raise ConversionError(f"{path}: has {len(inputs)} inputs; only networks of one image can be converted")
    (tensor,) = inputs
    shape = () if getattr(tensor.shape, "rank", 4) is None else tuple(tensor.shape)[1:]
    if None in shape:
        raise ConversionError(
            f"{path}: takes images of any size {shape}; int8 needs one: build it again with a fixed input, "
            "such as keras.Input((224, 224, 3)), and copy the weights"
        )
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ConversionError(f"{path}: takes {shape}; an image classifier takes (height, width, 1 or 3)")
    kind = getattr(tensor.dtype, "name", tensor.dtype)
    check_kinds([kind], path)
    if kind != "float32":
        raise ConversionError(f"{path}: takes {kind}; an image classifier takes float32, scaled as --input-range says")
    if tensor.shape[0] not in (None, 1):
        raise ConversionError(
            f"{path}: takes {tensor.shape[0]} images at a time; build it again with the batch left open "
            "and copy the weights"
        )
    return shape


def check_outputs(names: Sequence[str], path: Path) -> None:
    """Raises :class:`ConversionError` where outputs are called otherwise than a classifier's."""
    if "logits" not in names or not set(names) <= set(OUTPUTS):
        raise ConversionError(
            f"{path}: has outputs {', '.join(names)}; expected logits and maybe evidence and embedding"
        )
