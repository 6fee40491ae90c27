# SPDX-License-Identifier: Apache-2.0
"""The world outside: closed as long as nothing is said, opened by a ServiceEntry, with TLS that the application knows nothing of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.lab.host import Host

from examples.demo import traffic
from examples.demo.mesh import SHOP, Mesh
from examples.demo.on_hosts import OUTSIDE_PORT

NAME = "api.outside.example"
URL = f"http://{NAME}/hello"
TLS_PORT = 8443


def install(host: Host, certificates: Path) -> None:
    """Starts the outside server on a host that is not in the mesh, with a certificate for NAME that `certificates` has signed."""
    authority, certificate, key = make_certificate(NAME)
    certificates.write_text(authority)
    for file in ("answer.py", "outside.py"):
        host.put(f"/opt/outside/{file}", (SHOP / "app" / file).read_text())
    host.put("/opt/outside/cert.pem", certificate)
    host.put("/opt/outside/key.pem", key, mode=0o600)
    command = f"/usr/bin/python3 /opt/outside/outside.py {OUTSIDE_PORT} {TLS_PORT} /opt/outside/cert.pem /opt/outside/key.pem"
    host.ssh(f"systemd-run -q --unit=outside -p Restart=always {command}")


def make_certificate(name: str) -> tuple[str, str, str]:
    """A new authority and a server certificate by it, good for a day: (authority, certificate, key) in PEM."""
    now = datetime.now(UTC)

    def build(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        made = made.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        return made.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=1))

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = build("outside authority", "outside authority", authority_key)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    server = build(name, "outside authority", key).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signed = [one.sign(authority_key, hashes.SHA256()).public_bytes(pem).decode() for one in (authority, server)]
    return signed[0], signed[1], private.decode()


def check(mesh: Mesh) -> None:
    mesh.report.title("The world outside: closed until a rule opens it")
    frontend = mesh.host("frontend")
    _around_envoy(mesh, "a server outside is called by its address, without a rule: refused")
    by_envoy = traffic.get(frontend, "frontend", f"http://{mesh.ports('frontend').outbound}/", "-H", f"host: {NAME}")
    figure = f"{by_envoy} for {NAME}"
    mesh.report.check("a server outside is called through the sidecar, without a rule: refused", by_envoy.status in (404, 502), figure)
    done = mesh.ansible.module("meshwright.mesh.resource", mesh.outside_rule())
    name = "a ServiceEntry opens it, and the sidecar adds the TLS"
    if done["failed"]:
        mesh.report.check(name, False, str(done.get("msg")))
        return
    opened = traffic.get(frontend, "frontend", URL)
    seen = f"frontend called {URL}: {opened}; the server saw {opened.body.get('tls')} for {opened.body.get('host')}"
    good = opened.status == 200 and str(opened.body.get("tls")).startswith("TLSv1") and opened.body.get("host") == NAME
    mesh.report.check(name, good, seen)
    _around_envoy(mesh, "with that rule, the server outside is called around the sidecar: still refused")


def _around_envoy(mesh: Mesh, name: str) -> None:
    if "guard" in mesh.missing:
        mesh.report.leave_out(name, mesh.missing["guard"])
        return
    frontend, outside = mesh.host("frontend"), mesh.stranger
    urls = {"IPv4": f"http://{outside.address}:{mesh.outside_port}/", "IPv6": f"http://[{outside.address6}]:{mesh.outside_port}/"}
    from_elsewhere = traffic.get(outside, "root", urls["IPv4"])  # it is there
    answers = {family: traffic.get(frontend, "frontend", url) for family, url in urls.items()}
    closed = from_elsewhere.status == 200 and all(one.status == 0 for one in answers.values())
    figure = ", ".join(f"over {family}: {answer}" for family, answer in answers.items())
    mesh.report.check(name, closed, f"{figure} (for others: {from_elsewhere})")
