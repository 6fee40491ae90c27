# SPDX-License-Identifier: Apache-2.0
"""The control plane's certificates under measurement, in a process of its own: the discovery door with its method Renew as `serve` makes
it (mutual TLS, admission by the controller, CSR, signature, SQLite, audit), in front of N enrolled proxies.
JSON lines in, one line out for each: `{"do": "stats"}` -> {"cpu", "rss_mb", "peak_mb"}; end of input: quit."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import resource
import tempfile
from pathlib import Path

import structlog

from meshwright.api.audit import AuditLog
from meshwright.app import RENEW_METHOD, WorldEnrolment
from meshwright.ca.authority import Authority
from meshwright.ca.keys import DiskKeys
from meshwright.ca.server import Renewal, Services
from meshwright.clock import SystemClock
from meshwright.control.controller import Controller
from meshwright.control.ports import PeerIdentity
from meshwright.store.sqlite import SqliteStore
from meshwright.xds.server import DiscoveryServer, Limits
from tests.bench.orders import orders
from tests.bench.serve import TRUST_DOMAIN, own_tls, stats
from tests.feature.control.mesh import MESH, Mesh, node


async def serve(args: argparse.Namespace, home: Path) -> None:
    clock = SystemClock()
    store = await SqliteStore.open(home / "store.db")
    controller = Controller(store, clock, MESH)
    await Mesh(store).put(*(node(f"vm-{i}", f"app-{i}", namespace="ns-000") for i in range(args.proxies)))
    running = asyncio.create_task(controller.run())
    while not controller.ready():
        await asyncio.sleep(0.01)
    authority = Authority.open(home / "ca", DiskKeys(home / "ca"), TRUST_DOMAIN, clock=clock)
    audit = AuditLog(home / "audit.log", clock)
    renewal = Renewal(Services(authority, WorldEnrolment(controller), store, clock, audit.event))

    async def renew(body: bytes, peer: PeerIdentity) -> bytes:
        return await renewal.renew(peer, body)

    tls = own_tls(Path(args.certs))
    server = DiscoveryServer(
        controller, clock=clock, trust_domain=TRUST_DOMAIN, tls=lambda: tls, limits=Limits(accept_rate=0), unary={RENEW_METHOD: renew}
    )
    gc.collect()
    gc.freeze()
    port = await server.start("127.0.0.1:0")
    print(json.dumps({"port": port}), flush=True)
    async for _ in orders():
        print(json.dumps(stats(server)), flush=True)
    await server.stop(0)
    running.cancel()
    audit.close()
    await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxies", type=int, required=True)
    parser.add_argument("--certs", required=True)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(serve(parser.parse_args(), Path(scratch)))
