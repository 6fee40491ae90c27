# SPDX-License-Identifier: Apache-2.0
"""A real Envoy on loopback that gets everything from a DiscoveryServer in the test's own event loop, and something behind it to call."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ConfigSource
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager

from meshwright.clock import SystemClock
from meshwright.control.ports import Attachment, PeerIdentity, Refusal, Sink
from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl, XdsResource
from meshwright.xds.server import DiscoveryServer, Limits
from tests.lab.envoy import envoy_binary

NODE = "web.shop"
_ADS = ConfigSource(ads={}, resource_api_version="V3")
# Less than the 15 s that Envoy waits for what nobody sends: a test that hits that fails.
_PATIENCE = 12.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


# resources


def _made(type: TypeUrl, name: str, message: Any) -> XdsResource:
    return XdsResource(type, name, message.SerializeToString(deterministic=True), ())


def cluster(name: str, *, connect_seconds: int = 5, **more: Any) -> XdsResource:
    made = Cluster(
        name=name, type=Cluster.EDS, eds_cluster_config={"eds_config": _ADS}, connect_timeout={"seconds": connect_seconds}, **more
    )
    return _made(TypeUrl.CLUSTER, name, made)


def endpoint(name: str, *ports: int) -> XdsResource:
    made = ClusterLoadAssignment(cluster_name=name)
    for port in ports:
        address = made.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    return _made(TypeUrl.ENDPOINT, name, made)


def listener(name: str, port: int, routes: str) -> XdsResource:
    manager = HttpConnectionManager(stat_prefix="test", rds={"route_config_name": routes, "config_source": _ADS})
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(Router())
    made = Listener(name=name, address={"socket_address": {"address": "127.0.0.1", "port_value": port}})
    made.filter_chains.add().filters.add(name="http").typed_config.Pack(manager)
    return _made(TypeUrl.LISTENER, name, made)


def route(name: str, to: str) -> XdsResource:
    made = RouteConfiguration(name=name)
    host = made.virtual_hosts.add(name="all", domains=["*"])
    host.routes.add(match={"prefix": "/"}, route={"cluster": to})
    return _made(TypeUrl.ROUTE, name, made)


def shot(*resources: XdsResource) -> Snapshot:
    sets: dict[TypeUrl, dict[str, XdsResource]] = {t: {} for t in TypeUrl}
    for r in resources:
        sets[r.type][r.name] = r
    return Snapshot({t: (ResourceSet(t, found),) for t, found in sets.items()})


# the control plane


class Board:
    """A Fleet of one snapshot; remembers what the proxy says."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.revision = 1
        self.acked = 0
        self.refusals: list[Refusal] = []
        self.sinks: list[Sink] = []
        self._told = asyncio.Event()

    def ready(self) -> bool:
        return True

    def admit(self, peer: PeerIdentity) -> None: ...

    def attach(self, peer: PeerIdentity, sink: Sink) -> Attachment:
        self.sinks.append(sink)
        sink.offer(self.snapshot, self.revision)
        return _BoardAttachment(self, sink)

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.revision += 1
        for sink in self.sinks:
            sink.offer(snapshot, self.revision)

    def told(self) -> None:
        self._told.set()
        self._told = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not condition():
                await self._told.wait()

    async def settled(self) -> None:
        """The proxy has ACKed the newest revision."""
        await self.until(lambda: self.acked == self.revision)


class _BoardAttachment:
    def __init__(self, board: Board, sink: Sink) -> None:
        self.board = board
        self.sink = sink

    def acked(self, revision: int) -> None:
        self.board.acked = revision
        self.board.told()

    def rejected(self, refusal: Refusal) -> None:
        self.board.refusals.append(refusal)
        self.board.told()

    def detach(self) -> None:
        self.board.sinks.remove(self.sink)
        self.board.told()


def discovery(board: Board) -> DiscoveryServer:
    return DiscoveryServer(board, clock=SystemClock(), trust_domain="cluster.local", tls=None, limits=Limits())


# Envoy and what it calls


def bootstrap(ads_port: int, admin: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": ads_port}}}}
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    ads = {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}]}
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": NODE, "cluster": "test"},
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "dynamic_resources": {"ads_config": ads, "cds_config": source, "lds_config": source},
        "static_resources": {
            "clusters": [
                {
                    "name": "ads",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
                    "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ]
        },
    }


class Envoy:
    def __init__(self, admin: Path) -> None:
        self._admin = admin

    async def get(self, path: str) -> str:
        reader, writer = await asyncio.open_unix_connection(str(self._admin))
        return (await _http(reader, writer, path))[1]

    async def stat(self, name: str) -> int:
        """0 for a counter that is not there."""
        text = await self.get(f"/stats?filter=^{name}$")
        return int(text.rpartition(": ")[2]) if text.strip() else 0

    async def until(self, condition: Callable[[], Any]) -> None:
        """`condition` is an async function that asks the admin interface."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                try:
                    if await condition():
                        return
                except OSError:
                    pass
                await asyncio.sleep(0.02)


@asynccontextmanager
async def envoy(ads_port: int) -> AsyncIterator[Envoy]:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        config = home / "envoy.json"
        config.write_text(json.dumps(bootstrap(ads_port, home / "admin.sock")))
        options = ("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning", "--drain-time-s", "1")
        with (home / "log").open("wb") as log:
            child = await asyncio.create_subprocess_exec(str(envoy_binary()), "-c", str(config), *options, stdout=log, stderr=log)
        try:
            yield Envoy(home / "admin.sock")
        finally:
            child.terminate()
            await child.wait()


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, str]:
    try:
        async with asyncio.timeout(10):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return int(head.split(b" ", 2)[1]), body.decode()


def _unchunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        out, body = out + rest[:length], rest[length + 2 :]
    return out


async def call(port: int) -> tuple[int, str]:
    """(status, body) of GET / through Envoy; (0, '') when nobody listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0, ""
    return await _http(reader, writer, "/")


@asynccontextmanager
async def application(word: str) -> AsyncIterator[int]:
    """Answers 200 with this word; yields its port."""

    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        try:
            while (await reader.readuntil(b"\r\n\r\n")).strip():
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(word)}\r\n\r\n{word}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            open_now.discard(writer)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in list(open_now):
            writer.transport.abort()
        while open_now:
            await asyncio.sleep(0)


class Load:
    """Calls without pause; counts what is not 200."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.calls = 0
        self.failures: list[tuple[int, str]] = []

    async def run(self) -> None:
        while True:
            status, body = await call(self._port)
            self.calls += 1
            if status != 200:
                self.failures.append((status, body))
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        task = asyncio.create_task(self.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
