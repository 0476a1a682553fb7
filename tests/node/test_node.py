"""The whole node, as a command, between dcmtk's storescu and a real Orthanc."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sites import NETWORK, site

from benchmarks import modality
from benchmarks.node import ROOT, NodeProcess, trial
from benchmarks.orthanc import DICOMWEB, Orthanc, free_port, missing
from covidnet_lite.node.settings import Tls
from covidnet_lite.site import site as sites

real_clients = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def command(*options: object) -> list[str]:
    return [sys.executable, "-m", "covidnet_lite", "node", *map(str, options)]


def run(*options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*options), capture_output=True, text=True, timeout=60, cwd=ROOT)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts one whose PACS is at a port."""
    made: list[NodeProcess] = []

    def start(pacs_port: int, **options: Any) -> NodeProcess:
        made.append(NodeProcess(tmp_path / "node", pacs_port, **options))
        made[-1].start()
        return made[-1]

    (tmp_path / "node").mkdir()
    yield start
    for one in made:
        one.kill()


def soon(what: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@real_clients
def test_killed_in_mid_stream_again_and_again_nothing_is_lost_and_nothing_is_there_twice(
    film: Path, tmp_path: Path, answering: Path
) -> None:
    outcome = trial(film, tmp_path, 24, model=answering)
    assert outcome.results == 2 * 24  # a report and a picture of each
    assert len(outcome.kills) == 4
    assert all(0 < acknowledged < 24 for acknowledged in outcome.kills[:3])
    assert outcome.lost == []
    assert outcome.surplus == []
    assert outcome.repeated <= len(outcome.kills)  # what was under way, under the same UID
    assert outcome.idle_exit == 0


@pytest.mark.slow
@real_clients
def test_while_the_pacs_is_away_films_are_taken_and_it_gets_them_later(
    film: Path, tmp_path: Path, node: Any, answering: Path
) -> None:
    films = modality.copies_of(film, tmp_path / "films", 3)
    pacs = Orthanc(tmp_path / "pacs")
    running = node(pacs.port, model=answering)
    assert len(modality.send(list(films), running.port)) == 3
    assert soon(lambda: "cannot be reached" in running.log.read_text())
    with pacs:
        assert soon(lambda: running.waiting == 0)
        held = pacs.results()
        assert running.terminate() == 0
    assert held == sorted((kind, uid) for kind in ("SR", "SC") for uid in films.values())
    log = running.log.read_text()
    assert all(len(re.findall(rf" {re.escape(uid)} from XRAY: ", log)) == 1 for uid in films.values())
    assert "Traceback" not in log
    assert "XNNPACK" not in log  # the runtime's own chatter


@pytest.mark.slow
@real_clients
@pytest.mark.skipif(not DICOMWEB.exists(), reason="needs Debian's orthanc-dicomweb")
def test_a_dicomweb_service_that_is_away_holds_up_no_pacs_and_gets_everything_later(
    film: Path, tmp_path: Path, node: Any, answering: Path
) -> None:
    films = modality.copies_of(film, tmp_path / "films", 3)
    cloud = Orthanc(tmp_path / "cloud", Plugins=[str(DICOMWEB)])
    wanted = sorted((kind, uid) for kind in ("SR", "SC") for uid in films.values())
    with Orthanc(tmp_path / "pacs") as pacs:
        settings = (
            f'[destinations.cloud]\nurl = "{cloud.dicomweb}"\nresults = {{ positive = ["SR"], negative = ["SR"] }}'
        )
        running = node(pacs.port, settings=settings, model=answering)
        assert len(modality.send(list(films), running.port)) == 3
        assert soon(lambda: running.waiting_for("pacs") == 0)
        assert pacs.results() == wanted
        assert running.waiting_for("cloud") == 3
        with cloud:
            assert soon(lambda: running.waiting == 0, 60)
            assert cloud.results() == [result for result in wanted if result[0] == "SR"]
        assert running.terminate() == 0
    log = running.log.read_text()
    assert f"DICOMweb {cloud.dicomweb} is back" in log
    assert "Traceback" not in log


@real_clients
def test_with_tls_on_both_sides(
    film: Path, tmp_path: Path, node: Any, certificates: dict[str, Tls], answering: Path
) -> None:
    server, client = certificates["server"], certificates["client"]
    (path,) = modality.copies_of(film, tmp_path / "films", 1)
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(server.certificate),
        "DicomTlsPrivateKey": str(server.key),
        "DicomTlsTrustedCertificates": str(server.ca),
    }
    with Orthanc(tmp_path / "pacs", **options) as pacs:
        settings = f"""
            [tls]
            certificate = "{server.certificate}"
            key = "{server.key}"
            ca = "{server.ca}"
            [pacs.tls]
            certificate = "{client.certificate}"
            key = "{client.key}"
            ca = "{client.ca}"
        """
        running = node(pacs.port, settings=settings, model=answering)
        assert modality.send([path], running.port) == []  # without TLS
        tls = ("+tls", str(client.key), str(client.certificate), "+cf", str(client.ca))
        assert modality.send([path], running.port, options=tls) == [path]
        assert soon(lambda: running.waiting == 0)
        assert [kind for kind, _ in pacs.results()] == ["SC", "SR"]


@real_clients
def test_no_patient_is_named_in_the_log(tmp_path: Path, node: Any, as_bytes: Callable[..., bytes]) -> None:
    with pytest.warns(UserWarning, match="Invalid value|exceeds"):
        odd = as_bytes(
            PatientName="Secret^Jane", PatientID="SECRET-1" * 12, PatientBirthDate="SECRET", StudyTime="SECRET"
        )
    path = tmp_path / "odd.dcm"
    path.write_bytes(odd)
    running = node(free_port())
    assert modality.send([path], running.port) == [path]
    assert soon(lambda: "cannot be reached" in running.log.read_text())
    log = running.log.read_text()
    assert "secret" not in log.lower()
    assert "Warning" not in log  # pydicom's may quote a value


def test_sigterm_ends_it_cleanly_with_a_client_in_the_line(node: Any) -> None:
    running = node(free_port())
    with socket.create_connection(("127.0.0.1", running.port)):
        start = time.monotonic()
        assert running.terminate() == 0
        assert time.monotonic() - start < 10
    assert "stopped; 0 radiographs to classify and 0 to send wait" in running.log.read_text()
    assert "Traceback" not in running.log.read_text()


def test_the_log_may_be_json(tmp_path: Path) -> None:
    options = ("--pacs", "PACS@127.0.0.1:1", "--queue", tmp_path / "q", "--port", 0, "--log-format", "json")
    process = subprocess.Popen(command(*options), stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr
    first = json.loads(process.stderr.readline())
    process.terminate()
    records = [first, *map(json.loads, process.communicate(timeout=60)[1].splitlines())]
    assert [(one["level"], one["code"]) for one in records] == [("info", "started"), ("info", "stopped")]
    assert first["fields"]["port"] > 0
    assert f"port {first['fields']['port']}" in first["message"]


@real_clients
def test_sighup_reloads_the_settings_and_ends_nothing(tmp_path: Path, node: Any, small_film: Path) -> None:
    running = node(free_port(), settings='[senders]\nae_titles = ["OTHER"]')
    assert modality.send([small_film], running.port) == []
    file = tmp_path / "node/node.toml"
    file.write_text(file.read_text().replace("OTHER", "XRAY"))
    os.kill(running.pid, signal.SIGHUP)
    assert soon(lambda: "reloaded: COVIDNET on" in running.log.read_text())
    assert modality.send([small_film], running.port) == [small_film]
    file.write_text('ae_titel = "X"')
    os.kill(running.pid, signal.SIGHUP)
    assert soon(lambda: "the settings are not reloaded, the old ones hold: " in running.log.read_text())
    assert running.terminate() == 0


def test_an_interrupt_ends_it_cleanly_too(node: Any) -> None:
    running = node(free_port())
    running._process.send_signal(signal.SIGINT)
    assert running._process.wait(30) == 0


def test_check_fails_where_a_destination_does_not_answer(tmp_path: Path) -> None:
    done = run("--pacs", "ORTHANC@127.0.0.1:1", "--queue", tmp_path / "q", "--port", 0, "--check")
    assert done.returncode == 2
    assert re.match(r"can run: COVIDNET on 127\.0\.0\.1 port \d+, results to ORTHANC@127\.0\.0\.1:1", done.stdout)
    assert "error: pacs (ORTHANC@127.0.0.1:1) cannot be reached" in done.stderr


def test_a_node_answers_by_the_site_that_it_is_given(tmp_path: Path) -> None:
    here = sites.write(tmp_path / "site.json", site())
    (tmp_path / "node.toml").write_text('[network]\nmodel = "nano"\n')
    options = ("--settings", tmp_path / "node.toml", "--pacs", "A@127.0.0.1:2", "--queue", tmp_path / "q", "--port", 0)
    done = run(*options, "--site", here, "--check")
    assert f"network {NETWORK} at site {site()}" in done.stdout
    (tmp_path / "node.toml").write_text('[network]\nsite = "site.json"\n')  # and base, for which it was not fitted
    done = run(*options, "--check")
    assert done.returncode == 2
    assert f"was fitted for {NETWORK}" in done.stderr


@real_clients
def test_check_asks_the_pacs(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "pacs") as pacs:
        done = run("--pacs", f"ORTHANC@127.0.0.1:{pacs.port}", "--queue", tmp_path / "q", "--port", 0, "--check")
        held = pacs.results()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("can run: ")
    assert done.stdout.endswith("destinations that answer: pacs\n")
    assert held == []


def test_options_go_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("""
        queue = "here"
        ae_title = "FILE"
        port = 1
        [pacs]
        ae_title = "OLD"
        host = "192.0.2.1"
        port = 2
    """)
    done = run("--settings", file, "--port", 0, "--ae-title", "OPTION", "--pacs", "NEW@127.0.0.1:3", "--check")
    assert "OPTION on 127.0.0.1" in done.stdout, done.stderr
    assert "results to NEW@127.0.0.1:3" in done.stdout
    assert (tmp_path / "here/received").is_dir()  # beside the file, wherever it is started


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "queue: is missing"),
        (["--queue", "QUEUE"], "pacs: is missing"),
        (["--pacs", "PACS@127.0.0.1:4242"], "queue: is missing"),
        (["--pacs", "PACS", "--queue", "QUEUE"], "AE@HOST:PORT"),
        (["--pacs", "P@127.0.0.1:1", "--queue", "FILE/q"], "file/q: cannot be changed (Not a directory)"),
        (["--pacs", "P@127.0.0.1:1", "--queue", "QUEUE", "--host", "192.0.2.1"], "cannot be listened on"),
        (["--pacs", "P@127.0.0.1:1", "--queue", "QUEUE", "--port", "x"], "invalid int"),
        (["--settings", "none.toml"], "none.toml: cannot be read as settings"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    places = {"QUEUE": str(tmp_path / "q"), "FILE/q": str(tmp_path / "file/q")}
    done = run(*(places.get(option, option) for option in options))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_error_in_a_part_of_it_ends_the_whole(
    settings: Any, monkeypatch: pytest.MonkeyPatch, as_bytes: Callable[..., bytes]
) -> None:
    import threading

    from covidnet_lite.errors import BackendError
    from covidnet_lite.node import worker
    from covidnet_lite.node.service import Node

    def broken(*_: Any) -> None:
        raise BackendError("the network cannot run")  # no fault of the film

    monkeypatch.setattr(worker, "_process", broken)
    node = Node(settings)
    node._queue.add("1.2.3", as_bytes("1.2.3"))
    stop = threading.Event()
    with pytest.raises(BackendError):
        node.run(stop, threading.Event(), lambda: settings)
    assert stop.is_set()


def test_the_user_of_the_service_is_made_and_can_read_its_settings(tmp_path: Path) -> None:
    if not (shutil.which("systemd-sysusers") and shutil.which("systemd-tmpfiles")) or os.geteuid() != 0:
        pytest.skip("needs systemd-sysusers, systemd-tmpfiles and root")
    (tmp_path / "etc").mkdir()
    for program, name, more in (("sysusers", "sysusers", []), ("tmpfiles", "tmpfiles", ["--create"])):
        file = ROOT / f"examples/node/covidnet-lite-node.{name}"
        done = subprocess.run([f"systemd-{program}", f"--root={tmp_path}", *more, file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    (user,) = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("covidnet-lite:")]
    assert user.endswith("nologin")
    folder = (tmp_path / "etc/covidnet-lite").stat()
    assert (folder.st_uid, folder.st_gid, folder.st_mode & 0o777) == (0, int(user.split(":")[3]), 0o750)
