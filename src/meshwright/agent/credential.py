# SPDX-License-Identifier: Apache-2.0
"""A new key with its CSR, and the check of what comes back. Only the short-lived commands import this (cryptography is large)."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshwright.errors import ConfigError
from meshwright.model.identity import ProxyId


class KeyRequest(NamedTuple):
    """`key`: PKCS#8 PEM. `csr`: PEM without any name: the control plane decides who this is."""

    key: bytes
    csr: str
    spki_sha256: str

    def __repr__(self) -> str:
        return f"KeyRequest({self.spki_sha256})"


def new_key() -> KeyRequest:
    """P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return KeyRequest(private, csr.public_bytes(serialization.Encoding.PEM).decode(), hashlib.sha256(public).hexdigest())


def check(request: KeyRequest, chain: bytes, proxy: ProxyId, trust_domain: str) -> None:
    """Raises ConfigError unless the chain's first certificate is for our key and for this workload."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        public = leaf.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, x509.InvalidVersion) as error:
        raise ConfigError("what the control plane sent is no certificate") from error
    if hashlib.sha256(public).hexdigest() != request.spki_sha256:
        raise ConfigError("the control plane sent a certificate for another key")
    if not is_for(chain, proxy, trust_domain):
        raise ConfigError(f"the control plane sent a certificate that is not for {proxy.dns_san(trust_domain)}")


def is_for(chain: bytes, proxy: ProxyId, trust_domain: str) -> bool:
    """Whether the first certificate names this workload."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.InvalidVersion, x509.ExtensionNotFound):
        return False
    return proxy.dns_san(trust_domain) in names.get_values_for_type(x509.DNSName)


def share_a_root(bundle: bytes, roots: bytes) -> bool:
    """Whether two bundles in PEM have a certificate in common."""
    try:
        return not set(x509.load_pem_x509_certificates(roots)).isdisjoint(x509.load_pem_x509_certificates(bundle))
    except (ValueError, x509.InvalidVersion):
        return False
