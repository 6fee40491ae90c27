# SPDX-License-Identifier: Apache-2.0
"""Reading CSRs and issuing certificates. Pure: time, randomness and the signer are arguments. Who the subject is is decided by the caller;
of a CSR nothing but its public key is used."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshwright.ca.authority import Random, Signer, pem, serial_number
from meshwright.errors import BadRequest, ConfigError, Unavailable
from meshwright.model.identity import Holder, SpiffeId

MAX_CSR = 16 * 1024
MAX_BACKDATE = timedelta(seconds=10)
DEFAULT_TTL = timedelta(hours=24)
MIN_TTL = timedelta(seconds=2)
CONTROL_PLANE_NAMESPACE = "meshwright-system"
CONTROL_PLANE_ACCOUNT = "control-plane"

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class Certificate(NamedTuple):
    """`chain`: PEM, leaf first (the root is not part of it). `serial`: hex."""

    chain: bytes
    serial: str
    not_before: datetime
    not_after: datetime


def read_csr(text: str) -> PublicKey:
    """The public key of a CSR in PEM that is signed by it. Raises BadRequest."""
    if len(text) > MAX_CSR:
        raise BadRequest(f"longer than {MAX_CSR} characters", path="csr")
    try:
        csr = x509.load_pem_x509_csr(text.encode("ascii"))
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise BadRequest("not a certificate signing request in PEM", path="csr") from error
    accepted = _accept(key)  # before the signature is checked: an outsized key makes that expensive
    try:
        hash_name = csr.signature_hash_algorithm.name if csr.signature_hash_algorithm else ""
        valid = csr.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise BadRequest("its signature can't be checked", path="csr") from error
    if not valid or hash_name in ("md5", "sha1"):
        raise BadRequest("its signature is not valid", path="csr")
    return accepted


def _accept(key: object) -> PublicKey:
    match key:
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case rsa.RSAPublicKey() if 2048 <= key.key_size <= 8192 and key.public_numbers().e < 1 << 32:
            return key
    raise BadRequest("its key is not P-256, P-384, Ed25519 or RSA of 2048 to 8192 bits", path="csr")


def spki_sha256(key: PublicKey) -> str:
    """Hex digest of the SubjectPublicKeyInfo in DER: how attestation names a key."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def issue_svid(signer: Signer, holder: Holder, key: PublicKey, *, ttl: timedelta, now: datetime, random: Random) -> Certificate:
    """The X.509-SVID of a workload: URI SAN (who it is to peers) and DNS SANs (which workload on which host, to the control plane)."""
    names = [x509.UniformResourceIdentifier(str(holder.spiffe)), *(x509.DNSName(name) for name in holder.dns_sans())]
    return _issue(signer, names, key, ttl=ttl, now=now, random=random)


def issue_server(
    signer: Signer, trust_domain: str, hosts: Sequence[str], key: PublicKey, *, ttl: timedelta, now: datetime, random: Random
) -> Certificate:
    """The control plane's own certificate. `hosts`: DNS names and IP addresses, at least one. Raises ConfigError."""
    spiffe = SpiffeId(trust_domain, CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe))]
    if not hosts:
        raise ConfigError("the control plane's certificate needs at least one name or address")
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(_dns_name(host))
    return _issue(signer, names, key, ttl=ttl, now=now, random=random)


def _dns_name(host: str) -> x509.DNSName:
    if not host or len(host) > 253 or not host.isascii() or any(c.isspace() or c in "/:@" for c in host):
        raise ConfigError(f"{host[:253]!r} is no DNS name and no IP address")
    return x509.DNSName(host)


def _issue(
    signer: Signer, names: Sequence[x509.GeneralName], key: PublicKey, *, ttl: timedelta, now: datetime, random: Random
) -> Certificate:
    if ttl < MIN_TTL:
        raise ConfigError(f"a certificate's life must be at least {MIN_TTL.total_seconds():.0f} s")
    # Clocks differ a little; a short-lived certificate is backdated by less, or most of its life would be over at birth.
    start = (now - min(MAX_BACKDATE, ttl / 10)).replace(microsecond=0)
    end = min((now + ttl).replace(microsecond=0), signer.certificate.not_valid_after_utc)
    if end <= now:
        raise Unavailable("the CA's root has expired")
    serial = serial_number(random)
    issuer_key_id = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(signer.certificate.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_DIGITAL_SIGNATURE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)  # the subject is empty: RFC 5280 4.2.1.6
    )
    certificate = builder.sign(signer.key, hashes.SHA256())
    return Certificate(pem(certificate), f"{serial:x}", start, end)


_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
