# SPDX-License-Identifier: Apache-2.0
"""The server under measurement, in a process of its own. JSON lines in, one line out for each:
{"do": "await", "proxies": N}       until N streams have ACKed everything -> {"at": monotonic seconds}
{"do": "change", "what": "endpoint" | "route"} -> {"seconds": change to last ACK, "cpu": seconds of CPU, "concerned": N}
{"do": "stats"}                     -> {"cpu", "rss_mb", "peak_mb", "response_bytes", "responses"}"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import resource
import time
from pathlib import Path
from typing import Any, Protocol

import structlog

from meshwright.clock import SystemClock
from meshwright.control.ports import Fleet
from meshwright.xds.server import DiscoveryServer, Limits, ServerTls
from tests.bench.orders import orders
from tests.bench.synthetic import ReadyMade

TRUST_DOMAIN = "cluster.local"


class Subject(Protocol):
    """What can be measured."""

    fleet: Fleet

    async def start(self) -> None: ...

    async def settled(self, proxies: int) -> float: ...

    async def change(self, what: str, salt: int) -> tuple[float, int]: ...


class Bare:
    def __init__(self, args: argparse.Namespace) -> None:
        self.fleet = self.ready_made = ReadyMade(args.services, args.endpoints, scoped=args.scoped)

    async def start(self) -> None:
        """Ready when made."""

    async def settled(self, proxies: int) -> float:
        while True:
            everyone = list(self.ready_made.attached)
            at = self.ready_made.last_ack(everyone)
            if len(everyone) >= proxies and at is not None:
                return at
            await asyncio.sleep(0.02)

    async def change(self, what: str, salt: int) -> tuple[float, int]:
        began = time.monotonic()
        concerned = self.ready_made.change(what, salt)
        while (at := self.ready_made.last_ack(concerned)) is None:
            await asyncio.sleep(0.005)
        return at - began, len(concerned)


def stats(server: DiscoveryServer) -> dict[str, Any]:
    sizes = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(("VmRSS", "VmHWM")):
            sizes[line[:5]] = int(line.split()[1]) / 1024
    counters = server.counters
    return {
        "cpu": time.process_time(),
        "rss_mb": round(sizes["VmRSS"], 1),
        "peak_mb": round(sizes["VmHWM"], 1),
        "response_bytes": counters.response_bytes,
        "responses": counters.responses,
        "streams": counters.streams,
    }


async def serve(args: argparse.Namespace) -> None:
    subject = make_subject(args)
    await subject.start()
    tls = (lambda: own_tls(Path(args.certs))) if args.certs else None
    limits = Limits(accept_rate=args.accept_rate, first_at_once=args.first_at_once, first_patience=120.0)
    server = DiscoveryServer(subject.fleet, clock=SystemClock(), trust_domain=TRUST_DOMAIN, tls=tls, limits=limits)
    gc.collect()
    gc.freeze()
    port = await server.start("127.0.0.1:0")
    print(json.dumps({"port": port, **stats(server)}), flush=True)
    salt = 0
    async for command in orders():
        if command["do"] == "await":
            async with asyncio.timeout(120):
                answer: dict[str, Any] = {"at": await subject.settled(command["proxies"])}
        elif command["do"] == "change":
            salt += 1
            cpu = time.process_time()
            seconds, concerned = await subject.change(command["what"], salt)
            answer = {"seconds": seconds, "cpu": time.process_time() - cpu, "concerned": concerned}
        else:
            answer = stats(server)
        print(json.dumps(answer), flush=True)
    await server.stop(0)


def make_subject(args: argparse.Namespace) -> Subject:
    if args.server == "bare":
        return Bare(args)
    from tests.bench.whole import Whole

    return Whole(args)


def own_tls(certs: Path) -> ServerTls:
    return ServerTls((certs / "key.pem").read_bytes(), (certs / "server.pem").read_bytes(), (certs / "root.pem").read_bytes())


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    for name in ("services", "endpoints", "proxies"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--server", choices=("bare", "full"), default="bare")
    parser.add_argument("--scoped", action="store_true")
    parser.add_argument("--accept-rate", type=float, default=0)
    parser.add_argument("--first-at-once", type=int, default=64)
    return parser


if __name__ == "__main__":
    parser = arguments()
    parser.add_argument("--certs")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    asyncio.run(serve(given))
