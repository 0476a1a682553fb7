"""A network compiled for a Coral Edge TPU, and the library that runs it there.

``edgetpu_compiler`` packs what the chip can do into one operation, ``edgetpu-custom-op``, that no runtime knows;
``libedgetpu`` knows it, and the runtime's own ``load_delegate`` brings the two together. Written after libedgetpu's
source and tried with Coral's compiled networks and a made-up library; never yet run on a real Coral.
"""

from __future__ import annotations

import ctypes
import re
import sys
from typing import Any

from ..errors import BackendError

LIBRARY = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}.get(sys.platform, "libedgetpu.so.1")
OPERATION = "edgetpu-custom-op"
# The name in a flatbuffer, after its length: text that merely mentions the name does not match.
_MARK = len(OPERATION).to_bytes(4, "little") + OPERATION.encode() + b"\0"
_DEVICE = re.compile(r"(usb|pci)?(:\d+)?")


def is_compiled(data: bytes) -> bool:
    """Whether a ``.tflite`` was compiled for the Edge TPU, so that no processor can run it."""
    return _MARK in data


def load_error() -> str | None:
    """The reason why the library cannot be loaded, or ``None`` where it can."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return str(error)
    return None


def delegate(module: Any, device: str | None = None) -> Any:
    """Opens an Edge TPU.

    Args:
        module: of the runtime, from :func:`covidnet_lite.network.interpreter.find_runtime`.
        device: ``usb``, ``pci``, ``usb:N``, ``pci:N`` or ``:N``, counted from 0; ``None`` for the first found.

    Returns:
        What the runtime's interpreter takes among its ``experimental_delegates``.

    Raises:
        BackendError: there is no such device, it cannot be opened, or the library is missing.
    """
    check_device(device)
    reason = load_error()  # checked here, since load_delegate also complains on standard error
    if reason is not None:
        raise BackendError(
            f"a network compiled for the Edge TPU needs {LIBRARY}, which cannot be loaded ({reason}); install "
            "libedgetpu, or take the network that it was compiled from, which runs on any processor"
        )
    load = getattr(module, "load_delegate", None) or module.experimental.load_delegate  # the latter in TensorFlow
    try:
        return load(LIBRARY, {} if device is None else {"device": device})
    except (ValueError, RuntimeError) as error:  # RuntimeError: not CPython
        device_name = "Edge TPU" if device is None else f"Edge TPU {device!r}"
        raise BackendError(
            f"no {device_name} can be opened ({' '.join(str(error).split())}); plug it in, see that no other program "
            "uses it and that you may use it (udev rule, group plugdev)"
        ) from error


def check_device(device: str | None) -> None:
    """Checks that libedgetpu knows a device by this name.

    Raises:
        BackendError: it does not.
    """
    if device is not None and not (isinstance(device, str) and device and _DEVICE.fullmatch(device)):
        raise BackendError(f"edgetpu must be usb, pci, usb:N, pci:N or :N, not {device!r}")
