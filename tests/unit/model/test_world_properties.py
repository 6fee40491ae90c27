# SPDX-License-Identifier: Apache-2.0
"""The World is a function of the facts and not of the way to them, and a ChangeSet names everything that differs."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from meshwright.model.checks import world_checks
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Resource
from meshwright.model.proxy import Node
from meshwright.model.world import Change, World
from tests.unit.model.samples import gone, instance, node, put, resource, service

NAMESPACES = ("shop", "other", "meshwright-system")
HOSTS = (
    "web.shop.mesh",
    "web.other.mesh",
    "db.shop.mesh",
    "api.example.com",
    "web.shop",
    "db.shop.svc.cluster.local",
    "www.api.example.com",
)
WRITTEN = ("web", "db", "db.shop.svc", *HOSTS, "*.example.com", "*.mesh", "*")
APPS = ("web", "db")
TIMES = ("2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z")


def thing(rng: random.Random) -> Resource | Node:
    """One fact out of a universe so small that names, hosts, labels and times collide all the time."""
    namespace, name, created = rng.choice(NAMESPACES), rng.choice("abc"), rng.choice(TIMES)
    export = {"exportTo": rng.choice([["."], ["."], ["*"], ["other"]])} if rng.random() < 0.4 else {}
    match rng.randrange(7):
        case 0:
            spec: dict[str, Any] = {
                "hosts": rng.sample(HOSTS, rng.choice([1, 1, 2])),
                "ports": [{"number": rng.choice([80, 81]), "name": "http"}],
                "workloadSelector": {"labels": rng.choice([{"app": "web"}, {"app": "db"}, {"app": "web", "version": "1"}])},
            }
            if rng.random() < 0.2:
                spec |= {"workloadSelector": None, "endpoints": [{"address": "10.9.9.9"}]}
            return service(name, namespace, created=created, **spec, **export)
        case 1 | 2:
            labels = {"version": rng.choice("12")} if rng.random() < 0.5 else {}
            return instance(
                name, rng.choice(APPS), f"10.0.0.{rng.randrange(1, 4)}", namespace, labels=labels, serviceAccount=rng.choice("xy")
            )
        case 3:
            subsets = [{"name": rng.choice(["v1", "v2"]), "labels": {"version": "1"}}]
            return resource("DestinationRule", name, {"host": rng.choice(WRITTEN), "subsets": subsets, **export}, namespace, created)
        case 4:
            to = [{"destination": {"host": rng.choice(["web", "db.shop"])}}]
            return resource(
                "VirtualService", name, {"hosts": rng.sample(WRITTEN, 2), "http": [{"route": to}], **export}, namespace, created
            )
        case 5:
            kind = rng.choice(["AuthorizationPolicy", "PeerAuthentication"])
            return resource(kind, name, {"selector": {"matchLabels": {"app": rng.choice(APPS)}}}, namespace, created)
        case _:
            workloads = [f"{rng.choice('abc')}.{rng.choice(NAMESPACES)}"]
            return node(rng.choice(["h1", "h2"]), *workloads, account=rng.choice("xy"), banned=rng.random() < 0.2)


def key_of(item: Resource | Node) -> Any:
    return item.name if isinstance(item, Node) else item.ref


def facts(rng: random.Random, count: int) -> list[Resource | Node]:
    return list({key_of(item): item for item in (thing(rng) for _ in range(count))}.values())


def rules_of(world: World) -> dict[Any, Any]:
    """Per host everything that compiling it may read but its endpoints."""
    found: dict[Any, Any] = {}
    for host in HOSTS:
        found_here = world.services_at(host)
        rules: list[Any] = [found_here, [world.service_accounts(one.slot) for one in found_here], world.virtual_services(host)]
        for namespace in NAMESPACES:
            rules.append(world.service_for(host, namespace))
            rules += [world.destination_rule(host, namespace), world.virtual_services(host, namespace)]
        found[host] = rules
    return found


def contents(world: World) -> dict[str, Any]:
    ids = [ProxyId(name, namespace) for name in "abc" for namespace in NAMESPACES]
    return {
        "rules": rules_of(world),
        "services": dict(world.services),
        "seen": {namespace: world.hosts_for(namespace) for namespace in NAMESPACES},
        "endpoints": {host: {one.slot: world.endpoints(one.slot) for one in world.services_at(host)} for host in HOSTS},
        "proxies": dict(world.proxies),
        "nodes": dict(world.nodes),
        "instances": {id: world.services_of(id) for id in ids},
        "policies": {namespace: world.policies(namespace) for namespace in NAMESPACES},
        "hosts": {(written, ns): world.resolve_host(written, ns) for written in WRITTEN for ns in NAMESPACES},
        "conditions": {
            r.ref: world_checks(world, r) for kind in ("ServiceEntry", "VirtualService", "DestinationRule") for r in world.resources(kind)
        },
    }


def test_two_hundred_orders_give_one_world() -> None:
    things = facts(random.Random(7), 60)
    expected = contents(World.empty().apply(put(*things), 1)[0])
    assert expected["services"]
    assert any(expected["endpoints"].values())
    assert any(" " in slot for slot in expected["services"]), "there are some that only their own namespace sees"
    for seed in range(200):
        rng = random.Random(seed)
        rng.shuffle(things)
        world = World.empty()
        at = 0
        while at < len(things):
            size = rng.choice([1, 1, 2, 9])
            world, _ = world.apply(put(*things[at : at + size]), at + 1)
            at += size
        assert contents(world) == expected


@pytest.mark.parametrize("seed", range(12))
def test_steps_end_where_a_fresh_start_ends_and_name_what_differs(seed: int) -> None:
    rng = random.Random(seed)
    world = World.empty()
    now: dict[Any, Resource | Node] = {}
    before = contents(world)
    for revision in range(1, 26):
        changes: list[Change] = []
        for _ in range(rng.choice([1, 1, 1, 3, 8])):
            item = thing(rng)
            if rng.random() < 0.3 and now:
                item = now.pop(rng.choice(sorted(now, key=str)))
                changes += gone(item)
            else:
                now[key_of(item)] = item
                changes += put(item)
        world, changed = world.apply(changes, revision)
        after = contents(world)
        assert after == contents(World.empty().apply(put(*now.values()), 1)[0])
        known = [host for host in HOSTS if before["endpoints"][host] or after["endpoints"][host]]
        assert changed.services >= {host for host in known if before["rules"][host] != after["rules"][host]}
        assert changed.services | changed.endpoints >= {host for host in HOSTS if before["endpoints"][host] != after["endpoints"][host]}
        assert changed.services.isdisjoint(changed.endpoints)
        assert changed.proxies >= {
            id for id in {*before["proxies"], *after["proxies"]} if before["proxies"].get(id) != after["proxies"].get(id)
        }
        assert changed.proxies >= {id for id in after["proxies"] if served(before, id) != served(after, id)}
        touched = {ns for ns in NAMESPACES if own_policies(before, ns) != own_policies(after, ns)}
        assert changed.namespaces >= touched
        before = after


def served(content: dict[str, Any], id: ProxyId) -> Any:
    """What a proxy's inbound side is made of."""
    return [(service, endpoint.ports, endpoint.labels) for service, endpoint in content["instances"][id]]


def own_policies(content: dict[str, Any], namespace: str) -> Any:
    return [policy for policy in content["policies"][namespace] if policy.metadata.namespace == namespace]


def test_an_endpoint_change_touches_little() -> None:
    """The promise behind the speed: whatever else there is, one address more or less names one host."""
    things = [service(f"s{i}") for i in range(40)] + [
        instance(f"s{i}-{j}", f"s{i}", f"10.0.{i}.{j + 1}") for i, j in itertools.product(range(40), (0, 1))
    ]
    world, _ = World.empty().apply(put(*things), 1)
    for i in range(40):
        world, changed = world.apply(put(instance(f"s{i}-0", f"s{i}", f"10.1.{i}.9")), i + 2)
        assert (changed.services, changed.endpoints, changed.proxies) == (set(), {f"s{i}.shop.mesh"}, set())
