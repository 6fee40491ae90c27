# SPDX-License-Identifier: Apache-2.0
"""The discovery door: gRPC with client certificates, bytes in and out.

Admission of a stream, in this order: the controller is ready; the rate of new streams; the identity in the certificate; the node's id
is that identity; the proxy is enrolled and not banned; how many streams it has; how many proxies get their first configuration at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import grpc
import structlog

from meshwright.clock import Clock
from meshwright.control.ports import Fleet, PeerIdentity
from meshwright.errors import BadRequest, Conflict, Forbidden, Invalid, Limited, MeshwrightError, NotFound, Unauthenticated, Unavailable
from meshwright.model.identity import Holder, ProxyId, SpiffeId
from meshwright.xds.admission import Caps, TokenBucket, proven
from meshwright.xds.frames import Frames
from meshwright.xds.request import Request, parse
from meshwright.xds.stream import Counters, Ended, Stream
from meshwright.xds.subscription import Broken

log = structlog.get_logger(__name__)
DELTA_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
MAX_REQUEST = 4 * 1024 * 1024
_TICK = 0.25
_LAST_WORDS = 5.0  # seconds for calls that began just before the drain
_CODES: tuple[tuple[type[MeshwrightError], grpc.StatusCode], ...] = (
    (Forbidden, grpc.StatusCode.PERMISSION_DENIED),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (Limited, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Conflict, grpc.StatusCode.ABORTED),
    (BadRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (Invalid, grpc.StatusCode.INVALID_ARGUMENT),
)
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 32),
    # For the server with the next certificate; that nobody else listens there is looked at when we start.
    ("grpc.so_reuseport", 1),
    # gRPC bounds neither connections nor the memory of each (45 KB): who has no certificate shall not stay.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # The herd after a restart: beyond 1,000 calls not taken up yet, gRPC would turn some away before our own admission sees them.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # A host that vanished without a word is noticed within 40 s; clients may ask the same of us.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

Unary = Callable[[bytes, PeerIdentity], Awaitable[bytes]]


class ServerTls(NamedTuple):
    """PEM: the server's key, its chain, and the roots that client certificates must lead to."""

    key: bytes
    chain: bytes
    roots: bytes


class Limits(NamedTuple):
    """Seconds, unless the name says otherwise. `accept_rate`: new streams a second (0: no limit). `drain`: in which the streams of an old
    certificate are ended, one after the other."""

    accept_rate: float = 100.0
    accept_burst: int = 100
    accept_patience: float = 1.0
    streams_per_proxy: int = 8
    first_at_once: int = 64
    first_patience: float = 10.0
    first_held: float = 5.0
    request_patience: float = 10.0
    offer_patience: float = 10.0
    unary_patience: float = 10.0
    drain: float = 300.0


def _ignore(address: str, claimed: str, reason: str) -> None:
    """No audit."""


class DiscoveryServer:
    """`tls` is called at the start and by `renew`. `tls` None: plaintext, on loopback only,
    for tests and measurements; a peer is then who its node id says. `denied(address, claimed node id, reason)` is told of every refusal
    for want of rights. `unary`: further methods, path -> async function of the request's bytes and the caller."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        clock: Clock,
        trust_domain: str,
        tls: Callable[[], ServerTls] | None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        unary: Mapping[str, Unary] | None = None,
        denied: Callable[[str, str, str], None] = _ignore,
    ) -> None:
        self.counters = Counters()
        self._fleet = fleet
        self._clock = clock
        self._trust_domain = trust_domain
        self._tls = tls
        self._limits = limits
        self._unary = dict(unary or {})
        self._denied = denied
        self._frames = Frames()
        self._bucket = TokenBucket(limits.accept_rate, limits.accept_burst, clock)
        self._caps = Caps(limits.streams_per_proxy)
        self._slots = asyncio.Semaphore(limits.first_at_once)
        self._streams: set[Stream] = set()
        self._server: Any = None
        self._address = ""
        self._offered: ServerTls | None = None
        self._old: set[Any] = set()
        self._draining: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, address: str) -> int:
        """Listens on `HOST:PORT`; the port (a free one was chosen for 0). Raises Unavailable when the port can't be had."""
        host, _, port = address.rpartition(":")
        _refuse_taken(host.strip("[]"), int(port))
        bound = await self._listen(address)
        self._address = f"{host}:{bound}"
        self._ticker = asyncio.create_task(self._tick())
        return bound

    async def renew(self) -> None:
        """Serves with what `tls` says now. gRPC can exchange the certificate of a server only without a lock, for which whoever connects at
        that moment may pay with the life of this process: so there is a new server on the same port, and the old one takes no more
        connections. Its streams end over some minutes; their clients come back to the new one. Raises Unavailable; then the old one serves
        on."""
        if self._tls is None or self._tls() == self._offered:
            return
        old, theirs = self._server, set(self._streams)
        await self._listen(self._address)
        self._old.add(old)
        stopping = asyncio.create_task(old.stop(self._limits.drain + _LAST_WORDS))
        await asyncio.sleep(0)  # when we return it takes no more connections
        task = asyncio.create_task(self._drain(old, stopping, theirs))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _listen(self, address: str) -> int:
        """Begins to serve with a new server; the port."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((_Methods(self._stream, {p: self._guarded(f) for p, f in self._unary.items()}),))
        offered = self._tls() if self._tls is not None else None
        try:
            port = _bind(server, address, offered)
        except RuntimeError as e:
            raise Unavailable(f"can't listen on {address}: {e}") from e
        await server.start()
        self._server, self._offered = server, offered
        return port

    async def _drain(self, server: Any, stopping: asyncio.Task[None], streams: set[Stream]) -> None:
        try:
            for stream in streams:
                await asyncio.sleep(self._limits.drain / len(streams))
                stream.end(Ended(grpc.StatusCode.UNAVAILABLE, "a new certificate: come back"))
            await stopping
            self._old.discard(server)
        finally:
            stopping.cancel()

    async def stop(self, grace: float = 1.0) -> None:
        """Ends all streams; clients come back to whoever serves then."""
        if self._ticker is not None:
            self._ticker.cancel()
        for stream in list(self._streams):
            stream.end(Ended(grpc.StatusCode.UNAVAILABLE, "shutting down"))
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        await asyncio.gather(*(server.stop(grace) for server in (self._server, *self._old) if server is not None))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            now = self._clock.monotonic()
            for stream in list(self._streams):
                stream.tick(now, self._limits.first_held)

    # a stream

    async def _stream(self, _: Any, context: Any) -> None:
        try:
            await self._admitted(context)
        except Ended as e:
            code, words = e.code, e.words
        except Broken as e:
            code, words = grpc.StatusCode.INVALID_ARGUMENT, str(e)
        except MeshwrightError as e:
            code, words = self._status(e)
        else:
            return
        if code is not grpc.StatusCode.OK:
            await context.abort(code, words)

    async def _admitted(self, context: Any) -> None:
        if not self._fleet.ready():
            raise Unavailable("not ready yet")
        await asyncio.sleep(self._bucket.reserve(self._limits.accept_patience))
        known = None if self._tls is None else self._prove(context)
        first = await self._first_request(context)
        peer = self._peer(known, first, context.peer())
        try:
            if str(peer.proxy) != first.node:
                raise Forbidden("the node's id is not that of the certificate")
            self._fleet.admit(peer)
        except Forbidden as e:
            self._deny(context.peer(), first.node, e)
            raise
        self._caps.enter(peer.proxy)
        try:
            await self._serve(peer, first, context)
        finally:
            self._caps.leave(peer.proxy)

    async def _serve(self, peer: PeerIdentity, first: Request, context: Any) -> None:
        stream = Stream(peer, context, self._frames, self._clock, self.counters)
        try:
            async with asyncio.timeout(self._limits.first_patience):
                await self._slots.acquire()
        except TimeoutError as e:
            raise Limited("too many proxies wait for their first configuration") from e
        stream.on_settled = self._slots.release
        self._streams.add(stream)
        self.counters.streams += 1
        self.counters.opened += 1
        log.info("xds.stream_opened", node=first.node, address=peer.address, envoy=peer.envoy_version)
        try:
            await stream.run(self._fleet.attach(peer, stream), first, self._limits.offer_patience)
        finally:
            stream.settle()
            self._streams.discard(stream)
            self.counters.streams -= 1
            log.info("xds.stream_closed", node=first.node)

    async def _first_request(self, context: Any) -> Request:
        try:
            async with asyncio.timeout(self._limits.request_patience):
                data = await context.read()
        except TimeoutError as e:
            raise Ended(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came") from e
        if data is grpc.aio.EOF:
            raise Ended(grpc.StatusCode.OK, "")
        self.counters.requests += 1
        request = parse(data)
        if not request.node:
            raise Broken("the first request must say the node's id")
        return request

    # who is there

    def _prove(self, context: Any) -> Holder:
        try:
            return proven(context.auth_context(), self._trust_domain)
        except Forbidden as e:
            self._deny(context.peer(), "", e)
            raise

    def _peer(self, known: Holder | None, first: Request, address: str) -> PeerIdentity:
        if known is None:
            try:
                proxy = ProxyId.parse(first.node)
            except ValueError as e:
                raise Broken(str(e)) from e
            known = Holder(proxy, SpiffeId(self._trust_domain, proxy.namespace, "default"), "")
        return PeerIdentity(known.proxy, known.spiffe, address, first.envoy_version, known.node)

    def _deny(self, address: str, claimed: str, error: Forbidden) -> None:
        self.counters.denied += 1
        log.warning("xds.denied", address=address, claimed=claimed[:200], reason=error.message)
        self._denied(address, claimed[:200], error.message)

    def _status(self, error: MeshwrightError) -> tuple[grpc.StatusCode, str]:
        if isinstance(error, Limited):
            self.counters.limited += 1
        code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
        return code, error.message

    # unary methods

    def _guarded(self, function: Unary) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def call(request: bytes, context: Any) -> bytes:
            try:
                if self._tls is None:
                    raise Forbidden("needs a client certificate")
                known = self._prove(context)
                peer = PeerIdentity(known.proxy, known.spiffe, context.peer(), "", known.node)
                self._admit_unary(peer)
                async with asyncio.timeout(self._limits.unary_patience):
                    return await function(request, peer)
            except TimeoutError:
                code, words = grpc.StatusCode.DEADLINE_EXCEEDED, "took too long"
            except MeshwrightError as e:
                code, words = self._status(e)
            await context.abort(code, words)
            raise AssertionError("abort raises")

        return call

    def _admit_unary(self, peer: PeerIdentity) -> None:
        try:
            self._fleet.admit(peer)
        except Forbidden as e:
            self._deny(peer.address, str(peer.proxy), e)
            raise


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc publishes no types
    """Path -> handler; no serialisers, so bytes come and go as they are."""

    def __init__(
        self, stream: Callable[[Any, Any], Awaitable[None]], unary: Mapping[str, Callable[[bytes, Any], Awaitable[bytes]]]
    ) -> None:
        self._handlers = {path: grpc.unary_unary_rpc_method_handler(function) for path, function in unary.items()}
        self._handlers[DELTA_ADS] = grpc.stream_stream_rpc_method_handler(stream)

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)


def _bind(server: Any, address: str, tls: ServerTls | None) -> int:
    """Raises RuntimeError when the port can't be had."""
    if tls is None:
        host = address.rpartition(":")[0].strip("[]")
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("plaintext is for loopback only")
        return int(server.add_insecure_port(address))
    credentials = grpc.ssl_server_credentials([(tls.key, tls.chain)], tls.roots, True)
    return int(server.add_secure_port(address, credentials))


def _refuse_taken(host: str, port: int) -> None:
    """Our servers share a port with each other, and must not with another control plane. Raises Unavailable."""
    if not port:
        return
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as e:
        raise Unavailable(f"can't listen on port {port} of {host}: {e.strerror}") from e
