# SPDX-License-Identifier: Apache-2.0
"""Whoever can reach the discovery port can open connections and leave. That must cost nothing but these connections."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
from meshwright.xds.server import DiscoveryServer, ServerTls
from tests.feature.xds.door import Crew

async def main():
    certs = Path(sys.argv[1])
    tls = ServerTls(*((certs / f"{name}.pem").read_bytes() for name in ("key", "server", "root")))
    server = DiscoveryServer(Crew(None), clock=SystemClock(), trust_domain="cluster.local", tls=lambda: tls)
    print(await server.start("127.0.0.1:0"), flush=True)
    await asyncio.to_thread(sys.stdin.read)
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


@pytest.mark.usefixtures("descriptors")
def test_connections_that_come_and_go_without_a_word_dont_end_the_server(tmp_path: Path) -> None:
    write_certificates(tmp_path, ["web.shop"])
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for _ in range(ROUNDS):
            knocks = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(CONNECTIONS)]
            await_descriptors(server.pid, lambda count: count >= CONNECTIONS)
            for knock in knocks:
                knock.close()
            await_descriptors(server.pid, lambda count: count < CONNECTIONS // 2)
        server.stdin.close()
        assert server.wait(30) == 0
