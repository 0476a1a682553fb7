"""Loaded by the process from which readers are forked, and only there: the decoders, once for all of them.

What is loaded here is at nobody's expense; what a reader loads itself takes its time from a radiograph's.
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

# systemd sends SIGTERM to every process of a service. The service ends what it has in hand, and needs readers for it;
# host and readers end with the service.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
