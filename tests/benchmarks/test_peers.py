from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import with_rules
from PIL import Image

from benchmarks import comparison, peers, workers
from benchmarks.comparison import Comparison, Row, Times
from benchmarks.peers import OURS, PEERS, Peer
from benchmarks.workers import Answer, Worker
from covidnet_lite.errors import BackendError, BenchmarkError, ModelError
from covidnet_lite.network import model

MACHINE = {"processor": "p", "cores": 2, "python": "3", "load": 0.1, "packages": {"numpy": "2"}}


def row(name: str, warm: dict[str, list[float]], seconds: float = 1, megabytes: float = 50) -> Row:
    times = {kind: Times(taken, 1) for kind, taken in warm.items()}
    return Row(name, 2, times, [seconds] * 3, [megabytes] * 3, "covid")


def found() -> Comparison:
    ours = row("covidnet_lite", {"JPEG": [10, 20, 10], "PNG": [5, 5, 5]})
    slow = row("slow", {"JPEG": [20, 40, 20]}, seconds=3, megabytes=100)
    fast = row("fast", {"JPEG": [5, 10, 5], "PNG": [5, 5, 5]})
    return Comparison("base 3", "abc", 3, 3, MACHINE, [ours, slow, fast], {"old": "no Python"})


def test_the_table_has_ours_in_milliseconds_and_the_others_as_paired_ratios() -> None:
    ours, slow, fast = comparison.markdown(found()).splitlines()[2:]
    assert ours == "| covidnet_lite | 2 | 10.0 ms | 5.0 ms | 1.00 s | 50 MB | covid |"
    assert slow.startswith("| slow | 2 | 2.00× (2.00–2.00) | fails | 3.00× (3.00–3.00) | 2.00× (2.00–2.00) |")
    assert "| **0.50× (0.50–0.50)** | 1.00× (1.00–1.00) |" in fast


def test_the_page_says_what_was_left_out_and_that_covidnet_lite_does_more() -> None:
    page = comparison.document(found())
    for words in ("**old** is left out: no Python", "covidnet_lite does more", "sha256 abc", "load 0.10"):
        assert words in page
    assert "was busy" not in page
    assert "was busy" in comparison.document(replace(found(), machine={**MACHINE, "load": 1.9}))


def test_the_figures_and_the_picture_are_written() -> None:
    figures = json.loads(comparison.to_json(found()))
    assert figures["rows"][1]["warm"]["JPEG"]["milliseconds"] == [20, 40, 20]
    pytest.importorskip("matplotlib")
    assert comparison.draw(found()).startswith(b"\x89PNG")


def test_a_refusal_is_the_last_label() -> None:
    one = row("ours", {"film": [1.0]})
    assert comparison.with_class_of_radiograph(one, "film", ("normal", "covid", "refused")).film == "covid"
    refused = replace(one, warm={"film": Times([1.0], -1)})
    assert comparison.with_class_of_radiograph(refused, "film", ("normal", "covid", "refused")).film == "refused"


def test_an_answer_is_read_from_its_line() -> None:
    assert workers.parse("2500000 2\n") == Answer(2.5, 2)
    with pytest.raises(BenchmarkError, match="ValueError no gray"):
        workers.parse("failed ValueError no gray\n")


def served(folder: Path, body: str) -> list[str]:
    """The command of a peer whose ``classify`` has this body."""
    program = folder / "peer.py"
    snippets = Path(peers.SNIPPETS)
    program.write_text(f"import sys\nsys.path.insert(0, {str(snippets)!r})\nfrom protocol import serve\n{body}\n")
    return [sys.executable, str(program)]


def test_a_file_that_a_peer_cannot_take_costs_only_itself(tmp_path: Path) -> None:
    with Worker(served(tmp_path, "serve(lambda path: len(path) if path != '/bad' else 1 / 0)")) as worker:
        assert worker.ask(Path("/three")).label == 6
        with pytest.raises(BenchmarkError, match="ZeroDivisionError division by zero"):
            worker.ask(Path("/bad"))
        assert worker.ask(Path("/four")).label == 5


def test_a_peer_that_cannot_load_says_why(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="No module named 'no_such_runtime'"):
        Worker(served(tmp_path, "import no_such_runtime"))
    with pytest.raises(BackendError, match="cannot be started"):
        Worker([str(tmp_path / "python")])


def test_a_peer_that_dies_is_noticed(tmp_path: Path) -> None:
    with Worker(served(tmp_path, "import os\nserve(lambda path: os._exit(7))")) as worker:
        for _ in range(2):
            with pytest.raises(BackendError, match="code 7"):
                worker.ask(Path("/any"))


def test_the_better_number_of_threads_is_that_with_the_smaller_times_over_all_files() -> None:
    one, two = {"a": Times([10], 0), "b": Times([30], 0)}, {"a": Times([6], 0), "b": Times([31], 0)}
    assert peers.better(OURS, {(OURS, 1): one, (OURS, 2): two}) == 2
    assert peers.better(OURS, {(OURS, 1): one, (OURS, 2): {**two, "a": Times([11], 0)}}) == 1


def test_every_peer_has_its_snippet_and_its_form() -> None:
    assert [p.name for p in PEERS if not (peers.SNIPPETS / f"{p.snippet}.py").is_file()] == []
    assert {p.form for p in PEERS} <= set(peers.FORMS)
    assert len({p.name for p in PEERS}) == len(PEERS)


def test_a_peer_that_needs_an_old_python_says_so_where_there_is_none(tmp_path: Path) -> None:
    old = Peer("old", "ours", needs_old_python=True)
    for python in (None, str(tmp_path / "python")):
        with pytest.raises(BackendError, match=r"3\.11 or older"):
            peers.interpreter_for(old, python)
    assert peers.interpreter_for(old, sys.executable) == sys.executable


def test_a_network_that_the_snippets_would_misread_is_refused() -> None:
    network = model.load()
    peers.check(network)
    other = replace(network.manifest, input=replace(network.manifest.input, mean=(0.0,)))
    with pytest.raises(ModelError, match="gray - 128"):
        peers.check(replace(network, manifest=other))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_ours_and_the_snippet_of_litert_name_the_same(film_image: Image.Image, tmp_path: Path) -> None:
    """With a manifest that asks for no more than the snippet does: no crop to the lungs, no equalising, no correction."""
    plain = replace(model.load().manifest.input, equalise=False, lungs=b"")
    network = model.load(with_rules(tmp_path, "base", input=plain, correction=()))
    path = tmp_path / "small.png"
    film_image.resize((320, 320)).save(path)
    labels = []
    for peer in (OURS, next(p for p in PEERS if p.snippet == "litert_pillow")):
        with Worker(peers.command_for(sys.executable, peer, network.path, network, 1)) as worker:
            answer = worker.ask(path)
        assert answer.milliseconds > 0
        labels.append(network.manifest.labels[answer.label])
    assert labels == ["pneumonia", "pneumonia"]
