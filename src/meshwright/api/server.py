# SPDX-License-Identifier: Apache-2.0
"""The HTTPS server: uvicorn, with the bounds it doesn't have by itself, and without its signals, logs and globals."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from meshwright.api.gate import Gate
from meshwright.config import Limits
from meshwright.errors import ConfigError

log = structlog.get_logger()

HEADER_BYTES = 16 * 1024
HEADER_SECONDS = 10
KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 3
BACKLOG = 512


def listen(bind: str, port: int) -> socket.socket:
    """A listening socket. `[::]` takes IPv4 too; on a host without IPv6 it is 0.0.0.0. Raises ConfigError."""
    address = bind.removeprefix("[").removesuffix("]")
    try:
        return _bound(address, port)
    except OSError as error:
        if address == "::" and not _has_ipv6():
            return _bound("0.0.0.0", port)  # noqa: S104 (what the settings ask for: every address)
        raise ConfigError(f"{bind}:{port} can't be listened on: {error.strerror}; is another control plane running?") from error


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it every small answer waits 40 ms for an ACK.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((address, port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _protocol(gate: Gate, header_seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 with a deadline for the head of each request."""

    class Connection(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if self.client:
                gate.greeted(self.client)
                self.client = (self.client[0].removeprefix("::ffff:"), self.client[1])
            self._arm()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._disarm()
            elif self._deadline is None and not self.transport.is_closing():
                self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._disarm()
            super().on_response_complete()

        def _arm(self) -> None:
            self._deadline = self.loop.call_later(header_seconds, self.transport.abort)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Connection


class _Server(uvicorn.Server):
    """Signals belong to the composition root."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ApiServer:
    """Serves `app` on `sock` until it is cancelled; then what is under way has GRACE_SECONDS to end. A caller has `header_seconds` for
    its TLS handshake, and as long again for the head of a request."""

    def __init__(
        self, app: Any, sock: socket.socket, context: ssl.SSLContext, limits: Limits, *, header_seconds: float = HEADER_SECONDS
    ) -> None:
        self._sock = sock
        self._gate = Gate(sock, limits, header_seconds)
        config = uvicorn.Config(
            app,
            http=_protocol(self._gate, header_seconds),
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=HEADER_BYTES,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            limit_concurrency=limits.connections,
            backlog=BACKLOG,
            ssl_context_factory=lambda _config, _default: context,
        )
        self._server = _Server(config)

    @property
    def port(self) -> int:
        return int(self._sock.getsockname()[1])

    async def run(self) -> None:
        serving = asyncio.create_task(self._server.serve(sockets=[self._gate]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._server.should_exit = True
            await asyncio.wait([serving], timeout=GRACE_SECONDS + 2)
            serving.cancel()
            raise
        finally:
            self._gate.close()
            self._sock.close()
        raise ConfigError("the HTTPS server ended by itself; see the log")
