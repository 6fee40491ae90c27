# SPDX-License-Identifier: Apache-2.0
"""A control plane for tests of the agent: a delta ADS server over mutual TLS that keeps count of all it sends, and Renew. Written without
the product's own server, so that the two can't share a misunderstanding."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives import serialization
from envoy.service.discovery.v3 import discovery_pb2

from meshwright.ca.authority import Authority, Signer, Slot, self_signed_root
from meshwright.ca.issue import issue_server, issue_svid, read_csr
from meshwright.ca.keys import new_key
from meshwright.model.identity import Holder, ProxyId, SpiffeId

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
RENEW = "/meshwright.v1.Certificates/Renew"
NAMES = "type.googleapis.com/meshwright.v1.Names"
SERVER_NAME = "control-plane.mesh.test"
TRUST_DOMAIN = "cluster.local"


def random_bytes(count: int) -> bytes:
    import os

    return os.urandom(count)


def private_pem(key: Any) -> bytes:
    done: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return done


class TestCa:
    """A root in memory and what it issues."""

    __test__ = False

    def __init__(self, ttl: timedelta = timedelta(hours=1)) -> None:
        self.ttl = ttl
        key = new_key()
        root = self_signed_root(key, TRUST_DOMAIN, now=datetime.now(UTC), random=random_bytes)
        self.authority = Authority(TRUST_DOMAIN, {Slot.ACTIVE: Signer(root, key)})

    @property
    def bundle(self) -> bytes:
        return self.authority.bundle

    def svid(self, proxy: ProxyId, csr: str) -> bytes:
        spiffe = SpiffeId(TRUST_DOMAIN, proxy.namespace, f"{proxy.name}-sa")
        now = datetime.now(UTC)
        return issue_svid(
            self.authority.active, Holder(proxy, spiffe, "vm1"), read_csr(csr), ttl=self.ttl, now=now, random=random_bytes
        ).chain

    def server(self) -> tuple[bytes, bytes]:
        """(key, chain) of the control plane."""
        key = new_key()
        ttl, now = timedelta(hours=1), datetime.now(UTC)
        hosts = [SERVER_NAME]
        issued = issue_server(self.authority.active, TRUST_DOMAIN, hosts, key.public_key(), ttl=ttl, now=now, random=random_bytes)
        return private_pem(key), issued.chain


class ControlPlane:
    """`sent`: every (type, name, version) that went out; `acked`, `nacked`: (type, nonce[, message]); `opened`: the first requests of a
    stream by type. Resources are put with `put` and `remove`, which push."""

    def __init__(self, ca: TestCa) -> None:
        self.ca = ca
        self.port = 0
        self.resources: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.sent: list[tuple[str, str, str]] = []
        self.acked: list[tuple[str, str]] = []
        self.nacked: list[tuple[str, str, str]] = []
        self.opened: list[dict[str, discovery_pb2.DeltaDiscoveryRequest]] = []
        self.nodes: list[Any] = []
        self.peers: list[bytes] = []
        self.renewals: list[str] = []
        self.refuse_renewals = False
        self.streams: set[_Stream] = set()
        self.changed = asyncio.Condition()
        self._server: Any = None

    async def start(self) -> None:
        key, chain = self.ca.server()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        credentials = grpc.ssl_server_credentials([(key, chain)], self.ca.bundle, require_client_auth=True)
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def put(self, type_url: str, name: str, body: bytes) -> None:
        self.resources.setdefault(type_url, {})[name] = (hashlib.sha256(body).hexdigest()[:16], body)
        await self.touch()

    async def remove(self, type_url: str, name: str) -> None:
        del self.resources[type_url][name]
        await self.touch()

    async def touch(self) -> None:
        for stream in self.streams:
            stream.due.set()
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Any, seconds: float = 20.0) -> None:
        """Waits until `condition()` holds."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), seconds)

    async def renew(self, body: bytes, context: Any) -> bytes:
        if self.refuse_renewals:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this identity is not renewed")
        names = [n.decode() for n in context.auth_context()["x509_subject_alternative_name"]]
        suffix = f".workload.{TRUST_DOMAIN}"
        proxy = next(ProxyId.from_dns_san(n, TRUST_DOMAIN) for n in names if n.endswith(suffix))
        chain = self.ca.svid(proxy, json.loads(body)["csr"])
        self.renewals.append(str(proxy))
        await self.touch()
        return json.dumps({"certificate": chain.decode(), "bundle": self.ca.bundle.decode()}).encode()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def service(self, details: Any) -> Any:
        if details.method == RENEW:
            return grpc.unary_unary_rpc_method_handler(self._plane.renew)
        if details.method == ADS:
            return grpc.stream_stream_rpc_method_handler(self._ads)
        return None

    async def _ads(self, _: object, context: Any) -> None:
        stream = _Stream(self._plane, context)
        self._plane.streams.add(stream)
        pusher = asyncio.create_task(stream.push())
        try:
            await stream.read()
        finally:
            self._plane.streams.discard(stream)
            pusher.cancel()
            await self._plane.touch()


class _Stream:
    def __init__(self, plane: ControlPlane, context: Any) -> None:
        self.plane = plane
        self.context = context
        self.due = asyncio.Event()
        self.names: dict[str, set[str]] = {}
        self.has: dict[str, dict[str, str]] = {}
        self.opened: dict[str, discovery_pb2.DeltaDiscoveryRequest] = {}
        self.nonce = 0
        self.told: set[str] = set()
        plane.opened.append(self.opened)
        plane.peers.append(context.auth_context()["x509_pem_cert"][0])

    async def read(self) -> None:
        while (raw := await self.context.read()) is not grpc.aio.EOF:
            request = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
            self.take(request)
            self.due.set()
            await self.plane.touch()

    def take(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        type_url = request.type_url
        if not self.opened:
            self.plane.nodes.append(request.node)
            assert request.node.id, "the first request must say who it is"
        if type_url not in self.opened:
            self.opened[type_url] = request
            self.has[type_url] = dict(request.initial_resource_versions)
            self.names[type_url] = set(request.resource_names_subscribe) or {"*"}
        else:
            self.names[type_url] |= set(request.resource_names_subscribe)
            self.names[type_url] -= set(request.resource_names_unsubscribe)
            for name in (*request.resource_names_subscribe, *request.resource_names_unsubscribe):
                self.has[type_url].pop(name, None)
        if request.response_nonce and request.HasField("error_detail"):
            self.plane.nacked.append((type_url, request.response_nonce, request.error_detail.message))
        elif request.response_nonce:
            self.plane.acked.append((type_url, request.response_nonce))

    async def push(self) -> None:
        while True:
            await self.due.wait()
            self.due.clear()
            for type_url in list(self.names):
                await self.push_type(type_url)

    async def push_type(self, type_url: str) -> None:
        names, has = self.names[type_url], self.has[type_url]
        wanted = {n: r for n, r in self.plane.resources.get(type_url, {}).items() if "*" in names or n in names}
        fresh = {n: r for n, r in wanted.items() if has.get(n) != r[0]}
        gone = [n for n in has if n not in wanted]
        empty = "*" in names and not wanted and not has and type_url not in self.told
        self.told.add(type_url)
        if not fresh and not gone and not empty:
            return
        self.nonce += 1
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=type_url, nonce=str(self.nonce), removed_resources=gone)
        for name, (version, body) in fresh.items():
            resource = response.resources.add(name=name, version=version)
            resource.resource.type_url = type_url
            resource.resource.value = body
            has[name] = version
            self.plane.sent.append((type_url, name, version))
        for name in gone:
            del has[name]
        await self.context.write(response.SerializeToString())
        await self.plane.touch()


def write_identity(ca: TestCa, state_dir: Path, proxy: ProxyId) -> None:
    """What attestation would have left."""
    from meshwright.agent import credential, state

    request = credential.new_key()
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state.save(state_dir, request.key, ca.svid(proxy, request.csr), ca.bundle)
