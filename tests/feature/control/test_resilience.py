# SPDX-License-Identifier: Apache-2.0
"""What goes wrong stays small: a compiler that fails, a document that can't be read, a store that is away, a start anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from meshwright.control.controller import Controller, Options
from meshwright.errors import Compacted, Unavailable
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref
from meshwright.model.proxy import Proxy
from meshwright.model.snapshot import Snapshot
from meshwright.model.world import ChangeSet, World
from meshwright.store.base import Delete, Event, Put, Record
from meshwright.store.memory import MemoryStore
from meshwright.translate import compile as envoy
from meshwright.translate.compile import CompileCache, Inbound, Outbound, ScopeKey
from tests.feature.control.clockwork import FakeTime, turns
from tests.feature.control.fleet import FakeProxy, Lab, lab, running
from tests.feature.control.mesh import MESH, Mesh, allow, instance, key_of, node, route, service

RULE = Ref("VirtualService", "shop", "r")


class Fragile:
    """The real compiler, except for what is in `broken`: hosts, and proxies (inbound)."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.updates = 0

    def scope_key(self, proxy: Proxy) -> ScopeKey:
        return envoy.scope_key(proxy)

    def compile_outbound(self, world: World, key: ScopeKey, cache: CompileCache) -> Outbound:
        if self.broken & world.services.keys():
            raise KeyError("poison")
        return envoy.compile_outbound(world, key, cache)

    def update_outbound(self, world: World, key: ScopeKey, previous: Outbound, changed: ChangeSet, cache: CompileCache) -> Outbound:
        self.updates += 1
        if self.broken & (changed.services | changed.endpoints):
            raise KeyError("poison")
        return envoy.update_outbound(world, key, previous, changed, cache)

    def compile_inbound(self, world: World, proxy: Proxy, previous: Inbound | None) -> Inbound:
        if str(proxy.id) in self.broken:
            raise ZeroDivisionError("poison")
        return envoy.compile_inbound(world, proxy, previous)

    def make_snapshot(self, outbound: Outbound, inbound: Inbound) -> Snapshot:
        return envoy.make_snapshot(outbound, inbound)


async def _shop(lab: Lab) -> list[FakeProxy]:
    await lab.mesh.put(service("web"), service("cart"), node("vm1", "web-1", "cart-1"))
    await lab.mesh.put(instance("web-1", "192.0.2.1", "web"), instance("cart-1", "192.0.2.2", "cart"))
    await lab.time.advance(1)
    return await lab.connect("web-1.shop", "cart-1.shop")


def _programmed(lab: Lab, ref: Ref) -> tuple[str, str]:
    condition = lab.controller.conditions(ref)[-1]
    return condition.status, condition.reason


# -- the compiler ---------------------------------------


def test_a_host_that_cannot_be_compiled_keeps_its_last_good_and_no_other_from_its_change() -> None:
    compiler = Fragile()

    async def test(lab: Lab) -> None:
        web, cart = await _shop(lab)
        before = web.versions
        compiler.broken = {"web.shop.mesh"}
        poison = await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.mesh.put(service("new"))
        await lab.time.advance(0.05)
        assert "outbound|80||new.shop.mesh" in web.versions["CLUSTER"]
        assert web.versions["CLUSTER"].items() >= before["CLUSTER"].items()
        assert _programmed(lab, RULE) == ("False", "CompileError")
        assert _programmed(lab, Ref("ServiceEntry", "shop", "new")) == ("True", "Programmed")
        found = lab.controller.rollout(poison)
        assert found["state"] == "rejected"
        assert (found["rejections"][0]["proxy"], found["rejections"][0]["refs"]) == ("control-plane", ["VirtualService/shop/r"])
        # The next change of something else tries again, and it is mended:
        compiler.broken = set()
        await lab.mesh.put(service("newer"))
        await lab.time.advance(0.05)
        assert _programmed(lab, RULE) == ("True", "Programmed")
        assert web.versions["ROUTE"] == cart.versions["ROUTE"] != before["ROUTE"]
        [fresh] = await lab.connect("web-1.shop")
        assert fresh.versions == web.versions

    lab(test, Options(compiler=compiler))


def test_an_inbound_part_that_cannot_be_compiled_keeps_its_last_good() -> None:
    compiler = Fragile()

    async def test(lab: Lab) -> None:
        web, cart = await _shop(lab)
        before = web.versions
        compiler.broken = {"web-1.shop"}
        revision = await lab.mesh.put(allow("only", "web", "/api"))
        await lab.time.advance(0.05)
        assert web.versions == before
        assert _programmed(lab, Ref("AuthorizationPolicy", "shop", "only")) == ("False", "CompileError")
        assert lab.controller.rollout(revision)["state"] == "rejected"
        compiler.broken = set()
        await lab.mesh.put(node("vm9", "else-1"))  # whatever comes next
        await lab.time.advance(0.05)
        assert web.versions["LISTENER"] != before["LISTENER"]
        assert _programmed(lab, Ref("AuthorizationPolicy", "shop", "only")) == ("True", "Programmed")
        assert cart.versions["ROUTE"] == web.versions["ROUTE"]

    lab(test, Options(compiler=compiler))


def test_a_scope_that_was_never_compiled_is_tried_again_at_the_next_change() -> None:
    compiler = Fragile()

    async def test(lab: Lab) -> None:
        await lab.mesh.put(service("web"), node("vm1", "web-1"), node("vm2", "far-1", namespace="far"))
        await lab.time.advance(1)
        compiler.broken = {"web.shop.mesh"}
        proxy = FakeProxy("web-1.shop")
        proxy.connect(lab.controller)
        await turns()
        assert proxy.offers == []
        shown = lab.controller.proxy(ProxyId("web-1", "shop"))
        assert shown is not None and shown["sync"] == "PENDING"
        compiler.broken = set()
        await lab.mesh.put(service("other"))
        await lab.time.advance(0.05)
        assert proxy.revision == lab.controller.revision

    lab(test, Options(compiler=compiler))


def test_only_scopes_with_connected_proxies_are_compiled() -> None:
    compiler = Fragile()

    async def test(lab: Lab) -> None:
        proxies = await _shop(lab)
        await lab.mesh.put(*(node(f"far{n}", f"far-{n}", namespace=f"far{n}") for n in range(20)))
        await lab.time.advance(1)
        compiler.updates = 0
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(1)
        assert compiler.updates == 1
        for proxy in proxies:
            proxy.leave()
        await lab.mesh.put(route("r", "web.shop.mesh", timeout="7s"))
        await lab.time.advance(1)
        assert compiler.updates == 1
        assert lab.controller.stats()["scopes"] == 0

    lab(test, Options(compiler=compiler))


# -- documents ---------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        b"not JSON",
        b"[]",
        b"{}",
        b'{"kind": "VirtualService"}',
        b'{"apiVersion": "x/v1", "kind": "VirtualService", "metadata": {"name": "r", "namespace": "shop"}, "spec": {"no": 1}}',
        b'{"apiVersion": "x/v1", "kind": "VirtualService", "metadata": {"name": "other", "namespace": "shop"}, "spec": {}}',
    ],
)
def test_a_document_that_cannot_be_read_is_skipped(value: bytes) -> None:
    async def main() -> None:
        store = MemoryStore()
        await store.commit(
            [Put(key_of(RULE), value), Put("nodes/bad", value), Put("resources/Unheard/of/it", value), Put("resources/odd", b"")]
        )
        await Mesh(store).put(service("web"), node("vm1", "web-1"))
        async with asyncio.timeout(20), running(store) as lab:
            [web] = await lab.connect("web-1.shop")
            assert "outbound|80||web.shop.mesh" in web.versions["CLUSTER"]
            [condition] = lab.controller.conditions(RULE)
            assert (condition.type, condition.status, condition.reason) == ("Accepted", "False", "Unreadable")
            await store.commit([Put("svids/web-1.shop", value)])
            await lab.mesh.put(route("r", "web.shop.mesh"))
            await lab.time.advance(0.05)
            assert len(lab.controller.conditions(RULE)) == 3
            # One that was readable stays as it was:
            before = web.versions
            await store.commit([Put(key_of(RULE), value)])
            await lab.time.advance(0.05)
            assert web.versions == before
            await store.commit([Delete(key_of(RULE))])
            await lab.time.advance(0.05)
            assert web.versions != before
            assert lab.controller.conditions(RULE) == ()

    asyncio.run(main())


# -- the store ---------------------------------------


class Flaky:
    """A store whose watches and lists can be made to fail."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.away = False
        self._watching: set[asyncio.Future[Exception]] = set()

    def fail(self, error: Exception) -> None:
        for future in self._watching:
            future.set_result(error)
        self._watching.clear()

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        failure = asyncio.get_running_loop().create_future()
        self._watching.add(failure)
        events = self._store.watch(prefix, after)
        while True:
            following = asyncio.ensure_future(anext(events))
            try:
                await asyncio.wait((following, failure), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not following.done():
                    following.cancel()
            if failure.done():
                raise failure.result()
            yield following.result()

    async def list(self, prefix: str) -> tuple[list[Record], int]:
        if self.away:
            raise Unavailable("away")
        return await self._store.list(prefix)

    async def get(self, key: str) -> Record | None:
        return await self._store.get(key)

    async def commit(self, operations: Sequence[Put | Delete]) -> int:
        return await self._store.commit(operations)

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        await self._store.close()


@pytest.mark.parametrize("error", [Compacted("too far behind"), Unavailable("away")])
def test_a_watch_that_breaks_is_made_good(error: Exception) -> None:
    async def main() -> None:
        store = Flaky()
        async with asyncio.timeout(20), running(store) as lab:
            web, _ = await _shop(lab)
            kept = await lab.mesh.put(route("kept", "cart.shop.mesh"))
            await lab.time.advance(1)
            store.away = True
            store.fail(error)
            await turns()
            lost = await lab.mesh.put(route("r", "web.shop.mesh", timeout="1s"))
            first = await lab.mesh.put(route("r", "web.shop.mesh"))
            await lab.mesh.delete("ServiceEntry", "cart")
            last = await lab.mesh.put(service("new"), node("vm1", "web-1"))
            await lab.time.advance(3)
            assert (web.revision, lab.controller.ready()) == (kept, True)
            assert lab.controller.rollout(first)["state"] == "pending"
            store.away = False
            web.patient = True
            await lab.time.advance(1)
            await lab.time.advance(1)
            # Nothing tells of `lost` any more, it is a part of the step all the same.
            assert [lab.controller.rollout(revision)["state"] for revision in (kept, lost, first)] == ["done", "pending", "pending"]
            web.patient = False
            web.ack()
            assert web.revision == lab.controller.revision == last
            assert {"outbound|80||new.shop.mesh", "outbound|80||web.shop.mesh"} <= web.versions["CLUSTER"].keys()
            assert "outbound|80||cart.shop.mesh" not in web.versions["CLUSTER"]
            assert [lab.controller.rollout(revision)["state"] for revision in (kept, lost, first, last)] == ["done"] * 4
            assert [proxy["id"] for proxy in lab.controller.proxies()] == ["web-1.shop"]
            again = await lab.mesh.put(route("r", "web.shop.mesh", timeout="8s"))
            await lab.time.advance(1)
            assert web.revision == again

    asyncio.run(main())


def test_a_store_that_is_away_at_the_start_is_waited_for() -> None:
    async def main() -> None:
        store = Flaky()
        store.away = True
        time = FakeTime()
        controller = Controller(store, time, MESH, Options(timers=time))
        task = asyncio.create_task(controller.run())
        await time.advance(10)
        assert not controller.ready()
        store.away = False
        await time.advance(1)
        assert controller.ready()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 20))


# -- a start anew ---------------------------------------


def test_after_a_restart_nothing_differs() -> None:
    async def main() -> None:
        store = MemoryStore()
        ids = ("web-1.shop", "cart-1.shop", "far-1.far")
        async with running(store) as lab:
            await _shop(lab)
            await lab.mesh.put(node("vm7", "far-1", namespace="far"), allow("only", "web", "/api"))
            for number in range(5):
                await lab.mesh.put(route("r", "web.shop.mesh", timeout=f"{number + 1}s"), instance("cart-2", f"192.0.2.{number}", "cart"))
                await lab.time.advance(1)
            before = {id: proxy.versions for id, proxy in zip(ids, await lab.connect(*ids), strict=True)}
            revision = lab.controller.revision
        async with running(store) as lab:
            assert lab.controller.revision == revision
            assert lab.controller.rollout(revision - 1)["state"] == "done"
            proxies = await lab.connect(*ids)
            assert {id: proxy.versions for id, proxy in zip(ids, proxies, strict=True)} == before
            await lab.time.advance(5)
            assert [len(proxy.offers) for proxy in proxies] == [1, 1, 1]
            assert lab.controller.rollout(revision)["proxies"] == {"total": 3, "acked": 3, "pending": [], "away": []}

    asyncio.run(asyncio.wait_for(main(), 30))
