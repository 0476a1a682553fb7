"""A ``.tflite`` on disk -> its bytes and its manifest, verified."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ModelError
from ..spelling import suggestion
from . import signature
from .manifest import Manifest, is_sealed, unseal
from .signature import UNSIGNED, SignatureCheck

SHIPPED = signature.SHIPPED
DEFAULT = "base"
MAX_BYTES = 1 << 31  # bytes; a flatbuffer reaches no further


@dataclass(frozen=True, eq=False)
class Model:
    """A verified network.

    Attributes:
        data: the file's bytes, ready for an interpreter.
        manifest: how to use it.
        sha256: of the file.
        path: of the file.
        signature: who signed the file.
    """

    data: bytes
    manifest: Manifest
    sha256: str
    path: Path
    signature: SignatureCheck = UNSIGNED

    @property
    def name(self) -> str:
        """The network's name and version, as ``base 1``."""
        return f"{self.manifest.name} {self.manifest.version}".strip()

    @property
    def is_shipped(self) -> bool:
        """Whether its file is identical to one in the package."""
        return self.sha256 in shipped().values()


def shipped() -> dict[str, str]:
    """Name -> SHA-256 of the networks in the package."""
    lines = (SHIPPED / "SHA256SUMS").read_text().splitlines()
    return {name.removesuffix(".tflite"): digest for digest, name in (line.split() for line in lines if line)}


def load(model: str | os.PathLike[str] = DEFAULT, manifest: Manifest | None = None) -> Model:
    """Loads a shipped network by name, or any ``.tflite`` by path.

    Args:
        model: ``base``, ``nano``, or a path.
        manifest: for a file without one; overrides the file's own.

    Raises:
        ModelError: there is no such network, it is damaged, or it has no manifest.
    """
    if not isinstance(model, (str, os.PathLike)) or not isinstance(os.fspath(model), str):
        raise ModelError(f"{model!r}: is no model; give a shipped network's name or the path of a .tflite")
    if manifest is not None and not isinstance(manifest, Manifest):
        raise ModelError(f"manifest must be a covidnet_lite.network.manifest.Manifest, not {type(manifest).__name__}")
    name = os.fspath(model)
    pinned = shipped().get(name)
    path = SHIPPED / f"{name}.tflite" if pinned else Path(name)
    network = verify(_read(path, name), path, manifest, pinned)
    return replace(
        network,
        signature=check_signature(network)
        if manifest is None
        else SignatureCheck(objection="is used with another manifest"),
    )


def check_signature(model: Model, anew: bool = False) -> SignatureCheck:
    """Who signed a network. A copy of a shipped one is recognised by its hash, unless ``anew`` asks to verify it.

    Raises:
        ModelError: a trusted key cannot be read.
    """
    ours = next((name for name, digest in shipped().items() if digest == model.sha256), None)
    if ours and not anew:
        return SignatureCheck(signature.OURS, "")
    return signature.check(model.data, SHIPPED / f"{ours}.tflite" if ours else model.path)


def verify(data: bytes, path: Path, manifest: Manifest | None = None, pinned: str | None = None) -> Model:
    """A network from the bytes of its file; the arguments and errors are those of :func:`load`."""
    name = str(path)
    digest = hashlib.sha256(data).hexdigest()
    if pinned and digest != pinned:
        raise ModelError(f"{path}: is not the network that came with this package; reinstall covidnet-lite")
    # The identifier and a plausible root offset: interpreters crash on less.
    if len(data) < 16 or data[4:8] != b"TFL3" or not 8 <= int.from_bytes(data[:4], "little") < len(data):
        raise ModelError(f"{name}: is no TFLite file; give one made by: covidnet-lite convert")
    own_manifest = unseal(data, name, digest in shipped().values()) if manifest is None or is_sealed(data) else None
    return Model(data, manifest or own_manifest, digest, path)  # type: ignore[arg-type]


def _read(path: Path, name: str) -> bytes:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ModelError(f"{name}: is not a regular file; give the path of a .tflite")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ModelError(f"{name}: is larger than any TFLite file; give one made by: covidnet-lite convert")
            return file.read()
    except ValueError:  # a NUL byte
        raise ModelError(f"{name!r}: is not a valid path; give the path of a .tflite") from None
    except FileNotFoundError:
        guess = suggestion(name, shipped())
        advice = f"did you mean {guess}? G" if guess else "g"
        raise ModelError(
            f"{name}: no such model; {advice}ive the path of a .tflite or one of: {', '.join(shipped())}"
        ) from None
    except OSError as error:
        raise ModelError(f"{name}: cannot be read ({error.strerror}); check the path and its permissions") from error
