"""The files in ``examples/container/`` agree with each other and with the programs that they start."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from covidnet_lite.cli import build_parser
from covidnet_lite.node import settings
from covidnet_lite.web import command
from covidnet_lite.web.security import PUBLIC

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples/container"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}
ORTHANC = json.loads((FOLDER / "orthanc.json").read_text())
MOUNTED = "/etc/covidnet-lite"
NODE = settings.build(settings.read(FOLDER / "node/node.toml"), Path(MOUNTED))


def stages() -> dict[str, dict[str, str]]:
    """Name -> instruction -> the last value, those of the stages that it stands on included."""
    text = re.sub(r"\\\n\s*", "", (FOLDER / "Containerfile").read_text())
    stages: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        instruction, _, value = line.partition(" ")
        if instruction == "FROM":
            base, name = value.split(" AS ")
            current = stages[name] = dict(stages.get(base, {}))
        elif instruction == "ENV":
            current |= dict(pair.split("=", 1) for pair in value.split())
        elif instruction.isupper() and instruction != "ARG":
            current[instruction] = value
    return stages


STAGES = stages()


def options(stage: str) -> Any:
    return build_parser().parse_args(json.loads(STAGES[stage]["CMD"]))


@pytest.mark.parametrize(("name", "service"), OURS.items(), ids=OURS)
def test_a_service_is_built_from_a_stage_of_its_own(name: str, service: dict[str, Any]) -> None:
    build = service["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).resolve() == FOLDER / "Containerfile"
    assert build["target"] == name == options(name).command


@pytest.mark.parametrize(("name", "service"), OURS.items(), ids=OURS)
def test_a_service_cannot_write_or_gain_rights(name: str, service: dict[str, Any]) -> None:
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert STAGES[name]["USER"] not in ("", "root", "0", "0:0")


@pytest.mark.parametrize(("name", "port"), [("serve", command.PORT), ("node", NODE.port)])
def test_the_published_port_is_that_of_the_program_and_of_this_machine_alone(name: str, port: int) -> None:
    assert STAGES[name]["EXPOSE"] == str(port)
    assert OURS[name]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_health_check_asks_where_the_programs_answer() -> None:
    serve, node = (urlsplit(STAGES[name]["HEALTH_URL"]) for name in ("serve", "node"))
    assert (serve.port, serve.path in PUBLIC) == (command.PORT, True)
    assert NODE.health is not None
    assert (node.port, node.path) == (NODE.health.port, "/health")


@pytest.mark.parametrize("name", OURS)
def test_the_health_check_is_the_file_that_the_image_holds(name: str) -> None:
    source, target = STAGES[name]["COPY"].split()
    assert (ROOT / source).is_file()
    assert json.loads(STAGES[name]["HEALTHCHECK"].partition(" CMD ")[2]) == ["python3", target]


def test_the_files_that_a_command_names_lie_in_folders_that_are_mounted() -> None:
    targets = {name: [volume.split(":")[1] for volume in service["volumes"]] for name, service in OURS.items()}
    assert str(options("node").settings.parent) == MOUNTED
    assert MOUNTED in targets["node"]
    assert str(options("serve").token_file.parent) in targets["serve"]
    assert str(NODE.queue) in targets["node"]
    assert STAGES["node"]["VOLUME"] == str(NODE.queue)


def test_the_folders_and_volumes_that_are_mounted_exist() -> None:
    sources = [volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service["volumes"]]
    made = [ignored.strip("/") for ignored in (ROOT / ".gitignore").read_text().split() if ignored.endswith("serve/")]
    missing = [
        source for source in sources
        if source not in COMPOSE["volumes"] and not (FOLDER / source).exists()
        and f"examples/container/{Path(source)}" not in made
    ]  # fmt: skip
    assert missing == []


def test_node_and_orthanc_find_and_admit_each_other() -> None:
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    pacs, modality = NODE.pacs, ORTHANC["DicomModalities"]["covidnet"]
    assert pacs is not None
    assert (pacs.ae_title, pacs.host, pacs.port) == (ORTHANC["DicomAet"], "orthanc", ORTHANC["DicomPort"])
    assert pacs.host in COMPOSE["services"]
    assert (modality["AET"], modality["Host"], modality["Port"]) == (NODE.ae_title, "node", NODE.port)
    assert ORTHANC["DicomAet"] in NODE.senders.ae_titles
    assert ipaddress.ip_network(network["subnet"]) in NODE.senders.networks


def test_what_the_image_is_built_of_reaches_the_build() -> None:
    """``.dockerignore`` names what is sent; setup.py reads some of it."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent >= {"setup.py", "pyproject.toml", "README.md", "LICENSE", "MODEL_CARD.md", "docs/data.md"}
    assert sent >= {"covidnet_lite", "convert", "requirements/services.txt", "examples/container/healthcheck.py"}
    assert [path for path in sent if not (ROOT / path).exists()] == []


def podman(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *map(str, arguments)], capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def image() -> str:
    base = re.search(r"^ARG BASE=(\S+)", (FOLDER / "Containerfile").read_text(), re.M)
    assert base
    if shutil.which("podman") is None or podman("image", "exists", base[1]).returncode:
        pytest.skip(f"needs podman and the image {base[1]}")
    name = "localhost/covidnet-lite-test"
    built = podman("build", "--format", "docker", "-f", FOLDER / "Containerfile", "--target", "serve", "-t", name, ROOT)
    assert built.returncode == 0, built.stderr[-4000:]
    return name


@pytest.mark.slow
@pytest.mark.external
def test_a_radiograph_is_classified_without_a_connection(image: str, film_png: Path) -> None:
    film_png.chmod(0o644)
    locked = ("--rm", "--network", "none", "--read-only", "--cap-drop", "all", "-v", f"{film_png}:/film.png:ro")
    done = podman("run", *locked, image, "classify", "/film.png", "--format", "jsonl", "--exit-zero")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] in ("answered", "narrowed", "unsure")


@pytest.mark.slow
@pytest.mark.external
def test_nothing_in_the_image_belongs_to_its_user_but_the_volume(image: str) -> None:
    search = (
        "find / -xdev -writable -not -path '/tmp*' -not -path '/proc*' -not -path '/var/tmp*' -not -type c -not -type l"
    )
    done = podman("run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", search)
    owned = [line for line in done.stdout.split() if not line.startswith(("/run", "/dev", "/var/lock", "/etc/mtab"))]
    assert owned == ["/var/lib/covidnet-lite"]
