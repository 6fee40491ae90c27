# SPDX-License-Identifier: Apache-2.0
"""The host's proof of who it is: an SSHSIG made with its SSH host key (OpenSSH's PROTOCOL.sshsig; the message is that of
docs/architecture.md, "Identity")."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from meshwright.errors import ConfigError

NAMESPACE = b"attest@meshwright.dev"
MAX_KEY_FILE = 64 * 1024
HostKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Proof(NamedTuple):
    """`public_key`: OpenSSH line without comment. `signature`: armored SSHSIG."""

    public_key: str
    signature: str


def load_host_key(path: Path) -> HostKey:
    """Raises ConfigError that says what to do."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE)
    except OSError as error:
        raise ConfigError(f"the host key {path} can't be read ({error.strerror}): attest runs as root") from error
    try:
        key = serialization.load_ssh_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        try:
            key = serialization.load_pem_private_key(content, password=None)  # type: ignore[assignment]
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{path} is no private key without passphrase: name a host key of sshd (ssh_host_ed25519_key)") from error
    if isinstance(key, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ConfigError(f"{path} is neither Ed25519, ECDSA nistp256 nor RSA: name another host key of sshd (ssh_host_ed25519_key)")


def message(node: str, workload: str, nonce: str, *, spki_sha256: str, trust_domain: str) -> bytes:
    """What is signed."""
    lines = ("meshwright-attest-v1", node, workload, nonce, spki_sha256, trust_domain)
    return "".join(line + "\n" for line in lines).encode()


def sign(key: HostKey, signed_message: bytes) -> Proof:
    """An SSHSIG over the message with sha512."""
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    digest = hashlib.sha512(signed_message).digest()
    to_sign = b"SSHSIG" + _string(NAMESPACE) + _string(b"") + _string(b"sha512") + _string(digest)
    wire = base64.b64decode(line.split(" ")[1])
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + _string(wire)
    blob += _string(NAMESPACE) + _string(b"") + _string(b"sha512") + _string(_raw_signature(key, to_sign))
    text = base64.b64encode(blob).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return Proof(line, "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]))


def _raw_signature(key: HostKey, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return _string(b"ssh-ed25519") + _string(key.sign(data))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return _string(b"ecdsa-sha2-nistp256") + _string(_mpint(r) + _mpint(s))
    return _string(b"rsa-sha2-512") + _string(key.sign(data, padding.PKCS1v15(), hashes.SHA512()))


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))
