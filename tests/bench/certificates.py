# SPDX-License-Identifier: Apache-2.0
"""Certificates for many fake proxies: one key for all, which a measurement can afford."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshwright.model.identity import Holder, ProxyId, SpiffeId

Sans = list[x509.GeneralName]


def write_certificates(home: Path, nodes: list[str], *, trust_domain: str = "cluster.local", odd: Mapping[str, Sans] | None = None) -> None:
    """root.pem, key.pem (for everyone), server.pem, and NODE.pem for each node `NAME.NAMESPACE`; `odd`: file name -> what else to put
    into a certificate."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    root = _certificate("root", root_key.public_key(), root_key, None)
    pem = serialization.Encoding.PEM
    home.joinpath("root.pem").write_bytes(root.public_bytes(pem))
    plain = serialization.NoEncryption()
    home.joinpath("key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    local = [x509.DNSName("control-plane"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    home.joinpath("server.pem").write_bytes(_certificate("server", key.public_key(), root_key, local).public_bytes(pem))
    for node, sans in {**{node: sans_of(node, trust_domain) for node in nodes}, **(odd or {})}.items():
        home.joinpath(f"{node}.pem").write_bytes(_certificate(node, key.public_key(), root_key, sans).public_bytes(pem))


def sans_of(node: str, trust_domain: str = "cluster.local", host: str = "vm1") -> Sans:
    proxy = ProxyId.parse(node)
    spiffe = SpiffeId(trust_domain, proxy.namespace, "default")
    return [x509.UniformResourceIdentifier(str(spiffe)), *(x509.DNSName(name) for name in Holder(proxy, spiffe, host).dns_sans())]


def _certificate(name: str, key: ec.EllipticCurvePublicKey, issuer: ec.EllipticCurvePrivateKey, sans: Sans | None) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=2))
        .add_extension(x509.BasicConstraints(ca=sans is None, path_length=None), critical=True)
    )
    if sans is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(issuer, hashes.SHA256())
