"""What a node is told: one TOML file, or options -> frozen dataclasses, checked before anything starts."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ..errors import MissingExtraError, SettingsError
from ..network.model import DEFAULT

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = ("127.0.0.0/8", "::1/128")
KINDS = {
    str: "text in quotes",
    int: "a whole number",
    bool: "true or false",
    Path: "a path in quotes",
    tuple: "a list of texts in quotes",
}


@dataclass(frozen=True)
class Tls:
    """Certificates, PEM files.

    Attributes:
        certificate, key: ours, shown to the other side.
        ca: what vouches for the other side. For the receiver: clients must then show a certificate that it signed;
            for the PACS: in place of the system's own list.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class Pacs:
    """Where results go."""

    ae_title: str
    host: str
    port: int
    tls: Tls | None = None


@dataclass(frozen=True)
class Senders:
    """Who may send: AE titles (none named: any), and the addresses or networks they must come from."""

    ae_titles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = LOOPBACK

    @property
    def networks(self) -> tuple[Network, ...]:
        """The addresses, each as a network."""
        return tuple(ipaddress.ip_network(address, strict=False) for address in self.addresses)


@dataclass(frozen=True)
class Limits:
    """How much a node takes on.

    Attributes:
        object_mb: of one received object, in 10**6 bytes.
        associations: at the same time.
        per_address: of them, from one address; and so many times as many connections that have not asked for one yet.
        films: in the queue, received or not yet sent.
        free_mb: left on the disk, in 10**6 bytes.
        failed: films set aside that are kept; the oldest goes.
        remember_days: for how long a film that was sent is not classified anew.
        timeout: seconds without a sign from the other side.
    """

    object_mb: int = 64
    associations: int = 4
    per_address: int = 3
    films: int = 1000
    free_mb: int = 500
    failed: int = 1000
    remember_days: int = 90
    timeout: int = 30


@dataclass(frozen=True)
class Net:
    """The network that classifies, as for ``covidnet_lite.Classifier``; no runtime, no threads: its own choice.

    Attributes:
        allow_unsigned: take one that no trusted key has signed.
    """

    model: str = DEFAULT
    runtime: str = ""
    threads: int = 0
    allow_unsigned: bool = False


@dataclass(frozen=True)
class Settings:
    """All of it."""

    pacs: Pacs
    queue: Path
    ae_title: str = "COVIDNET"
    host: str = "127.0.0.1"
    port: int = 11112
    tls: Tls | None = None
    senders: Senders = field(default_factory=Senders)
    limits: Limits = field(default_factory=Limits)
    network: Net = field(default_factory=Net)

    def __post_init__(self) -> None:
        for title in (self.ae_title, self.pacs.ae_title, *self.senders.ae_titles):
            if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", title) or title != title.strip():
                raise SettingsError(f"{title!r} is no AE title; write 1 to 16 ASCII characters without a backslash")
        for port, lowest in ((self.port, 0), (self.pacs.port, 1)):
            if not lowest <= port <= 65535:
                raise SettingsError(f"{port} is no port; write {lowest} to 65535")
        for address in self.senders.addresses:
            try:
                ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise SettingsError(
                    f"senders.addresses: {address!r} is no address and no network; write 192.0.2.7 or 192.0.2.0/24"
                ) from None
        for limit in dataclasses.fields(self.limits):
            if getattr(self.limits, limit.name) < (0 if limit.name in ("free_mb", "failed") else 1):
                raise SettingsError(f"limits.{limit.name}: {getattr(self.limits, limit.name)} is too little")
        if self.tls and not (self.tls.certificate and self.tls.key):
            raise SettingsError("tls: the receiver needs its certificate and key; name both PEM files")


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        SettingsError: it cannot be read, or is no TOML.
        MissingExtraError: Python 3.10 without tomli.
    """
    try:
        import tomllib
    except ImportError:
        try:
            import tomli as tomllib
        except ImportError:
            raise MissingExtraError("settings in a file need the extra: pip install 'covidnet-lite[node]'") from None
    try:
        return dict(tomllib.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path}: cannot be read as settings ({why}); see docs/node.md") from error


def build(tables: dict[str, Any], folder: Path) -> Settings:
    """Settings of tables as TOML has them; paths in them start at ``folder``.

    Raises:
        SettingsError: something is missing, unknown, of the wrong kind or impossible; the message names it.
    """
    return _fill(Settings, tables, folder, "")


def pacs(text: str) -> dict[str, Any]:
    """``AE@HOST:PORT`` as the table of the same name.

    Raises:
        SettingsError: it is none.
    """
    found = re.fullmatch(r"([^@]+)@\[?([^@\]]+)\]?:(\d+)", text)
    if not found:
        raise SettingsError(f"{text!r} is no PACS; write AE@HOST:PORT, say ORTHANC@127.0.0.1:4242")
    return {"ae_title": found[1], "host": found[2], "port": int(found[3])}


def _fill(kind: type[T], table: dict[str, Any], folder: Path, where: str) -> T:
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    if unknown := sorted(set(table) - set(fields)):
        raise SettingsError(f"{where}{unknown[0]}: no such setting; there are: {', '.join(fields)}")
    needed = (dataclasses.MISSING, dataclasses.MISSING)
    for name, f in fields.items():
        if (f.default, f.default_factory) == needed and name not in table:
            raise SettingsError(
                f"{where}{name}: is missing; name it (docs/node.md has an example)"
                + (", or give --pacs AE@HOST:PORT" if name == "pacs" else "")
            )
    return kind(**{name: _value(hints[name], value, folder, where + name) for name, value in table.items()})


def _value(hint: Any, value: Any, folder: Path, where: str) -> Any:
    kind = next((a for a in getattr(hint, "__args__", ()) if dataclasses.is_dataclass(a) or a is Path), hint)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise SettingsError(f"{where}: must be a table, [{where}]")
        return _fill(kind, value, folder, f"{where}.")  # type: ignore[arg-type]
    kind = getattr(kind, "__origin__", kind)
    if kind is Path and isinstance(value, str) and value:
        return folder / Path(value).expanduser()
    if kind is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise SettingsError(f"{where}: {value!r} must be {KINDS[kind]}")
