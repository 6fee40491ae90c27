# SPDX-License-Identifier: Apache-2.0
"""Whoever can reach the discovery port can open connections and leave. That must cost nothing but these connections."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.bench.certificates import write_certificates

CONNECTIONS = 1000
ROUNDS = 3
# A process of its own: what went wrong here was memory that gRPC frees twice.
SERVER = """
import asyncio, sys
from pathlib import Path
from meshwright.clock import SystemClock
from meshwright.xds.server import DiscoveryServer, Limits, ServerTls
from tests.feature.xds.door import Crew

async def main():
    certs = Path(sys.argv[1])
    tls = [ServerTls(*((certs / f"{name}.pem").read_bytes() for name in ("key", "server", "root")))]
    server = DiscoveryServer(
        Crew(None), clock=SystemClock(), trust_domain="cluster.local", tls=lambda: tls[0], limits=Limits(drain=0.1)
    )
    print(await server.start("127.0.0.1:0"), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        tls[0] = tls[0]._replace(chain=tls[0].chain + b"\\n")
        await server.renew()
        print("renewed", flush=True)
    await server.stop(0)

asyncio.run(main())
"""


@pytest.fixture
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CONNECTIONS:
        pytest.skip("too few descriptors for this")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CONNECTIONS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def await_descriptors(pid: int, enough: Callable[[int], bool]) -> None:
    """Until the server has taken the connections, or noticed that they are gone."""
    patience = time.monotonic() + 20
    while not enough(len(os.listdir(f"/proc/{pid}/fd"))):
        assert time.monotonic() < patience
        time.sleep(0.01)


@contextmanager
def serving(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Ends well, or the test fails."""
    write_certificates(home, ["web.shop"])
    command = [sys.executable, "-c", SERVER, str(home)]
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as server:
        yield server
        assert server.stdin is not None
        server.stdin.close()
        assert server.wait(30) == 0


def client_hello() -> bytes:
    """What a TLS client says first."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="control-plane")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def line(server: subprocess.Popen[bytes]) -> bytes:
    assert server.stdout is not None
    return server.stdout.readline()


@pytest.mark.usefixtures("descriptors")
def test_connections_that_come_and_go_without_a_word_dont_end_the_server(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        port = int(line(server))
        for _ in range(ROUNDS):
            knocks = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(CONNECTIONS)]
            await_descriptors(server.pid, lambda count: count >= CONNECTIONS)
            for knock in knocks:
                knock.close()
            await_descriptors(server.pid, lambda count: count < CONNECTIONS // 2)


def test_nor_do_they_while_its_certificate_is_exchanged(tmp_path: Path) -> None:
    done = threading.Event()

    def knock(port: int) -> None:
        while not done.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
                plain.sendall(client_hello())
                plain.recv(4096)

    with serving(tmp_path) as server, ThreadPoolExecutor(8) as threads:
        port = int(line(server))
        knocking = [threads.submit(knock, port) for _ in range(8)]
        try:
            for _ in range(20):
                assert server.stdin is not None
                server.stdin.write(b"\n")
                server.stdin.flush()
                assert line(server) == b"renewed\n"
        finally:
            done.set()
        for one in knocking:
            one.result(30)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(client_hello())
            assert plain.recv(1) == b"\x16", "a handshake"
