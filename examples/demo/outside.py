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

NAME = "api.outside.example"
URL = f"http://{NAME}/hello"
PLAIN_PORT, TLS_PORT = 8080, 8443


def install(host: Host, certificates: Path) -> None:
    """Starts the outside server on a host that is not in the mesh, with a certificate for NAME that `certificates` has signed."""
    authority, certificate, key = make_certificate(NAME)
    certificates.write_text(authority)
    for file in ("answer.py", "outside.py"):
        host.put(f"/opt/outside/{file}", (SHOP / "app" / file).read_text())
    host.put("/opt/outside/cert.pem", certificate)
    host.put("/opt/outside/key.pem", key, mode=0o600)
    command = f"/usr/bin/python3 /opt/outside/outside.py {PLAIN_PORT} {TLS_PORT} /opt/outside/cert.pem /opt/outside/key.pem"
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
    mesh.report.title("The world outside")
    frontend, outside = mesh.host("frontend"), mesh.stranger
    from_elsewhere = traffic.get(outside, "root", f"http://{outside.address}:{PLAIN_PORT}/")
    urls = {
        "its IPv4 address": f"http://{outside.address}:{PLAIN_PORT}/",
        "its IPv6 address": f"http://[{outside.address6}]:{PLAIN_PORT}/",
        "its name": URL,
    }
    answers = {how: traffic.get(frontend, "frontend", url) for how, url in urls.items()}
    by_envoy = traffic.get(frontend, "frontend", "http://127.240.0.1/", "-H", f"host: {NAME}")
    closed = from_elsewhere.status == 200 and all(one.status == 0 for one in answers.values()) and by_envoy.status in (404, 502)
    figure = "; ".join(f"{how}: {answer}" for how, answer in [*answers.items(), ("through Envoy", by_envoy)])
    mesh.report.check("an unknown outside host can't be reached", closed, figure)

    done = mesh.ansible.module("meshwright.mesh.resource", {"src": str(SHOP / "rules" / "outside.yml")})
    if done["failed"]:
        mesh.report.check("a ServiceEntry opens it, with TLS", False, str(done.get("msg")))
        return
    opened = traffic.get(frontend, "frontend", URL)
    seen = f"{opened}: the server saw {opened.body.get('tls')} for {opened.body.get('host')}"
    good = opened.status == 200 and str(opened.body.get("tls")).startswith("TLSv1") and opened.body.get("host") == NAME
    mesh.report.check("a ServiceEntry opens it, with TLS that Envoy adds", good, seen)
    direct = traffic.get(frontend, "frontend", urls["its IPv4 address"])
    mesh.report.check("and still nothing around Envoy", direct.status == 0, str(direct))
