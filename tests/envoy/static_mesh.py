# SPDX-License-Identifier: Apache-2.0
"""Envoys that run compiled snapshots as static bootstraps, with a CA of the test's own and an application behind them."""

from __future__ import annotations

import datetime
import http.client
import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshwright.model.snapshot import Snapshot
from meshwright.translate.bootstrap import file_secrets, static_bootstrap
from tests.lab.envoy import envoy_binary

DEADLINE = 20.0


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Authority:
    """A CA; `issue` leaves an identity as an agent keeps it: svid.pem, svid.key, bundle.pem."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"root of {root.name}")])
        builder = self._builder(self.name, self.key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.certificate = builder.sign(self.key, hashes.SHA256())

    def issue(self, account: str, trust_domain: str = "cluster.local", namespace: str = "shop") -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.UniformResourceIdentifier(f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}"),
            x509.DNSName(f"{account}.{namespace}.workload.{trust_domain}"),
        ]
        builder = self._builder(x509.Name([]), key.public_key())
        signed = builder.add_extension(x509.SubjectAlternativeName(names), critical=True).sign(self.key, hashes.SHA256())
        home = self.root / (f"{account}-{trust_domain}" if namespace == "shop" else f"{account}-{trust_domain}-{namespace}")
        home.mkdir(parents=True)
        pem = serialization.Encoding.PEM
        (home / "svid.pem").write_bytes(signed.public_bytes(pem))
        (home / "svid.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        (home / "bundle.pem").write_bytes(self.certificate.public_bytes(pem))
        return home

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))


class _Answers(BaseHTTPRequestHandler):
    """Says what it was asked, as JSON; upgrades what wants to be upgraded and echoes one message."""

    def do_GET(self) -> None:
        if self.headers.get("upgrade") == "websocket":
            self.send_response(101)
            self.send_header("upgrade", "websocket")
            self.send_header("connection", "upgrade")
            self.end_headers()
            self.connection.sendall(b"echo:" + self.connection.recv(100))
            self.close_connection = True
            return
        body = json.dumps({"path": self.path, "headers": {key.lower(): value for key, value in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1000):
            self.request.sendall(b"echo:" + data)


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True


class Applications:
    """An HTTP application and two TCP echoes, on loopback."""

    def __init__(self) -> None:
        self._web = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
        self._web.daemon_threads = True
        self._echoes = [_Threads(("127.0.0.1", 0), _Echo) for _ in range(2)]
        self._servers: list[socketserver.TCPServer] = [self._web, *self._echoes]
        self.http_port, self.tcp_port, self.other_port = [int(server.server_address[1]) for server in self._servers]
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in self._servers]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join(DEADLINE)


class Envoy:
    """One Envoy with a snapshot and an identity."""

    def __init__(self, root: Path, snapshot: Snapshot, identity: Path) -> None:
        root.mkdir()
        self._admin = root / "admin.sock"
        bootstrap = static_bootstrap(snapshot, file_secrets(str(identity)))
        bootstrap["admin"] = {"address": {"pipe": {"path": str(self._admin)}}}
        (root / "envoy.json").write_text(json.dumps(bootstrap))
        command = [str(envoy_binary()), "-c", str(root / "envoy.json"), "--disable-hot-restart", "--concurrency", "1"]
        self.log = root / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([*command, "--log-level", "warning"], stdout=log, stderr=log)

    def wait_until_live(self) -> None:
        until = time.monotonic() + DEADLINE
        while self._process.poll() is None and time.monotonic() < until:
            try:
                if self._ask("/ready").startswith("HTTP/1.1 200"):
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def stats(self, text: str) -> dict[str, int]:
        """The counters with this in their name."""
        lines = [line.rpartition(": ") for line in self._ask(f"/stats?filter={text}").splitlines() if text in line]
        return {name: int(value) for name, _, value in lines}

    def _ask(self, path: str) -> str:
        with closing(socket.socket(socket.AF_UNIX)) as admin:
            admin.settimeout(1)
            admin.connect(str(self._admin))
            admin.sendall(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)


def get(address: str, port: int, path: str, **headers: str) -> tuple[int, Any]:
    """(status, body): the body of a 200 is what the application says it was asked."""
    with closing(http.client.HTTPConnection(address, port, timeout=DEADLINE)) as connection:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else body.decode()


def exchange(address: str, port: int, data: bytes) -> bytes:
    """What comes back until the other side closes or has said `echo:` and the data."""
    with closing(socket.create_connection((address, port), DEADLINE)) as connection:
        connection.sendall(data)
        return _until(connection, b"echo:")


def direct(port: int, server_name: str, identity: Path | None, data: bytes) -> bytes:
    """Past the outbound Envoy: TLS with this identity (None: without) to the inbound port. b'' when the other side closes at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity / "svid.pem", identity / "svid.key")
    with closing(socket.create_connection(("127.0.0.1", port), DEADLINE)) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=server_name) as connection:
                connection.sendall(data)
                return _until(connection, b"\r\n\r\n", b"echo:")
        except (ssl.SSLError, ConnectionError):
            return b""


def _until(connection: socket.socket, *marks: bytes) -> bytes:
    received = b""
    while not any(mark in received for mark in marks):
        try:
            data = connection.recv(4096)
        except ConnectionResetError:
            break
        if not data:
            break
        received += data
    return received
