"""Builds what is released from the commit that is checked out, into dist/: make release [KEY=release.pem].

The wheel is built twice from clean copies of the commit and must be equal to the byte. Beside it lie its bill of
materials (CycloneDX), SHA256SUMS and, with a key, the signature of SHA256SUMS. Checked are the description (twine), the
files in the wheel (check-wheel-contents), the signatures of the networks in it, and the locked versions (pip-audit,
which says so where it cannot reach its data base).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from covidnet_lite.errors import CovidNetLiteError
from covidnet_lite.network import signature

ROOT = Path(__file__).resolve().parent.parent
LOCKED = ROOT / "requirements/services.txt"


class ReleaseError(Exception):
    """What is checked out cannot be released."""


def run(*command: object, **options: object) -> str:
    """Runs a program of this environment; its output.

    Raises:
        ReleaseError: it fails.
    """
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if result.returncode:
        raise ReleaseError(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return str(result.stdout)


def wheel(folder: Path) -> Path:
    """The wheel of the commit, built in an empty folder; its times are those of the commit."""
    commit = run("git", "-C", ROOT, "log", "-1", "--format=%ct").strip()
    archive = folder / "source.tar"
    run("git", "-C", ROOT, "-c", "tar.umask=0022", "archive", "-o", archive, "HEAD")
    (folder / "source").mkdir()
    run("tar", "-xf", archive, "-C", folder / "source")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": commit, "PYTHONHASHSEED": "0"}
    run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist"),
        folder / "source",
        env=environment,
    )
    (built,) = (folder / "dist").glob("*.whl")
    return built


def check_networks(path: Path) -> None:
    """Every network in a wheel is signed with the key in it.

    Raises:
        ReleaseError: one is not.
    """
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        archive.extractall(folder)
        for network in Path(folder).rglob("models/*.tflite"):
            check = signature.check(network.read_bytes(), network)
            if check.by != signature.OURS:
                raise ReleaseError(f"{network.name} {check.objection}; covidnet-lite models sign")


def audit() -> str:
    """What pip-audit says of the locked versions, in a line.

    Raises:
        ReleaseError: it knows a vulnerability in one of them.
    """
    command = (sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json", "-r", LOCKED)
    result = subprocess.run([*map(str, command)], capture_output=True, text=True)
    try:
        return audited(json.loads(result.stdout))
    except ValueError:
        return f"could not answer ({(result.stderr.strip().splitlines() or ['no output'])[-1]})"


def audited(report: dict[str, Any]) -> str:
    """The same, of pip-audit's JSON: a package that it could not ask about counts as such, and not as sound.

    Raises:
        ReleaseError: it knows a vulnerability.
    """
    packages = report["dependencies"]
    known = [f"{one['name']} {one['version']}: {vuln['id']}" for one in packages for vuln in one.get("vulns", ())]
    if known:
        raise ReleaseError("pip-audit knows vulnerabilities:\n" + "\n".join(known))
    skipped = sum("skip_reason" in one for one in packages)
    if skipped == len(packages):
        return "could not answer: its data base knows none of the locked versions"
    return f"no vulnerability is known in {len(packages) - skipped} of {len(packages)} locked versions" + (
        "; it could not answer about the others" if skipped else ""
    )


def main() -> int:
    """Builds and checks; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where it goes (default: dist/)")
    parser.add_argument("--key", type=Path, help="an Ed25519 private key, PEM, to sign SHA256SUMS")
    args = parser.parse_args()
    os.umask(0o022)
    try:
        if changed := run("git", "-C", ROOT, "status", "--porcelain").strip():
            raise ReleaseError(f"these files are not committed:\n{changed}")
        release(args.out, args.key)
    except (ReleaseError, CovidNetLiteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def release(out: Path, key: Path | None) -> None:
    """Puts wheel, bill of materials and checksums into a folder.

    Raises:
        ReleaseError: a check fails.
    """
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        first, second = wheel(Path(one)), wheel(Path(other))
        if first.read_bytes() != second.read_bytes():
            raise ReleaseError("two builds of the wheel differ")
        out.mkdir(exist_ok=True)
        built = out / first.name
        built.write_bytes(first.read_bytes())
    print(f"{built.name}: two builds are equal")
    run(sys.executable, "-m", "twine", "check", "--strict", built)
    # W002: the model card is there twice, among the licences and for the page.
    run(Path(sys.executable).with_name("check-wheel-contents"), "--ignore", "W002", built)
    check_networks(built)
    materials = out / f"{built.stem}.cdx.json"
    run(
        *(sys.executable, "-m", "cyclonedx_py", "requirements", LOCKED, "--output-reproducible"),
        *("--output-format", "JSON", "--output-file", materials),
    )
    print(f"pip-audit: {audit()}")
    sums = out / "SHA256SUMS"
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in (built, materials)]
    sums.write_text("".join(lines))
    if key is not None:
        signature.sign(sums.read_bytes(), sums, key)
    print("".join(lines), end="")


if __name__ == "__main__":
    sys.exit(main())
