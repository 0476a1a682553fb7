from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import with_rules

import covidnet_lite
from covidnet_lite import cli
from covidnet_lite.errors import MissingExtraError, ModelError, UnsignedNetworkWarning
from covidnet_lite.network import model, signature

TRUSTED = "a-test"  # what the tests' key is called


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network of a test's own, signed with a key that is trusted."""
    return with_rules(tmp_path)


@pytest.fixture
def unsigned(network: Path) -> Path:
    """The same without its signature."""
    sig(network).unlink()
    return network


def sig(path: Path) -> Path:
    return Path(f"{path}{signature.SUFFIX}")


def refusal(path: Path) -> str:
    """What a service says that is given a network."""
    with pytest.raises(ModelError) as caught:
        covidnet_lite.Classifier(path, unsigned="refuse")
    return str(caught.value)


@pytest.mark.parametrize("name", model.shipped())
def test_our_key_signed_the_shipped_networks(name: str) -> None:
    signature_check = model.check_signature(model.load(name), anew=True)
    assert signature_check.by == signature.OURS, f"{signature_check.objection}; sign it: covidnet-lite models sign"


@pytest.mark.filterwarnings("error")
def test_a_copy_of_a_shipped_network_is_known_wherever_it_lies(tmp_path: Path) -> None:
    copy = Path(shutil.copy(model.load("nano").path, tmp_path / "another name.tflite"))
    assert covidnet_lite.Classifier(copy, unsigned="refuse").model.signature.by == signature.OURS
    assert model.check_signature(model.load(copy), anew=True).by == signature.OURS


@pytest.mark.filterwarnings("error")
def test_an_answer_says_who_signed_the_network(network: Path, film: Path) -> None:
    for model_, signer in ((network, TRUSTED), ("nano", signature.OURS)):
        prediction = covidnet_lite.Classifier(model_, unsigned="refuse").classify(film)
        assert prediction.to_dict()["signed_by"] == signer
    blank = covidnet_lite.Classifier(network).classify(bytes(film_without_contrast()))
    assert (blank.status, blank.signed_by) == ("refused", TRUSTED)


def film_without_contrast() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (300, 300), 90).save(file, "PNG")
    return file.getvalue()


def test_an_unsigned_network_warns_in_the_library_and_answers(unsigned: Path, film: Path) -> None:
    with pytest.warns(UnsignedNetworkWarning, match="nano.tflite: is not signed"):
        classifier = covidnet_lite.Classifier(unsigned)
    assert classifier.classify(film).signed_by is None


@pytest.mark.filterwarnings("error")
def test_an_unsigned_network_is_used_without_a_word_where_that_was_asked_for(unsigned: Path) -> None:
    covidnet_lite.Classifier(unsigned, unsigned="allow")


def test_a_service_refuses_an_unsigned_network_and_says_what_to_do(unsigned: Path) -> None:
    assert "is not signed" in refusal(unsigned)
    assert "--allow-unsigned" in refusal(unsigned)


def test_a_signature_does_not_fit_a_network_that_was_changed(network: Path) -> None:
    data = sig(network).read_bytes()
    with_rules(network.parent, threshold=0.5)
    sig(network).write_bytes(data)
    assert "fits no trusted key" in refusal(network)


def test_a_signature_of_an_unknown_key_is_none_until_the_key_is_trusted(
    unsigned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = signature.make_key(tmp_path / "a hospital.pem")
    signature.sign(unsigned.read_bytes(), unsigned, tmp_path / "a hospital.pem")
    assert "fits no trusted key" in refusal(unsigned)
    monkeypatch.setenv(signature.TRUSTED, str(tmp_path / "trusted"))
    assert signature.trust(public).parent == tmp_path / "trusted"
    assert covidnet_lite.Classifier(unsigned, unsigned="refuse").model.signature.by == "a hospital"


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_none(network: Path, length: int) -> None:
    sig(network).write_bytes(bytes(length))
    assert "another length" in refusal(network)


def test_every_bit_of_a_signature_counts(network: Path) -> None:
    data, good = network.read_bytes(), sig(network).read_bytes()
    for bit in range(0, 512, 7):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        sig(network).write_bytes(flipped)
        assert signature.check(data, network).by is None, bit


def test_openssl_agrees(network: Path, key: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key.with_suffix(".pub")]
    subprocess.run([*command, "-in", network, "-sigfile", sig(network)], check=True, capture_output=True)


def test_the_private_key_is_for_its_owner_alone(key: Path) -> None:
    assert os.name != "posix" or key.stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_written_over(key: Path) -> None:
    with pytest.raises(ModelError, match="is there already"):
        signature.make_key(key)


def test_nobody_takes_the_name_of_another_signer(tmp_path: Path) -> None:
    public = signature.make_key(tmp_path / f"{signature.OURS}.pem")
    with pytest.raises(ModelError, match="another key is trusted by this name"):
        signature.trust(public)
    with pytest.raises(ModelError, match="is no name"):
        signature.trust(public, "../elsewhere")


def test_a_key_in_the_folder_does_not_replace_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature.make_key(tmp_path / f"{signature.OURS}.pem")
    monkeypatch.setenv(signature.TRUSTED, str(tmp_path))
    assert signature.keys()[signature.OURS].parent == model.SHIPPED


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pub").write_bytes(content)
    with pytest.raises(ModelError, match="x.pub: cannot be read as a key"):
        signature.trust(tmp_path / "x.pub")
    with pytest.raises(ModelError, match="x.pub: cannot be read as a key"):
        signature.sign(b"", tmp_path / "x.tflite", tmp_path / "x.pub")


def test_a_key_of_another_kind_is_named(tmp_path: Path, key: Path) -> None:
    with pytest.raises(ModelError, match=r"a-test.pub: cannot be read|is no Ed25519 private key"):
        signature.sign(b"", tmp_path / "x.tflite", key.with_suffix(".pub"))


def test_shipped_networks_are_known_and_others_explained_without_the_extra(network: Path) -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from covidnet_lite.network import model\n"
        "print(model.load('base').signature.by, model.load(sys.argv[1]).signature.objection)"
    )
    process = subprocess.run([sys.executable, "-c", script, network], capture_output=True, text=True, check=True)
    assert process.stdout == (
        "covidnet-lite has a signature, and to check it needs the extra: pip install 'covidnet-lite[sign]'\n"
    )


def test_the_command_makes_signs_trusts_and_verifies(
    unsigned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(signature.TRUSTED, str(tmp_path / "trusted"))
    name, public = str(unsigned), str(tmp_path / "me.pub")
    assert cli.main(["models", "verify", "base", name]) == 1
    assert capsys.readouterr().out == f"base: signed by covidnet-lite\n{name}: is not signed\n"
    assert cli.main(["models", "key", str(tmp_path / "me.pem")]) == 0
    assert cli.main(["models", "sign", name, "--key", str(tmp_path / "me.pem")]) == 0
    assert cli.main(["models", "trust", public, "--name", "radiology"]) == 0
    assert cli.main(["models", "verify", name]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{name}: signed by radiology"
    assert cli.main(["models", "trust"]) == 0
    assert "radiology  " in capsys.readouterr().out


def test_classify_says_once_that_a_network_is_not_signed(
    unsigned: Path, film: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cli.main(["classify", str(film), str(film), "--model", str(unsigned)])
    assert capfd.readouterr().err.count("is not signed") == 1


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["watch", ".", "--once"]])
def test_the_services_refuse_an_unsigned_network(
    unsigned: Path,
    tmp_path: Path,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "--model", str(unsigned)]) == 2
    assert "is not signed" in capsys.readouterr().err


def test_watch_takes_an_unsigned_network_where_it_is_allowed(
    unsigned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # it would keep pytest from being stopped
    (tmp_path / "in").mkdir()
    command = ["watch", str(tmp_path / "in"), "--once", "--model", str(unsigned), "--allow-unsigned"]
    assert cli.main(command) == 0


@pytest.mark.local
def test_the_node_refuses_an_unsigned_network(
    unsigned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ("dicom_out", "pynetdicom"):
        pytest.importorskip({"dicom_out": "highdicom"}.get(extra, extra))
    settings = tmp_path / "node.toml"
    settings.write_text(
        f'port = 0\nqueue = "queue"\n[pacs]\nae_title = "X"\nhost = "127.0.0.1"\nport = 1\n[network]\nmodel = "{unsigned}"\n'
    )
    assert cli.main(["node", "--check", "--settings", str(settings)]) == 2
    assert "is not signed" in capsys.readouterr().err
    cli.main(["node", "--check", "--settings", str(settings), "--allow-unsigned"])
    assert "can run" in capsys.readouterr().out  # though no PACS answers here


def test_signing_and_trusting_without_the_extra_name_it(
    unsigned: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for action in (
        lambda: signature.sign(unsigned.read_bytes(), unsigned, key),
        lambda: signature.trust(key.with_suffix(".pub"), "somebody"),
        lambda: signature.make_key(tmp_path / "new.pem"),
    ):
        with pytest.raises(MissingExtraError, match=r"covidnet-lite\[sign\]"):
            action()
    assert not sig(unsigned).exists()
