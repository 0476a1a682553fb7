"""Which destinations answer, asked over connections of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .connections import connection
from .health import Objections
from .settings import Settings

BRIEF = 5  # seconds for an answer, where somebody waits for it who asks often


def ask(settings: Settings, timeout: int | None = None) -> Objections:
    """Asks all at once; nothing is sent.

    Args:
        settings: name the destinations.
        timeout: seconds for each; ``None`` for that of the settings.

    Returns:
        By name, what keeps a destination from taking results, in words that follow its name; ``None`` where nothing
        does.

    Raises:
        SettingsError: a certificate or a token cannot be used.
    """
    if timeout is not None:
        settings = replace(settings, limits=replace(settings.limits, timeout=timeout))
    connections = {name: connection(settings, name) for name in settings.everywhere}
    with ThreadPoolExecutor(len(connections)) as pool:
        return dict(zip(connections, pool.map(lambda one: one.check(), connections.values())))
