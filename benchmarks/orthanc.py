"""A real PACS to send to: Debian's Orthanc, started in a folder of its own, asked through its REST interface."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

AE_TITLE = "ORTHANC"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")  # of Debian's orthanc-dicomweb, as "Plugins"


def program(name: str) -> str | None:
    """Where Debian's program lies: pynetdicom puts scripts of the names of dcmtk's into environments, maybe active."""
    candidates = (shutil.which(name, path=folder) for folder in os.get_exec_path())
    return next((path for path in candidates if path and not _is_script(path)), None)


def _is_script(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def missing() -> str | None:
    """Which of the Debian packages is not here, or ``None``."""
    programs = {"Orthanc": "orthanc", "storescu": "dcmtk", "echoscu": "dcmtk"}
    absent = sorted({package for name, package in programs.items() if not program(name)})
    return f"needs Debian's {' and '.join(absent)}" if absent else None


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Orthanc:
    """Runs from ``with`` on; may be stopped and started within."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.port, self._http = folder, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "Name": "trial",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": AE_TITLE,
            "DicomPort": self.port,
            "HttpPort": self._http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [],
            **options,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Orthanc:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it answers."""
        with open(self.folder / "orthanc.log", "ab") as log:
            command = ["Orthanc", "--verbose", "orthanc.json"]
            at_once = os.environ | {"TCP_NODELAY": "1"}  # of dcmtk: else each of its answers takes 40 ms
            self._process = subprocess.Popen(command, cwd=self.folder, stderr=log, env=at_once)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                self.get("/system")
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"Orthanc does not answer; see {self.folder / 'orthanc.log'}")

    def stop(self) -> None:
        """Returns when it has ended."""
        if self._process:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    @property
    def http(self) -> str:
        """The URL of its REST interface."""
        return f"http://127.0.0.1:{self._http}"

    @property
    def dicomweb(self) -> str:
        """The URL of its DICOMweb service, where it has the plug-in."""
        return f"{self.http}/dicom-web"

    def get(self, path: str) -> Any:
        """What its REST interface answers."""
        with urllib.request.urlopen(f"{self.http}{path}", timeout=30) as answer:
            return json.load(answer)

    def take(self) -> list[tuple[str, str]]:
        """As :meth:`results`, and removes them."""
        names, results = self.get("/instances"), self.results()
        for name in names:
            request = urllib.request.Request(f"{self.http}/instances/{name}", method="DELETE")
            urllib.request.urlopen(request, timeout=30).close()
        return results

    def results(self) -> list[tuple[str, str]]:
        """Every instance it holds: ``SR`` or ``SC``, and the SOP Instance UID of the radiograph it is about."""
        return sorted(_about(self.get(f"/instances/{name}/simplified-tags")) for name in self.get("/instances"))


def _about(tags: dict[str, Any]) -> tuple[str, str]:
    if tags["Modality"] == "SR":
        series = tags["CurrentRequestedProcedureEvidenceSequence"][0]["ReferencedSeriesSequence"][0]
        return "SR", series["ReferencedSOPSequence"][0]["ReferencedSOPInstanceUID"]
    if tags.get("SourceImageSequence"):
        return "SC", tags["SourceImageSequence"][0]["ReferencedSOPInstanceUID"]
    return tags["Modality"], tags["SOPInstanceUID"]
