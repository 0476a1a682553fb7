from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from sites import site

import covidnet_lite
from covidnet_lite.codes import Code
from covidnet_lite.network import model
from covidnet_lite.site import site as sites

from .conftest import Server, serving


def test_an_image_gets_the_answer_that_classify_gives(server: Server, film: Path) -> None:
    expected = covidnet_lite.classify(film, model="nano").to_dict()
    (result,) = server.classify(film).json()["results"]
    assert result["name"] == film.name
    for key in ("status", "label", "probabilities", "sha256", "note", "view"):
        assert result[key] == expected[key], key
    assert "evidence" not in result


def test_several_files_are_answered_in_order_and_a_bad_one_costs_only_itself(
    server: Server, film_png: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    answer = server.classify(film_png, bad, film_png)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [r["name"] for r in results] == ["film.png", "bad.png", "film.png"]
    assert [r["status"] == "failed" for r in results] == [False, True, False]


def test_evidence_comes_when_it_is_asked_for(server: Server, film: Path) -> None:
    (result,) = server.classify(film, params={"evidence": "1"}).json()["results"]
    grid = np.array(result["evidence"]["covid"]["strength"])
    assert grid.shape == (12, 12)
    assert (grid >= 0).all()
    assert (grid <= 1).all()


def test_an_image_is_uploaded_once_and_then_asked_for_by_its_hash(server: Server, film: Path) -> None:
    (result,) = server.classify(film, params={"recall": "1"}).json()["results"]
    posted = server.client.post("/v1/picture", files={"file": (film.name, film.read_bytes())})
    again = server.client.get(f"/v1/picture/{result['image']}")
    assert again.content == posted.content
    assert again.headers["X-Original-Width"] == posted.headers["X-Original-Width"]
    small = server.client.get(f"/v1/picture/{result['image']}", params={"side": "64"}).content
    assert small.startswith(b"P5\n60 64\n")
    for side in ("0", "x", "99999"):
        assert server.client.get(f"/v1/picture/{result['image']}", params={"side": side}).status_code == 400
    assert server.client.get(f"/v1/picture/{'0' * 64}").status_code == 404
    fields = {"image": result["image"], "verdict": "disagree" if result["label"] else "", "label": "", "reviewer": "A"}
    review = server.client.post("/v1/reviews", data=fields, files={"none": ("", b"")})
    assert review.status_code == 201, review.text
    assert (review.json()["name"], review.json()["reviewer"]) == (film.name, "A")
    results = server.client.get("/v1/reviews", params={"image": result["image"]}).json()["reviews"]
    assert [r["reviewer"] for r in results] == ["A"]
    assert server.client.get("/v1/reviews", params={"image": "0" * 64}).json()["reviews"] == []


def test_an_image_is_not_kept_in_memory_unless_asked(server: Server, film_png: Path) -> None:
    (result,) = server.classify(film_png).json()["results"]
    assert server.client.get(f"/v1/picture/{result['image']}").status_code == 404


def test_the_model_card_is_served(server: Server) -> None:
    answer = server.client.get("/model-card")
    assert answer.headers["content-type"].startswith("text/html")
    assert 'id="abstention"' in answer.text
    assert "<table" in answer.text
    assert "<!--" not in answer.text


def test_a_picture_for_the_screen_has_the_pixels_of_the_reader(server: Server, film: Path) -> None:
    answer = server.client.post("/v1/picture", files={"file": (film.name, film.read_bytes())}, params={"full": "1"})
    head, _, pixels = answer.content.partition(b"255\n")
    assert head == b"P5\n1841 1955\n"
    overlay_pixels = np.frombuffer(pixels, np.uint8).reshape(1955, 1841)
    from covidnet_lite import radiograph

    np.testing.assert_array_equal(overlay_pixels, np.asarray(radiograph.read(film).image))


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"content": b"x"}, 415, "multipart"),
        ({"files": {"other": ("a.png", b"x")}}, 400, "name its part: file"),
        ({"files": [("file", (f"{i}.png", b"x")) for i in range(17)]}, 400, "Too many files"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "file"),
        ({"files": {"file": ("a.png", b"\0" * (33 << 20))}}, 413, "MB"),
    ],
)
def test_what_cannot_be_taken_is_told(server: Server, request_: dict[str, object], code: int, words: str) -> None:
    answer = server.client.post("/v1/classify", **request_)  # type: ignore[arg-type]
    assert answer.status_code == code, answer.text
    assert words in answer.json()["error"]


def test_a_name_from_the_client_is_text_and_never_a_path(server: Server, film_png: Path) -> None:
    files = {"file": ("../../etc/passwd\x07", film_png.read_bytes())}
    (result,) = server.client.post("/v1/classify", files=files).json()["results"]
    assert "/" not in result["name"]


def test_fifty_uploads_at_once_are_all_answered_within_its_memory(server: Server, film_image: Image.Image) -> None:
    film_image.resize((2048, 2048)).save(path := Path("/tmp") / f"covidnet-lite-{time.time_ns()}.jpg", quality=90)
    try:
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda _: server.classify(path), range(50)))
    finally:
        path.unlink()
    assert [a.status_code for a in answers] == [200] * 50
    assert len({json.dumps(a.json()["results"][0]["probabilities"]) for a in answers}) == 1
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak <= 300


def test_a_client_that_never_finishes_its_request_is_hung_up_on_and_others_are_served(film_png: Path) -> None:
    with serving("--timeout", 1) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(
                b"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
            )
            assert server.classify(film_png).status_code == 200
            slow.settimeout(15)
            assert b" 408 " in slow.recv(4096)


@pytest.mark.slow
def test_a_client_that_never_begins_its_request_is_hung_up_on() -> None:
    with serving() as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as silent:
            silent.settimeout(30)  # ten are allowed
            assert silent.recv(1) == b""


def test_the_limit_of_a_request_is_none_of_the_start() -> None:
    with serving("--timeout", 0.01) as server:
        assert server.client.get("/healthz").status_code == 200


def test_answers_are_as_the_description_says(server: Server, film: Path) -> None:
    from jsonschema import Draft202012Validator

    described = server.client.get("/openapi.json").json()
    answer = described["paths"]["/v1/classify"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    schema = {**answer, "components": described["components"]}
    Draft202012Validator(schema).validate(server.classify(film, params={"evidence": "1"}).json())


def test_a_narrowed_answer_is_as_the_description_says(film: Path, narrowing: Path) -> None:
    from jsonschema import Draft202012Validator

    with serving("--model", narrowing) as server:
        described = server.client.get("/openapi.json").json()
        answer = server.classify(film, params={"evidence": "1"}).json()
        for name, document in (("Results", answer), ("About", server.client.get("/v1/about").json())):
            schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
            Draft202012Validator(schema).validate(document)
    (result,) = answer["results"]
    assert (result["status"], result["labels"]) == ("narrowed", ["pneumonia", "covid"])
    assert set(result["evidence"]) == {"normal", "pneumonia", "covid", "not normal"}
    assert result["evidence"]["not normal"]["most"] > 0


def test_a_site_is_named_in_answers_facts_and_figures(film_png: Path, tmp_path: Path) -> None:
    from jsonschema import Draft202012Validator
    from prometheus_client.parser import text_string_to_metric_families

    here = site()
    with serving("--site", sites.write(tmp_path / "site.json", here)) as server:
        result, facts = server.classify(film_png).json(), server.client.get("/v1/about").json()
        figures = server.client.get("/metrics").text
        described = server.client.get("/openapi.json").json()
    for name, document in (("Results", result), ("About", facts)):
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        Draft202012Validator(schema).validate(document)
    assert result["results"][0]["site"] == facts["site"] == {"name": "St. Elsewhere", "sha256": here.digest}
    assert facts["operating_point"]["positive_from"] == 0.8
    values = {s.name: s.value for family in text_string_to_metric_families(figures) for s in family.samples}
    assert values["covidnet_lite_site_day_films"] == 1  # not the film that warms it up
    assert values["covidnet_lite_site_drift"] == values["covidnet_lite_site_drift_days"] == 0


def test_metrics_can_be_scraped_and_count(server: Server, film_png: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    def scraped() -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(server.client.get("/metrics").text)
        text = ("route", "code", "status")
        return {(s.name, *(s.labels[k] for k in text if k in s.labels)): s.value for f in families for s in f.samples}

    before = scraped()
    server.classify(film_png)
    server.client.get("/made-up-by-a-client")
    after = scraped()
    key = ("covidnet_lite_requests_total", "/v1/classify", "200")
    assert after[key] == before.get(key, 0) + 1
    assert after["covidnet_lite_classify_seconds_count",] == before["covidnet_lite_classify_seconds_count",] + 1
    assert not any("/made-up-by-a-client" in key for key in after)


def test_health(server: Server) -> None:
    assert server.client.get("/healthz").json() == {"status": "ok", "model": model.load("nano").name, "problems": []}


def test_it_ends_well_when_told_to(film_png: Path) -> None:
    with serving() as server:
        assert server.classify(film_png).status_code == 200
        threading.Timer(0.1, server.process.terminate).start()
        assert server.process.wait(20) in (0, -15)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_full_disk_refuses_reviews_and_nothing_else_and_health_says_so(film_png: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], stderr=subprocess.DEVNULL
    ).returncode:
        pytest.skip("may not mount")
    try:
        with serving("--reviews", folder / "reviews.sqlite") as server:
            (result,) = server.classify(film_png, params={"recall": "1"}).json()["results"]
            fields = {"image": result["image"], "verdict": "", "label": "normal"}
            if result["label"]:
                fields["verdict"] = "agree" if result["label"] == "normal" else "disagree"

            def review() -> httpx.Response:
                return server.client.post("/v1/reviews", data=fields, files={"none": ("", b"")})

            def problems() -> list[str]:
                return list(server.client.get("/healthz").json()["problems"])

            assert review().status_code == 201
            with open(folder / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
                while True:
                    filler.write(b"0" * 4096)
            refused = review()
            assert (refused.status_code, refused.json()["code"]) == (507, "not-written")
            assert "reviews.sqlite: the reviews cannot be read or written" in refused.json()["error"]
            assert problems() == [Code.NOT_WRITTEN.public]
            assert server.classify(film_png).status_code == 200
            (folder / "filler").unlink()
            assert problems() == []
            assert review().status_code == 201
            assert len(server.client.get("/v1/reviews").json()["reviews"]) == 1
    finally:
        subprocess.run(["umount", folder], check=True)
