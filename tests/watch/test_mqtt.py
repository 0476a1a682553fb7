"""Against a real broker: Debian's mosquitto, started here on a free port of this machine."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sized
from pathlib import Path

import pytest
from watchers import until, watching

import covidnet_lite
from benchmarks.orthanc import free_port
from covidnet_lite import files
from covidnet_lite.codes import Code
from covidnet_lite.errors import AddressError, OutputError
from covidnet_lite.watch import mqtt
from covidnet_lite.watch.mqtt import Broker, Publisher, parse_broker, payload
from covidnet_lite.watch.result_files import ResultFiles, Stamp

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Mosquitto:
    """A broker that can be stopped and started again; it keeps what a subscriber who is away is owed."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port, self._folder, self._config = free_port(), folder, folder / "mosquitto.conf"
        folder.mkdir(exist_ok=True)
        lines = lines or ("allow_anonymous true",)
        common = ("persistence true", f"persistence_location {folder}/", "autosave_interval 0", "user root")
        self._config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *common, *lines, ""]))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([MOSQUITTO, "-c", self._config], stdout=subprocess.DEVNULL)
        until(self._listens, 20)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def send(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def save(self) -> None:
        """Has it remember its subscribers; else it does so when it ends, and not when it is killed."""
        self.send(signal.SIGUSR1)
        until((self._folder / "mosquitto.db").exists)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process:
            self.send(number)
            self.process.wait(20)
            self.process = None


class Subscriber:
    """Takes down all that is published, over broken connections; asks for each message once at least."""

    def __init__(self, port: int, name: str = "test") -> None:
        import paho.mqtt.client as paho

        self.got: list[tuple[str, str]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _, __, m: self.got.append((m.topic, m.payload.decode()))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(20)

    def results(self) -> list[dict[str, object]]:
        return [json.loads(text) for topic, text in self.got if topic.endswith("/result")]

    def names(self) -> list[object]:
        return [result["name"] for result in self.results()]

    def status(self) -> str | None:
        output = [text for topic, text in self.got if topic.endswith("/status")]
        return output[-1] if output else None

    def is_idle(self) -> bool:
        """Whether nothing that was sent to it waits to be read."""
        return not select.select([self._client.socket()], [], [], 0)[0]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    if not Path(MOSQUITTO).is_file():
        pytest.skip("needs Debian's mosquitto")
    server = Mosquitto(tmp_path / "broker")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def subscriber(mosquitto: Mosquitto) -> Iterator[Subscriber]:
    listener = Subscriber(mosquitto.port)
    yield listener
    listener.close()


@pytest.fixture
def inbox(tmp_path: Path, film_image: object) -> Callable[..., Path]:
    """Puts so many films into a folder."""
    folder = tmp_path / "inbox"
    folder.mkdir()

    def put(*names: str) -> Path:
        for name in names:
            film_image.resize((300, 300)).save(folder / name)  # type: ignore[attr-defined]
        return folder

    return put


def stored_results(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def test_each_result_is_published_once_and_marked(
    mosquitto: Mosquitto, subscriber: Subscriber, inbox: Callable[..., Path]
) -> None:
    folder, names = inbox("a.png", "b.png"), ["a.png", "b.png"]
    options = (folder, "--once", "--settle", "0.1", "--mqtt", f"127.0.0.1:{mosquitto.port}", "--topic", "ward/7")
    for _ in range(2):  # the second start finds all delivered
        with watching(*options) as process:
            _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    until(lambda: subscriber.status() == "offline")
    assert sorted(map(str, subscriber.names())) == names
    assert {topic for topic, _ in subscriber.got} == {"ward/7/result", "ward/7/status"}
    (first, *_) = subscriber.results()
    assert first["note"] == "Research use only; not a medical device."
    assert not {"file", "network", "delivered"} & set(first)
    assert [result["delivered"] for result in stored_results(folder)] == [True, True]


def test_a_broker_that_goes_away_and_comes_back_gets_all(
    mosquitto: Mosquitto, subscriber: Subscriber, inbox: Callable[..., Path]
) -> None:
    folder = inbox("a.png")
    with watching(folder, "--settle", "0.1", "--mqtt", f"127.0.0.1:{mosquitto.port}") as process:
        until(lambda: "a.png" in subscriber.names())
        mosquitto.stop()
        inbox("b.png", "c.png")
        until(lambda: len(stored_results(folder)) == 3)
        assert [result["delivered"] for result in stored_results(folder)] == [True, False, False]
        mosquitto.start()
        until(lambda: len(subscriber.names()) >= 3)
        until(lambda: all(result["delivered"] for result in stored_results(folder)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert {"a.png", "b.png", "c.png"} == set(subscriber.names())
    until(lambda: subscriber.status() == "offline")


def test_killed_in_the_middle_the_next_start_delivers_the_rest(
    mosquitto: Mosquitto, subscriber: Subscriber, inbox: Callable[..., Path]
) -> None:
    names = [f"{number:02}.png" for number in range(20)]
    folder = inbox(*names)
    options = (folder, "--settle", "0.1", "--mqtt", f"127.0.0.1:{mosquitto.port}")
    with watching(*options) as process:
        until(lambda: len(subscriber.names()) >= 3)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    until(lambda: subscriber.status() == "offline")  # the last will: nobody has said goodbye
    with watching(*options, "--once") as process:
        process.communicate(timeout=120)
    until(lambda: set(names) <= set(map(str, subscriber.names())))
    assert len(subscriber.names()) <= len(names) + 1  # the one that was confirmed and not yet marked


@pytest.mark.slow
def test_through_kills_of_the_broker_and_of_the_watcher_all_arrive_and_at_most_one_a_kill_twice(
    mosquitto: Mosquitto, subscriber: Subscriber, inbox: Callable[..., Path]
) -> None:
    folder, names, chance, enough = inbox(), [], random.Random(0), threading.Event()

    def arrive() -> None:
        while not enough.wait(0.05):
            name = f"{len(names):03}.png"
            os.rename(inbox(f".{name}") / f".{name}", folder / name)  # whole at once
            names.append(name)

    def more(things: Callable[[], Sized]) -> None:
        there = len(things())
        until(lambda: len(things()) >= there + 3)
        time.sleep(chance.uniform(0, 0.2))

    def kill_the_broker() -> None:
        """Halted first, so that a message is on its way, and what was confirmed is read: a dead broker owes nothing."""
        mosquitto.send(signal.SIGSTOP)
        more(lambda: stored_results(folder))
        until(subscriber.is_idle)
        mosquitto.stop(signal.SIGKILL)

    mosquitto.save()  # it knows its subscriber after each kill, and keeps for it what comes before it is back
    arriving = threading.Thread(target=arrive)
    arriving.start()
    try:
        options = (folder, "--settle", "0.1", "--mqtt", f"127.0.0.1:{mosquitto.port}")
        for _ in range(3):
            with watching(*options) as process:
                more(subscriber.names)
                kill_the_broker()
                more(lambda: stored_results(folder))
                mosquitto.start()
                more(subscriber.names)
                process.send_signal(signal.SIGKILL)
                process.wait(30)
    finally:
        enough.set()
        arriving.join()
    with watching(*options, "--once") as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert [result["delivered"] for result in stored_results(folder)] == [True] * len(names)
    until(lambda: set(names) <= set(map(str, subscriber.names())))
    assert len(subscriber.names()) <= len(names) + 6  # kills


def test_a_broker_that_is_back_is_found_again_with_nothing_to_tell(
    mosquitto: Mosquitto, subscriber: Subscriber, tmp_path: Path
) -> None:
    messages: list[str] = []
    publisher = Publisher(Broker("127.0.0.1", mosquitto.port), ResultFiles(tmp_path), messages.append)
    publisher.start()
    until(lambda: subscriber.status() == "online")
    mosquitto.stop()
    until(lambda: len(messages) == 2, 10)  # it notices by itself
    mosquitto.start()
    until(lambda: len(messages) == 3, 10)
    late = Subscriber(mosquitto.port, "late")
    until(lambda: late.status() == "online")  # retained
    assert publisher.close(5) == 0
    until(lambda: late.status() == "offline")
    late.close()
    assert [text.split()[0] for text in messages] == ["connected", f"127.0.0.1:{mosquitto.port}:", "connected"]


def test_a_broker_that_dies_in_the_middle_of_a_message_is_missed_at_once_and_gets_it_when_it_is_back(
    mosquitto: Mosquitto, subscriber: Subscriber, tmp_path: Path
) -> None:
    results, messages = ResultFiles(tmp_path), []
    publisher = Publisher(Broker("127.0.0.1", mosquitto.port), results, messages.append)
    publisher.start()
    until(lambda: subscriber.status() == "online")
    mosquitto.save()
    mosquitto.send(signal.SIGSTOP)
    results.write("a.png", {}, Stamp(1, 1), "x", deliver=True)
    publisher.deliver(results.path("a.png"))
    time.sleep(0.5)  # on its way, and not confirmed
    assert len(messages) == 1
    mosquitto.stop(signal.SIGKILL)
    until(lambda: len(messages) == 2, 2)
    assert "not reached" in messages[1]
    mosquitto.start()
    until(lambda: subscriber.names() == ["a.png"])
    assert publisher.close(5) == 0
    assert results.undelivered() == []


def test_what_cannot_be_marked_holds_the_next_back_and_is_not_sent_twice(
    mosquitto: Mosquitto, subscriber: Subscriber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, messages, full = ResultFiles(tmp_path), [], threading.Event()
    for name in ("a.png", "b.png"):
        results.write(name, {}, Stamp(1, 1), "x", deliver=True)
    full.set()
    write = files.write

    def writes(path: Path, data: bytes) -> Path:
        if full.is_set():
            raise OutputError("the disk is full")
        return write(path, data)

    monkeypatch.setattr(files, "write", writes)
    publisher = Publisher(Broker("127.0.0.1", mosquitto.port), results, messages.append)
    publisher.start()
    until(lambda: any("the disk is full" in text for text in messages))
    until(lambda: bool(subscriber.names()))  # the broker takes its time
    assert subscriber.names() == ["a.png"]
    full.clear()
    until(lambda: len(subscriber.names()) > 1)
    assert publisher.close(5) == 0
    assert subscriber.names() == ["a.png", "b.png"]
    assert results.undelivered() == []


def test_without_a_broker_results_wait_and_it_is_said(tmp_path: Path) -> None:
    results, messages = ResultFiles(tmp_path), []
    results.write("a.png", {}, Stamp(1, 1), "x", deliver=True)
    publisher = Publisher(Broker("127.0.0.1", free_port()), results, messages.append)
    publisher.start()
    results.write("b.png", {}, Stamp(1, 1), "x", deliver=True)
    publisher.deliver(results.path("b.png"))
    assert publisher.close(1.0) == 2
    assert len(messages) == 1
    assert "not reached" in messages[0]
    assert results.undelivered() == [results.path("a.png"), results.path("b.png")]


def test_a_result_that_was_taken_away_is_not_waited_for(mosquitto: Mosquitto, tmp_path: Path) -> None:
    publisher = Publisher(Broker("127.0.0.1", mosquitto.port), ResultFiles(tmp_path), print)
    publisher.start()
    (tmp_path / "other.json").write_text("{")
    for name in ("gone.json", "other.json"):
        publisher.deliver(tmp_path / name)
    assert publisher.close(10) == 0


def test_what_a_day_was_like_is_told_and_kept_by_the_broker(mosquitto: Mosquitto, tmp_path: Path) -> None:
    publisher = Publisher(Broker("127.0.0.1", mosquitto.port), ResultFiles(tmp_path), print)
    for films in (3, 4):  # before it is connected: the last is told
        publisher.publish_drift({"day": "2026-11-30", "films": films, "drift": False, "changes": []})
    publisher.start()
    assert publisher.close(20) == 0
    late = Subscriber(mosquitto.port, "late")
    until(lambda: [topic for topic, _ in late.got if topic.endswith("/drift")])
    late.close()
    (fields,) = [json.loads(text) for topic, text in late.got if topic == "covidnet-lite/drift"]
    assert fields == {"day": "2026-11-30", "films": 4, "drift": False, "changes": []}


def test_user_and_password_come_from_the_environment(tmp_path: Path, inbox: Callable[..., Path]) -> None:
    if not Path(MOSQUITTO).is_file():
        pytest.skip("needs Debian's mosquitto")
    (tmp_path / "passwords").write_text("pi:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", tmp_path / "passwords"], check=True)
    server = Mosquitto(tmp_path / "broker", "allow_anonymous false", f"password_file {tmp_path}/passwords")
    server.start()
    try:
        folder = inbox("a.png")
        options = (folder, "--settle", "0.1", "--once", "--mqtt", f"127.0.0.1:{server.port}")
        with watching(*options, environment={mqtt.USER: "pi", mqtt.PASSWORD: "secret"}) as process:
            _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert stored_results(folder)[0]["delivered"] is True
        assert "secret" not in err
    finally:
        server.stop()


def test_tls_trusts_the_named_certificate_and_no_other(tmp_path: Path, inbox: Callable[..., Path]) -> None:
    if not Path(MOSQUITTO).is_file() or not shutil.which("openssl"):
        pytest.skip("needs Debian's mosquitto and openssl")
    for name in ("right", "wrong"):
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                f"{tmp_path}/{name}.key",
                "-out",
                f"{tmp_path}/{name}.pem",
            ],
            check=True,
            capture_output=True,
        )
    lines = ("allow_anonymous true", f"certfile {tmp_path}/right.pem", f"keyfile {tmp_path}/right.key")
    server = Mosquitto(tmp_path / "broker", *lines)
    server.start()
    try:
        results = ResultFiles(inbox())
        results.write("a.png", {}, Stamp(1, 1), "x", deliver=True)
        for name, delivered in (("wrong", False), ("right", True)):
            messages: list[str] = []
            publisher = Publisher(
                parse_broker(f"127.0.0.1:{server.port}", ca=tmp_path / f"{name}.pem"), results, messages.append
            )
            publisher.start()
            assert publisher.close(2.0 if not delivered else 10.0) == (0 if delivered else 1)
            assert (results.undelivered() == []) is delivered
            assert any("not reached" in text for text in messages) is not delivered
    finally:
        server.stop()


def test_what_is_published_holds_no_path_and_no_state() -> None:
    fields = json.loads(payload(b'{"name": "a.png", "file": {"size": 1}, "network": "x", "delivered": false}'))
    assert fields == {"name": "a.png"}
    assert json.loads(payload(b'{"site": {"name": "St. Elsewhere"}, "file": {}}')) == {
        "site": {"name": "St. Elsewhere"}
    }
    assert payload(b"{") == payload(b"[]") == b""


def test_what_is_published_quotes_nothing_of_a_dicom_header(film: Path, tmp_path: Path) -> None:
    """Whoever fills in a header may write a name into any field."""
    import pydicom

    header, results, classifier = pydicom.dcmread(film), ResultFiles(tmp_path), covidnet_lite.Classifier("nano")
    header.ViewPosition = "PA"
    for number, part in enumerate(("CHEST DOE JANE", "FOOT DOE JANE")):
        header.BodyPartExamined, path = part, tmp_path / f"{number}.dcm"
        header.save_as(path)
        results.write(path.name, classifier.classify(path).to_dict(), Stamp(1, 1), "x", deliver=True)
        data = results.path(path.name).read_bytes()
        assert number or b"DOE JANE" in data  # an objection names the part alone
        assert b"DOE" not in payload(data)
    assert json.loads(payload(data))["reason"] == Code.OTHER_BODY_PART.public


@pytest.mark.parametrize(
    ("address", "options", "host_and_port"),
    [
        ("pi", {}, ("pi", 1883)),
        ("pi:9", {}, ("pi", 9)),
        ("pi", {"tls": True}, ("pi", 8883)),
        ("[::1]:7", {}, ("::1", 7)),
        ("::1", {}, ("::1", 1883)),
        ("[::1]", {"tls": True}, ("::1", 8883)),
    ],
)
def test_an_address(address: str, options: dict[str, bool], host_and_port: tuple[str, int]) -> None:
    broker = parse_broker(address, **options)  # type: ignore[arg-type]
    assert (broker.host, broker.port) == host_and_port


@pytest.mark.parametrize(
    "address", ["", ":1", "pi:", "pi:0", "pi:65536", "pi:http", "a..b", "a" * 64, f"pi:{'9' * 5000}"]
)
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(AddressError, match="HOST"):
        parse_broker(address)


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "a\nb", "a\udcff", "$SYS/x", "/a", "a" * 1001])
def test_what_is_no_topic_is_told(topic: str) -> None:
    with pytest.raises(AddressError, match="topic"):
        parse_broker("pi", topic)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Broker("pi", password="secret"))


def test_the_numbers_of_an_abstention_are_not_published() -> None:
    messages = {"name": "a.png", "labels": [], "code": "unsure", "reason": Code.UNSURE.public}
    numbers = {"probabilities": {"covid": 0.8}, "extent": 0.3, "extent_error": 0.1, "place": {"main": "left lung"}}
    for status, published in (("unsure", messages), ("narrowed", messages | numbers)):
        assert json.loads(payload(json.dumps({**messages, **numbers, "status": status}).encode())) == {
            **published,
            "status": status,
        }


@pytest.mark.parametrize("code", ["damaged", "no code of ours", None, 1])
def test_reason_and_notes_are_published_in_the_words_of_their_codes_alone(code: object) -> None:
    content = {"code": code, "reason": "DOE JANE", "notes": ["DOE JANE"], "note_codes": ["polarity", "DOE JANE"]}
    fields = json.loads(payload(json.dumps({"name": "a.png", "status": "failed", "DOE": "JANE", **content}).encode()))
    assert fields["reason"] == (Code.DAMAGED.public if code == "damaged" else Code.FAILED.public)
    assert fields["notes"] == [Code.POLARITY.public]
    assert "DOE" not in fields
