# SPDX-License-Identifier: Apache-2.0
"""Rules wait for the end of their burst, instances don't."""

from __future__ import annotations

from tests.feature.control.clockwork import turns
from tests.feature.control.fleet import FakeProxy, Lab, lab
from tests.feature.control.mesh import allow, instance, node, route, service


async def _shop(lab: Lab) -> FakeProxy:
    await lab.mesh.put(service("web"), service("cart"), node("vm1", "web-1"))
    await lab.time.advance(1)
    [proxy] = await lab.connect("web-1.shop")
    proxy.offers.clear()
    return proxy


def test_a_rule_is_offered_50_ms_after_it_was_stored() -> None:
    async def test(lab: Lab) -> None:
        proxy = await _shop(lab)
        revision = await lab.mesh.put(route("web", "web.shop.mesh"))
        await lab.time.advance(0.049)
        assert proxy.offers == []
        assert lab.controller.rollout(revision)["state"] == "pending"
        await lab.time.advance(0.001)
        assert [at for _, at in proxy.offers] == [revision]
        assert lab.controller.rollout(revision)["state"] == "done"

    lab(test)


def test_a_burst_of_rules_is_one_offer() -> None:
    async def test(lab: Lab) -> None:
        proxy = await _shop(lab)
        revisions = []
        for number in range(10):
            revisions.append(await lab.mesh.put(route("web", "web.shop.mesh", timeout=f"{number + 1}s")))
            await lab.time.advance(0.03)
        assert proxy.offers == []
        await lab.time.advance(0.02)
        assert [at for _, at in proxy.offers] == [revisions[-1]]
        assert {lab.controller.rollout(revision)["state"] for revision in revisions} == {"done"}

    lab(test)


def test_a_burst_without_an_end_is_offered_after_a_second() -> None:
    async def test(lab: Lab) -> None:
        proxy = await _shop(lab)
        for number in range(60):
            await lab.mesh.put(route("web", "web.shop.mesh", timeout=f"{number + 1}s"))
            await lab.time.advance(0.04)
        # 2.4 s: once after each second
        assert len(proxy.offers) == 2

    lab(test)


def test_an_instance_does_not_wait() -> None:
    async def test(lab: Lab) -> None:
        proxy = await _shop(lab)
        await lab.mesh.put(instance("cart-1", "192.0.2.7", "cart"))
        await lab.time.advance(0.05)
        proxy.offers.clear()
        revision = await lab.mesh.put(instance("cart-2", "192.0.2.8", "cart"))
        await turns()
        assert [at for _, at in proxy.offers] == [revision]
        assert lab.controller.rollout(revision)["state"] == "done"

    lab(test)


def test_an_instance_does_not_wait_for_rules_that_do() -> None:
    async def test(lab: Lab) -> None:
        proxy = await _shop(lab)
        await lab.mesh.put(instance("cart-1", "192.0.2.7", "cart"))
        await lab.time.advance(0.05)
        before = proxy.versions
        proxy.offers.clear()
        rule = await lab.mesh.put(route("web", "web.shop.mesh"))
        await turns()
        cart = await lab.mesh.put(instance("cart-2", "192.0.2.8", "cart"))
        await turns()
        [(_, at)] = proxy.offers
        assert at < rule
        assert proxy.versions["ENDPOINT"] != before["ENDPOINT"]
        assert proxy.versions["ROUTE"] == before["ROUTE"]
        # Both are done only when both are there.
        assert lab.controller.rollout(cart)["state"] == lab.controller.rollout(rule)["state"] == "pending"
        await lab.time.advance(0.05)
        assert proxy.revision == cart
        assert proxy.versions["ROUTE"] != before["ROUTE"]
        assert lab.controller.rollout(cart)["state"] == lab.controller.rollout(rule)["state"] == "done"

    lab(test)


def test_an_instance_of_a_service_that_is_held_off_comes_with_it() -> None:
    async def test(lab: Lab) -> None:
        proxy = await _shop(lab)
        await lab.mesh.put(service("new"))
        await turns()
        revision = await lab.mesh.put(instance("new-1", "192.0.2.9", "new"))
        await turns()
        assert proxy.offers == []
        await lab.time.advance(0.05)
        assert [at for _, at in proxy.offers] == [revision]
        assert "outbound|80||new.shop.mesh" in proxy.versions["ENDPOINT"]

    lab(test)


def test_an_instance_that_needs_a_rule_held_off_waits_for_it() -> None:
    """The second instance brings nothing new along, but only because the first did, and that one is held off."""

    async def test(lab: Lab) -> None:
        proxy = await _shop(lab)
        await lab.mesh.put(node("vm2", "cart-1", "cart-2"))
        await turns()
        proxy.offers.clear()
        first = await lab.mesh.put(instance("cart-1", "192.0.2.7", "cart"))
        await turns()
        second = await lab.mesh.put(instance("cart-2", "192.0.2.8", "cart"))
        await turns()
        assert proxy.offers == []
        await lab.time.advance(0.05)
        assert [at for _, at in proxy.offers] == [second]
        assert [lab.controller.rollout(revision)["state"] for revision in (first, second)] == ["done", "done"]

    lab(test)


def test_who_was_given_an_instance_early_counts_for_the_whole_step() -> None:
    async def test(lab: Lab) -> None:
        proxy = await _shop(lab)
        await lab.mesh.put(node("vm2", "far-1", namespace="far"), instance("cart-1", "192.0.2.7", "cart"), service("far", "far"))
        await lab.mesh.put(instance("far-1", "192.0.2.9", "far", "far"))
        await lab.time.advance(0.05)
        [far] = await lab.connect("far-1.far")
        proxy.offers.clear()
        rule = await lab.mesh.put(allow("only", "far", "/api", "far"), service("private", "far", export_to=("far",)))
        await turns()
        cart = await lab.mesh.put(instance("cart-2", "192.0.2.8", "cart"))
        await turns()
        assert [at < rule for _, at in proxy.offers] == [True]
        proxy.patient = True
        await lab.time.advance(0.05)
        # Nothing more has changed for it, yet it has to say that it runs this revision.
        assert [at for _, at in proxy.offers[1:]] == [cart]
        assert lab.controller.rollout(cart)["proxies"] == {"total": 2, "acked": 1, "pending": ["web-1.shop"], "away": []}
        proxy.ack()
        assert lab.controller.rollout(cart)["state"] == "done"
        assert far.revision == cart

    lab(test)
