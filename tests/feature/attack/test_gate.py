# SPDX-License-Identifier: Apache-2.0
"""Connections to the HTTPS door that never begin their TLS handshake: each would hold a third of a megabyte for a minute."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from meshwright.ca.attest.limit import network_of
from meshwright.config import Limits
from tests.feature.api.harness import DEADLINE, Mesh, running

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def knock(mesh: Mesh, held: ExitStack) -> socket.socket:
    return held.enter_context(socket.create_connection(("127.0.0.1", mesh.port), DEADLINE))


def ended(knocks: list[socket.socket], after: float) -> int:
    """How many of them the server closed, looked at in order."""
    count = 0
    for one in knocks:
        one.settimeout(after)
        try:
            count += one.recv(1) == b""
        except TimeoutError:
            pass
        except ConnectionError:
            count += 1
    return count


def healthy(mesh: Mesh) -> bool:
    with mesh.tls_socket() as tls:
        tls.sendall(REQUEST)
        return tls.recv(4096).startswith(b"HTTP/1.1 200")


def test_the_silent_make_room_for_who_speaks(tmp_path: Path) -> None:
    with running(tmp_path, Limits(connections=8, connections_per_source=100)) as mesh, ExitStack() as held:
        knocks = [knock(mesh, held) for _ in range(40)]
        assert healthy(mesh)
        assert ended(knocks[:32], DEADLINE) == 32, "the oldest had to go"
        assert healthy(mesh)


def test_one_source_has_its_share_before_the_handshake_too(tmp_path: Path) -> None:
    with running(tmp_path, Limits(connections=100, connections_per_source=5), header_seconds=3600) as mesh, ExitStack() as held:
        kept = [knock(mesh, held) for _ in range(5)]
        refused = [knock(mesh, held) for _ in range(5)]
        assert ended(refused, DEADLINE) == 5
        assert ended(kept, 0.05) == 0
        for one in kept:
            one.close()
        assert any(healthy_or_refused(mesh) for _ in range(100)), "places become free again"


def healthy_or_refused(mesh: Mesh) -> bool:
    try:
        return healthy(mesh)
    except OSError:
        return False


def test_a_handshake_has_a_deadline(tmp_path: Path) -> None:
    with running(tmp_path, header_seconds=0.2) as mesh, ExitStack() as held:
        assert ended([knock(mesh, held) for _ in range(3)], DEADLINE) == 3
        assert healthy(mesh)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
    ],
)
def test_an_ipv6_host_counts_once_however_many_addresses_it_has(address: str, network: str) -> None:
    assert network_of(address) == network
