"""``covidnet-lite models``: which networks there are, who signed them, and whose keys are trusted here."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .exit_codes import BAD_FILE, OK


def add(commands: Any) -> None:
    """Adds the command to the subparsers of ``covidnet-lite``."""
    models = commands.add_parser(
        "models",
        help="list the networks in the package; verify and sign networks, and choose whose signatures to trust",
        description="Lists the networks in the package. With one of the words below: reports who signed a network, "
        "signs one, or manages the keys that this account trusts. Works without a connection.",
        examples=("covidnet-lite models", "covidnet-lite models --json", "covidnet-lite models verify mine.tflite"),
    )
    models.add_argument("--json", action="store_true", help="print JSON instead")
    models.set_defaults(run=_list)
    actions = models.add_subparsers(metavar="WORD")

    verify = actions.add_parser(
        "verify",
        help="report who signed networks",
        description="Reports who signed each network; exits with code 1 if no trusted key signed one of them.",
        examples=("covidnet-lite models verify base mine.tflite",),
    )
    verify.add_argument("models", nargs="+", metavar="MODEL", help="a network's name or a .tflite file")
    verify.set_defaults(run=_verify)

    sign = actions.add_parser(
        "sign",
        help="sign networks",
        description="Signs each file: writes the signature to FILE.sig beside it.",
        examples=("covidnet-lite models sign mine.tflite --key me.pem",),
    )
    sign.add_argument("models", nargs="+", type=Path, metavar="FILE", help="a .tflite file")
    sign.add_argument("--key", type=Path, required=True, metavar="NAME.pem", help="an Ed25519 private key, PEM")
    sign.set_defaults(run=_sign)

    key = actions.add_parser(
        "key",
        help="make a key to sign with",
        description="Makes a private key (NAME.pem), which signs, and its public key (NAME.pub), which verifies.",
        examples=("covidnet-lite models key me.pem",),
    )
    key.add_argument("path", type=Path, metavar="NAME.pem", help="the file to write the private key to")
    key.set_defaults(run=_key)

    trust = actions.add_parser(
        "trust",
        help="trust a signer's key, or list the trusted signers",
        description="Makes this account trust networks signed with a key; without a key, lists the trusted signers.",
        examples=("covidnet-lite models trust colleague.pub", "covidnet-lite models trust"),
    )
    trust.add_argument("path", nargs="?", type=Path, metavar="NAME.pub", help="the signer's public key, PEM")
    trust.add_argument("--name", default="", help="what to call the signer (default: the file's name)")
    trust.set_defaults(run=_trust)


def _list(args: argparse.Namespace) -> int:
    from .network import model

    shipped = {name: model.load(name) for name in model.shipped()}
    if args.json:
        facts = [
            {
                "name": name,
                "version": loaded.manifest.version,
                "bytes": len(loaded.data),
                "width": loaded.manifest.input.width,
                "height": loaded.manifest.input.height,
                "labels": list(loaded.manifest.labels),
                "sha256": loaded.sha256,
                "signed_by": loaded.signature.by,
                "licence": loaded.manifest.licence,
            }
            for name, loaded in shipped.items()
        ]
        print(json.dumps(facts, indent=1))
        return OK
    for name, loaded in shipped.items():
        spec = loaded.manifest.input
        labels = ", ".join(loaded.manifest.labels)
        print(f"{name}  {len(loaded.data) / 1e6:.2f} MB  {spec.width} x {spec.height}  {labels}")
        print(f"  sha256 {loaded.sha256}, signed by {loaded.signature.by}")
        print(f"  licence of the network: {loaded.manifest.licence}")
        print(f"  model card: unzip -p {loaded.path} MODEL_CARD.md")
    print("licence of the code: MIT")
    return OK


def _verify(args: argparse.Namespace) -> int:
    from .network import model

    code = OK
    for name in args.models:
        signature = model.check_signature(model.load(name), anew=True)
        print(f"{name}: {f'signed by {signature.by}' if signature.by else signature.objection}")
        code = code if signature.by else BAD_FILE
    return code


def _sign(args: argparse.Namespace) -> int:
    from .network import model, signature

    for path in args.models:
        print(signature.sign(model.load(path).data, path, args.key))
    return OK


def _key(args: argparse.Namespace) -> int:
    from .network import signature

    public = signature.make_key(args.path)
    print(f"{args.path} signs: keep it secret. {public} checks: give it to whoever is to trust you.")
    return OK


def _trust(args: argparse.Namespace) -> int:
    from .network import signature

    if args.path:
        print(signature.trust(args.path, args.name))
    else:
        for signer, path in signature.keys().items():
            print(f"{signer}  {path}")
    return OK
