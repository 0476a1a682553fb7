"""The settings of a node: one TOML file, or options -> frozen dataclasses, checked before anything starts."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, ValidationInfo

from .. import toml_file
from ..errors import SettingsError
from ..network.model import DEFAULT

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = ("127.0.0.0/8", "::1/128")


def _below_folder(path: Path, info: ValidationInfo) -> Path:
    if path == Path():
        raise ValueError("must be a path")
    return Path((info.context or {}).get("folder", ""), path.expanduser())


def _ae_title(title: str) -> str:
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", title) or title != title.strip():
        raise ValueError(f"{title!r} is no AE title; write 1 to 16 ASCII characters without a backslash")
    return title


def _address(address: str) -> str:
    try:
        ipaddress.ip_network(address, strict=False)
    except ValueError:
        raise ValueError(f"{address!r} is no address and no network; write 192.0.2.7 or 192.0.2.0/24") from None
    return address


def _destination(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
        raise ValueError(f"{name!r} is no name of a destination; write up to 32 of a-z, 0-9, - and _, a folder's name")
    return name


def _host_and_port(text: str) -> str:
    if not re.fullmatch(r"[^\s@]+:[0-9]{1,5}", text) or not 0 < int(text.rpartition(":")[2]) < 65536:
        raise ValueError(f"{text!r} is no address of a server; write HOST:PORT, say 192.0.2.9:514")
    return text


def _url(url: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9_.:\[\]-]+(/[\w./~-]*)?", url):
        raise ValueError(f"{url!r} is no URL of a DICOMweb service; write https://HOST/PATH, without name or password")
    return url.rstrip("/")


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


File = Annotated[Path, AfterValidator(_below_folder)]
AeTitle = Annotated[str, AfterValidator(_ae_title)]
Address = Annotated[str, AfterValidator(_address)]
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Name = Annotated[str, AfterValidator(_destination)]
Url = Annotated[str, AfterValidator(_url)]
Kind = Literal["SR", "SC"]


@dataclass(frozen=True)
class Tls:
    """Certificates, PEM files.

    Attributes:
        certificate, key: ours, shown to the other side.
        ca: what vouches for the other side. For the receiver: clients must then show a certificate that it signed;
            for a destination: in place of the system's own list.
    """

    certificate: File | None = None
    key: File | None = None
    ca: File | None = None


@dataclass(frozen=True)
class Results:
    """What is sent of each answer: a Structured Report, a Secondary Capture, both, or nothing.

    Attributes:
        positive: of an answer that is not surely the network's class for "no finding".
        negative: of that class.
        unsure: of an abstention. Its capture has no evidence map, which would be read as a finding; so has the next.
        refused: of what is no frontal chest radiograph.
    """

    positive: tuple[Kind, ...] = ("SR", "SC")
    negative: tuple[Kind, ...] = ("SR", "SC")
    unsure: tuple[Kind, ...] = ("SR",)
    refused: tuple[Kind, ...] = ("SR",)

    @property
    def kinds(self) -> frozenset[Kind]:
        """All that may be sent."""
        return frozenset((*self.positive, *self.negative, *self.unsure, *self.refused))


@dataclass(frozen=True)
class Rule:
    """Admits the radiographs that meet all of its lists; an empty list asks for nothing.

    Capitals and small letters are the same, ``*`` and ``?`` stand for any characters, and ``""`` for an element that
    the header does not have.

    Attributes:
        stations: of StationName.
        ae_titles: of the sender.
        body_parts, views: as the header has them, or ``CHEST``, ``PA`` and so on for the word of any language or code.
    """

    stations: tuple[str, ...] = ()
    ae_titles: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    views: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where results go.

    Attributes:
        results: which; ``None``: as for all.
        forward: it gets the radiographs that no rule admits, as they came, where they are to be forwarded.
        tls: certificates; ``None``: for DICOM no TLS, for ``https`` the system's own list.
    """

    results: Results | None = None
    forward: bool = False
    tls: Tls | None = None


@dataclass(frozen=True)
class Pacs(Destination):
    """One that speaks DICOM (C-STORE)."""

    ae_title: AeTitle
    host: str
    port: Port

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}{' (TLS)' if self.tls else ''}"

    @property
    def label(self) -> str:
        """What it is called where a radiograph is done."""
        return self.ae_title

    @property
    def title(self) -> str:
        """What it is called where something is wrong."""
        return f"PACS {self.ae_title}@{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """Its host."""
        return self.host


@dataclass(frozen=True)
class Service:
    """A DICOMweb service.

    Attributes:
        url: where its ``/studies`` are.
        token: a file with the bearer token alone.
        tls: certificates; ``None``: the CAs that certifi lists.
    """

    url: Url
    token: File | None = None
    tls: Tls | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.token and not self.url.startswith("https:") and not _is_here(self.url):
            raise SettingsError(f"{self.url}: a token is sent over https alone, or to this machine")


@dataclass(frozen=True)
class DicomWeb(Service, Destination):
    """One that speaks DICOMweb (STOW-RS)."""

    def __str__(self) -> str:
        return self.url

    @property
    def label(self) -> str:
        """What it is called where a radiograph is done."""
        return self.url

    @property
    def title(self) -> str:
        """What it is called where something is wrong."""
        return f"DICOMweb {self.url}"

    @property
    def address(self) -> str:
        """Its host."""
        return urlsplit(self.url).hostname or ""


def _kind(table: Any) -> str:
    """Which kind of destination a table means."""
    is_web = "url" in table if isinstance(table, dict) else isinstance(table, DicomWeb)
    return "DicomWeb" if is_web else "Pacs"


Either = Annotated[
    Annotated[Pacs, Tag("Pacs")] | Annotated[DicomWeb, Tag("DicomWeb")], Discriminator(_kind)  # as toml_file has tags
]


@dataclass(frozen=True)
class Senders:
    """Who may send: AE titles (none named: any), and the addresses or networks they must come from."""

    ae_titles: tuple[AeTitle, ...] = ()
    addresses: tuple[Address, ...] = LOOPBACK

    @property
    def networks(self) -> tuple[Network, ...]:
        """The addresses, each as a network."""
        return tuple(ipaddress.ip_network(address, strict=False) for address in self.addresses)


@dataclass(frozen=True)
class Limits:
    """How much a node takes on.

    Attributes:
        object_mb: of one received object, in 10**6 bytes.
        associations: at the same time, those not counted that have asked for nothing yet.
        per_address: of them, from one address; and so many times as many connections that have not asked for one yet.
        films: in the queue, received or not yet sent to the destination that has most of its results.
        free_mb: left on the disk, in 10**6 bytes.
        failed: quarantined radiographs to keep; the oldest is deleted.
        remember_days: for how long a film that was sent is not classified anew.
        timeout: seconds without a sign from the other side.
    """

    object_mb: Count = 64
    associations: Count = 4
    per_address: Count = 3
    films: Count = 1000
    free_mb: CountOrNone = 500
    failed: CountOrNone = 1000
    remember_days: Count = 90
    timeout: Count = 30


@dataclass(frozen=True)
class Net:
    """The network that classifies, as for ``covidnet_lite.Classifier``; no runtime, no threads: its own choice.

    Attributes:
        site: the file of the hospital by whose thresholds it answers.
        allow_unsigned: take one that no trusted key has signed.
    """

    model: str = DEFAULT
    runtime: str = ""
    threads: CountOrNone = 0
    site: File | None = None
    allow_unsigned: bool = False


@dataclass(frozen=True)
class Health:
    """What a monitoring system on this machine may ask, over HTTP at 127.0.0.1.

    Attributes:
        port: at which ``/health`` and ``/metrics`` are answered.
        oldest_minutes: how long a radiograph may wait, for its answer or its delivery, before the node is unhealthy.
    """

    port: Port
    oldest_minutes: Count = 60


@dataclass(frozen=True)
class Audit:
    """Where the audit trail goes: to a file, a syslog server, or both.

    Attributes:
        file: a new one begins at midnight (UTC).
        keep_days: how many days' files are kept beside today's.
        syslog: ``HOST:PORT`` of a server that takes RFC 5424 over UDP.
    """

    file: File | None = None
    keep_days: Count = 365
    syslog: HostAndPort | None = None

    def __post_init__(self) -> None:
        if not (self.file or self.syslog):
            raise ValueError("name a file, a syslog server, or both")


@dataclass(frozen=True)
class Settings:
    """All of it.

    Attributes:
        pacs: the destination of that name, where there is but one.
        results: what is sent, where a destination says nothing else.
        admit: which radiographs are classified: those that a rule admits; without rules, all.
        archive: from which ``node fetch`` gets radiographs.
        not_admitted: what becomes of the others: dropped, kept in quarantine, or forwarded to destinations.
    """

    __pydantic_config__: ClassVar[ConfigDict] = toml_file.STRICT

    queue: File
    pacs: Pacs | None = None
    destinations: dict[Name, Either] = field(default_factory=dict)
    results: Results = field(default_factory=Results)
    admit: tuple[Rule, ...] = ()
    not_admitted: Literal["drop", "keep", "forward"] = "keep"
    ae_title: AeTitle = "COVIDNET"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    tls: Tls | None = None
    senders: Senders = field(default_factory=Senders)
    limits: Limits = field(default_factory=Limits)
    network: Net = field(default_factory=Net)
    log_accession: bool = False
    health: Health | None = None
    audit: Audit | None = None
    archive: Service | None = None

    def __post_init__(self) -> None:
        if self.pacs and "pacs" in self.destinations:
            raise SettingsError("destinations.pacs: is there twice, as [pacs] and as [destinations.pacs]; leave one")
        if not self.everywhere:
            raise SettingsError("pacs: is missing; name a [pacs], or one [destinations.NAME] or several")
        if (self.not_admitted == "forward") != any(one.forward for one in self.everywhere.values()):
            raise SettingsError(
                'not_admitted: "forward" and a destination with forward = true go together; set both or neither'
            )
        if self.tls and not (self.tls.certificate and self.tls.key):
            raise SettingsError("tls: the receiver needs its certificate and key; name both PEM files")

    @property
    def everywhere(self) -> dict[str, Pacs | DicomWeb]:
        """All destinations by name, ``[pacs]`` first."""
        return {**({"pacs": self.pacs} if self.pacs else {}), **self.destinations}

    def results_for(self, name: str) -> Results:
        """What is sent to a destination."""
        return self.everywhere[name].results or self.results


def load(path: Path) -> Settings:
    """The settings of a TOML file; paths in it start at its folder.

    Raises:
        SettingsError: see :func:`read` and :func:`build`.
    """
    return build(read(path), path.absolute().parent)


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        SettingsError: it cannot be read, or is no TOML.
    """
    try:
        return toml_file.read(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path}: cannot be read as settings ({why}); see docs/node.md") from error


def build(table: dict[str, Any], folder: Path) -> Settings:
    """Settings of a table as TOML has it; paths in it start at ``folder``.

    Raises:
        SettingsError: something is missing, unknown, of the wrong kind or impossible; the message names it.
    """
    try:
        return toml_file.build(Settings, table, {"folder": folder})
    except ValueError as error:
        raise SettingsError(f"{error}; docs/node.md has an example") from None


def pacs(text: str) -> dict[str, Any]:
    """``AE@HOST:PORT`` as the table of the same name.

    Raises:
        SettingsError: it is none.
    """
    found = re.fullmatch(r"([^@]+)@\[?([^@\]]+)\]?:(\d+)", text)
    if not found:
        raise SettingsError(f"{text!r} is no PACS; write AE@HOST:PORT, say ORTHANC@127.0.0.1:4242")
    return {"ae_title": found[1], "host": found[2], "port": int(found[3])}
