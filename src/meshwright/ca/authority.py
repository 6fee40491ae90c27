# SPDX-License-Identifier: Apache-2.0
"""The mesh's certificate authority: a self-signed root, made at the first start and loaded from then on.

Slots let a root be exchanged while the mesh runs: Prepared (distributed, not signing yet) -> Active (signs) -> Old (still trusted). Only
Active is filled today; whatever asks for the bundle or for who signs goes through the slots already."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshwright.ca.keys import KeyManager, PrivateKey, new_key, private_directory, scratch_of, sync_directory, write_private
from meshwright.clock import Clock
from meshwright.errors import ConfigError

ROOT_LIFE = timedelta(days=3652)
Random = Callable[[int], bytes]
"""`random(n)` gives n bytes nobody can guess (os.urandom)."""


class Slot(enum.Enum):
    """The value is the stem of the slot's files."""

    ACTIVE = "root"


class Signer(NamedTuple):
    """A root that can sign."""

    certificate: x509.Certificate
    key: PrivateKey


def serial_number(random: Random) -> int:
    """128 random bits, never 0 (RFC 5280 4.1.2.2 wants it positive and of at most 20 octets)."""
    return int.from_bytes(random(16), "big") or 1


def self_signed_root(key: PrivateKey, trust_domain: str, *, now: datetime, random: Random) -> x509.Certificate:
    """CA:true, pathlen 0, certSign and crlSign, URI SAN of the trust domain (X509-SVID section 3 and 4), ten years."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Meshwright"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"root of {trust_domain}"[:64]),
        ]
    )
    start = now.replace(microsecond=0) - timedelta(seconds=10)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial_number(random))
        .not_valid_before(start)
        .not_valid_after(start + ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


class Authority:
    """Holds the slots. Build it with `Authority.open`."""

    def __init__(self, trust_domain: str, slots: Mapping[Slot, Signer]) -> None:
        self.trust_domain = trust_domain
        self.slots = dict(slots)

    @classmethod
    def open(cls, directory: Path, keys: KeyManager, trust_domain: str, *, clock: Clock, random: Random = os.urandom) -> Authority:
        """Loads `directory/root.pem` and its key; makes both where neither is there. Never replaces either.

        Raises ConfigError: one without the other, a pair that doesn't match, another trust domain, an expired root."""
        path = directory / f"{Slot.ACTIVE.value}.pem"
        signer = _load(path, keys) or _create(path, keys, trust_domain, now=clock.now(), random=random)
        _check(signer, path, trust_domain, clock.now())
        return cls(trust_domain, {Slot.ACTIVE: signer})

    @property
    def active(self) -> Signer:
        return self.slots[Slot.ACTIVE]

    @property
    def bundle(self) -> bytes:
        """What peers are to trust: every slot's root, PEM."""
        return b"".join(pem(signer.certificate) for signer in self.slots.values())

    @property
    def serial(self) -> str:
        """The active root's serial number in hex."""
        return f"{self.active.certificate.serial_number:x}"

    @property
    def not_after(self) -> datetime:
        return self.active.certificate.not_valid_after_utc


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _staged(path: Path) -> Path:
    """The certificate before its key is stored: a crash between the two can then be finished at the next start."""
    return path.with_name(path.name + ".new")


def _load(path: Path, keys: KeyManager) -> Signer | None:
    """None when neither file is there. Finishes a creation that a crash cut short."""
    key = keys.load(Slot.ACTIVE.value)
    staged = _staged(path)
    scratch_of(staged).unlink(missing_ok=True)
    if not path.exists() and staged.exists():
        if key is None:
            staged.unlink()  # its key was never stored, so nobody ever saw this root
        elif _matches(_read(staged), key):
            staged.rename(path)
            sync_directory(path.parent)
    if not path.exists():
        if key is None:
            return None
        raise ConfigError(f"the CA's key is there but {path} is not: restore the certificate from the backup", path=str(path))
    certificate = _read(path)
    if key is None:
        raise ConfigError(
            f"{path} is there but its key is not: restore the key from the backup, or move the certificate away to begin a new mesh "
            "(every workload then has to be attested anew)",
            path=str(path),
        )
    if not _matches(certificate, key):
        raise ConfigError(f"{path} and its key don't belong together: restore both from the same backup", path=str(path))
    return Signer(certificate, key)


def _create(path: Path, keys: KeyManager, trust_domain: str, *, now: datetime, random: Random) -> Signer:
    private_directory(path.parent)
    key = new_key()
    certificate = self_signed_root(key, trust_domain, now=now, random=random)
    write_private(_staged(path), pem(certificate))
    keys.store(Slot.ACTIVE.value, key)
    _staged(path).rename(path)
    sync_directory(path.parent)
    return Signer(certificate, key)


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}", path=str(path)) from error
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigError(f"{path} holds no certificate in PEM: restore it from the backup", path=str(path)) from error


def _matches(certificate: x509.Certificate, key: PrivateKey) -> bool:
    public = certificate.public_key()
    return isinstance(public, ec.EllipticCurvePublicKey) and public == key.public_key()


def _check(signer: Signer, path: Path, trust_domain: str, now: datetime) -> None:
    try:
        names = signer.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        constraints = signer.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise ConfigError(f"{path} is no root of a mesh: it lacks basic constraints or a SPIFFE ID", path=str(path)) from error
    if not constraints.ca:
        raise ConfigError(f"{path} is no CA certificate", path=str(path))
    if uris != [f"spiffe://{trust_domain}"]:
        raise ConfigError(f"{path} is the root of {', '.join(uris)[:300]}, the settings say spiffe://{trust_domain}", path=str(path))
    if signer.certificate.not_valid_after_utc <= now:
        raise ConfigError(f"{path} expired at {signer.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}", path=str(path))
