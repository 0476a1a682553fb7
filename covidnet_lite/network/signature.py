"""Who signed a network: Ed25519 over the bytes of its file, made and checked offline.

The signature of ``NAME.tflite`` is ``NAME.tflite.sig``, 64 bytes, as OpenSSL has it::

    openssl pkeyutl -verify -rawin -pubin -inkey KEY.pub -in NAME.tflite -sigfile NAME.tflite.sig

Public keys are PEM files whose name is the signer's: the one in the package, and those in the folders of
:func:`folders`. The extra ``sign`` (``cryptography``) does the arithmetic.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import MissingExtraError, ModelError

SUFFIX, PUBLIC, LENGTH = ".sig", ".pub", 64
OURS = "covidnet-lite"  # who signs the networks in the package
SHIPPED = Path(__file__).parent.parent / "models"
TRUSTED = "COVIDNET_LITE_TRUSTED"  # environment variable that names another folder of keys, and no other
_NEEDED = "needs the extra: pip install 'covidnet-lite[sign]'"


@dataclass(frozen=True)
class Signed:
    """Who signed a file.

    Attributes:
        by: whose trusted key it was, or ``None``.
        objection: why there is nobody, to follow the file's name; empty where there is somebody.
    """

    by: str | None = None
    objection: str = "is not signed"


NOBODY = Signed()


def folders() -> list[Path]:
    """Where this user's and this machine's trusted keys lie; the first is where :func:`trust` puts one."""
    if named := os.environ.get(TRUSTED):
        return [Path(named)]
    return [files.own("XDG_CONFIG_HOME", ".config") / "trusted", Path("/etc/covidnet-lite/trusted")]


def keys() -> dict[str, Path]:
    """Signer -> public key, for every key that is trusted here; nobody's key goes before the package's own."""
    found: dict[str, Path] = {}
    for folder in (SHIPPED, *folders()):
        for path in sorted(folder.glob(f"*{PUBLIC}")):
            found.setdefault(path.stem, path)
    return found


def check(data: bytes, path: Path) -> Signed:
    """Who signed a file.

    Args:
        data: its bytes.
        path: where it lies; its signature lies beside it.

    Raises:
        ModelError: a trusted key cannot be read.
    """
    try:
        with open(f"{path}{SUFFIX}", "rb") as file:
            signature = file.read(LENGTH + 1)
    except (OSError, ValueError):
        return NOBODY
    if len(signature) != LENGTH:
        return Signed(objection=f"has a signature of another length than {LENGTH} bytes")
    try:
        from cryptography.exceptions import InvalidSignature
    except ImportError:
        return Signed(objection=f"has a signature, and to check it {_NEEDED}")
    for signer, key in keys().items():
        try:
            _public(key).verify(signature, data)
            return Signed(signer, "")
        except InvalidSignature:
            continue
    return Signed(
        objection="has a signature that fits no trusted key: the file was changed, or the signer's key is missing "
        "(covidnet-lite models trust NAME.pub)"
    )


def sign(data: bytes, path: Path, key: Path) -> Path:
    """Signs a file; returns where the signature lies.

    Args:
        data: its bytes.
        path: where it lies.
        key: an Ed25519 private key, PEM without a password.

    Raises:
        ModelError: the key cannot be read or is none.
        MissingExtraError: the extra ``sign`` is not installed.
        OutputError: the signature cannot be written.
    """
    private = _loaded(key, lambda serialization, pem: serialization.load_pem_private_key(pem, None))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not isinstance(private, Ed25519PrivateKey):
        raise ModelError(f"{key}: is no Ed25519 private key; make one: covidnet-lite models key NAME.pem")
    return files.write(f"{path}{SUFFIX}", private.sign(data))


def make_key(path: Path) -> Path:
    """Makes a key: the private one at ``path``, for its owner alone, the public one beside it, which is returned.

    Raises:
        ModelError: there is a file already.
        MissingExtraError: the extra ``sign`` is not installed.
        OutputError: they cannot be written.
    """
    public = path.with_suffix(PUBLIC)
    if taken := [str(p) for p in (path, public) if p.exists()]:
        raise ModelError(f"{taken[0]}: is there already; choose another name")
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files.write(path, private.private_bytes(pem, *form), files.OWN_FILE)
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return files.write(public, private.public_key().public_bytes(pem, info))


def trust(key: Path, signer: str = "") -> Path:
    """Trusts a public key from now on; returns where it is kept.

    Args:
        key: PEM.
        signer: whose it is; empty for the name of the file.

    Raises:
        ModelError: it is no such key, or another key is known by this name.
        MissingExtraError: the extra ``sign`` is not installed.
        OutputError: it cannot be kept.
    """
    signer = signer or key.stem
    if not signer.isprintable() or Path(signer).name != signer or signer.startswith("."):
        raise ModelError(f"{signer!r}: is no name for a signer; write letters and digits")
    pem = _pem(_public(key))
    known = keys().get(signer)
    if known is not None and _pem(_public(known)) != pem:
        raise ModelError(f"{signer}: another key is trusted by this name ({known}); give --name, or remove that one")
    return known or files.write(folders()[0] / f"{signer}{PUBLIC}", pem)


def _public(path: Path) -> Any:
    key = _loaded(path, lambda serialization, pem: serialization.load_pem_public_key(pem))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(key, Ed25519PublicKey):
        raise ModelError(f"{path}: is no Ed25519 public key")
    return key


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.PEM, info))


def _loaded(path: Path, load: Any) -> Any:
    serialization = _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(serialization, path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = getattr(error, "strerror", None) or "no key in PEM, or one with a password"
        raise ModelError(f"{path}: cannot be read as a key ({why})") from error


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise MissingExtraError(f"signing {_NEEDED}") from None
    return serialization
