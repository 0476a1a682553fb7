"""Loads the decoders once, in the process from which readers are forked, and only there.

What a reader loads itself instead delays its radiograph.
"""

import signal
from contextlib import suppress
from importlib import import_module

from PIL import Image, ImageOps  # noqa: F401

from .. import radiograph  # noqa: F401
from ..dicom_in import dicom_file  # noqa: F401

Image.init()  # every format's plugin, which Pillow would load with the first file that needs it
for optional in ("pydicom.pixels", "imagecodecs._jpeg8", "pillow_heif"):
    with suppress(ImportError):
        import_module(optional)

# systemd sends SIGTERM to every process of a service. The service finishes its current work, and needs readers for it;
# host and readers end with the service.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
