# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from meshwright.ca.authority import Authority, Signer, self_signed_root
from meshwright.ca.issue import Certificate, issue_server, issue_svid, read_csr, spki_sha256
from meshwright.ca.keys import new_key
from meshwright.errors import BadRequest, ConfigError, MeshwrightError, Unavailable
from meshwright.model.identity import Holder, ProxyId, SpiffeId

from .fakes import NOW, CountingRandom, FakeClock, make_csr, memory_authority

PROXY = ProxyId("web", "shop")
SPIFFE = SpiffeId("cluster.local", "shop", "web-sa")
HOLDER = Holder(PROXY, SPIFFE, "vm1")
RANDOM = CountingRandom()
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return memory_authority(FakeClock())


def svid(authority: Authority, csr: str, ttl: timedelta = DAY) -> Certificate:
    return issue_svid(authority.active, HOLDER, read_csr(csr), ttl=ttl, now=NOW, random=RANDOM)


def parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.chain)


def test_what_an_svid_says(authority: Authority) -> None:
    issued = svid(authority, make_csr())
    leaf = parsed(issued)
    leaf.verify_directly_issued_by(authority.active.certificate)
    extensions = leaf.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/web-sa"),
        x509.DNSName("web.shop.workload.cluster.local"),
        x509.DNSName("vm1.node.cluster.local"),
    ]
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value == x509.BasicConstraints(False, None)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    purposes = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert leaf.subject == x509.Name([])
    assert issued.serial == f"{leaf.serial_number:x}" and leaf.serial_number < 1 << 128
    assert leaf.not_valid_before_utc == NOW - timedelta(seconds=10) and leaf.not_valid_after_utc == NOW + DAY
    assert (issued.not_before, issued.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def test_a_short_life_is_backdated_by_less(authority: Authority) -> None:
    issued = svid(authority, make_csr(), timedelta(seconds=5))
    assert NOW - timedelta(seconds=1) <= issued.not_before <= NOW < issued.not_after


def test_serials_differ(authority: Authority) -> None:
    assert len({svid(authority, make_csr()).serial for _ in range(50)}) == 50


def test_nothing_outlives_the_root() -> None:
    key = new_key()
    root = self_signed_root(key, "cluster.local", now=NOW - timedelta(days=3651, hours=12), random=RANDOM)
    signer = Signer(root, key)
    issued = issue_svid(signer, HOLDER, read_csr(make_csr()), ttl=DAY, now=NOW, random=RANDOM)
    assert issued.not_after == root.not_valid_after_utc < NOW + DAY
    with pytest.raises(Unavailable):
        issue_svid(signer, HOLDER, read_csr(make_csr()), ttl=DAY, now=NOW + DAY, random=RANDOM)


def test_a_life_of_nothing_is_refused(authority: Authority) -> None:
    with pytest.raises(ConfigError):
        svid(authority, make_csr(), timedelta(seconds=1))


def test_names_and_extensions_of_the_csr_are_not_copied(authority: Authority) -> None:
    key = new_key()
    evil = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")]))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://cluster.local/ns/a/sa/admin")]), critical=False
        )
        .add_extension(x509.BasicConstraints(True, 3), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = make_csr(key)
    dirty = evil.public_bytes(serialization.Encoding.PEM).decode()

    def content(csr: str) -> list[object]:
        leaf = parsed(svid(authority, csr))
        return [leaf.subject, *((e.critical, e.value) for e in leaf.extensions)]

    assert content(dirty) == content(plain)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "ed25519", "rsa2048"],
)
def test_keys_that_are_taken(authority: Authority, key: object) -> None:
    assert parsed(svid(authority, make_csr(key)))


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP521R1()), ec.generate_private_key(ec.SECP256K1()), rsa.generate_private_key(65537, 1024)],
    ids=["p521", "secp256k1", "rsa1024"],
)
def test_keys_that_are_refused(key: object) -> None:
    with pytest.raises(BadRequest) as caught:
        read_csr(make_csr(key))
    assert caught.value.path == "csr"


def test_a_csr_that_its_key_did_not_sign_is_refused() -> None:
    one = x509.load_pem_x509_csr(make_csr().encode())
    der = bytearray(one.public_bytes(serialization.Encoding.DER))
    public = one.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)  # type: ignore[union-attr]
    other = new_key().public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    at = bytes(der).index(public)
    der[at : at + len(public)] = other
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(BadRequest):
        read_csr(forged)


def test_an_oversized_csr_is_refused_unread() -> None:
    with pytest.raises(BadRequest, match="longer"):
        read_csr(make_csr() + "\n" * 16384)


@given(st.text(max_size=300))
def test_any_text_is_a_csr_or_refused(text: str) -> None:
    with pytest.raises(MeshwrightError):
        read_csr(text)


ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")  # before the signature
BASE_DER = x509.load_pem_x509_csr(make_csr().encode()).public_bytes(serialization.Encoding.DER)


@given(st.integers(0, len(BASE_DER) - 1), st.integers(1, 255), st.integers(0, len(BASE_DER)))
def test_a_csr_with_a_changed_byte_never_leads_to_another_key(at: int, flip: int, cut: int) -> None:
    """One byte means nothing: how many bits of the signature's last byte are unused, when these are zero anyway."""
    changed = bytearray(BASE_DER)
    changed[at] ^= flip
    try:
        key = read_csr(csr_pem(bytes(changed)[: cut if cut > at else None]))
    except MeshwrightError:
        return
    assert at == BASE_DER.rindex(ECDSA_WITH_SHA256) + len(ECDSA_WITH_SHA256) + 2
    assert spki_sha256(key) == spki_sha256(read_csr(csr_pem(BASE_DER)))


def csr_pem(der: bytes) -> str:
    return "-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(der).decode() + "-----END CERTIFICATE REQUEST-----\n"


def test_a_csr_of_another_version_is_refused() -> None:
    at = BASE_DER.index(b"\x02\x01\x00") + 2
    with pytest.raises(BadRequest):
        read_csr(csr_pem(BASE_DER[:at] + b"\x01" + BASE_DER[at + 1 :]))


def test_openssl_verifies_what_we_issue(tmp_path: Path, authority: Authority) -> None:
    now = FakeClock().now()
    key = new_key()
    server = issue_server(
        authority.active, "cluster.local", ["cp.example", "10.0.0.1", "::1"], key.public_key(), ttl=DAY, now=now, random=RANDOM
    )
    (tmp_path / "root.pem").write_bytes(authority.bundle)
    (tmp_path / "svid.pem").write_bytes(svid(authority, make_csr()).chain)
    (tmp_path / "server.pem").write_bytes(server.chain)
    at = str(int(now.timestamp()))

    def verify(*arguments: str) -> str:
        command = ["openssl", "verify", "-x509_strict", "-attime", at, "-CAfile", str(tmp_path / "root.pem"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else "refused: " + done.stderr

    svid_path, server_path = str(tmp_path / "svid.pem"), str(tmp_path / "server.pem")
    assert verify("-purpose", "sslclient", svid_path).endswith("OK")
    assert verify("-purpose", "sslserver", "-verify_hostname", "web.shop.workload.cluster.local", svid_path).endswith("OK")
    assert verify("-purpose", "sslserver", "-verify_hostname", "cp.example", server_path).endswith("OK")
    assert verify("-purpose", "sslserver", "-verify_ip", "10.0.0.1", server_path).endswith("OK")
    assert verify("-purpose", "sslserver", "-verify_hostname", "other.example", server_path).startswith("refused")
    assert verify(str(tmp_path / "root.pem")).endswith("OK")


def test_the_control_planes_certificate_has_its_own_identity(authority: Authority) -> None:
    key = new_key()
    leaf = parsed(issue_server(authority.active, "cluster.local", ["cp.example"], key.public_key(), ttl=DAY, now=NOW, random=RANDOM))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local/ns/meshwright-system/sa/control-plane"]


@pytest.mark.parametrize("hosts", [[], [""], ["a b"], ["https://cp"], ["ä.example"]])
def test_server_names_that_are_none(authority: Authority, hosts: list[str]) -> None:
    with pytest.raises(ConfigError):
        issue_server(authority.active, "cluster.local", hosts, new_key().public_key(), ttl=DAY, now=NOW, random=RANDOM)
