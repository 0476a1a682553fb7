"""The last catch: an exception that nobody foresaw, raised inside each stage of each loop, costs one film."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import covidnet_lite
from covidnet_lite import classifier as classifiers
from covidnet_lite import cli, exit_codes, files
from covidnet_lite.errors import UnforeseenError
from covidnet_lite.network.interpreter import Interpreter
from covidnet_lite.network.preprocess import Prepared
from covidnet_lite.prediction import Failure, Prediction
from covidnet_lite.unforeseen import unforeseen
from covidnet_lite.watch import folder as watch
from covidnet_lite.watch import result_files


class Surprise(Exception):
    """What no code expects; its words must not get out: they may quote a header."""


SECRET = "DOE JANE"
STAGES = [
    (classifiers.radiographs, "read"),
    (classifiers, "is_blank"),
    (classifiers, "view"),
    (classifiers, "prepare"),
    (Prepared, "values"),
    (Interpreter, "run"),
    (Interpreter, "dequantise"),
    (classifiers, "judge"),
]


@pytest.fixture(scope="module")
def classifier() -> covidnet_lite.Classifier:
    return covidnet_lite.Classifier("base", threads=1)


@pytest.fixture
def surprise(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has a function raise the first time it is called, and work ever after."""

    def arm(owner: Any, name: str, times: int = 1) -> None:
        whole, lock, remaining = getattr(owner, name), threading.Lock(), [times]

        def once(*args: Any, **more: Any) -> Any:
            with lock:
                remaining[0] -= 1
                if remaining[0] >= 0:
                    raise Surprise(SECRET)
            return whole(*args, **more)

        monkeypatch.setattr(owner, name, once)

    return arm


@pytest.fixture
def films(film_png: Path, tmp_path: Path) -> list[Path]:
    """Two films in a folder of their own."""
    folder = tmp_path / "films"
    folder.mkdir()
    return [Path(shutil.copy(film_png, folder / name)) for name in ("a.png", "b.png")]


def stage(case: Any) -> str:
    return getattr(case, "__name__", str(case)).rsplit(".", 1)[-1]


# What is told.


def test_a_reference_is_of_the_place_and_not_of_the_words() -> None:
    def raised(words: str) -> UnforeseenError:
        try:
            raise Surprise(words)
        except Surprise as error:
            return unforeseen("film.png", error)

    first, second = raised("one"), raised("two")
    assert first.reference == second.reference
    assert len(first.reference) == 8
    assert str(first).startswith("film.png: ")
    assert first.reference in str(first)


def test_the_log_has_the_traceback_but_not_the_exceptions_words(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise Surprise(SECRET)
    except Surprise as error:
        report = unforeseen("film.png", error)
    assert report.reference in caplog.text
    assert "Surprise" in caplog.text
    assert "test_unforeseen.py" in caplog.text
    assert SECRET not in caplog.text


# classify, classify_many, and the command.


@pytest.mark.parametrize(("owner", "name"), STAGES, ids=stage)
def test_classify_raises_nothing_but_the_packages_own_errors(
    classifier: covidnet_lite.Classifier, surprise: Any, films: list[Path], owner: Any, name: str
) -> None:
    surprise(owner, name)
    with pytest.raises(UnforeseenError, match="a.png"):
        classifier.classify(films[0])
    assert isinstance(classifier.classify(films[0]), Prediction)


@pytest.mark.parametrize(("owner", "name"), STAGES, ids=stage)
def test_of_many_one_fails_and_the_others_are_classified(
    classifier: covidnet_lite.Classifier, surprise: Any, films: list[Path], owner: Any, name: str
) -> None:
    surprise(owner, name)
    results = list(classifier.classify_many([*films, *films]))
    assert sorted(isinstance(result, Failure) for result in results) == [False, False, False, True]


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Prediction, "heatmap"), (Prediction, "to_dict"), (files, "write_png")],
    ids=stage,
)
def test_the_command_goes_on_with_the_next_film(
    surprise: Any,
    films: list[Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    owner: Any,
    name: str,
    narrowing: Path,
) -> None:
    surprise(owner, name)
    maps = tmp_path / "maps"
    options = ["--model", str(narrowing), "--threads", "1", "--format", "jsonl", "--heatmap", str(maps), "--quiet"]
    assert cli.main(["classify", *map(str, films), *options]) == exit_codes.BAD_FILE
    out, err = capfd.readouterr()
    assert [json.loads(line)["name"] for line in out.splitlines()] == [str(film) for film in films]
    assert list(maps.iterdir()) != []
    assert SECRET not in out + err


def test_dicom_results_that_fail_cost_one_film(
    surprise: Any, film: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("highdicom")
    from covidnet_lite.dicom_out import results as dicom_results

    surprise(dicom_results, "make")
    out = tmp_path / "out"
    assert (
        cli.main(["classify", str(film), str(film), "--model", "nano", "--dicom-out", str(out)]) == exit_codes.BAD_FILE
    )
    assert "reference" in capfd.readouterr().err
    assert list(out.glob("*.sr.dcm")) != []


# watch


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *STAGES,
        (Prediction, "to_dict"),
        (Prediction, "heatmap"),
        (files, "write_png"),
        (watch.ResultFiles, "write"),
        (watch.ResultFiles, "is_answered"),
        (watch.formats, "is_radiograph"),
        (watch.archive, "is_archive"),
        (result_files, "_write"),
    ],
    ids=stage,
)
def test_watch_answers_each_film_and_none_again(
    classifier: covidnet_lite.Classifier, surprise: Any, films: list[Path], owner: Any, name: str
) -> None:
    surprise(owner, name)
    messages: list[object] = []
    for _ in range(2):  # as at the next start
        folder, results = (
            watch.Folder(films[0].parent, settle=0, heatmap=True),
            result_files.ResultFiles(films[0].parent),
        )
        watcher = watch.Watch(folder, results, classifier, messages.append)
        assert watch.run(watcher, messages.append, threading.Event(), 0.01, once=True)
        assert sorted(p.name for p in films[0].parent.glob("*.json")) == ["a.png.json", "b.png.json"]
    assert len([line for line in map(str, messages) if line.startswith(("a.png: ", "b.png: "))]) == 2


def test_watch_outlives_a_look_that_fails(
    classifier: covidnet_lite.Classifier, surprise: Any, films: list[Path]
) -> None:
    surprise(watch.Folder, "candidates")
    messages: list[str] = []
    stop = threading.Event()

    def report(line: object) -> None:
        messages.append(str(line))
        if messages[-1].startswith("b.png: "):
            stop.set()

    watcher = watch.Watch(
        watch.Folder(films[0].parent, settle=0), result_files.ResultFiles(films[0].parent), classifier, report
    )
    assert watch.run(watcher, report, stop, 0.01)
    assert any("reference" in text for text in messages)


def test_watch_outlives_a_delivery_that_fails(classifier: covidnet_lite.Classifier, films: list[Path]) -> None:
    def deliver(path: Path) -> None:
        raise Surprise(SECRET)

    watcher = watch.Watch(
        watch.Folder(films[0].parent, settle=0),
        result_files.ResultFiles(films[0].parent),
        classifier,
        lambda _: None,
        deliver=deliver,
    )
    watcher.scan(0)
    assert len(list(films[0].parent.glob("*.json"))) == 2


# serve


@pytest.fixture
def served(classifier: covidnet_lite.Classifier) -> Callable[[list[Path]], httpx.Response]:
    pytest.importorskip("starlette")
    import anyio

    from covidnet_lite.web.app import create
    from covidnet_lite.web.settings import Settings

    app = create(classifier, Settings())

    def post(paths: list[Path]) -> httpx.Response:
        async def scene() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)  # raises what uvicorn would log
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                parts = [("file", (path.name, path.read_bytes())) for path in paths]
                return await client.post("/v1/classify?evidence=1", files=parts)

        return anyio.run(scene)

    return post


def web_stages() -> Iterator[tuple[Any, str]]:
    yield from STAGES
    yield Prediction, "to_dict"
    pytest.importorskip("starlette")
    from covidnet_lite.metrics import Metrics
    from covidnet_lite.web import api

    yield api, "strengths"
    yield Metrics, "image"


@pytest.mark.parametrize(("owner", "name"), list(web_stages()), ids=stage)
def test_an_upload_keeps_its_other_films(
    served: Callable[[list[Path]], httpx.Response], surprise: Any, films: list[Path], owner: Any, name: str
) -> None:
    surprise(owner, name)
    answer = served(films)
    assert answer.status_code == 200
    statuses = [result["status"] for result in answer.json()["results"]]
    assert statuses[0] == "failed"
    assert statuses[1] in ("answered", "unsure", "refused")
    assert SECRET not in answer.text


def test_a_request_that_fails_as_a_whole_says_under_which_reference(
    served: Callable[[list[Path]], httpx.Response], surprise: Any, films: list[Path]
) -> None:
    from covidnet_lite.web import api

    for owner, name in ((api, "receive_upload"), (api.Api, "work")):
        surprise(owner, name)
        answer = served(films)
        assert answer.status_code == 500
        assert "reference" in answer.json()["error"]
        assert answer.json()["code"] == "unforeseen"
        assert SECRET not in answer.text
        assert served(films).status_code == 200


# node: the worker; tests/node/test_sender.py has the sender.


def node_stages() -> Iterator[tuple[Any, str, int]]:
    """Each stage, and how often it is to raise."""
    pytest.importorskip("pynetdicom")
    from covidnet_lite.node import worker
    from covidnet_lite.node.queue import Queue

    yield from ((*one, 1) for one in STAGES)
    yield worker.dicom_file, "header", 1
    yield worker.radiograph, "open_binary", 1
    yield worker.dicom_results, "make", 1
    yield worker.dicom_results, "encode", 1
    yield worker, "_answer", 1
    yield Queue, "finish", 1


@pytest.mark.parametrize(("owner", "name", "times"), list(node_stages()), ids=stage)
def test_the_node_sets_the_film_aside_and_goes_on(
    classifier: covidnet_lite.Classifier,
    surprise: Any,
    film: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    owner: Any,
    name: str,
    times: int,
) -> None:
    import pydicom

    from covidnet_lite.node import worker
    from covidnet_lite.node.queue import Queue
    from covidnet_lite.node.settings import Limits, Pacs, Settings

    surprise(worker, "read_file_meta_info")  # not even its UID is known when it is quarantined
    settings = Settings(tmp_path / "queue", Pacs("PACS", "127.0.0.1", 1), limits=Limits(free_mb=0))
    queue = Queue(settings.queue, settings.limits, ("pacs",))
    data = pydicom.dcmread(film)
    for uid in ("1.2.1", "1.2.2"):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid
        data.save_as(tmp_path / "film.dcm")
        queue.add(uid, (tmp_path / "film.dcm").read_bytes())
    surprise(owner, name, times)
    stop = threading.Event()
    working = threading.Thread(target=worker.work, args=(queue, classifier, stop, settings))
    with caplog.at_level(logging.WARNING):
        working.start()
        while queue.counts["received"] and working.is_alive():
            threading.Event().wait(0.02)
        stop.set()
        queue.arrived.set()
        working.join()
    queue.close()
    assert queue.counts == {"received": 0, "outgoing": 1, "sent": 0, "failed": 1}
    assert "reference" in next((tmp_path / "queue/failed").glob("*/reason.txt")).read_text()
    assert SECRET not in caplog.text
