# SPDX-License-Identifier: Apache-2.0
"""The load: N fake proxies in one process that subscribe and ACK like Envoy (clusters -> their endpoints -> listeners -> their routes).

Started by tests.bench.__main__; JSON lines in (`{"do": "go"}`, `{"do": "stats"}`, end of input: quit) and out."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import ssl
import sys
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from meshwright.model.snapshot import TypeUrl
from tests.bench import wire
from tests.bench.orders import orders

_CDS, _EDS, _LDS, _RDS = (t.value.encode() for t in (TypeUrl.CLUSTER, TypeUrl.ENDPOINT, TypeUrl.LISTENER, TypeUrl.ROUTE))


class Plan:
    """What the proxies of one scope subscribe to after their first clusters and listeners; learnt by the first of them, for all."""

    def __init__(self) -> None:
        self.endpoints: bytes | None = None
        self.routes: bytes | None = None

    def learn(self, type_url: bytes, body: bytes) -> None:
        found = [r.resource.value for r in DeltaDiscoveryResponse.FromString(body).resources]
        if type_url == _CDS:
            clusters = [Cluster.FromString(value) for value in found]
            names = [c.eds_cluster_config.service_name or c.name for c in clusters if c.type == Cluster.EDS]
            self.endpoints = subscription(_EDS, names)
        elif type_url == _LDS:
            self.routes = subscription(_RDS, sorted({name for value in found for name in route_names(Listener.FromString(value))}))


def route_names(listener: Any) -> list[str]:
    chains = [*listener.filter_chains, listener.default_filter_chain]
    names = []
    for chain in chains:
        for filter in chain.filters:
            manager = HttpConnectionManager()
            if filter.typed_config.Unpack(manager) and manager.rds.route_config_name:
                names.append(manager.rds.route_config_name)
    return names


def subscription(type_url: bytes, names: list[str]) -> bytes:
    """b'' for no names."""
    if not names:
        return b""
    return wire.message(DeltaDiscoveryRequest(type_url=type_url.decode(), resource_names_subscribe=names).SerializeToString())


def first_request(node: str) -> bytes:
    request = DeltaDiscoveryRequest(type_url=_CDS.decode(), resource_names_subscribe=["*"])
    request.node.id = node
    request.node.user_agent_name = "envoy"
    return wire.message(request.SerializeToString())


_LISTENERS = wire.message(DeltaDiscoveryRequest(type_url=_LDS.decode(), resource_names_subscribe=["*"]).SerializeToString())
_ACKS = {t: b"\x12" + bytes((len(t),)) + t + b"\x32" for t in (_CDS, _EDS, _LDS, _RDS)}


class FakeProxy(wire.Connection):
    def __init__(self, fleet: FakeFleet, node: str, plan: Plan) -> None:
        super().__init__()
        self.fleet = fleet
        self.node = node
        self.plan = plan
        self.step = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.send(wire.opening(b"control-plane", tls=self.fleet.tls) + first_request(self.node))

    def wants_body(self) -> bool:
        return (self.step == 0 and self.plan.endpoints is None) or (self.step == 2 and self.plan.routes is None)

    def on_message(self, head: bytes, size: int, body: bytes | None) -> None:
        self.fleet.messages += 1
        type_url, nonce = wire.first_fields(head)
        if body is not None:
            self.plan.learn(type_url, body)
        out = wire.message(_ACKS[type_url] + bytes((len(nonce),)) + nonce)
        if self.step == 0 and type_url == _CDS:
            out += self.plan.endpoints or _LISTENERS
            self.step = 1 if self.plan.endpoints else 2
        elif self.step == 1 and type_url == _EDS:
            out += _LISTENERS
            self.step = 2
        elif self.step == 2 and type_url == _LDS:
            out += self.plan.routes or b""
            self.step = 3
        self.send(out)

    def on_end(self, why: str) -> None:
        if not self.fleet.over:
            if not self.fleet.lost:
                print(f"lost {self.node}: {why}", file=sys.stderr, flush=True)
            self.fleet.lost.append(f"{self.node}: {why}")


class FakeFleet:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.tls = args.certs is not None
        self.messages = 0
        self.lost: list[str] = []
        self.over = False
        self.plans = [Plan() for _ in range(args.scopes)]
        self.proxies: list[FakeProxy] = []

    async def connect(self) -> None:
        indexes = range(self.args.first, self.args.first + self.args.proxies)
        await asyncio.gather(*(self._connect(i) for i in indexes))

    async def _connect(self, index: int) -> None:
        scope = index % self.args.scopes
        node = f"app-{index}.ns-{scope:03d}"
        proxy = FakeProxy(self, node, self.plans[scope])
        self.proxies.append(proxy)
        context = self._context(node) if self.tls else None
        loop = asyncio.get_running_loop()
        await loop.create_connection(
            lambda: proxy, "127.0.0.1", self.args.port, ssl=context, server_hostname="control-plane" if context else None
        )

    def _context(self, node: str) -> ssl.SSLContext:
        certs = Path(self.args.certs)
        context = ssl.create_default_context(cafile=str(certs / "root.pem"))
        context.load_cert_chain(certs / f"{node}.pem", certs / "key.pem")
        context.set_alpn_protocols(["h2"])
        return context

    def stats(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        received = sum(p.received for p in self.proxies)
        return {"messages": self.messages, "received": received, "cpu": usage.ru_utime + usage.ru_stime, "lost": self.lost[:5]}


async def main(args: argparse.Namespace) -> None:
    fleet = FakeFleet(args)
    print(json.dumps({"up": True}), flush=True)
    async for command in orders():
        if command["do"] == "go":
            await fleet.connect()
        print(json.dumps(fleet.stats()), flush=True)
    fleet.over = True


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("port", "proxies", "first", "scopes"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--certs")
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    asyncio.run(main(parser.parse_args()))
