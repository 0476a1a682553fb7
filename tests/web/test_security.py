from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from covidnet_lite.web.security import allowed_host, same_origin

from .conftest import ROOT, Server, serving


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/healthz", "/nowhere", "/v1/about"])
def test_every_answer_has_the_headers_that_keep_browsers_in(server: Server, path: str) -> None:
    headers = server.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/"])
def test_nothing_outside_the_pages_own_folder_is_served(server: Server, path: str) -> None:
    assert server.client.get(path).status_code in (404, 405)


def test_another_sites_name_for_this_machine_is_refused(server: Server) -> None:
    answer = server.client.get("/v1/about", headers={"Host": "evil.example"})  # DNS rebinding
    assert answer.status_code == 421
    assert "evil.example" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_another_sites_page_cannot_send_anything(server: Server, film_png: Path, headers: dict[str, str]) -> None:
    answer = server.classify(film_png, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("origin", "right"),
    [
        ("http://pi:8017", True),
        ("HTTP://PI:8017", True),
        ("https://pi:8017", False),
        ("evil://pi:8017", False),
        ("http://pi", False),
        ("http://pi:8017/", False),
        ("http://evil@pi:8017", False),
        ("null", False),
        ("", False),
    ],
)
def test_the_origin_is_compared_as_a_whole(origin: str, right: bool) -> None:
    assert same_origin(Headers({"Origin": origin}), "http://pi:8017") is right


def test_two_origins_are_none() -> None:
    twice = Headers(raw=[(b"origin", b"http://pi:8017"), (b"origin", b"https://evil.example")])
    assert not same_origin(twice, "http://pi:8017")


def test_a_page_of_ours_without_encryption_is_another_page(server: Server, film_png: Path) -> None:
    other = server.url.replace("http://", "https://")
    assert server.classify(film_png, headers={"Origin": other}).status_code == 403
    assert server.classify(film_png, headers={"Origin": server.url}).status_code == 200


def test_without_the_token_only_the_empty_page_is_given(film_png: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sixteen-or-more-letters\n")
    token.chmod(0o600)
    with serving("--token-file", token) as server:
        assert server.client.get("/").status_code == 200
        for path in ("/v1/about", "/metrics", "/v1/reviews"):
            assert server.client.get(path).status_code == 401
        assert server.classify(film_png).status_code == 401
        for header in ("Bearer wrong", "Basic sixteen-or-more-letters", "sixteen-or-more-letters"):
            assert server.classify(film_png, headers={"Authorization": header}).status_code == 401
        right = {"Authorization": "Bearer sixteen-or-more-letters"}
        assert server.classify(film_png, headers=right).status_code == 200


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:8017", True),
        ("127.0.0.1", True),
        ("[::1]:8017", True),
        ("192.0.2.7:80", True),
        ("pi.lan", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_names_under_which_it_may_be_called(host: str, allowed: bool) -> None:
    assert allowed_host(host, frozenset({"pi.lan"})) is allowed


def test_a_command_line_client_has_no_origin_and_is_let_in() -> None:
    assert same_origin(Headers({}), "http://localhost")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "--token-file"),
        (["--token-file", "short"], "16 or more"),
        (["--certificate", "only.pem"], "go together"),
        (["--max-upload", "0"], "more than 0"),
        (["--host", "192.0.2.1", "--token-file", "long"], "cannot listen"),
    ],
)
def test_what_would_be_unsafe_or_cannot_work_is_refused(options: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc")
    (tmp_path / "long").write_text("a" * 32)
    command = [sys.executable, "-m", "covidnet_lite", "serve", "--port", "0", "--model", "nano"]
    inputs = [str(tmp_path / o) if (tmp_path / o).exists() else o for o in options]
    process = subprocess.run([*command, *inputs], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    assert words in process.stderr
