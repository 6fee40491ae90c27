# SPDX-License-Identifier: Apache-2.0
"""Streams come and go: who is let in, what they are given, how they are cut off, what the API shows of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from meshwright.control.controller import Controller, Options
from meshwright.errors import Forbidden
from meshwright.model.identity import ProxyId
from meshwright.model.snapshot import TypeUrl
from meshwright.store.base import Delete, Put
from meshwright.store.memory import MemoryStore
from tests.feature.control.clockwork import FakeTime, turns, until
from tests.feature.control.fleet import FakeProxy, Lab, lab
from tests.feature.control.mesh import MESH, allow, instance, node, route, service

WEB, CART = ProxyId("web-1", "shop"), ProxyId("cart-1", "shop")


async def _shop(lab: Lab) -> None:
    await lab.mesh.put(service("web"), service("cart"), node("vm1", "web-1", "cart-1"), node("vm2", "web-2"))
    await lab.mesh.put(instance("web-1", "192.0.2.1", "web"), instance("cart-1", "192.0.2.2", "cart"))
    await lab.time.advance(1)


def test_not_ready_before_everything_is_read() -> None:
    async def main() -> None:
        controller = Controller(MemoryStore(), FakeTime(), MESH)
        assert not controller.ready()
        with pytest.raises(Forbidden):
            controller.admit(FakeProxy("web-1.shop").peer)
        task = asyncio.create_task(controller.run())
        await until(controller.ready)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        (FakeProxy("web-9.shop"), "not enrolled"),
        (FakeProxy("web-1.other"), "not enrolled"),
        (FakeProxy("web-1.shop", account="admin"), "not enrolled as spiffe://cluster.local/ns/shop/sa/admin"),
        (FakeProxy("bad-1.shop"), "banned"),
    ],
)
def test_who_is_not_let_in(proxy: FakeProxy, words: str) -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        await lab.mesh.put(node("vm3", "bad-1", banned=True))
        await turns()
        for enter in (lambda: lab.controller.admit(proxy.peer), lambda: lab.controller.attach(proxy.peer, proxy)):
            with pytest.raises(Forbidden, match=words):
                enter()
        assert proxy.offers == []

    lab(test)


def test_a_stream_is_given_the_configuration_of_its_proxy() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        web, cart = await lab.connect("web-1.shop", "cart-1.shop")
        assert web.revision == cart.revision == lab.controller.revision
        assert web.versions["ROUTE"] == cart.versions["ROUTE"] != {}
        assert web.versions["LISTENER"] != cart.versions["LISTENER"]
        found = lab.controller.snapshot(WEB)
        assert found is not None and found.same(web.offers[-1][0])

    lab(test)


def test_proxies_of_a_scope_share_the_same_objects() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        web, cart = await lab.connect("web-1.shop", "cart-1.shop")
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(0.05)
        for type in TypeUrl:
            assert web.offers[-1][0].layers[type][0] is cart.offers[-1][0].layers[type][0]

    lab(test)


def test_only_who_is_touched_is_offered_anything() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        await lab.mesh.put(node("vm4", "alone-1", namespace="island"))
        await lab.time.advance(1)
        web, cart, alone = await lab.connect("web-1.shop", "cart-1.shop", "alone-1.island")
        for proxy in (web, cart, alone):
            proxy.offers.clear()
        revision = await lab.mesh.put(allow("only", "cart", "/api"))
        await lab.time.advance(0.05)
        assert (web.offers, alone.offers, cart.revision) == ([], [], revision)
        # Of those that are away nobody knows whether the policy selects them.
        assert lab.controller.rollout(revision)["proxies"] == {"total": 2, "acked": 1, "pending": [], "away": ["web-2.shop"]}
        revision = await lab.mesh.put(service("hidden", export_to=(".",)))
        await lab.time.advance(0.05)
        assert (web.revision, cart.revision, alone.offers) == (revision, revision, [])
        found = lab.controller.rollout(revision)["proxies"]
        assert (found["total"], found["acked"], found["away"]) == (3, 2, ["web-2.shop"])

    lab(test)


def test_of_those_that_are_away_who_may_see_it_is_concerned() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        await lab.mesh.put(node("vm4", "alone-1", namespace="island"))
        await lab.time.advance(1)
        everywhere = await lab.mesh.put(service("open"))
        await lab.time.advance(1)
        island = await lab.mesh.put(service("hidden", "island", export_to=(".",)))
        await lab.time.advance(1)
        gone = await lab.mesh.delete("ServiceEntry", "hidden", "island")
        await lab.time.advance(1)
        own = await lab.mesh.put(node("vm5", "alone-2", namespace="island"))
        await lab.time.advance(1)
        both = await lab.mesh.put(service("hidden", "island", export_to=(".",)))
        await lab.time.advance(1)
        away = {revision: lab.controller.rollout(revision)["proxies"]["away"] for revision in (everywhere, island, gone, own, both)}
        assert away == {
            everywhere: ["alone-1.island", "cart-1.shop", "web-1.shop", "web-2.shop"],
            island: ["alone-1.island"],
            gone: ["alone-1.island"],
            own: ["alone-2.island"],
            both: ["alone-1.island", "alone-2.island"],
        }
        [web] = await lab.connect("web-2.shop")
        assert lab.controller.rollout(everywhere)["proxies"]["acked"] == 1
        web.leave()
        assert lab.controller.rollout(everywhere)["proxies"]["acked"] == 1

    lab(test)


def test_an_irrelevant_write_is_served_at_once() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        [web] = await lab.connect("web-1.shop")
        web.offers.clear()
        revision = await lab.store.commit([Put("tokens/abc", b"{}")])
        await turns()
        assert web.offers == []
        assert lab.controller.revision == revision
        assert lab.controller.rollout(revision)["state"] == "done"

    lab(test)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (node("vm1", "web-1", "cart-1", banned=True), "banned"),
        (node("vm1", "cart-1"), "removed"),
        (None, "removed"),
        (node("vm1", "web-1", account="other"), "identity"),
    ],
)
def test_a_ban_cuts_the_stream_at_once(change: object, word: str) -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        web, other = await lab.connect("web-1.shop", "web-2.shop")
        await lab.mesh.put(route("r", "web.shop.mesh"))  # rules are held off meanwhile
        await turns()
        await (lab.mesh.put(change) if change is not None else lab.store.commit([Delete("nodes/vm1")]))  # type: ignore[arg-type]
        await turns(3)
        assert (web.cut_for, other.cut_for) == (word, None)
        with pytest.raises(Forbidden):
            lab.controller.admit(web.peer)
        web.offers.clear()
        await lab.time.advance(1)
        assert web.offers == []
        assert other.revision == lab.controller.revision

    lab(test)


def test_a_ban_is_not_held_up_by_who_does_not_answer() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        [web] = await lab.connect("web-1.shop")
        web.patient = True
        revision = await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(0.05)
        assert lab.controller.rollout(revision)["proxies"]["pending"] == ["web-1.shop"]
        await lab.mesh.put(node("vm1", "web-1", "cart-1", banned=True))
        await lab.time.advance(0)
        found = lab.controller.rollout(revision)
        assert (found["state"], found["proxies"]["pending"]) == ("done", [])

    lab(test)


def test_a_workload_that_moves_leaves_its_old_host_out() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        old = FakeProxy("web-1.shop")
        old.peer = old.peer._replace(node="vm1")
        old.connect(lab.controller)
        await turns()
        await lab.store.commit([Delete("nodes/vm1")])
        await lab.mesh.put(node("vm9", "web-1"))
        await turns(3)
        assert old.cut_for is not None
        with pytest.raises(Forbidden, match="not enrolled on vm1"):
            lab.controller.admit(old.peer)
        lab.controller.admit(old.peer._replace(node="vm9"))

    lab(test)


def test_enrolled_again_it_may_come_back() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        await lab.connect("web-1.shop")
        await lab.mesh.put(node("vm1", "web-1", banned=True))
        await turns()
        await lab.mesh.put(node("vm1", "web-1"))
        await turns()
        [web] = await lab.connect("web-1.shop")
        assert web.revision == lab.controller.revision

    lab(test)


def test_another_loopback_network_is_another_scope() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        _, cart = await lab.connect("web-1.shop", "cart-1.shop")
        before = dict(cart.versions["LISTENER"])
        cart.offers.clear()
        revision = await lab.mesh.put(node("vm1", "web-1", "cart-1", loopback="127.99"))
        await lab.time.advance(1)
        assert cart.revision == revision and cart.versions["LISTENER"] != before
        assert lab.controller.rollout(revision)["state"] == "done"
        [late] = await lab.connect("cart-1.shop")
        assert late.versions == cart.versions

    lab(test)


def test_a_proxy_may_have_several_streams() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        one, other = await lab.connect("web-1.shop", "web-1.shop")
        other.patient = True
        revision = await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(0.05)
        assert lab.controller.rollout(revision)["state"] == "pending"
        other.leave()
        other.leave()
        assert lab.controller.rollout(revision)["state"] == "done"
        assert one.revision == revision

    lab(test)


def test_waiting_for_a_rollout() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        web, _ = await lab.connect("web-1.shop", "cart-1.shop")
        web.patient = True
        revision = await lab.mesh.put(route("r", "web.shop.mesh"))
        short = asyncio.create_task(lab.controller.wait(revision, 0.5))
        long = asyncio.create_task(lab.controller.wait(revision, 30))
        future = asyncio.create_task(lab.controller.wait(revision + 1, 30))
        await lab.time.advance(0.5)
        assert (await short)["proxies"] == {"total": 3, "acked": 1, "pending": ["web-1.shop"], "away": ["web-2.shop"]}
        assert (await short)["state"] == "pending"
        assert not long.done()
        web.ack()
        assert (await long)["state"] == "done"
        assert not future.done()
        await lab.store.commit([Put("tokens/abc", b"{}")])
        assert (await future)["state"] == "done"

    lab(test)


def test_what_the_api_shows() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        await lab.time.advance(2)
        [web] = await lab.connect("web-1.shop")
        facts = {
            "serial": "0a",
            "notBefore": "2030-01-01T00:00:00Z",
            "notAfter": "2030-01-02T00:00:00Z",
            "count": 3,
            "spiffeId": "x",
            "node": "vm1",
        }
        await lab.store.commit([Put("svids/web-1.shop", json.dumps(facts).encode())])
        await turns()
        assert lab.controller.proxy(WEB) == {
            "id": "web-1.shop",
            "namespace": "shop",
            "name": "web-1",
            "node": "vm1",
            "spiffeId": "spiffe://cluster.local/ns/shop/sa/default",
            "banned": False,
            "connected": True,
            "connectedSince": "2030-01-01T00:00:03.000Z",
            "address": "192.0.2.1:40000",
            "revision": lab.controller.revision,
            "sync": "SYNCED",
            "rejections": [],
            "svid": {"serial": "0a", "notBefore": "2030-01-01T00:00:00Z", "notAfter": "2030-01-02T00:00:00Z", "count": 3},
            "envoyVersion": "1.40.0",
        }
        away = lab.controller.proxy(CART)
        assert away is not None
        assert (away["connected"], away["sync"], away["revision"], away["svid"], away["address"]) == (False, "AWAY", 0, None, None)
        assert [proxy["id"] for proxy in lab.controller.proxies()] == ["cart-1.shop", "web-1.shop", "web-2.shop"]
        assert lab.controller.proxy(ProxyId("nobody", "shop")) is None
        assert lab.controller.snapshot(CART) is None
        synced = lab.controller.revision
        web.patient = True
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(1)
        pending = lab.controller.proxy(WEB)
        assert pending is not None and (pending["sync"], pending["revision"] < synced + 1) == ("PENDING", True)
        web.leave()
        gone = lab.controller.proxy(WEB)
        assert gone is not None and (gone["sync"], gone["connected"]) == ("AWAY", False)

    lab(test)


def test_numbers_for_metrics() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        web, _ = await lab.connect("web-1.shop", "cart-1.shop")
        web.patient = True
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(1)
        web.ack()
        stats = lab.controller.stats()
        assert stats["proxies"] == {"synced": 2, "pending": 0, "rejected": 0, "away": 1}
        assert (stats["proxies_connected"], stats["world_services"], stats["scopes"]) == (2, 2, 1)
        assert stats["pushes_total"] == stats["pushes_within_seconds_total"]["+Inf"] == 4
        assert stats["pushes_within_seconds_total"]["0.5"] == 3  # one took 0.95 s

    lab(test)


def test_the_stores_past_is_compacted() -> None:
    async def test(lab: Lab) -> None:
        for number in range(2_200):
            await lab.store.commit([Put("tokens/x", b"%d" % number)])
            if number % 100 == 0:
                await turns(3)
        await turns()
        with pytest.raises(Exception, match="list again"):
            await anext(lab.store.watch("", 100))
        await anext(lab.store.watch("", 2_000))

    lab(test, Options(keep_revisions=150))
