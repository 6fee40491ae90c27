# SPDX-License-Identifier: Apache-2.0
"""Many proxies cost what differs between them; and whatever the way was, the end is what a compilation from scratch gives."""

from __future__ import annotations

import random

import pytest

from meshwright.control.controller import Options
from meshwright.model.proxy import Node
from meshwright.model.snapshot import TypeUrl
from meshwright.translate.compile import CompileCache, compile_inbound, compile_outbound, make_snapshot, scope_key
from tests.feature.control.fleet import FakeProxy, Lab, lab, versions
from tests.feature.control.mesh import Document, allow, instance, node, route, service
from tests.feature.control.test_resilience import Fragile


def test_a_thousand_proxies_and_a_hundred_services() -> None:
    compiler = Fragile()

    async def test(lab: Lab) -> None:
        names = [f"s{number}" for number in range(100)]
        ids = [f"{names[number % 100]}-{number}" for number in range(1_000)]
        await lab.mesh.put(*(service(name) for name in names))
        await lab.mesh.put(*(node(f"vm{number}", id) for number, id in enumerate(ids)))
        await lab.mesh.put(
            *(instance(id, f"10.0.{number // 250}.{number % 250 + 1}", id.partition("-")[0]) for number, id in enumerate(ids))
        )
        await lab.time.advance(2)
        proxies = await lab.connect(*(f"{id}.shop" for id in ids))
        assert all(len(proxy.offers) == 1 for proxy in proxies)
        compiler.updates = 0
        rule = await lab.mesh.put(route("r", "s7.shop.mesh"))
        await lab.time.advance(0.05)
        assert lab.controller.rollout(rule)["proxies"] == {"total": 1_000, "acked": 1_000, "pending": [], "away": []}
        gone = await lab.mesh.delete("WorkloadEntry", "s3-3")
        await lab.time.advance(0)
        assert lab.controller.rollout(gone)["state"] == "done"
        assert compiler.updates == 2  # one scope
        assert {proxy.revision for proxy in proxies} == {gone}
        assert len({id(proxy.offers[-1][0].layers[TypeUrl.ROUTE][0]) for proxy in proxies}) == 1
        policy = await lab.mesh.put(allow("only", "s5", "/api"))
        await lab.time.advance(0.05)
        assert lab.controller.rollout(policy)["proxies"]["total"] == 10
        assert sum(proxy.revision == policy for proxy in proxies) == 10

    lab(test, Options(compiler=compiler))


def _from_scratch(lab: Lab, proxy: FakeProxy) -> dict[str, dict[str, str]]:
    world = lab.controller.world
    enrolled = world.proxies[proxy.peer.proxy]
    return versions(make_snapshot(compile_outbound(world, scope_key(enrolled), CompileCache()), compile_inbound(world, enrolled, None)))


def _anything(dice: random.Random) -> Document | Node | tuple[str, str, str]:
    """A document, a node, or (kind, name, namespace) to be deleted."""
    name, space = dice.choice("abcd"), dice.choice(("shop", "far"))
    host = f"{dice.choice('abcd')}.{dice.choice(('shop', 'far'))}.mesh"
    rule = f"r{dice.randrange(4)}"
    return dice.choice(
        (
            service(name, space, port=dice.choice((80, 8080)), export_to=dice.choice(((), (".",), ("far",)))),
            instance(f"{name}-1", f"192.0.2.{dice.randrange(9) + 1}", dice.choice("abcd"), space, dice.choice(("default", "other"))),
            instance(f"{name}-{dice.randrange(3)}", f"192.0.2.{dice.randrange(9) + 1}", name, space),
            route(
                rule,
                host,
                space,
                timeout=f"{dice.randrange(3) + 1}s",
                to=dice.choice(("", "a.shop.mesh", "b.far.mesh", "nowhere.shop.mesh")),
            ),
            allow(rule, name, dice.choice(("/x", "/y")), space),
            allow(rule, name, "/root", "meshwright-system"),
            node(f"vm-{name}", f"{name}-1", f"{name}-2", namespace=space, loopback=dice.choice(("127.240", "127.241"))),
            ("ServiceEntry", name, space),
            ("WorkloadEntry", f"{name}-1", space),
            ("VirtualService", rule, space),
            ("AuthorizationPolicy", rule, dice.choice((space, "meshwright-system"))),
        )
    )


@pytest.mark.parametrize("tick", [0.0, 0.003])  # with ticks the work is cut into slices, and the world goes on in between
@pytest.mark.parametrize("seed", range(4))
def test_the_way_does_not_matter(seed: int, tick: float) -> None:
    dice = random.Random(seed)

    async def test(lab: Lab) -> None:
        ids = [f"{name}-1.{space}" for name in "abcd" for space in ("shop", "far")]
        await lab.mesh.put(*(node(f"base-{id}", id.partition(".")[0], namespace=id.partition(".")[2]) for id in ids))
        await lab.time.advance(1)
        proxies = await lab.connect("a-1.shop", "b-1.far")
        for _ in range(100):
            what = _anything(dice)
            await (lab.mesh.delete(*what) if isinstance(what, tuple) else lab.mesh.put(what))
            await lab.time.advance(dice.choice((0, 0, 0.01, 0.05)))
            if dice.random() < 0.1:
                proxies += await lab.connect(dice.choice(ids))
            if len(proxies) > 1 and dice.random() < 0.05:
                proxies.pop(dice.randrange(len(proxies))).leave()
            if dice.random() < 0.1:
                await lab.time.advance(1)
                _check(lab, proxies)
        await lab.time.advance(1)
        _check(lab, proxies)

    lab(test, tick=tick)


def _check(lab: Lab, proxies: list[FakeProxy]) -> None:
    for proxy in proxies:
        assert proxy.versions == _from_scratch(lab, proxy)
    assert lab.controller.revision == lab.controller.rollout(lab.controller.revision)["revision"]
    assert lab.controller.rollout(lab.controller.revision)["state"] == "done"
