from __future__ import annotations

import argparse
import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidnet_lite import classify_command, cli, exit_codes, files, inputs

ROOT = Path(__file__).resolve().parent.parent
PLAIN = {**os.environ, "NO_COLOR": "1"}


def run(*args: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "covidnet_lite", *map(str, args)]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT, timeout=120)


def parsers(parser: argparse.ArgumentParser, path: str = "covidnet-lite") -> dict[str, argparse.ArgumentParser]:
    result = {path: parser}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                result |= parsers(sub, f"{path} {name}")
    return result


def test_every_command_and_option_has_help() -> None:
    undocumented = []
    for path, parser in parsers(cli.build_parser()).items():
        if not parser.description:
            undocumented.append(path)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                helped = {choice.dest for choice in action._choices_actions if choice.help}
                undocumented += [f"{path} {name}" for name in set(action.choices) - helped]
            elif not action.help:
                undocumented.append(f"{path} {action.option_strings or action.dest}")
    assert undocumented == []


def test_the_readme_names_every_command_and_the_documents_every_option() -> None:
    readme = (ROOT / "README.md").read_text()
    documents = readme + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    missing = [path for path in parsers(cli.build_parser()) if path.split()[-1] not in readme]
    for path, parser in parsers(cli.build_parser()).items():
        options = [o for action in parser._actions for o in action.option_strings if o.startswith("--")]
        missing += [f"{path} {option}" for option in options if option != "--help" and option not in documents]
    assert missing == []


def test_exit_codes_are_documented_where_they_are_looked_for() -> None:
    text = run("classify", "--help").stdout.decode()
    assert "exit codes:" in text
    assert all(f"  {code}  " in text for code in (0, 1, 2, 3))


def test_a_table_of_one_film(film: Path) -> None:
    process = run("classify", film)
    assert process.returncode in (exit_codes.OK, exit_codes.NO_ANSWER)
    out = process.stdout.decode()
    assert "normal" in out.splitlines()[0]
    assert film.name in out
    assert "not a medical device" in out
    assert b"Traceback" not in process.stderr


def test_json_jsonl_and_csv_can_be_parsed(film_png: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("a text")
    for form in ("json", "jsonl", "csv"):
        process = run("classify", film_png, bad, "--format", form)
        assert process.returncode == exit_codes.BAD_FILE
        text = process.stdout.decode()
        if form == "csv":
            rows = list(csv.DictReader(io.StringIO(text)))
        else:
            rows = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
        assert [Path(r["name"]).name for r in rows] == ["film.png", "bad.png"]
        assert rows[1]["status"] == "failed"
        assert "bad.png" in rows[1]["reason"]


def test_folders_are_searched(film_png: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    film_png.rename(tmp_path / "deep/a.png")
    Image.fromarray(np.full((99, 99), 5, np.uint8)).save(tmp_path / "b.tif")
    (tmp_path / "notes.txt").write_text("not looked at")
    process = run("classify", tmp_path, "--format", "jsonl")
    rows = [json.loads(line) for line in process.stdout.decode().splitlines()]
    assert [Path(r["name"]).name for r in rows] == ["b.tif", "a.png"]
    assert rows[0]["status"] == "refused"
    assert process.returncode == exit_codes.NO_ANSWER


def test_many_at_a_time_leave_standard_error_to_us(film_png: Path) -> None:
    assert run("classify", "--quiet", *[film_png] * 12).stderr == b""


def test_standard_input(film_png: Path) -> None:
    process = run("classify", "-", "--format", "json", stdin=film_png.read_bytes())
    (row,) = json.loads(process.stdout)
    assert row["probabilities"] == json.loads(run("classify", film_png, "--format", "json").stdout)[0]["probabilities"]
    empty = run("classify", "-", stdin=b"")
    assert empty.returncode == exit_codes.BAD_FILE
    assert b"empty" in empty.stdout


def test_a_folder_is_searched_for_dicom_without_a_suffix_too(film: Path, film_png: Path, tmp_path: Path) -> None:
    """As it lies on a disk from a modality; what else has no suffix is no radiograph."""
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("IM000001", "1.2.840.17"):
        shutil.copy(film, disk / name)
    shutil.copy(film_png, disk / "a.png")
    for name in ("README", "DICOMDIR", "notes.txt"):
        (disk / name).write_bytes(b"x" * 200)
    os.mkfifo(disk / "PIPE")
    paths = [Path(str(path)).name for path in inputs.find([str(disk)])]
    assert paths == ["1.2.840.17", "IM000001", "a.png"]


def on_a_terminal(command: list[str], env: dict[str, str], errors: bool = True) -> bytes:
    """What a command shows on a terminal; with its standard error, or without."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdout=theirs, stderr=theirs if errors else subprocess.DEVNULL, cwd=ROOT, env=env
    )
    os.close(theirs)
    screen = b""
    with suppress(OSError):  # what Linux says at the end of a terminal
        while data := os.read(ours, 4096):
            screen += data
    process.wait(60)
    os.close(ours)
    return screen


def test_progress_is_shown_on_a_terminal_alone_and_leaves_no_trace_in_the_table(film_png: Path) -> None:
    for terminal, more in ((True, []), (False, []), (True, ["--quiet"])):
        command = [sys.executable, "-m", "covidnet_lite", "classify", str(film_png), str(film_png), *more]
        screen = on_a_terminal(command, PLAIN, errors=terminal)
        assert (b"2/2" in screen) is (terminal and not more)
        rows = [line.rsplit(classify_command.CLEAR.encode(), 1)[-1] for line in screen.split(b"\n")]
        assert [row.split()[0] for row in rows if b"film" in row] == [b"unsure"] * 2, screen


def test_a_narrowed_answer_is_an_answer(film_png: Path, narrowing: Path, tmp_path: Path) -> None:
    process = run("classify", film_png, "--model", narrowing, "--heatmap", tmp_path / "maps")
    assert process.returncode == exit_codes.OK, process.stderr
    lines = process.stdout.decode().splitlines()
    assert lines[1].startswith("not normal ")
    assert lines[2].strip() == "not normal; pneumonia or covid"
    assert "opacity in about " in lines[3]
    assert lines[-2].endswith("right on 94% of radiographs; 29% of radiographs get no answer (500 made-up films)")
    assert [p.name for p in (tmp_path / "maps").iterdir()] == ["film.evidence.png"]


def test_an_abstention_gets_no_evidence_map(film_png: Path, abstaining: Path, tmp_path: Path) -> None:
    process = run("classify", film_png, "--model", abstaining, "--heatmap", tmp_path / "maps")
    assert process.returncode == exit_codes.NO_ANSWER
    assert list((tmp_path / "maps").glob("*")) == []
    assert "%" not in process.stdout.decode().splitlines()[1]


def test_heat_maps_lie_in_folders_as_the_radiographs_and_results_name_them(
    film_png: Path, answering: Path, tmp_path: Path
) -> None:
    other = tmp_path / "x/film.png"
    other.parent.mkdir()
    other.write_bytes(film_png.read_bytes())
    process = run(
        "classify", film_png, other, film_png, "--heatmap", tmp_path / "maps", "--model", answering, "-f", "jsonl"
    )
    maps = [Path(json.loads(line)["heatmap"]) for line in process.stdout.decode().splitlines()]
    assert [str(p.relative_to(tmp_path / "maps")) for p in maps] == [
        "film.evidence.png",
        "x/film.evidence.png",
        "film-2.evidence.png",
    ]
    assert all(p.is_file() for p in maps)
    table = run("classify", film_png, "--heatmap", tmp_path / "maps", "--model", answering).stdout.decode()
    assert f"evidence map: {tmp_path / 'maps/film.evidence.png'}" in table
    assert Image.open(tmp_path / "maps/film.evidence.png").mode == "RGB"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["classify", "missing.png"], "no such file"),
        (["classify", "EMPTY_FOLDER"], "holds no radiograph"),
        (["classify", "FILM", "--model", "huge"], "no such model"),
        (["classify", "FILM", "--model", "BAD_MODEL"], "no TFLite file"),
        (["classify", "FILM", "--threads", "0"], "1 or more"),
        (["classify", "FILM", "--threads", "x"], "invalid int"),
        (["classify", "FILM", "--runtime", "onnx"], "invalid choice"),
        (["classify", "FILM", "--heatmap", "FILE/maps"], "cannot be written"),
        (["classify", "FILM", "--edgetpu", "usb"], "not compiled for the Edge TPU"),
        (["classify", "FILM", "--edgetpu", "gpu"], "must be usb"),
        (["benchmark", "--threads", "1,x"], "write 1,2,4"),
        (["benchmark", "--threads", "0"], "1 or more"),
        (["benchmark", "--rounds", "0"], "1 or more"),
        (["benchmark", "--images", "EMPTY_FOLDER"], "holds no radiograph"),
        (["benchmark", "--images", "missing.png"], "no such file"),
        (["benchmark", "--images", "-"], "read only once"),
        (["benchmark", "--json", "FILE/maps"], "cannot be written"),
        (["classify", "FILM", "--model", "bsae"], "did you mean base?"),
        (["clasify", "FILM"], "did you mean classify?"),
        (["classify", "FILM", "--fromat", "json"], "did you mean --format?"),
        (["classify", "FILM", "-f", "jsno"], "did you mean json?"),
        (["classify", "FILM", "-o", "EMPTY_FOLDER"], "is a folder"),
        (["classify", "FILM", "-o", "FILE/x.csv"], "cannot be written"),
        (["classify"], "PATH"),
        ([], "COMMAND"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(args: list[str], message: str, film_png: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "bad.tflite").write_text("no network")
    places = {
        "FILM": film_png,
        "EMPTY_FOLDER": tmp_path / "empty",
        "BAD_MODEL": tmp_path / "bad.tflite",
        "FILE/maps": tmp_path / "file/maps",
        "FILE/x.csv": tmp_path / "file/x.csv",
    }
    process = run(*(places.get(a, a) for a in args))
    assert process.returncode in (exit_codes.BAD_FILE, exit_codes.USAGE)
    text = (process.stdout + process.stderr).decode()
    assert message in text
    assert "Traceback" not in text


def test_a_bad_file_never_stops_the_good_ones(film_png: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 400)
    process = run("classify", tmp_path / "cut.jpg", film_png, tmp_path / "gone.png", film_png, "--format", "jsonl")
    rows = [json.loads(line) for line in process.stdout.decode().splitlines()]
    assert [r["status"] == "failed" for r in rows] == [True, False, True, False]
    assert process.returncode == exit_codes.BAD_FILE


def test_the_last_line_counts_the_answers(film_png: Path, narrowing: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("a text")
    process = run("classify", film_png, film_png, tmp_path / "bad.png", "--model", narrowing)
    assert process.stdout.decode().splitlines()[-1] == "3 radiographs: 2 pneumonia or covid, 1 failed"
    assert "radiograph:" not in run("classify", film_png, "--model", narrowing).stdout.decode()


def test_results_go_to_a_file_whole_and_a_summary_to_the_terminal(
    film_png: Path, narrowing: Path, tmp_path: Path
) -> None:
    process = run("classify", film_png, "-m", narrowing, "-f", "csv", "-o", tmp_path / "new/out.csv")
    assert process.stdout.decode() == "1 radiograph: 1 pneumonia or covid\n"
    (row,) = csv.DictReader((tmp_path / "new/out.csv").open(newline=""))
    assert row["labels"] == "pneumonia|covid"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out.csv"]


def test_of_a_run_that_breaks_off_nothing_is_left_and_the_old_results_stay(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")

    def broken() -> None:
        with files.writing(out) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    assert out.read_text() == "old"


def test_exit_zero_forgives_images_but_not_a_wrong_command(film_png: Path, abstaining: Path) -> None:
    assert run("classify", film_png, "gone.png", "-m", abstaining, "--exit-zero").returncode == exit_codes.OK
    assert run("classify", film_png, "-m", "bsae", "--exit-zero").returncode == exit_codes.USAGE


@pytest.mark.parametrize(("setting", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_that_want_them(
    film_png: Path, abstaining: Path, setting: dict[str, str], coloured: bool
) -> None:
    command = [sys.executable, "-m", "covidnet_lite", "classify", str(film_png), "-m", str(abstaining)]
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    screen = on_a_terminal(command, {**plain, "TERM": "xterm", **setting})
    assert b"unsure" in screen
    assert (b"\x1b[33munsure" in screen) is coloured
    assert b"\x1b" not in run("classify", film_png, "-m", abstaining).stdout


def test_every_command_shows_examples() -> None:
    assert [
        path for path, parser in parsers(cli.build_parser()).items() if "examples:\n" not in parser.format_help()
    ] == []


def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    answer = tmp_path / "answer"
    for line, expected in (("covidnet-lite cl", "classify"), ("covidnet-lite classify --heat", "--heatmap")):
        env = {
            **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        }  # fmt: skip
        subprocess.run(
            [sys.executable, "-c", "from covidnet_lite import cli; cli.main()"], env=env, cwd=ROOT, timeout=60
        )
        assert answer.read_text().split("\n") == [expected]


@pytest.mark.training  # doctor tries TensorFlow too
def test_models_and_doctor_can_be_read_by_programs() -> None:
    models = json.loads(run("models", "--json").stdout)
    assert [m["name"] for m in models] == ["base", "nano"]
    assert models[0]["labels"] == ["normal", "pneumonia", "covid"]
    facts = json.loads(run("doctor", "--json").stdout)
    assert [m["sha256"] for m in facts["models"]] == [m["sha256"] for m in models]
    assert "numpy" in facts["packages"]


def test_models_lists_what_comes_along() -> None:
    out = run("models").stdout.decode()
    assert out.startswith("base ")
    assert "sha256" in out
    assert "licence of the network: Non-commercial research only" in out
    assert "licence of the code: MIT" in out
    path, entry = re.search(r"model card: unzip -p (\S+) (\S+)", out).groups()  # type: ignore[union-attr]
    with zipfile.ZipFile(path) as archive:
        assert archive.read(entry).startswith(b"#")


def test_a_benchmark_prints_a_table_and_keeps_everything_as_json(film_png: Path, tmp_path: Path) -> None:
    path = tmp_path / "kept/b.json"
    process = run(
        "benchmark", "--model", "nano", "--threads", "2", "--rounds", "3", "--images", film_png.parent, "--json", path
    )
    assert process.returncode == 0, process.stderr
    out = process.stdout.decode()
    assert all(word in out for word in ("threads", "read", "fit", "run", "judge", "total", "p99", "images/s", "before"))
    fields = json.loads(path.read_text())
    assert [t["threads"] for t in fields["timings"]] == [2]
    assert fields["timings"][0]["measured"] == 3
    assert b"3 radiographs with 2 threads" in process.stderr


def test_a_benchmark_to_submit_is_one_row(film_png: Path) -> None:
    process = run("benchmark", "--model", "nano", "--threads", "1", "--rounds", "2", "--images", film_png, "--submit")
    assert process.returncode == 0, process.stderr
    (row,) = csv.DictReader(io.StringIO(process.stdout.decode()))
    assert row["board"]
    assert row["threads"] == "1"
    assert None not in row.values()


@pytest.mark.training  # doctor tries TensorFlow too
def test_doctor_reports_what_matters() -> None:
    process = run("doctor")
    out = process.stdout.decode()
    assert process.returncode == 0
    for word in (
        "covidnet-lite",
        "board",
        "processor",
        "memory",
        "Python",
        "packages",
        "model",
        "sha256",
        "litert: runs it",
        "Edge TPU",
    ):
        assert word in out, word


def test_version() -> None:
    assert run("--version").stdout.decode().startswith("covidnet-lite ")


@pytest.mark.parametrize("kind", ["DICOM", "PNG"])
def test_with_an_evidence_map_and_dicom_results_a_film_is_decoded_once(
    kind: str, film: Path, film_png: Path, answering: Path, tmp_path: Path, decodings: list[str]
) -> None:
    results = ["--dicom-out", str(tmp_path / "results")] if kind == "DICOM" else []
    path = film if kind == "DICOM" else film_png
    options = ["--model", str(answering), "--heatmap", str(tmp_path / "maps"), *results]
    assert cli.main(["classify", str(path), *options]) == exit_codes.OK
    assert decodings == [kind]
    assert len(list((tmp_path / "maps").iterdir())) == 1
    assert not results or len(list((tmp_path / "results").iterdir())) == 2
