"""Who signed a network: Ed25519 over the bytes of its file, made and checked offline.

The signature of ``NAME.tflite`` is ``NAME.tflite.sig``, 64 bytes, as OpenSSL has it::

    openssl pkeyutl -verify -rawin -pubin -inkey KEY.pub -in NAME.tflite -sigfile NAME.tflite.sig

Public keys are PEM files whose name is the signer's: the one in the package, and those in the folders of
:func:`folders`. Signing and verifying need the extra ``sign`` (``cryptography``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import MissingExtraError, ModelError

SUFFIX, PUBLIC, LENGTH = ".sig", ".pub", 64
OURS = "covidnet-lite"  # the signer of the networks in the package
SHIPPED = Path(__file__).parent.parent / "models"
TRUSTED = "COVIDNET_LITE_TRUSTED"  # environment variable that names a folder of keys to use instead of the usual ones
_EXTRA = "needs the extra: pip install 'covidnet-lite[sign]'"


@dataclass(frozen=True)
class SignatureCheck:
    """Who signed a file.

    Attributes:
        by: the signer, whose key is trusted, or ``None``.
        objection: why there is no such signer, to follow the file's name; empty where there is one.
    """

    by: str | None = None
    objection: str = "is not signed"


UNSIGNED = SignatureCheck()


def folders() -> list[Path]:
    """The folders of this user's and this machine's trusted keys; :func:`trust` writes to the first."""
    if folder := os.environ.get(TRUSTED):
        return [Path(folder)]
    return [files.own("XDG_CONFIG_HOME", ".config") / "trusted", Path("/etc/covidnet-lite/trusted")]


def keys() -> dict[str, Path]:
    """Signer -> public key, for every trusted key; no other key can take the name of the package's own."""
    paths: dict[str, Path] = {}
    for folder in (SHIPPED, *folders()):
        for path in sorted(folder.glob(f"*{PUBLIC}")):
            paths.setdefault(path.stem, path)
    return paths


def check(data: bytes, path: Path) -> SignatureCheck:
    """Who signed a file.

    Args:
        data: its bytes.
        path: of the file; its signature is beside it.

    Raises:
        ModelError: a trusted key cannot be read.
    """
    try:
        with open(f"{path}{SUFFIX}", "rb") as file:
            signature = file.read(LENGTH + 1)
    except (OSError, ValueError):
        return UNSIGNED
    if len(signature) != LENGTH:
        return SignatureCheck(objection=f"has a signature of another length than {LENGTH} bytes")
    try:
        from cryptography.exceptions import InvalidSignature
    except ImportError:
        return SignatureCheck(objection=f"has a signature, and to check it {_EXTRA}")
    for signer, key in keys().items():
        try:
            _public(key).verify(signature, data)
            return SignatureCheck(signer, "")
        except InvalidSignature:
            continue
    return SignatureCheck(
        objection="has a signature that fits no trusted key: the file was changed, or the signer's key is missing "
        "(covidnet-lite models trust NAME.pub)"
    )


def sign(data: bytes, path: Path, key: Path) -> Path:
    """Signs a file; returns the path of the signature.

    Args:
        data: its bytes.
        path: of the file.
        key: an Ed25519 private key, PEM without a password.

    Raises:
        ModelError: the key cannot be read, or is no Ed25519 private key.
        MissingExtraError: the extra ``sign`` is not installed.
        OutputError: the signature cannot be written.
    """
    private = _load_key(key, lambda serialization, pem: serialization.load_pem_private_key(pem, None))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not isinstance(private, Ed25519PrivateKey):
        raise ModelError(f"{key}: is no Ed25519 private key; make one: covidnet-lite models key NAME.pem")
    return files.write(f"{path}{SUFFIX}", private.sign(data))


def make_key(path: Path) -> Path:
    """Makes a pair of keys: the private one at ``path``, readable by its owner alone, and the public one beside it.

    Returns:
        The path of the public key.

    Raises:
        ModelError: there is a file already.
        MissingExtraError: the extra ``sign`` is not installed.
        OutputError: they cannot be written.
    """
    public = path.with_suffix(PUBLIC)
    if existing := [str(p) for p in (path, public) if p.exists()]:
        raise ModelError(f"{existing[0]}: is there already; choose another name")
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, pem = Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files.write(path, private.private_bytes(pem, *form), files.OWN_FILE)
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return files.write(public, private.public_key().public_bytes(pem, info))


def trust(key: Path, signer: str = "") -> Path:
    """Trusts a public key from now on; returns the path of the stored copy.

    Args:
        key: PEM.
        signer: the name of its owner; empty for the name of the file.

    Raises:
        ModelError: it is no Ed25519 public key, or another key is trusted by this name.
        MissingExtraError: the extra ``sign`` is not installed.
        OutputError: the copy cannot be written.
    """
    signer = signer or key.stem
    if not signer.isprintable() or Path(signer).name != signer or signer.startswith("."):
        raise ModelError(f"{signer!r}: is no name for a signer; write letters and digits")
    pem = _pem(_public(key))
    trusted = keys().get(signer)
    if trusted is not None and _pem(_public(trusted)) != pem:
        raise ModelError(f"{signer}: another key is trusted by this name ({trusted}); give --name, or remove that one")
    return trusted or files.write(folders()[0] / f"{signer}{PUBLIC}", pem)


def _public(path: Path) -> Any:
    key = _load_key(path, lambda serialization, pem: serialization.load_pem_public_key(pem))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(key, Ed25519PublicKey):
        raise ModelError(f"{path}: is no Ed25519 public key")
    return key


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.PEM, info))


def _load_key(path: Path, load: Any) -> Any:
    serialization = _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(serialization, path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = getattr(error, "strerror", None) or "no key in PEM, or one with a password"
        raise ModelError(f"{path}: cannot be read as a key ({reason})") from error


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise MissingExtraError(f"signing {_EXTRA}") from None
    return serialization
