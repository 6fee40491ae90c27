# SPDX-License-Identifier: Apache-2.0
"""What surrounds the application: TLS, its certificate, slow and many callers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from starlette.requests import Request

from meshwright.api.call import read_body
from meshwright.api.policy import Role
from meshwright.api.server import listen
from meshwright.config import Limits
from meshwright.errors import BadRequest, ConfigError
from tests.feature.api.harness import DEADLINE, NEVER, Mesh, path_of, running, service_entry


def exchange(tls: ssl.SSLSocket, request: bytes) -> bytes:
    """The whole answer, b'' when there is none."""
    tls.sendall(request)
    answer = b""
    while not answer.endswith(b"}"):
        chunk = tls.recv(4096)
        if not chunk:
            break
        answer += chunk
    return answer


def serial(mesh: Mesh) -> int:
    with mesh.tls_socket() as tls:
        der = tls.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_a_new_certificate_without_a_restart(mesh: Mesh, admin: httpx2.Client) -> None:
    old = serial(mesh)
    assert admin.get("/healthz").status_code == 200
    chain, key = mesh.ca.issue()
    mesh.tls.load(chain, key)
    assert serial(mesh) == x509.load_pem_x509_certificate(chain).serial_number != old
    assert admin.get("/healthz").status_code == 200, "open connections live on"
    with pytest.raises(ValueError, match="certificate can't be used"):
        mesh.tls.load(chain, mesh.ca.issue()[1])
    assert serial(mesh) == x509.load_pem_x509_certificate(chain).serial_number


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(mesh: Mesh) -> None:
    for version, fine in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
        context = ssl.create_default_context(cadata=mesh.ca.pem.decode())
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", mesh.port), DEADLINE) as plain:
            if fine:
                context.wrap_socket(plain, server_hostname="localhost").close()
            else:
                with pytest.raises(ssl.SSLError):
                    context.wrap_socket(plain, server_hostname="localhost")


def test_plain_http_gets_nothing(mesh: Mesh) -> None:
    with socket.create_connection(("127.0.0.1", mesh.port), DEADLINE) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            answer = plain.recv(4096)
        except ConnectionResetError:
            answer = b""
    assert b"200" not in answer


def test_connections_of_one_source_are_limited(tmp_path: Path) -> None:
    with running(tmp_path, Limits(connections_per_source=3)) as mesh:
        context = ssl.create_default_context(cadata=mesh.ca.pem.decode())
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        held = []
        for _ in range(3):
            plain = socket.create_connection(("127.0.0.1", mesh.port), DEADLINE)
            held.append(context.wrap_socket(plain, server_hostname="localhost"))
            assert exchange(held[-1], request).startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", mesh.port), DEADLINE) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost") as fourth:
                    answer = exchange(fourth, request)
            except OSError:
                answer = b""
        assert answer == b""
        assert exchange(held[0], request).startswith(b"HTTP/1.1 200"), "the others are served on"
        for one in held:
            one.close()


def test_requests_of_one_principal_are_limited(tmp_path: Path) -> None:
    with running(tmp_path, Limits(writes_per_second=0.001, reads_per_second=0.001)) as mesh:
        document = service_entry()
        with mesh.as_role(Role.MESH_ADMIN) as busy, mesh.as_role(Role.MESH_ADMIN) as other:
            assert busy.put(path_of(document), json=document).status_code == 201
            refused = busy.put(path_of(document), json=document)
            assert (refused.status_code, refused.json()["error"]["reason"]) == (429, "TooManyRequests")
            assert refused.headers["retry-after"] == "1"
            assert other.put(path_of(document), json=document).status_code == 200
            assert busy.get("/healthz").status_code == 200


def test_a_caller_that_says_nothing_is_closed(tmp_path: Path) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    with running(tmp_path, header_seconds=0.2) as mesh:
        for before, beginning in ((b"", b""), (b"", head), (head + b"\r\n", b"GET /he")):
            with mesh.tls_socket() as tls:
                if before:
                    assert exchange(tls, before).startswith(b"HTTP/1.1 200")
                tls.sendall(beginning)
                try:
                    answer = tls.recv(4096)
                except ConnectionError:
                    answer = b""
            assert answer == b""


def test_a_caller_that_leaves_frees_its_place(mesh: Mesh) -> None:
    token = mesh.token(Role.READER)
    mesh.reach(NEVER)
    with mesh.tls_socket() as tls:
        tls.sendall(f"GET /mesh/v1/rollouts/{NEVER}?wait=600 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        assert mesh.controller.started.wait(DEADLINE)
        assert not mesh.controller.ended.is_set()
    assert mesh.controller.ended.wait(DEADLINE)


def test_a_body_that_comes_too_slowly() -> None:
    async def receive() -> dict[str, Any]:
        if not given:
            given.append(True)
            return {"type": "http.request", "body": b"{", "more_body": True}
        return await asyncio.Event().wait() or {}

    given: list[bool] = []
    scope = {"type": "http", "method": "PUT", "headers": [(b"content-type", b"application/json")]}
    with pytest.raises(BadRequest, match=r"took longer than 0\.01 s"):
        asyncio.run(read_body(Request(scope, receive), 1000, 0.01))


def test_every_family_on_one_socket() -> None:
    with listen("[::]", 0) as sock:
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), DEADLINE):
            pass
        if sock.family == socket.AF_INET6:
            with socket.create_connection(("::1", port), DEADLINE):
                pass
        with pytest.raises(ConfigError, match="another control plane"):
            listen("[::]", port)
