"""Settings: from a file, from options, and what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from covidnet_lite.errors import SettingsError
from covidnet_lite.node import settings
from covidnet_lite.node.settings import (
    Audit,
    DicomWeb,
    Health,
    Limits,
    Net,
    Pacs,
    Results,
    Rule,
    Senders,
    Settings,
    Tls,
)

ROOT = Path(__file__).resolve().parents[2]
LEAST: dict[str, Any] = {"queue": "q", "pacs": {"ae_title": "PACS", "host": "pacs.example", "port": 104}}


def example() -> str:
    """The settings that docs/node.md shows."""
    (found,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/node.md").read_text(), re.S)
    return str(found)


def test_the_least_that_must_be_told(tmp_path: Path) -> None:
    told = settings.build(LEAST, tmp_path)
    assert told == Settings(tmp_path / "q", Pacs("PACS", "pacs.example", 104))
    assert told.host == "127.0.0.1"  # nobody else, unless asked for
    assert [str(network) for network in told.senders.networks] == ["127.0.0.0/8", "::1/128"]


def test_the_example_beside_the_unit_can_be_used() -> None:
    told = settings.build(settings.read(ROOT / "examples/node/node.toml"), Path("/etc/covidnet-lite"))
    assert told.queue == Path("/var/lib/covidnet-lite")  # the unit's StateDirectory
    assert (told.host, told.tls) == ("0.0.0.0", None)


def test_a_file_says_all(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("""
        queue = "/var/lib/q"
        ae_title = "LUNGS"
        host = "0.0.0.0"
        port = 104
        [tls]
        certificate = "c.pem"
        key = "/etc/k.pem"
        [senders]
        ae_titles = ["XRAY1", "XRAY 2"]
        addresses = ["192.0.2.7", "2001:db8::/64"]
        [pacs]
        ae_title = "PACS"
        host = "pacs.example"
        port = 2762
        [pacs.tls]
        ca = "ca.pem"
        [limits]
        films = 7
        [network]
        model = "nano"
        threads = 1
        site = "site.json"
    """)
    told = settings.build(settings.read(path), tmp_path)
    assert told.queue == Path("/var/lib/q")
    assert told.tls == Tls(tmp_path / "c.pem", Path("/etc/k.pem"))
    assert told.senders == Senders(("XRAY1", "XRAY 2"), ("192.0.2.7", "2001:db8::/64"))
    assert told.pacs == Pacs("PACS", "pacs.example", 2762, tls=Tls(ca=tmp_path / "ca.pem"))
    assert told.limits == Limits(films=7)
    assert told.network == Net("nano", threads=1, site=tmp_path / "site.json")


def test_the_example_of_the_documents_is_valid_and_has_every_setting(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(example())
    told = settings.build(settings.read(path), tmp_path)
    assert told.limits == Limits()
    text = example()
    assert [
        f.name
        for kind in (Settings, Health, Audit, Results, Rule, DicomWeb, Tls, Senders, Limits, Net, Pacs)
        for f in fields(kind)
        if f.name not in text
    ] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queue": None}, "queue: is missing"),
        ({"pacs": None}, "pacs: is missing"),
        ({"pacs": {"ae_title": "PACS", "host": "h"}}, r"pacs\.port: is missing"),
        ({"health": {}}, r"health\.port: is missing"),
        ({"health": {"port": 0}}, r"health\.port: 0 must be"),
        ({"audit": {}}, r"audit: name a file, a syslog server, or both"),
        ({"audit": {"syslog": "host"}}, r"audit\.syslog: 'host' is no address of a server; write HOST:PORT"),
        ({"audit": {"syslog": "host:0"}}, r"audit\.syslog: 'host:0' is no address of a server"),
        ({"quue": "q"}, r"quue: no such key; did you mean queue\?"),
        ({"limits": {"film": 1}}, r"limits\.film: no such key; did you mean films\?"),
        ({"limits": {"films": 0}}, r"limits\.films: 0 must be greater than or equal to 1"),
        ({"limits": {"films": "many"}}, r"limits\.films: 'many' must be a valid integer"),
        ({"limits": {"films": True}}, "must be a valid integer"),
        ({"tls": {"certificat": "c.pem"}}, r"tls\.certificat: no such key; did you mean certificate\?"),
        ({"colour": "red"}, "colour: no such key; there are: queue, pacs"),
        ({"port": "104"}, "port: '104' must be a valid integer"),
        ({"limits": 5}, r"limits: 5 must be a table, \[limits\]"),
        ({"port": 70000}, "port: 70000 must be less than or equal to 65535"),
        ({"pacs": {"ae_title": "PACS", "host": "h", "port": 0}}, "pacs.port: 0 must be greater than or equal to 1"),
        ({"queue": 5}, "queue: 5 must be a valid string"),
        ({"queue": ""}, "queue: must be a path"),
        ({"ae_title": "MUCH TOO LONG A TITLE"}, "no AE title"),
        ({"ae_title": "BACK\\SLASH"}, "no AE title"),
        ({"ae_title": " "}, "no AE title"),
        ({"senders": {"ae_titles": ["é"]}}, "no AE title"),
        ({"senders": {"ae_titles": "XRAY"}}, "must be a valid array"),
        ({"senders": {"addresses": ["xray.example"]}}, "no address and no network"),
        ({"destinations": {"pacs": LEAST["pacs"]}}, r"destinations\.pacs: is there twice"),
        ({"destinations": {"No Name": LEAST["pacs"]}}, "no name of a destination"),
        ({"destinations": {"cloud": {"url": "ftp://h"}}}, r"destinations\.cloud\.url: 'ftp://h' is no URL"),
        (
            {"destinations": {"cloud": {"url": "https://h", "tokn": "t"}}},
            r"cloud\.tokn: no such key; did you mean token",
        ),
        ({"destinations": {"a": {"ae_title": "A", "host": "h"}}}, r"destinations\.a\.port: is missing"),
        ({"destinations": {"cloud": {"url": "http://h", "token": "t"}}}, "a token is sent over https alone"),
        ({"results": {"positive": ["PDF"]}}, "must be 'SR' or 'SC'"),
        ({"not_admitted": "forward"}, "go together"),
        ({"pacs": {**LEAST["pacs"], "forward": True}}, "go together"),
        ({"admit": [{"station": ["A"]}]}, r"admit\.0\.station: no such key; did you mean stations\?"),
        ({"tls": {"ca": "ca.pem"}}, "needs its certificate and key"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    tables = {name: value for name, value in {**LEAST, **change}.items() if value is not None}
    with pytest.raises(SettingsError, match=message):
        settings.build(tables, tmp_path)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read as settings \(No such file"):
        settings.read(tmp_path / "none.toml")
    for content in (b"queue = ", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(SettingsError, match=r"bad\.toml: cannot be read as settings"):
            settings.read(tmp_path / "bad.toml")


def test_a_pacs_in_one_word() -> None:
    assert settings.pacs("ORTHANC@127.0.0.1:4242") == {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": 4242}
    assert settings.pacs("MY PACS@[2001:db8::7]:104") == {"ae_title": "MY PACS", "host": "2001:db8::7", "port": 104}
    for bad in ("127.0.0.1:4242", "PACS@host", "PACS@host:dicom", "@host:1"):
        with pytest.raises(SettingsError, match="AE@HOST:PORT"):
            settings.pacs(bad)
