# SPDX-License-Identifier: Apache-2.0
"""With the real World: whatever document or node comes, changes or goes, following its ChangeSets gives what compiling gives."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.model.decode import decode
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref
from meshwright.model.proxy import EnrolledWorkload, Node
from meshwright.model.world import Change, ChangeSet, World, allocate_vips
from meshwright.translate.compile import CompileCache, Inbound, Outbound, ScopeKey, compile_inbound, compile_outbound, update_outbound

KEYS = (ScopeKey("shop", "127.240"), ScopeKey("ops", "127.240"))
NAMES = ("a", "b", "c")
NAMESPACES = ("shop", "ops")
Step = tuple[str, str, str, int]
STEPS = st.tuples(
    st.sampled_from(["service", "workload", "rule", "destination", "policy", "node", "outside"]),
    st.sampled_from(NAMES),
    st.sampled_from(NAMESPACES),
    st.integers(-1, 3),
)


def spec_of(verb: str, name: str, namespace: str, n: int) -> tuple[str, dict[str, Any]]:
    http = {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 9080}
    tcp = {"number": 5432, "name": "tcp", "protocol": "TCP"}
    match verb:
        case "service":
            host = f"{name}.{namespace}.{'mesh' if n < 3 else 'svc.cluster.local'}"
            spec: dict[str, Any] = {"hosts": [host], "location": "MESH_INTERNAL", "resolution": "STATIC"}
            spec |= {"ports": [[http], [tcp, http], [http], [http]][n], "workloadSelector": {"labels": {"app": name}}}
            return "ServiceEntry", spec | ({"exportTo": ["."]} if n == 2 else {})
        case "outside":
            spec = {"hosts": [f"{name}.example.com"], "resolution": "DNS" if n % 2 else "STATIC", "ports": [http]}
            export = [{}, {"exportTo": ["."]}, {"exportTo": [namespace]}, {"exportTo": ["*"]}][n]
            return "ServiceEntry", spec | {"endpoints": [{"address": "192.0.2.1" if n < 2 else "192.0.2.2"}]} | export
        case "workload":
            return "WorkloadEntry", {"address": f"10.0.0.{n}", "labels": {"app": NAMES[n % 3], "v": str(n)}, "serviceAccount": name}
        case "rule":
            to = ["a", "b.shop", "c.example.com", "b.shop.svc.cluster.local"][n]
            route = [{"destination": {"host": to, **({"subset": "v1"} if n % 2 else {})}}]
            return "VirtualService", {"hosts": [name, f"{name}.example.com"][: 1 + n % 2], "http": [{"route": route}]}
        case "destination":
            tls = {"trafficPolicy": {"tls": {"mode": "DISABLE"}}} if n == 2 else {}
            return "DestinationRule", {
                "host": f"{name}.example.com" if n == 3 else name,
                "subsets": [{"name": f"v{n}", "labels": {"v": str(n)}}],
                **tls,
            }
        case _:
            return "AuthorizationPolicy", {"rules": [{"from": [{"source": {"namespaces": [namespace]}}]}]} if n else {}


def change_of(world: World, step: Step) -> Change:
    verb, name, namespace, n = step
    if verb == "node":
        workload = EnrolledWorkload(name=name, namespace=namespace, service_account=f"{name}{n % 2}")
        return Change(
            node_name=name + namespace, node=Node(name=name + namespace, workloads=(workload,), banned=n == 2) if n >= 0 else None
        )
    kind, spec = spec_of(verb, name, namespace, max(n, 0))
    title = f"{name}-outside" if verb == "outside" else name
    ref = Ref(kind, namespace, title)
    if n < 0:
        return Change(ref=ref)
    group = "security" if kind == "AuthorizationPolicy" else "networking"
    document = {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": {"name": title, "namespace": namespace}, "spec": spec}
    resource = decode(document, world.resource(ref))
    return Change(ref=ref, resource=allocate_vips(world, resource) if kind == "ServiceEntry" else resource)


def full_world() -> World:
    world = World.empty()
    for verb in ("node", "service", "workload", "rule", "destination"):
        for n, name in enumerate(NAMES):
            for namespace in NAMESPACES:
                world, _ = world.apply([change_of(world, (verb, name, namespace, n % 2))], 1)
    return world


def bodies(layers: Outbound | Inbound) -> dict[tuple[str, str], bytes]:
    return {(layer.type.name, name): found.body for layer in layers for name, found in layer.resources.items()}


def touched(proxy: ProxyId, changed: ChangeSet, world: World) -> bool:
    """When the controller compiles a proxy's inbound part anew."""
    homes = {proxy.namespace, world.mesh.root_namespace}
    return proxy in changed.proxies or bool(homes & changed.namespaces)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(STEPS, min_size=1, max_size=2), max_size=8))
def test_following_the_world_gives_what_compiling_gives(steps: list[list[Step]]) -> None:
    world, cache = full_world(), CompileCache()
    outbound = {key: compile_outbound(world, key, cache) for key in KEYS}
    inbound = {id: compile_inbound(world, proxy, None) for id, proxy in world.proxies.items()}
    for revision, batch in enumerate(steps, start=2):
        changes = []
        for step in batch:
            changes.append(change_of(world, step))
        world, changed = world.apply(changes, revision)
        outbound = {key: update_outbound(world, key, outbound[key], changed, cache) for key in KEYS}
        inbound = {
            id: compile_inbound(world, proxy, inbound.get(id)) if id not in inbound or touched(id, changed, world) else inbound[id]
            for id, proxy in world.proxies.items()
        }
        for key in KEYS:
            assert bodies(outbound[key]) == bodies(compile_outbound(world, key, CompileCache()))
        for id, proxy in world.proxies.items():
            assert bodies(inbound[id]) == bodies(compile_inbound(world, proxy, None))


def test_in_whatever_order_they_came_the_bytes_are_the_same() -> None:
    world, changes = World.empty(), []
    for n, (name, namespace) in enumerate([(name, namespace) for name in NAMES for namespace in NAMESPACES]):
        for verb in ("service", "outside", "workload", "rule", "destination", "node"):
            change = change_of(world, (verb, name, namespace, (n + len(changes)) % 4))
            world, _ = world.apply([change], 1)
            changes.append(change)
    assert {" " in slot for slot in world.services} == {True, False}, "some are seen by their own namespace only"
    expected = {key: bodies(compile_outbound(world, key, CompileCache())) for key in KEYS}
    assert any("example.com" in name for _, name in expected[KEYS[0]])
    for seed in range(20):
        random.Random(seed).shuffle(changes)
        shuffled = World.empty()
        for change in changes:
            shuffled, _ = shuffled.apply([change], 1)
        assert {key: bodies(compile_outbound(shuffled, key, CompileCache())) for key in KEYS} == expected
