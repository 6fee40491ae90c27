# SPDX-License-Identifier: Apache-2.0
"""The listening socket of the HTTPS door: it bounds connections before their TLS handshake, which is when each gets its buffers (a third
of a megabyte) and before which asyncio tells nobody of it."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

from meshwright.ca.attest.limit import network_of
from meshwright.config import Limits

Peer = tuple[str, int]


class Visitor(socket.socket):
    """One accepted connection, which tells the gate when it is closed."""

    def __init__(self, gate: Gate, source: str, peer: Peer, descriptor: int) -> None:
        super().__init__(fileno=descriptor)
        self._gate = gate
        self.source = source
        self.peer = peer
        self.deadline: asyncio.TimerHandle | None = None
        self._counted = True

    def close(self) -> None:
        super().close()
        if self._counted:
            self._counted = False
            self._gate.left(self)

    def hurry(self) -> None:
        """Its time for the handshake is over: whoever serves it reads the end and closes."""
        try:
            self.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was faster


class Gate(socket.socket):
    """`listening` with bounds: `limits.connections` in all, `limits.connections_per_source` of one address (IPv6: of one /64), and
    `seconds` for the handshake. When all places are taken, who has waited longest in its handshake has to go; without such a one the
    newcomer is refused."""

    def __init__(self, listening: socket.socket, limits: Limits, seconds: float) -> None:
        super().__init__(fileno=listening.dup().detach())
        self.setblocking(False)
        self._limits = limits
        self._seconds = seconds
        self._sources: Counter[str] = Counter()
        self._total = 0
        self._waiting: dict[Peer, Visitor] = {}  # the oldest first

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ConnectionAbortedError for one that was refused: asyncio then goes on at its next turn, and serves others before."""
        plain, address = super().accept()
        source = network_of(address[0])
        full = self._total >= self._limits.connections and not self._waiting
        if full or self._sources[source] >= self._limits.connections_per_source:
            plain.close()
            raise ConnectionAbortedError
        if self._total >= self._limits.connections:
            self._end(next(iter(self._waiting)))
        peer: Peer = address[:2]
        visitor = Visitor(self, source, peer, plain.detach())
        self._sources[source] += 1
        self._total += 1
        self._waiting[peer] = visitor
        visitor.deadline = asyncio.get_running_loop().call_later(self._seconds, self._end, peer)
        return visitor, address

    def greeted(self, peer: Peer) -> None:
        """The handshake is done."""
        visitor = self._waiting.pop(peer, None)
        if visitor is not None and visitor.deadline is not None:
            visitor.deadline.cancel()

    def left(self, visitor: Visitor) -> None:
        self._total -= 1
        self._sources[visitor.source] -= 1
        if self._sources[visitor.source] <= 0:
            del self._sources[visitor.source]
        if visitor.deadline is not None:
            visitor.deadline.cancel()
        if self._waiting.get(visitor.peer) is visitor:
            del self._waiting[visitor.peer]

    def _end(self, peer: Peer) -> None:
        visitor = self._waiting.pop(peer, None)
        if visitor is not None:
            visitor.hurry()
