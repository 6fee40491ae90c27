# SPDX-License-Identifier: Apache-2.0
"""SSHSIG: signatures made with SSH keys over anything, with a namespace that says what for (OpenSSH's PROTOCOL.sshsig).

Strict: version 1, our namespace only, nothing reserved, no trailing bytes, minimal integers; keys ssh-ed25519, ecdsa-sha2-nistp256 and
ssh-rsa of 2048 to 8192 bits (signed with SHA-2), no certificates, no hardware keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from meshwright.ca.attest.refusal import Refused

NAMESPACE = "attest@meshwright.dev"
MAX_ARMORED = 16 * 1024
_MAGIC = b"SSHSIG"
_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}


class SshSignature(NamedTuple):
    """A parsed signature. `public_key` is the key's SSH wire form, `algorithm` and `signature` the two halves of the inner blob."""

    public_key: bytes
    namespace: bytes
    hash_name: bytes
    algorithm: bytes
    signature: bytes


class _Reader:
    """SSH's wire types (RFC 4251 section 5) out of bytes; every shortage is Refused."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Refused("SignatureMalformed")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def mpint(self) -> int:
        """Positive and in its shortest form."""
        raw = self.string()
        if not raw or raw[0] & 0x80 or (raw[0] == 0 and (len(raw) == 1 or not raw[1] & 0x80)):
            raise Refused("SignatureMalformed")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        if self._at != len(self._data):
            raise Refused("SignatureMalformed")


def parse(armored: str) -> SshSignature:
    """Reads the armored form. Raises Refused."""
    reader = _Reader(_unarmor(armored))
    if reader.take(6) != _MAGIC or reader.uint32() != 1:
        raise Refused("SignatureMalformed")
    public_key, namespace, reserved, hash_name, inner = (reader.string() for _ in range(5))
    reader.end()
    if reserved or hash_name not in _HASHES:
        raise Refused("SignatureMalformed")
    blob = _Reader(inner)
    algorithm, signature = blob.string(), blob.string()
    blob.end()
    return SshSignature(public_key, namespace, hash_name, algorithm, signature)


def verify(signature: SshSignature, message: bytes, *, namespace: str = NAMESPACE) -> None:
    """Raises Refused unless `signature.public_key` signed `message` in `namespace`. Whether that key is to be trusted is not asked here."""
    if signature.namespace != namespace.encode():
        raise Refused("SignatureNamespace")
    digest = _HASHES[signature.hash_name](message).digest()
    parts = (signature.namespace, b"", signature.hash_name, digest)
    signed = _MAGIC + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    try:
        _verify_raw(signature, signed)
    except InvalidSignature as error:
        raise Refused("SignatureWrong") from error
    except ValueError as error:  # a point that is not on the curve, an even modulus ...
        raise Refused("KeyMalformed") from error


def _unarmor(armored: str) -> bytes:
    lines = armored.removesuffix("\n").split("\n") if len(armored) <= MAX_ARMORED else []
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise Refused("SignatureMalformed")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("SignatureMalformed") from error


def _verify_raw(signature: SshSignature, signed: bytes) -> None:
    key = _Reader(signature.public_key)
    kind = key.string()
    if kind == b"ssh-ed25519" and signature.algorithm == kind:
        point = key.string()
        key.end()
        ed25519.Ed25519PublicKey.from_public_bytes(point).verify(signature.signature, signed)
    elif kind == b"ecdsa-sha2-nistp256" and signature.algorithm == kind:
        _verify_ecdsa(key, signature.signature, signed)
    elif kind == b"ssh-rsa" and signature.algorithm in _RSA_HASHES:
        _verify_rsa(key, signature.signature, signed, _RSA_HASHES[signature.algorithm])
    else:
        raise Refused("KeyType")


def _verify_ecdsa(key: _Reader, signature: bytes, signed: bytes) -> None:
    curve, point = key.string(), key.string()
    key.end()
    if curve != b"nistp256":
        raise Refused("KeyType")
    halves = _Reader(signature)
    r, s = halves.mpint(), halves.mpint()
    halves.end()
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


def _verify_rsa(key: _Reader, signature: bytes, signed: bytes, algorithm: hashes.HashAlgorithm) -> None:
    e, n = key.mpint(), key.mpint()
    key.end()
    if not 2048 <= n.bit_length() <= 8192 or not 3 <= e < 1 << 32:  # larger ones are an attack on our CPU
        raise Refused("KeySize")
    rsa.RSAPublicNumbers(e, n).public_key().verify(signature, signed, padding.PKCS1v15(), algorithm)
