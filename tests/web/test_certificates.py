"""The recipe for certificates in docs/container.md, with the programs that take them."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from covidnet_lite.cli import build_parser
from covidnet_lite.errors import SettingsError
from covidnet_lite.node import tls
from covidnet_lite.node.settings import Tls
from covidnet_lite.web.command import settings_of

from .conftest import ROOT, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the recipe makes, for this machine's address."""
    recipe = re.search(r"^```sh\n(.*?)^```", (ROOT / "docs/container.md").read_text(), re.M | re.S)
    assert recipe
    folder = tmp_path_factory.mktemp("certificates")
    text = recipe[1].replace("192.0.2.9", "127.0.0.1")
    subprocess.run(["sh", "-eu", "-c", text], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


def files(folder: Path, name: str) -> Tls:
    return Tls(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Both sides in memory; raises what either objects to."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass


def test_only_its_owner_can_read_a_key(folder: Path) -> None:
    assert {path.stat().st_mode & 0o077 for path in folder.glob("*.key")} == {0}


def test_node_and_modality_know_each_other_by_them(folder: Path) -> None:
    shake_hands(tls.receiving(files(folder, "node")), tls.sending(files(folder, "xray")), "node.example")


def test_the_node_lets_in_nobody_without_one(folder: Path) -> None:
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(tls.receiving(files(folder, "node")), tls.sending(Tls(ca=folder / "ca.pem")), "node.example")


def test_serve_answers_only_clients_with_one(folder: Path) -> None:
    options = ("--certificate", folder / "serve.pem", "--key", folder / "serve.key", "--client-ca", folder / "ca.pem")
    with serving(*options) as server:
        known = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        stranger = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        known.load_cert_chain(folder / "xray.pem", folder / "xray.key")
        assert httpx.get(f"{server.url}/healthz", verify=known).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/healthz", verify=stranger)


def test_a_ca_that_cannot_be_used_is_named(folder: Path) -> None:
    key = str(folder / "serve.key")
    pair = ["--certificate", str(folder / "serve.pem"), "--key", key]
    with pytest.raises(SettingsError, match=r"serve\.key: is not the certificate of a CA"):
        settings_of(build_parser().parse_args(["serve", *pair, "--client-ca", key]))
    with pytest.raises(SettingsError, match="--client-ca needs TLS"):
        settings_of(build_parser().parse_args(["serve", "--client-ca", str(folder / "ca.pem")]))
