# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from meshwright.ca.attest import sshsig
from meshwright.ca.attest.refusal import Refused
from meshwright.ca.attest.ssh_host import key_blob

from .fakes import public_line, sign

MESSAGE = b"meshwright-attest-v1\nvm1\nweb.shop\n"
KEY = ed25519.Ed25519PrivateKey.generate()


def ssh_keygen(tmp_path: Path, kind: list[str], *options: str, namespace: str = "attest@meshwright.dev") -> tuple[str, str]:
    """What the real ssh-keygen makes: (public key line, armored signature)."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "", "-t", *kind, "-f", str(key)], check=True)
    command = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", namespace, *options]
    done = subprocess.run(command, input=MESSAGE, capture_output=True, check=True)
    return key.with_suffix(".pub").read_text(), done.stdout.decode()


@pytest.mark.parametrize("options", [["-O", "hashalg=sha256"], ["-O", "hashalg=sha512"]], ids=["sha256", "sha512"])
@pytest.mark.parametrize("kind", [["ed25519"], ["ecdsa", "-b", "256"], ["rsa", "-b", "2048"]], ids=["ed25519", "ecdsa", "rsa"])
def test_real_signatures_verify(tmp_path: Path, kind: list[str], options: list[str]) -> None:
    public, armored = ssh_keygen(tmp_path, kind, *options)
    signature = sshsig.parse(armored)
    assert signature.public_key == key_blob(public)
    sshsig.verify(signature, MESSAGE)
    with pytest.raises(Refused):
        sshsig.verify(signature, MESSAGE + b"x")


def test_a_real_signature_for_another_purpose_is_refused(tmp_path: Path) -> None:
    _, armored = ssh_keygen(tmp_path, ["ed25519"], namespace="git")
    with pytest.raises(Refused) as caught:
        sshsig.verify(sshsig.parse(armored), MESSAGE)
    assert caught.value.why == "SignatureNamespace"


@pytest.mark.parametrize("kind", [["ecdsa", "-b", "384"], ["rsa", "-b", "1024"]], ids=["p384", "rsa1024"])
def test_keys_that_are_refused(tmp_path: Path, kind: list[str]) -> None:
    _, armored = ssh_keygen(tmp_path, kind)
    with pytest.raises(Refused) as caught:
        sshsig.verify(sshsig.parse(armored), MESSAGE)
    assert caught.value.why in ("KeyType", "KeySize")


def test_ssh_keygen_takes_what_the_tests_sign(tmp_path: Path) -> None:
    """So that the tests' own signer is no invention of ours."""
    for key in (KEY, ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
        (tmp_path / "allowed").write_text(f"vm1 {public_line(key)}\n")
        (tmp_path / "sig").write_text(sign(key, MESSAGE))
        command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "vm1", "-n", "attest@meshwright.dev"]
        assert subprocess.run([*command, "-s", str(tmp_path / "sig")], input=MESSAGE, capture_output=True).returncode == 0
        sshsig.verify(sshsig.parse(sign(key, MESSAGE)), MESSAGE)


def test_a_signature_under_another_key_than_its_own_is_refused() -> None:
    other = base64.b64decode(public_line(ed25519.Ed25519PrivateKey.generate()).split(" ")[1])
    with pytest.raises(Refused) as caught:
        sshsig.verify(sshsig.parse(sign(KEY, MESSAGE, blob=other)), MESSAGE)
    assert caught.value.why == "SignatureWrong"


def armor(blob: bytes) -> str:
    return f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(blob).decode()}\n-----END SSH SIGNATURE-----\n"


def test_a_huge_rsa_key_costs_nothing() -> None:
    def string(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    huge = string(b"ssh-rsa") + string(b"\1\0\1") + string(b"\0" + b"\xff" * 4000)
    inner = string(b"rsa-sha2-512") + string(b"\1" * 4000)
    fields = string(huge) + string(b"attest@meshwright.dev") + string(b"") + string(b"sha512") + string(inner)
    with pytest.raises(Refused) as caught:
        sshsig.verify(sshsig.parse(armor(b"SSHSIG\0\0\0\1" + fields)), MESSAGE)
    assert caught.value.why == "KeySize"


VALID = base64.b64decode("".join(sign(KEY, MESSAGE).split("\n")[1:-2]))


@given(st.integers(0, len(VALID) - 1), st.integers(1, 255))
def test_no_changed_byte_gets_through(at: int, flip: int) -> None:
    changed = bytearray(VALID)
    changed[at] ^= flip
    with pytest.raises(Refused):
        sshsig.verify(sshsig.parse(armor(bytes(changed))), MESSAGE)


@given(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=8))
def test_nothing_shorter_or_longer_gets_through(cut: int, extra: bytes) -> None:
    for blob in (VALID[:cut], VALID + extra, VALID[:cut] + extra + VALID[cut:]):
        with pytest.raises(Refused):
            sshsig.verify(sshsig.parse(armor(blob)), MESSAGE)


@given(st.text(max_size=200))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        sshsig.parse(text)


@given(st.text(max_size=200))
def test_any_text_is_a_key_line_or_refused(text: str) -> None:
    try:
        key_blob(text)
    except Refused:
        pass
