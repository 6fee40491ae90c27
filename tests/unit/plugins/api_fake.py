# SPDX-License-Identifier: Apache-2.0
"""A rule API over HTTPS that keeps documents in a dictionary: as much of docs/architecture.md as the collection's plugins use."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "let-me-in"


def certificate(directory: Path) -> tuple[Path, Path]:
    """Paths of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = directory / "cert.pem", directory / "key.pem"
    certificate_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    return certificate_path, key_path


class Refused(Exception):
    def __init__(self, status: int, reason: str, message: str, violations: tuple[Mapping[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"reason": reason, "message": message, "path": "", "violations": list(violations)}}


class FakeApi:
    """`stored` maps a path to a document, `nodes` a name to a node, `proxies` are as they are listed. `rollouts` maps a revision to what is
    answered for it (done by everybody, when it is not there); `refuse` maps a path to what a PUT to it raises. `requests` are
    (method, path, dry run)."""

    def __init__(self, certificate_path: Path, key_path: Path) -> None:
        self.ca_path = certificate_path
        self.revision = 0
        self.stored: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.proxies: list[dict[str, Any]] = []
        self.rollouts: dict[int, dict[str, Any] | Refused | None] = {}
        self.refuse: dict[str, Refused] = {}
        self.busy = 0
        self.requests: list[tuple[str, str, bool]] = []
        self.on_poll: Callable[[], None] = lambda: None
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate_path, key_path)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    @property
    def options(self) -> dict[str, Any]:
        """As options of a module."""
        return {"api_url": self.url, "api_token": TOKEN, "ca_path": str(self.ca_path), "api_timeout": 5}

    @property
    def writes(self) -> list[tuple[str, str]]:
        """What was asked to be stored or deleted, without dry runs."""
        return [(method, path) for method, path, dry_run in self.requests if method in ("PUT", "DELETE") and not dry_run]

    def __enter__(self) -> FakeApi:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nothing listens any more. Twice is once."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any) -> tuple[Any, bool]:
        """The body, and whether something changed. Raises Refused."""
        dry_run = query.get("dryRun") == "All"
        self.requests.append((method, path, dry_run))
        if self.busy:
            self.busy -= 1
            raise Refused(503, "Unavailable", "not ready yet")
        if path.startswith("/mesh/v1/rollouts/"):
            return self._rollout(int(path.rpartition("/")[2])), False
        if path.startswith("/mesh/v1/nodes"):
            return self._node(method, path.removeprefix("/mesh/v1/nodes").lstrip("/"), body)
        if path == "/mesh/v1/proxies":
            self.on_poll()
            return {"items": self.proxies}, False
        if path.endswith("/config"):
            return {"revision": self.revision, "clusters": [], "endpoints": [], "listeners": [], "routes": []}, False
        if method == "GET" and path.count("/") < 7:  # /apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME
            return self._list(path, query), False
        return self._resource(method, path, body, dry_run)

    def _rollout(self, revision: int) -> Any:
        self.on_poll()
        nobody = {"state": "done", "proxies": {"total": 2, "acked": 2, "pending": [], "away": []}, "rejections": []}
        rollout = self.rollouts.get(revision, nobody)
        if isinstance(rollout, Refused):
            raise rollout
        if rollout is None:
            raise Refused(410, "Compacted", "no longer followed")
        return {"revision": revision, **rollout}

    def _node(self, method: str, name: str, body: Any) -> tuple[Any, bool]:
        if method == "GET" and not name:
            return {"items": list(self.nodes.values())}, False
        if method != "PUT" and name not in self.nodes:
            raise Refused(404, "NotFound", f"no node {name}")
        if method == "DELETE":
            return self.nodes.pop(name), True
        if method == "PUT":
            self.nodes[name] = {**body, "resourceVersion": "7"}
        return self.nodes[name], True

    def _list(self, path: str, query: Mapping[str, str]) -> Any:
        items = [body for key, body in self.stored.items() if key.startswith(path + "/")]
        for pair in filter(None, query.get("labelSelector", "").split(",")):
            key, _, value = pair.partition("=")
            items = [item for item in items if (item["metadata"].get("labels") or {}).get(key) == value]
        return {"metadata": {"resourceVersion": str(self.revision)}, "items": items}

    def _resource(self, method: str, path: str, body: Any, dry_run: bool) -> tuple[Any, bool]:
        before = self.stored.get(path)
        if method in ("GET", "DELETE"):
            if before is None:
                raise Refused(404, "NotFound", f"{path} is not there")
            if method == "DELETE" and not dry_run:
                self.revision += 1
                del self.stored[path]
            return before, method == "DELETE"
        if path in self.refuse:
            raise self.refuse[path]
        changed = before is None or before["spec"] != body["spec"]
        metadata = {**body["metadata"], "uid": "u", "generation": 1, "resourceVersion": str(self.revision)}
        after = {**body, "metadata": metadata, "status": (before or {}).get("status", {"conditions": []})}
        if changed and not dry_run:
            self.revision += 1
            self.stored[path] = after
        return after, changed


def _handler(api: FakeApi) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, changed = 200, False
            try:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refused(401, "Unauthenticated", "no")
                answer, changed = api.answer(self.command, parts.path, query, body)
            except Refused as refused:
                status, answer = refused.status, refused.body
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.send_header("Meshwright-Revision", str(api.revision))
            self.send_header("Meshwright-Changed", str(changed).lower())
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_PUT = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
