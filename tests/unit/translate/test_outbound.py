# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.model.meta import Resource
from meshwright.model.networking import Location, Resolution
from meshwright.model.service import Protocol
from meshwright.model.snapshot import TypeUrl
from meshwright.model.world import ChangeSet
from meshwright.translate.compile import CompileCache, Outbound, ScopeKey, compile_outbound, update_outbound
from tests.unit.translate.small_world import SmallWorld, document, endpoint, message, port, service

SHOP = ScopeKey("shop", "127.240")
HOSTS = ["a.shop.mesh", "b.shop.mesh", "a.shop.svc.cluster.local", "a.other.mesh", "api.example.com", "a.shop"]


def bodies(outbound: Outbound) -> dict[tuple[str, str], bytes]:
    return {(layer.type.name, name): found.body for layer in outbound for name, found in layer.resources.items()}


def lines(outbound: Outbound) -> list[str]:
    return outbound.names.resources["names"].body.decode().splitlines()


# -- what is in it ---------------------------------------


def test_names_lead_to_the_shared_address_or_to_the_service_s_own() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh")).with_service(service("db.other.mesh", port(5432, Protocol.TCP), vip=300))
    world = world.with_service(service("*.example.com", location=Location.MESH_EXTERNAL))
    assert lines(compile_outbound(world, SHOP, CompileCache())) == [
        "127.240.0.1 a.shop.mesh a.shop.svc.cluster.local a.shop.svc a.shop a",
        "127.240.1.44 db.other.mesh db.other.svc.cluster.local db.other.svc db.other",
    ]


def test_a_tcp_service_without_a_number_can_not_be_reached() -> None:
    world = SmallWorld().with_service(service("db.shop.mesh", port(5432, Protocol.TCP), vip=0))
    outbound = compile_outbound(world, SHOP, CompileCache())
    assert lines(outbound) == []
    assert not outbound.listeners.resources


def test_no_domain_stands_twice_in_a_route_configuration() -> None:
    world = SmallWorld()
    for host in HOSTS:
        world = world.with_service(service(host))
    made = message(compile_outbound(world, SHOP, CompileCache()).routes.resources["outbound|80"])
    domains = [domain for host in made.virtual_hosts for domain in host.domains]
    assert len(domains) == len(set(domains))
    assert domains[-1] == "*"


def test_another_namespace_sees_what_is_exported_to_it() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh", export_to=("shop",))).with_service(service("b.shop.mesh"))
    seen = compile_outbound(world, ScopeKey("other", "127.241"), CompileCache())
    assert list(seen.clusters.resources) == ["outbound|80||b.shop.mesh"]
    assert lines(seen) == ["127.241.0.1 b.shop.mesh b.shop.svc.cluster.local b.shop.svc b.shop"]


def test_scopes_share_the_clusters_and_endpoints() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh"), endpoint("10.0.0.1"))
    cache = CompileCache()
    one, other = compile_outbound(world, SHOP, cache), compile_outbound(world, ScopeKey("other", "127.240"), cache)
    name = "outbound|80||a.shop.mesh"
    assert one.clusters.resources[name] is other.clusters.resources[name]
    assert one.endpoints.resources[name] is other.endpoints.resources[name]


# -- what a change costs ---------------------------------------


def with_rule(world: SmallWorld, timeout: int) -> SmallWorld:
    http = [{"timeout": f"{timeout}s", "route": [{"destination": {"host": "a"}}]}]
    return world.with_resources(document("VirtualService", "a", {"hosts": ["a"], "http": http}))


def test_a_rule_changes_one_route_configuration_and_nothing_else() -> None:
    world = with_rule(SmallWorld().with_service(service("a.shop.mesh")).with_service(service("b.shop.mesh", port(81))), 1)
    cache = CompileCache()
    before = compile_outbound(world, SHOP, cache)
    after = update_outbound(with_rule(world, 2), SHOP, before, ChangeSet(services=frozenset({"a.shop.mesh"})), cache)
    assert after.routes.changed == {"outbound|80"}
    assert after.routes.parent_key == before.routes.key
    assert (after.clusters, after.endpoints, after.listeners, after.names) == (
        before.clusters,
        before.endpoints,
        before.listeners,
        before.names,
    )


def test_an_instance_changes_one_assignment_and_nothing_else() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh"), endpoint("10.0.0.1")).with_service(service("b.shop.mesh"))
    cache = CompileCache()
    before = compile_outbound(world, SHOP, cache)
    world = world.with_service(world.services["a.shop.mesh"], endpoint("10.0.0.1"), endpoint("10.0.0.2"))
    after = update_outbound(world, SHOP, before, ChangeSet(endpoints=frozenset({"a.shop.mesh"})), cache)
    assert after.endpoints.changed == {"outbound|80||a.shop.mesh"}
    assert after.endpoints.resources["outbound|80||b.shop.mesh"] is before.endpoints.resources["outbound|80||b.shop.mesh"]
    assert (after.clusters, after.listeners, after.routes, after.names) == (before.clusters, before.listeners, before.routes, before.names)


def test_what_changes_nothing_gives_the_same_object() -> None:
    world = with_rule(SmallWorld().with_service(service("a.shop.mesh")), 1)
    cache = CompileCache()
    before = compile_outbound(world, SHOP, cache)
    changed = ChangeSet(services=frozenset({"a.shop.mesh", "gone.mesh"}), endpoints=frozenset({"a.shop.mesh", "x.mesh"}))
    assert update_outbound(world, SHOP, before, changed, cache) is before
    assert update_outbound(world, SHOP, before, changed, CompileCache()) is before


def test_the_parts_forgotten_the_successor_is_the_same() -> None:
    world = with_rule(SmallWorld().with_service(service("a.shop.mesh")), 1)
    before = compile_outbound(world, SHOP, CompileCache())
    cache = CompileCache()
    after = update_outbound(with_rule(world, 2), SHOP, before, ChangeSet(services=frozenset({"a.shop.mesh"})), cache)
    assert after.routes.changed == {"outbound|80"}
    assert after.clusters is before.clusters
    again = update_outbound(with_rule(world, 3), SHOP, after, ChangeSet(services=frozenset({"a.shop.mesh"})), cache)
    assert bodies(again) == bodies(compile_outbound(with_rule(world, 3), SHOP, CompileCache()))


def test_the_last_service_of_a_port_takes_listener_and_routes_with_it() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh", port(81)))
    cache = CompileCache()
    before = compile_outbound(world, SHOP, cache)
    after = update_outbound(SmallWorld(), SHOP, before, ChangeSet(services=frozenset({"a.shop.mesh"})), cache)
    assert bodies(after) == {("NAMES", "names"): b""}


# -- any change gives what compiling from scratch gives ---------------------------------------

Edit = tuple[str, str, int]
EDITS = st.tuples(
    st.sampled_from(["service", "gone", "rule", "no rule", "subsets", "no subsets", "endpoints"]), st.sampled_from(HOSTS), st.integers(0, 3)
)


def rule_of(host: str, n: int) -> Resource:
    to = ["a", "b.shop", HOSTS[n], "a.other.svc"][n]
    destinations = [
        {"destination": {"host": to, **({"subset": "v1"} if n % 2 else {})}, "weight": 50},
        {"destination": {"host": "b"}, "weight": 50},
    ]
    spec: dict[str, Any] = {"hosts": [host], "http": [{"route": destinations}]}
    if n == 3:
        spec["tcp"] = [{"route": [{"destination": {"host": "a"}}]}]
    return document("VirtualService", host.replace(".", "-"), spec)


def edited(world: SmallWorld, edit: Edit) -> tuple[SmallWorld, ChangeSet]:
    verb, host, n = edit
    touched = ChangeSet(services=frozenset({host}))
    rule = rule_of(host, n)
    subsets = document("DestinationRule", host.replace(".", "-"), {"host": host, "subsets": [{"name": f"v{n}", "labels": {"v": str(n)}}]})
    match verb:
        case "service":
            outside: dict[str, Any] = {"location": Location.MESH_EXTERNAL, "resolution": Resolution.DNS} if host.endswith("com") else {}
            ports = [(port(80),), (port(80), port(81)), (port(80), port(82, Protocol.TCP)), (port(82, Protocol.TCP),)][n]
            export = ("other",) if n == 3 else ()
            new = service(host, *ports, vip=HOSTS.index(host) + 2, export_to=export, **outside)
            return world.with_service(new, *world.endpoints(host)), touched
        case "gone":
            return world.without_service(host), touched
        case "rule":
            return world.with_resources(rule), ChangeSet(services=frozenset(h for h in HOSTS if rule.ref in refs(world, rule, h)))
        case "no rule":
            return world.without_resource(rule.ref), ChangeSet(services=frozenset(HOSTS))
        case "subsets":
            return world.with_resources(subsets), ChangeSet(
                services=frozenset({host, *(h for h in HOSTS if world.resolve_host(host, "shop") == h)})
            )
        case "no subsets":
            return world.without_resource(subsets.ref), ChangeSet(
                services=frozenset({host, *(h for h in HOSTS if world.resolve_host(host, "shop") == h)})
            )
    if host not in world.services:
        return world, ChangeSet()
    instances = tuple(endpoint(f"10.0.0.{i}", {80: 80, 81: 81, 82: 82}, labels=(("v", str(i)),)) for i in range(n))
    return world.with_service(world.services[host], *instances), ChangeSet(endpoints=frozenset({host}))


def refs(world: SmallWorld, rule: Resource, host: str) -> set[object]:
    """The rules of a host before and after the rule is there."""
    return {r.ref for w in (world, world.with_resources(rule)) for r in w.virtual_services(host)}


def full_world() -> SmallWorld:
    """Every host and a rule for each, so that most edits touch what others depend on."""
    world = SmallWorld()
    for n, host in enumerate(HOSTS):
        world, _ = edited(world, ("service", host, n % 3))
    return world.with_resources(*(rule_of(host, n % 4) for n, host in enumerate(HOSTS)))


@settings(max_examples=60, deadline=None)
@given(st.lists(EDITS, max_size=10), st.sampled_from([SHOP, ScopeKey("other", "127.241")]))
def test_updating_step_by_step_gives_what_compiling_gives(edits: list[Edit], key: ScopeKey) -> None:
    world, cache = full_world(), CompileCache()
    current = compile_outbound(world, key, cache)
    for edit in edits:
        before = current
        world, changed = edited(world, edit)
        current = update_outbound(world, key, current, changed, cache)
        assert bodies(current) == bodies(compile_outbound(world, key, CompileCache()))
        for old, new in zip(before, current, strict=True):
            assert new is old or new.parent_key == old.key
            names = new.resources.keys() | old.resources.keys()
            differ = {
                n for n in names if n not in new.resources or n not in old.resources or new.resources[n].body != old.resources[n].body
            }
            assert differ == (set() if new is old else set(new.changed))


def test_a_world_of_everything_names_each_type() -> None:
    outbound = compile_outbound(SmallWorld().with_service(service("a.shop.mesh")), SHOP, CompileCache())
    assert [layer.type for layer in outbound] == [TypeUrl.CLUSTER, TypeUrl.ENDPOINT, TypeUrl.LISTENER, TypeUrl.ROUTE, TypeUrl.NAMES]
