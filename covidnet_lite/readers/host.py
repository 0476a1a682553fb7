"""Loaded by the process from which readers are forked, and only there: the decoders, once for all of them."""

import signal

from .. import radiograph  # noqa: F401

try:
    import pydicom.pixels  # noqa: F401
except ImportError:
    pass

# systemd sends SIGTERM to every process of a service. The service ends what it has in hand, and needs readers for it;
# host and readers end with the service.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
