# SPDX-License-Identifier: Apache-2.0
"""The whole control plane as the subject: documents in a store, World, translation, controller. Proxy app-I is an instance of a service of
its namespace; unscoped, all are in one namespace, scoped, ten services to a namespace that exports nothing."""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from pathlib import Path

import msgspec

from meshwright.clock import SystemClock
from meshwright.control.controller import Controller, Options
from meshwright.control.holdoff import HoldOff
from meshwright.control.ports import Attachment, PeerIdentity, Refusal, Sink
from meshwright.model.decode import decode, encode
from meshwright.model.proxy import Node
from meshwright.store.base import Put
from meshwright.store.memory import MemoryStore
from tests.feature.control.mesh import MESH, Document, Mesh, instance, key_of, node, route, service

_SCOPE = 10


class _Noted:
    """An Attachment that counts first ACKs on the way."""

    def __init__(self, whole: Whole, inner: Attachment) -> None:
        self._whole = whole
        self._inner: Attachment | None = inner
        self._settled = False

    def acked(self, revision: int) -> None:
        if not self._settled:
            self._settled = True
            self._whole.ready_streams += 1
        self._whole.last = time.monotonic()
        if self._inner is not None:
            self._inner.acked(revision)

    def rejected(self, refusal: Refusal) -> None:
        raise AssertionError(refusal)

    def detach(self) -> None:
        if self._inner is not None:
            self._inner.detach()


class Whole:
    """A Fleet in front of the controller, so that first ACKs can be timed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.fleet = self
        self.ready_streams = 0
        self.last = 0.0
        self._store = MemoryStore(watch_limit=1_000_000)
        self._scopes = args.services // _SCOPE if args.scoped else 1
        self._args = args
        # The hold-off is not part of what is measured.
        self._controller = Controller(self._store, SystemClock(), MESH, Options(hold_off=HoldOff(0.0, 0.0)))
        self._task: asyncio.Task[None] | None = None

    # as a Fleet

    def ready(self) -> bool:
        return self._controller.ready()

    def admit(self, peer: PeerIdentity) -> None:
        self._controller.admit(peer)

    def attach(self, peer: PeerIdentity, sink: Sink) -> Attachment:
        return _Noted(self, self._controller.attach(peer, sink))

    # as a Subject

    async def start(self) -> None:
        await self._fill()
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of writing the documents
        self._task = asyncio.create_task(self._controller.run())
        while not self._controller.ready():
            await asyncio.sleep(0.01)

    async def settled(self, proxies: int) -> float:
        while self.ready_streams < proxies:
            await asyncio.sleep(0.02)
        return self.last

    async def change(self, what: str, salt: int) -> tuple[float, int]:
        made = self._instance(0, 0, salt) if what == "endpoint" else self._route(salt)
        operation = _operation(made)
        began = time.monotonic()
        revision = await self._store.commit([operation])
        done = await self._controller.wait(revision, 60)
        ended = self.last
        assert done["state"] == "done", done
        return ended - began, done["proxies"]["total"]

    # the documents

    async def _fill(self) -> None:
        args, mesh = self._args, Mesh(self._store)
        spread = (".",) if args.scoped else ()
        made: list[Document | Node] = [service(f"svc-{s:05d}", self._space(s), export_to=spread) for s in range(args.services)]
        made += [self._instance(s, e, 0) for s in range(args.services) for e in range(args.endpoints)]
        made += [node(f"vm-{i}", f"app-{i}", namespace=f"ns-{i % self._scopes:03d}") for i in range(args.proxies)]
        made.append(self._route(0))
        for at in range(0, len(made), 5_000):
            await mesh.put(*made[at : at + 5_000])

    def _space(self, number: int) -> str:
        return f"ns-{number // _SCOPE if self._args.scoped else 0:03d}"

    def _instance(self, number: int, endpoint: int, salt: int) -> Document:
        """The first instances of the services are the proxies."""
        scope = number // _SCOPE if self._args.scoped else 0
        proxy = scope + self._scopes * (number % _SCOPE) if self._args.scoped else number
        name = f"app-{proxy}" if endpoint == 0 else f"inst-{number}-{endpoint}"
        address = f"10.{salt % 200}.{number % 250}.{(endpoint * 7 + number // 250) % 250 + 1}"
        return instance(name, address, f"svc-{number:05d}", self._space(number))

    def _route(self, salt: int) -> Document:
        return route("rule", f"svc-00000.{self._space(0)}.mesh", self._space(0), timeout=f"{salt + 1}s")


def _operation(document: Document) -> Put:
    resource = decode(document)
    return Put(key_of(resource.ref), msgspec.json.encode(encode(resource)))
