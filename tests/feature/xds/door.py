# SPDX-License-Identifier: Apache-2.0
"""A discovery server on loopback, a fleet that is told what to think, and clients that speak gRPC to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from meshwright.clock import Clock, SystemClock
from meshwright.control.ports import Attachment, PeerIdentity, Refusal, Sink
from meshwright.errors import Forbidden
from meshwright.model.snapshot import Snapshot, TypeUrl
from meshwright.xds.server import DELTA_ADS, DiscoveryServer, Limits, ServerTls, Unary

NODE = "web.shop"
PATIENCE = 10.0
UNLIMITED = Limits(accept_rate=0)


class Crew:
    """A Fleet. `objection`: what `admit` says to everybody; `shot` None: nothing to offer yet."""

    def __init__(self, shot: Snapshot | None) -> None:
        self.shot = shot
        self.is_ready = True
        self.objection = ""
        self.revision = 1
        self.peers: list[PeerIdentity] = []
        self.sinks: list[Sink] = []
        self.acked: list[int] = []
        self.refusals: list[Refusal] = []
        self._changed = asyncio.Event()

    def ready(self) -> bool:
        return self.is_ready

    def admit(self, peer: PeerIdentity) -> None:
        if self.objection:
            raise Forbidden(self.objection)

    def attach(self, peer: PeerIdentity, sink: Sink) -> Attachment:
        self.peers.append(peer)
        self.sinks.append(sink)
        if self.shot is not None:
            sink.offer(self.shot, self.revision)
        self.note()
        return _Attached(self, sink)

    def note(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self._changed.wait()


class _Attached:
    def __init__(self, crew: Crew, sink: Sink) -> None:
        self._crew = crew
        self._sink = sink

    def acked(self, revision: int) -> None:
        self._crew.acked.append(revision)
        self._crew.note()

    def rejected(self, refusal: Refusal) -> None:
        self._crew.refusals.append(refusal)
        self._crew.note()

    def detach(self) -> None:
        self._crew.sinks.remove(self._sink)
        self._crew.note()


class Door:
    """The server with everything around it. `denials`: what was audited, (claimed node, reason)."""

    def __init__(self, server: DiscoveryServer, crew: Crew, port: int, denials: list[tuple[str, str]]) -> None:
        self.server = server
        self.crew = crew
        self.port = port
        self.denials = denials

    @asynccontextmanager
    async def channel(self, certs: Path | None = None, who: str = NODE) -> AsyncIterator[grpc.aio.Channel]:
        """`certs`: where write_certificates wrote; a channel of its own connection."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        target = f"127.0.0.1:{self.port}"
        if certs is None:
            channel = grpc.aio.insecure_channel(target, options=options)
        else:
            root, key, chain = ((certs / f"{name}.pem").read_bytes() for name in ("root", "key", who))
            credentials = grpc.ssl_channel_credentials(root, key, chain)
            options.append(("grpc.ssl_target_name_override", "control-plane"))
            channel = grpc.aio.secure_channel(target, credentials, options=options)
        try:
            yield channel
        finally:
            await channel.close()

    @asynccontextmanager
    async def stream(self, certs: Path | None = None, who: str = NODE) -> AsyncIterator[Client]:
        async with self.channel(certs, who) as channel:
            client = Client(channel)
            try:
                yield client
            finally:
                client.call.cancel()


class Client:
    """One stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call: Any = channel.stream_stream(DELTA_ADS)()

    async def send(self, type: TypeUrl | str, node: str = "", **fields: Any) -> None:
        request = DeltaDiscoveryRequest(type_url=type.value if isinstance(type, TypeUrl) else type, **fields)
        if node:
            request.node.id = node
        await self.send_bytes(request.SerializeToString())

    async def send_bytes(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.call.write(data)

    async def read(self) -> Any:
        """A DeltaDiscoveryResponse."""
        async with asyncio.timeout(PATIENCE):
            data = await self.call.read()
        assert data is not grpc.aio.EOF, f"the stream ended: {await self.call.code()} {await self.call.details()}"
        return DeltaDiscoveryResponse.FromString(data)

    async def ack(self, response: Any) -> None:
        await self.send(response.type_url, response_nonce=response.nonce)

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended; what was sent before is passed over."""
        async with asyncio.timeout(PATIENCE):
            return await self.call.code(), await self.call.details()


@asynccontextmanager
async def door(
    shot: Snapshot | None,
    *,
    limits: Limits = UNLIMITED,
    tls: Callable[[], ServerTls] | None = None,
    unary: dict[str, Unary] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Door]:
    crew = Crew(shot)
    denials: list[tuple[str, str]] = []
    server = DiscoveryServer(
        crew,
        clock=clock or SystemClock(),
        trust_domain="cluster.local",
        tls=tls,
        limits=limits,
        unary=unary,
        denied=lambda address, claimed, reason: denials.append((claimed, reason)),
    )
    port = await server.start("127.0.0.1:0")
    try:
        yield Door(server, crew, port, denials)
    finally:
        await server.stop(0)
