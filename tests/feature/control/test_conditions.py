# SPDX-License-Identifier: Apache-2.0
"""What is said of a resource: accepted, resolved, programmed, or refused and by whom."""

from __future__ import annotations

from meshwright.model.identity import ProxyId
from meshwright.model.meta import Condition, Ref
from meshwright.model.snapshot import TypeUrl
from tests.feature.control.clockwork import turns
from tests.feature.control.fleet import FakeProxy, Lab, lab
from tests.feature.control.mesh import instance, node, route, service

RULE = Ref("VirtualService", "shop", "r")
ROUTE = "80"


async def _shop(lab: Lab) -> list[FakeProxy]:
    await lab.mesh.put(service("web"), service("cart"), node("vm1", "web-1", "cart-1"), instance("web-1", "192.0.2.1", "web"))
    await lab.time.advance(1)
    return await lab.connect("web-1.shop", "cart-1.shop")


def _route_name(proxy: FakeProxy) -> str:
    [name] = proxy.versions["ROUTE"]
    return name


def _of(lab: Lab, ref: Ref = RULE) -> dict[str, Condition]:
    return {condition.type: condition for condition in lab.controller.conditions(ref)}


def test_the_life_of_a_rule() -> None:
    async def test(lab: Lab) -> None:
        web, _ = await _shop(lab)
        web.patient = True
        assert lab.controller.conditions(RULE) == ()
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await turns()
        found = _of(lab)
        assert [condition.status for condition in found.values()] == ["True", "True", "Unknown"]
        assert list(found) == ["Accepted", "ResolvedRefs", "Programmed"]
        assert (found["Programmed"].reason, found["Programmed"].message) == ("Pending", "not yet offered to the proxies")
        await lab.time.advance(0.05)
        assert _of(lab)["Programmed"].message == "1 connected proxies have not confirmed it yet"
        web.ack()
        assert (_of(lab)["Programmed"].status, _of(lab)["Programmed"].observed_generation) == ("True", 1)

    lab(test)


def test_since_when() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(1)
        first = _of(lab)
        await lab.mesh.put(route("r", "web.shop.mesh", timeout="9s"))
        await lab.time.advance(1)
        later = _of(lab)
        assert {c.last_transition_time for c in first.values()} == {"2030-01-01T00:00:02.000Z"}
        assert {c.last_transition_time for c in later.values()} == {"2030-01-01T00:00:02.000Z"}
        assert {c.observed_generation for c in later.values()} == {2}
        await lab.mesh.put(route("r", "web.shop.mesh", to="nowhere.shop.mesh"))
        await lab.time.advance(1)
        broken = _of(lab)
        assert (broken["ResolvedRefs"].status, broken["ResolvedRefs"].last_transition_time) == ("False", "2030-01-01T00:00:04.000Z")
        assert broken["Accepted"].last_transition_time == "2030-01-01T00:00:02.000Z"

    lab(test)


def test_a_rule_that_a_proxy_refuses() -> None:
    async def test(lab: Lab) -> None:
        web, _ = await _shop(lab)
        web.dislikes = {(TypeUrl.ROUTE, _route_name(web))}
        web._refused.add(web.versions["ROUTE"][_route_name(web)])  # what it has is fine
        revision = await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(0.05)
        programmed = _of(lab)["Programmed"]
        assert (programmed.status, programmed.reason) == ("False", "RefusedByProxy")
        assert programmed.message == f"proxy web-1.shop refused RouteConfiguration {_route_name(web)}: no, thank you"
        found = lab.controller.rollout(revision)
        assert found["state"] == "rejected"
        assert [rejection["refs"] for rejection in found["rejections"]] == [["VirtualService/shop/r"]]
        assert _of(lab, Ref("ServiceEntry", "shop", "web"))["Programmed"].status == "True"
        shown = lab.controller.proxy(ProxyId("web-1", "shop"))
        assert shown is not None
        assert (shown["sync"], shown["rejections"][0]["refs"]) == ("REJECTED", ["VirtualService/shop/r"])
        # Mended:
        web.dislikes = set()
        revision = await lab.mesh.put(route("r", "web.shop.mesh", timeout="5s"))
        await lab.time.advance(0.05)
        assert _of(lab)["Programmed"].status == "True"
        assert lab.controller.rollout(revision)["state"] == "done"

    lab(test)


def test_several_refusals_are_counted_and_bounded() -> None:
    async def test(lab: Lab) -> None:
        proxies = await _shop(lab)
        for proxy in proxies:
            proxy.dislikes = {(TypeUrl.ROUTE, _route_name(proxy))}
            proxy._refused.add(proxy.versions["ROUTE"][_route_name(proxy)])
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(0.05)
        message = _of(lab)["Programmed"].message
        assert message.startswith("proxy cart-1.shop refused") and message.endswith("(and 1 more refusals)")
        assert len(message) <= 1_000

    lab(test)


def test_a_resource_that_is_gone_has_no_conditions() -> None:
    async def test(lab: Lab) -> None:
        await _shop(lab)
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(1)
        assert len(_of(lab)) == 3
        await lab.mesh.delete("VirtualService", "r")
        await lab.time.advance(1)
        assert lab.controller.conditions(RULE) == ()
        await lab.mesh.put(route("r", "web.shop.mesh"))
        await lab.time.advance(1)
        assert _of(lab)["Accepted"].last_transition_time == "2030-01-01T00:00:04.000Z"

    lab(test)
