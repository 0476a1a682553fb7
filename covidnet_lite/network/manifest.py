"""The manifest of a ``.tflite``, and the archive at the end of the file that holds it.

Everything needed to use a network travels inside its one file: a zip archive is appended to the flatbuffer (as in the
TFLite metadata standard; interpreters ignore it) with ``manifest.json``, ``labels.txt``, the guard's arrays and the
network that finds the lungs. The archive's comment, the last 64 bytes of the file, is the SHA-256 of all bytes before
it, so one flipped bit anywhere is detected. Anybody can seal a file; :mod:`covidnet_lite.network.signature` verifies
who signed it.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelError
from ..evidence.extent import ExtentScale
from . import plain_zip
from .guard import Guard
from .input_spec import InputSpec
from .operating_point import OperatingPoint

# A manifest with an operating point or an extent scale is of format 2, and one whose guard knows synthetic outliers of
# format 3, so that an older runtime, which would answer by other rules, refuses the file and asks for an upgrade. All
# others stay of format 1.
FORMAT, FORMAT_WITH_RULES, FORMAT_WITH_FOREIGN = FORMATS = 1, 2, 3
SEAL = 64  # hex digits of a SHA-256
MAX_DIRECTORY, MAX_MANIFEST = 1 << 16, 1 << 20  # bytes of the archive's list of entries, and of manifest.json
RUNTIME_ENTRIES = ("manifest.json", "guard.npz", "lungs.tflite")  # other entries are for people and other programs


@dataclass(frozen=True)
class Manifest:
    """How to prepare a network's input and how to interpret its output.

    Attributes:
        name, version: of the network.
        labels: in the order of the logits.
        input: how the radiograph is prepared.
        outputs: position of ``logits`` and, where there are any, ``evidence`` and
            ``embedding`` among the graph's outputs.
        correction: added to the logits, one value a class, to undo the mean shift by int8 (bias correction, Nagel et
            al., ICCV 2019); empty for none.
        temperature: divides the logits before the softmax; fitted on validation data.
        threshold: confidence below which the network abstains, where there is no operating point; with 0 it never does.
        guard: what radiographs look like to the network, or ``None``.
        operating_point: the thresholds for its answers, or ``None`` where ``threshold`` applies.
        extent: maps the evidence to the opaque share of the lungs, or ``None``; needs an evidence map and an operating
            point, which names the negative label.
        provenance: plain facts for people: data, recipe, hashes, figures.
        licence: of the weights.
    """

    name: str
    labels: tuple[str, ...]
    input: InputSpec
    outputs: dict[str, int] = field(default_factory=lambda: {"logits": 0})
    version: str = ""
    correction: tuple[float, ...] = ()
    temperature: float = 1.0
    threshold: float = 0.0
    guard: Guard | None = None
    operating_point: OperatingPoint | None = None
    extent: ExtentScale | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    intended_use: str = "Research use only; not a medical device."

    def __post_init__(self) -> None:
        for name in ("name", "version", "licence", "intended_use"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be text, not {getattr(self, name)!r}")
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must be two or more different names, not {self.labels}")
        if not all(isinstance(label, str) and label and label.isprintable() for label in self.labels):
            raise ValueError(f"labels must be names, not {self.labels}")
        if not isinstance(self.outputs, dict) or not all(type(i) is int for i in self.outputs.values()):
            raise ValueError(f"outputs must map names to positions, not {self.outputs!r}")
        if "logits" not in self.outputs:
            raise ValueError("outputs must say which output holds the logits")
        if self.correction and len(self.correction) != len(self.labels):
            raise ValueError(f"correction needs one value per label, not {len(self.correction)}")
        if not all(isinstance(v, (int, float)) and abs(v) < 100 for v in self.correction):
            raise ValueError(f"correction must be small numbers, not {self.correction}")
        if not 1e-3 <= self.temperature <= 1e3:
            raise ValueError(f"temperature must be positive (0.001 to 1000), not {self.temperature}")
        if not 0 <= self.threshold <= 1.01:
            raise ValueError(f"threshold must be between 0 and 1, not {self.threshold}")
        if self.operating_point is not None:
            self.operating_point.check(self.labels)
        if self.extent is not None and (self.operating_point is None or "evidence" not in self.outputs):
            raise ValueError("extent needs an operating_point and an output with the evidence map")

    @property
    def format(self) -> int:
        """The number of the manifest's format."""
        if self.guard is not None and self.guard.foreign.size:
            return FORMAT_WITH_FOREIGN
        return FORMAT if self.operating_point is None else FORMAT_WITH_RULES

    @property
    def is_of_radiographs(self) -> bool:
        """Whether the network is for radiographs: only such networks have a guard, rules, or gray levels to equalise.

        Any other counts as a classifier of images of any kind, which may be blank.
        """
        if self.input.in_colour:
            return False
        return bool(self.input.equalise or self.input.lungs or self.guard or self.operating_point)

    @property
    def negative(self) -> str | None:
        """The label that means "no finding", where an operating point names one."""
        return self.operating_point.negative if self.operating_point else None

    def to_json(self) -> str:
        """Everything but the guard's arrays and the network that finds the lungs; keys in a fixed order."""
        fields = {
            "format": self.format,
            "name": self.name,
            "version": self.version,
            "labels": list(self.labels),
            "input": self.input.to_dict(),
            "outputs": self.outputs,
            "correction": list(self.correction),
            "temperature": self.temperature,
            "threshold": self.threshold,
            **({"operating_point": self.operating_point.to_dict()} if self.operating_point else {}),
            **({"extent": self.extent.to_dict()} if self.extent else {}),
            "licence": self.licence,
            "intended_use": self.intended_use,
            "provenance": self.provenance,
        }
        return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, guard: Guard | None = None, lungs: bytes = b"") -> Manifest:
        """The reverse of :meth:`to_json`.

        Raises:
            ModelError: the text is no manifest of this format, or a value is out of range.
        """
        try:
            fields = json.loads(text)
            if fields.pop("format", None) not in FORMATS:
                raise ValueError(f"its format is none of {', '.join(map(str, FORMATS))}; upgrade covidnet-lite")
            if not isinstance(fields["labels"], list):
                raise ValueError(f"labels must be a list, not {fields['labels']!r}")
            fields["labels"] = tuple(fields["labels"])
            fields["correction"] = tuple(fields.get("correction", ()))
            fields["input"] = InputSpec.from_dict(fields["input"], lungs)
            if fields.get("operating_point") is not None:
                fields["operating_point"] = OperatingPoint(**fields["operating_point"])
            if fields.get("extent") is not None:
                fields["extent"] = ExtentScale.from_dict(fields["extent"])
            return cls(guard=guard, **fields)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ModelError(f"the manifest cannot be used: {error}") from error


def seal(flatbuffer: bytes, manifest: Manifest, extras: dict[str, bytes] | None = None) -> bytes:
    """A flatbuffer and its manifest as one file; the same bytes for the same input."""
    buffer = io.BytesIO()
    buffer.write(flatbuffer)
    entries = {
        "manifest.json": manifest.to_json().encode(),
        "labels.txt": "".join(f"{label}\n" for label in manifest.labels).encode(),
        **({"guard.npz": manifest.guard.to_npz()} if manifest.guard else {}),
        **({"lungs.tflite": manifest.input.lungs} if manifest.input.lungs else {}),
        **(extras or {}),
    }
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # of 1980, so that the bytes do not depend on the day
        archive.comment = b"0" * SEAL
    body = buffer.getvalue()[:-SEAL]
    return body + hashlib.sha256(body).hexdigest().encode()


def is_sealed(data: bytes) -> bool:
    """Whether the file ends in an archive of ours, intact or not."""
    # The end record of a zip archive with a comment of SEAL bytes.
    return data[-SEAL - 22 : -SEAL - 18] == b"PK\x05\x06"


def unseal(data: bytes, name: str, hash_checked: bool = False) -> Manifest:
    """Checks the seal, unless the file's own hash was checked before, and reads the manifest.

    Raises:
        ModelError: there is no manifest, or the file was changed after it was sealed.
    """
    if not is_sealed(data):
        raise ModelError(
            f"{name}: has no manifest at its end: cut short, or not made by covidnet-lite convert. "
            "Copy it again, or pass manifest= if you know how to feed it"
        )
    if not hash_checked and hashlib.sha256(memoryview(data)[:-SEAL]).hexdigest().encode() != data[-SEAL:]:
        raise ModelError(f"{name}: damaged: its bytes do not match their own SHA-256; copy it again")
    try:
        entries = _entries(data)
        if len(entries["manifest.json"]) > MAX_MANIFEST:
            raise ValueError(f"manifest.json has more than {MAX_MANIFEST >> 20} MB")
        guard = Guard.from_npz(entries["guard.npz"]) if "guard.npz" in entries else None
        return Manifest.from_json(entries["manifest.json"], guard, entries.get("lungs.tflite", b""))
    except (*plain_zip.ZIP_ERRORS, ModelError) as error:
        raise ModelError(f"{name}: its manifest cannot be read ({error}); convert it again") from error


def _entries(data: bytes) -> dict[str, bytes]:
    """The entries that the runtime needs. :func:`seal` compresses nothing, so no entry is longer than the file.

    Raises:
        One of ``plain_zip.ZIP_ERRORS``: the archive is none of ours.
    """
    (directory,) = struct.unpack_from("<L", data, len(data) - SEAL - 10)
    if directory > MAX_DIRECTORY or data[-SEAL - 42 : -SEAL - 38] == b"PK\x06\x07":  # of more than 4 GB
        raise ValueError("its list of entries is too long")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = plain_zip.read(archive, RUNTIME_ENTRIES)
    if "manifest.json" not in entries:
        raise ValueError("there is no manifest.json")
    return entries
