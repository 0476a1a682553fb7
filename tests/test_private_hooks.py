"""What this package uses of others that they do not promise to keep: each hook, who needs it, and the bound on it."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Hook:
    """A part of another package.

    Attributes:
        package: as setup.py names it.
        module: where the part is.
        name: its dotted name there.
        source: what the part's source must say, for what cannot be seen otherwise.
        user: who needs it, and what for.
    """

    package: str
    module: str
    name: str
    user: str
    source: str = ""


NODE = "covidnet_lite/node/receiver.py"
LISTENER = "covidnet_lite/node/listener.py"
SERVER = "covidnet_lite/web/server.py hangs up on clients that say nothing"
HOOKS = [
    Hook("pynetdicom", "pynetdicom.transport", "AssociationSocket.recv", f"{NODE} bounds what it reads"),
    Hook("pynetdicom", "pynetdicom.transport", "AssociationSocket", f"{LISTENER} shuts it", "self.socket"),
    Hook("pynetdicom", "pynetdicom.dul", "DULServiceProvider", f"{NODE} replaces it", "self.socket.recv(pdu_length)"),
    Hook("pynetdicom", "pynetdicom.dul", "DULServiceProvider", f"{NODE} ends a wait by it", "self.to_user_queue"),
    Hook("pynetdicom", "pynetdicom.transport", "AssociationServer.active_associations", f"{LISTENER} counts them"),
    Hook(
        "pynetdicom", "pynetdicom.transport", "AssociationServer.get_request", f"{LISTENER} accepts without a handshake"
    ),
    Hook("pynetdicom", "pynetdicom.transport", "AssociationServer", f"{LISTENER} begins TLS late", "self.ssl_context"),
    Hook("pynetdicom", "pynetdicom._config", "LOG_HANDLER_LEVEL", f"{NODE} turns it off"),
    Hook("pynetdicom", "pynetdicom.timer", "Timer", f"{NODE} has it go by the monotonic clock", "time.time()"),
    Hook("uvicorn", "uvicorn.protocols.http.h11_impl", "H11Protocol.connection_made", SERVER),
    Hook("uvicorn", "uvicorn.protocols.http.h11_impl", "H11Protocol.on_response_complete", SERVER),
    Hook("uvicorn", "uvicorn.protocols.http.h11_impl", "H11Protocol", SERVER, "self.cycle"),
    Hook("uvicorn", "uvicorn.protocols.http.h11_impl", "RequestResponseCycle", SERVER, "self.response_complete"),
    Hook(
        "starlette",
        "starlette.formparsers",
        "MultiPartParser",
        "covidnet_lite/web/uploads.py keeps uploads off the disk",
        "self.spool_max_size",
    ),
    Hook(
        "pydicom",
        "pydicom.dataset",
        "Dataset",
        "covidnet_lite/resource_limits.py looks at what is not parsed",
        "self._dict",
    ),
]
OF_PYTHON = [
    Hook("", "socketserver", "BaseServer._handle_request_noblock", f"{LISTENER} takes one connection"),
    Hook("", "multiprocessing.reduction", "send_handle", "covidnet_lite/readers/pool.py shares memory"),
    Hook("", "multiprocessing.reduction", "recv_handle", "covidnet_lite/readers/pool.py shares memory"),
    Hook("", "multiprocessing.util", "Finalize", "covidnet_lite/readers/pool.py ends its processes"),
]


def is_there(hook: Hook) -> bool:
    part: Any = importlib.import_module(hook.module)
    for name in hook.name.split("."):
        part = getattr(part, name, None)
        if part is None:
            return False
    return hook.source in inspect.getsource(part) if hook.source else True


@pytest.mark.parametrize("hook", [*HOOKS, *OF_PYTHON], ids=lambda h: f"{h.module}.{h.name} {h.source}".strip())
def test_a_hook_is_there(hook: Hook) -> None:
    if hook.package:
        pytest.importorskip(hook.package)
    which = f"{hook.package} {version(hook.package)}" if hook.package else "this Python"
    assert is_there(hook), f"{hook.source or hook.name} has gone from {hook.module} of {which}: {hook.user}. " + (
        f"Mend that, or bound {hook.package} in setup.py" if hook.package else "Mend that"
    )


@pytest.mark.parametrize("package", sorted({hook.package for hook in HOOKS}))
def test_setup_bounds_each_package_with_hooks_below_its_next_major_version(package: str) -> None:
    major = int(version(package).split(".")[0])
    bounds = re.findall(rf'"{package}>=[\d.]+,<(\d+)"', (ROOT / "setup.py").read_text())
    assert bounds == [str(major + 1)]


def test_a_hook_that_has_gone_is_missed() -> None:
    assert not is_there(Hook("", "socketserver", "BaseServer._handle_request_gone", ""))
    assert not is_there(Hook("", "socketserver", "BaseServer", "", "self.never_there"))
