# SPDX-License-Identifier: Apache-2.0
"""What the World derives, and what each kind of change is said to touch."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.model.conditions import world_checks
from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.meta import Ref, Resource
from meshwright.model.proxy import Node
from meshwright.model.service import Protocol
from meshwright.model.world import ChangeSet, MeshSettings, World, exported
from tests.unit.model.samples import gone, instance, node, numbered, put, resource, service, world_of

WEB = "web.shop.mesh"
WEB_1 = ProxyId("web-1", "shop")


def step(world: World, *things: Resource | Node) -> tuple[World, ChangeSet]:
    return world.apply(put(*things), world.revision + 1)


def rule(name: str, host: str, namespace: str = "shop", created: str = "", **spec: object) -> Resource:
    return resource("DestinationRule", name, {"host": host, **spec}, namespace, created)


def routes(name: str, *hosts: str, namespace: str = "shop", created: str = "", **spec: object) -> Resource:
    return resource(
        "VirtualService", name, {"hosts": list(hosts), "http": [{"route": [{"destination": {"host": "web"}}]}], **spec}, namespace, created
    )


# -- services and endpoints ---------------------------------------


def test_a_service_follows_from_its_entry() -> None:
    ports = [
        {"number": 80, "name": "http", "targetPort": 8080},
        {"number": 81, "name": "grpc-api"},
        {"number": 82, "name": "x", "protocol": "HTTPS"},
        {"number": 83, "name": "http2"},
        {"number": 84, "name": "http-web"},
        {"number": 85, "name": "https-x"},
        {"number": 86, "name": "redis"},
        {"number": 87, "name": "tls-x", "protocol": "HTTP"},
    ]
    entry = numbered(World.empty(), service("web", ports=ports, exportTo=[".", "billing"]))
    made = world_of(entry).services[WEB]
    assert made.owner == entry.ref
    assert made.vip == 2
    assert made.selector == (("app", "web"),)
    assert made.export_to == ("billing", "shop")
    assert [(p.number, p.target) for p in made.ports][:2] == [(80, 8080), (81, 81)]
    http, http2, tcp = Protocol.HTTP, Protocol.HTTP2, Protocol.TCP
    assert [p.protocol for p in made.ports] == [http, http2, tcp, http2, http, tcp, tcp, http]


def test_exported_to_everybody_is_empty() -> None:
    assert world_of(service("web", exportTo=["*"])).services[WEB].export_to == ()
    assert world_of(service("web")).services[WEB].export_to == ()


def test_endpoints_follow_from_workloads_of_the_namespace_with_the_labels() -> None:
    world = world_of(
        service("web", ports=[{"number": 80, "name": "http", "targetPort": 8080}, {"number": 90, "name": "tcp"}]),
        instance("web-2", "web", "10.0.0.2", ports={"http": 9000}, locality="eu/a", network="n", weight=5, serviceAccount="w"),
        instance("web-1", "web", "10.0.0.1", labels={"version": "v1"}),
        instance("db-1", "db", "10.0.0.3"),
        instance("web-9", "web", "10.0.0.9", namespace="other"),
    )
    first, second = world.endpoints(WEB)
    assert (first.address, first.labels, first.workload) == (
        "10.0.0.1",
        (("app", "web"), ("version", "v1")),
        Ref("WorkloadEntry", "shop", "web-1"),
    )
    assert first.ports == ((80, 8080), (90, 90))
    assert second.ports == ((80, 9000), (90, 90))
    assert (second.locality, second.network, second.weight, second.service_account, second.wire_port) == ("eu/a", "n", 5, "w", 0)


def test_endpoints_written_into_the_entry() -> None:
    spec = {"workloadSelector": None, "endpoints": [{"address": "10.0.0.7", "ports": {"http": 81}}, {"address": "10.0.0.6"}]}
    found = world_of(service("web", **spec)).endpoints(WEB)
    assert [(e.address, e.ports, e.workload) for e in found] == [("10.0.0.6", ((80, 8080),), None), ("10.0.0.7", ((80, 81),), None)]


def test_an_outside_service_without_endpoints_is_called_by_its_name() -> None:
    entry = service("ext", hosts=["api.example.com"], resolution="DNS", location="MESH_EXTERNAL", workloadSelector=None)
    (endpoint,) = world_of(entry).endpoints("api.example.com")
    assert (endpoint.address, endpoint.ports) == ("api.example.com", ((80, 8080),))


def test_names_are_no_endpoints_where_addresses_are_wanted() -> None:
    things = (instance("a", "web", "host1.example.com"), instance("b", "web", "2001:db8::1"))
    assert [e.address for e in world_of(service("web"), *things).endpoints(WEB)] == ["2001:db8::1"]
    assert len(world_of(service("web", resolution="DNS"), *things).endpoints(WEB)) == 2


def test_an_enrolled_workload_is_called_at_its_sidecar() -> None:
    world = world_of(service("web"), instance("web-1", "web", "10.0.0.1", serviceAccount="says-so"), node("h1", "web-1.shop", port=15999))
    (endpoint,) = world.endpoints(WEB)
    assert (endpoint.wire_port, endpoint.service_account) == (15999, "sa-web-1")
    assert world.service_accounts(WEB) == (SpiffeId("cluster.local", "shop", "sa-web-1"),)
    ((made, own),) = world.services_of(WEB_1)
    assert (made, own) == (world.services[WEB], endpoint)


def test_what_an_endpoint_without_sidecar_says_of_itself_proves_nothing() -> None:
    world = world_of(service("web"), instance("web-1", "web", "10.0.0.1", serviceAccount="says-so"))
    assert world.service_accounts(WEB) == ()
    assert world.service_accounts("nowhere.shop.mesh") == ()


def test_a_banned_workload_gets_no_traffic_not_even_in_clear_text() -> None:
    world = world_of(service("web"), instance("web-1", "web", "10.0.0.1"), node("h1", "web-1.shop", banned=True))
    assert world.endpoints(WEB) == ()
    assert world.services_of(WEB_1) == ()
    assert world.proxies[WEB_1].banned


def test_of_two_nodes_with_one_workload_the_one_not_banned_counts_then_the_first_by_name() -> None:
    assert world_of(node("b", "web-1.shop"), node("a", "web-1.shop")).proxies[WEB_1].node == "a"
    world = world_of(node("b", "web-1.shop"), node("a", "web-1.shop", banned=True))
    assert world.proxies[WEB_1].node == "b"
    world, changed = world.apply(gone(node("b", "web-1.shop")), 2)
    assert (world.proxies[WEB_1].node, world.proxies[WEB_1].banned) == ("a", True)
    assert changed.proxies == {WEB_1}


# -- names ---------------------------------------


def test_all_spellings_of_a_host() -> None:
    world = world_of(service("web"), service("ext", hosts=["api.example.com"]))
    for spelling in ("web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", WEB):
        assert world.resolve_host(spelling, "shop") == WEB
    assert world.resolve_host("web", "billing") is None
    assert world.resolve_host("web.shop", "billing") == WEB
    assert world.resolve_host("api.example.com", "billing") == "api.example.com"
    assert world.resolve_host("www.example.com", "billing") is None


def test_an_outside_host_does_not_take_the_place_of_a_service_of_the_mesh() -> None:
    world = world_of(service("web"), service("evil", namespace="other", hosts=["web.shop"]))
    assert world.resolve_host("web.shop", "billing") == WEB


def test_hosts_of_the_mesh_belong_to_their_namespace() -> None:
    world = world_of(service("web", namespace="other", hosts=[WEB, "web.shop.svc.cluster.local"]))
    assert dict(world.services) == {}
    assert WEB in world_of(service("web", namespace="meshwright-system", hosts=[WEB])).services


def test_the_older_entry_has_the_host() -> None:
    old = service("b", hosts=["api.example.com"], created="2030-01-01T00:00:00Z")
    new = service("a", namespace="other", hosts=["api.example.com"], created="2031-01-01T00:00:00Z")
    world = world_of(new, old)
    assert world.services["api.example.com"].owner == old.ref
    assert [claim.ref for claim in world.claims("api.example.com")] == [old.ref, new.ref]
    world, changed = world.apply(gone(old), 2)
    assert world.services["api.example.com"].owner == new.ref
    assert changed.services == {"api.example.com"}


# -- hosts that only one namespace sees ---------------------------------------

API = "api.example.com"
EARLY, LATE = "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"


def outside(name: str, namespace: str, address: str, created: str = LATE, **spec: Any) -> Resource:
    spec = {"hosts": [API], "workloadSelector": None, "endpoints": [{"address": address}], **spec}
    return service(name, namespace, created=created, **spec)


def reached(world: World, namespace: str) -> list[str]:
    found = world.service_for(API, namespace)
    return [endpoint.address for endpoint in world.endpoints(found.slot)] if found is not None else []


def accepted(world: World, resource: Resource) -> str:
    return next(condition.status for condition in world_checks(world, resource) if condition.type == "Accepted")


@pytest.mark.parametrize("export", [["."], ["evil"]])
def test_what_others_dont_see_takes_no_host_from_them(export: list[str]) -> None:
    squatter = outside("a", "evil", "192.0.2.66", EARLY, exportTo=export)
    mine = outside("mine", "shop", "192.0.2.1", exportTo=["."])
    forall = outside("all", "other", "192.0.2.2")
    world = world_of(squatter, mine, forall)
    assert [reached(world, ns) for ns in ("evil", "shop", "other", "far")] == [["192.0.2.66"], ["192.0.2.2"], ["192.0.2.2"], ["192.0.2.2"]]
    assert [accepted(world, one) for one in (squatter, mine, forall)] == ["True", "False", "True"]
    world, changed = world.apply(gone(forall), 2)
    assert changed.services == {API}
    assert [reached(world, ns) for ns in ("evil", "shop", "other")] == [["192.0.2.66"], ["192.0.2.1"], []]
    assert accepted(world, mine) == "True"
    assert (world.hosts_for("shop"), world.hosts_for("other")) == ([API], [])
    assert world.resolve_host(API, "shop") == API
    assert world.resolve_host(API, "other") is None


def test_in_one_namespace_the_older_has_it_then_the_first_by_name() -> None:
    one, two = outside("b", "shop", "192.0.2.1", exportTo=["."]), outside("a", "shop", "192.0.2.2", exportTo=["."])
    world = world_of(one, two)
    assert reached(world, "shop") == ["192.0.2.2"]
    assert [accepted(world, entry) for entry in (one, two)] == ["False", "True"]
    older = outside("b", "shop", "192.0.2.1", EARLY, exportTo=["."])
    world, changed = world.apply(put(older), 2)
    assert (reached(world, "shop"), changed.services) == (["192.0.2.1"], {API})


def test_hosts_of_the_mesh_have_one_owner_whoever_sees_them() -> None:
    root = service("r", namespace="meshwright-system", hosts=[WEB], created=EARLY)
    own = service("web", hosts=[WEB], created=LATE, exportTo=["."])
    world = world_of(root, own)
    assert world.services[WEB].owner == root.ref
    assert accepted(world, own) == "False"


def test_a_rule_of_the_mesh_holds_for_what_one_namespace_declares_for_itself() -> None:
    rule = resource("DestinationRule", "tls", {"host": API, "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}, "meshwright-system")
    world = world_of(outside("mine", "shop", "192.0.2.1", exportTo=["."]), rule)
    assert world.destination_rule(API, "shop") == rule


# -- rules ---------------------------------------


def test_the_callers_rule_comes_before_the_services_and_the_meshs() -> None:
    own = rule("own", "web.shop", "billing")
    theirs = rule("theirs", "web")
    meshs = rule("meshs", "*.mesh", "meshwright-system")
    world = world_of(service("web"), own, theirs, meshs)
    assert world.destination_rule(WEB, "billing") == own
    assert world.destination_rule(WEB, "shop") == theirs
    assert world.destination_rule(WEB, "third") == theirs
    world, _ = world.apply(gone(own, theirs), 2)
    assert world.destination_rule(WEB, "billing") == meshs
    assert world.destination_rule("other.example.com", "billing") is None


def test_a_private_rule_is_for_its_own_namespace() -> None:
    private = rule("private", "web", exportTo=["."])
    world = world_of(service("web"), private)
    assert world.destination_rule(WEB, "shop") == private
    assert world.destination_rule(WEB, "billing") is None
    assert exported(rule("x", "web", exportTo=["billing"]), "billing")


def test_a_rule_for_this_host_comes_before_a_wildcard() -> None:
    exact, wide = rule("z", "web", created="2031-01-01T00:00:00Z"), rule("a", "*.shop.mesh", created="2030-01-01T00:00:00Z")
    assert world_of(service("web"), exact, wide).destination_rule(WEB, "shop") == exact


def test_of_two_virtual_services_for_a_host_the_older_rules() -> None:
    old, new = routes("b", "web", created="2030-01-01T00:00:00Z"), routes("a", "web.shop", created="2031-01-01T00:00:00Z")
    world = world_of(service("web"), old, new)
    assert world.virtual_services(WEB) == (old,)
    assert world.virtual_services("nowhere.shop.mesh") == ()


def test_the_order_of_virtual_services() -> None:
    third = routes("third", WEB, namespace="third", created="2020-01-01T00:00:00Z")
    own = routes("own", "web", created="2030-01-01T00:00:00Z")
    wide = routes("wide", "*.mesh", created="2021-01-01T00:00:00Z")
    meshs = routes("meshs", WEB, namespace="meshwright-system", created="2022-01-01T00:00:00Z")
    world = world_of(service("web"), third, own, wide, meshs)
    assert world.virtual_services(WEB) == (own, wide, meshs, third)
    assert world.virtual_services(WEB, "third") == (third, own, wide, meshs)
    assert world.virtual_services(WEB, "billing") == (own, wide, meshs)


def test_policies_of_a_namespace_and_of_the_mesh() -> None:
    strict = resource("PeerAuthentication", "strict", {"mtls": {"mode": "STRICT"}}, "meshwright-system")
    mine, other = resource("AuthorizationPolicy", "a", {}), resource("AuthorizationPolicy", "a", {}, "other")
    world = world_of(strict, mine, other)
    assert world.policies("shop") == (mine, strict)
    assert world.policies("meshwright-system") == (strict,)
    assert World.empty(MeshSettings(root_namespace="other")).apply(put(strict, mine, other), 1)[0].policies("shop") == (other, mine)


def test_resources_by_kind_and_namespace() -> None:
    a, b = service("a", namespace="one"), service("b", namespace="two")
    world = world_of(b, a, node("h", "x.one"))
    assert world.resources("ServiceEntry") == (a, b)
    assert world.resources("ServiceEntry", "two") == (b,)
    assert world.resources("VirtualService") == ()
    assert world.resource(a.ref) == a
    assert world.resource(Ref("ServiceEntry", "one", "zzz")) is None
    assert world.nodes["h"].name == "h"


# -- change sets ---------------------------------------


def base() -> World:
    return world_of(
        service("web"),
        service("db"),
        instance("web-1", "web", "10.0.0.1"),
        instance("web-2", "web", "10.0.0.2"),
        instance("db-1", "db", "10.0.0.3"),
        node("h1", "web-1.shop"),
        node("h2", "web-2.shop", account="sa-web-1"),
    )


def test_the_first_step_touches_everything() -> None:
    world, changed = World.empty().apply(put(service("web"), instance("web-1", "web", "10.0.0.1"), node("h", "web-1.shop")), 7)
    assert world.revision == 7
    assert changed.services == {WEB}
    assert changed.endpoints == set()
    assert changed.proxies == {WEB_1}
    assert changed.refs == {Ref("ServiceEntry", "shop", "web"), Ref("WorkloadEntry", "shop", "web-1")}


def test_a_new_address_touches_one_assignment_only() -> None:
    moved = instance("web-1", "web", "10.0.0.77", weight=3, locality="eu")
    world, changed = step(base(), moved)
    assert changed == ChangeSet(endpoints=frozenset({WEB}), refs=frozenset({moved.ref}))
    assert [e.address for e in world.endpoints(WEB)] == ["10.0.0.2", "10.0.0.77"]


def test_a_new_port_touches_the_proxy_too() -> None:
    _, changed = step(base(), instance("web-1", "web", "10.0.0.1", ports={"http": 1234}))
    assert (changed.services, changed.endpoints, changed.proxies) == (set(), {WEB}, {WEB_1})


def test_a_workload_that_changes_service_touches_both_and_its_proxy() -> None:
    world, changed = step(base(), instance("web-1", "db", "10.0.0.1"))
    assert [e.address for e in world.endpoints("db.shop.mesh")] == ["10.0.0.1", "10.0.0.3"]
    # db had nobody with an identity before; web keeps another with the same.
    assert (changed.services, changed.endpoints, changed.proxies) == ({"db.shop.mesh"}, {WEB}, {WEB_1})


def test_a_label_that_selects_nothing_still_touches_the_proxy() -> None:
    _, changed = step(base(), instance("web-1", "web", "10.0.0.1", labels={"version": "v2"}))
    assert (changed.services, changed.endpoints, changed.proxies) == (set(), {WEB}, {WEB_1})


def test_a_new_identity_touches_the_service() -> None:
    _, changed = step(base(), node("h1", "web-1.shop", account="another"))
    assert (changed.services, changed.endpoints, changed.proxies) == ({WEB}, set(), {WEB_1})


def test_one_more_instance_with_the_same_identity_is_endpoints_only() -> None:
    _, changed = base().apply(put(instance("web-3", "web", "10.0.0.9"), node("h3", "web-3.shop", account="sa-web-1")), 2)
    assert (changed.services, changed.endpoints, changed.proxies) == (set(), {WEB}, {ProxyId("web-3", "shop")})


def test_a_ban_takes_the_endpoint_away() -> None:
    world, changed = step(base(), node("h1", "web-1.shop", banned=True))
    assert [e.address for e in world.endpoints(WEB)] == ["10.0.0.2"]
    assert (changed.services, changed.endpoints, changed.proxies) == (set(), {WEB}, {WEB_1})


def test_a_node_that_changes_only_its_keys_touches_nothing() -> None:
    world, changed = step(base(), Node("h1", ("ssh-ed25519 AAAA",), node("h1", "web-1.shop").workloads))
    assert changed == ChangeSet()
    assert world.nodes["h1"].ssh_host_keys == ("ssh-ed25519 AAAA",)


def test_an_enrolment_that_ends() -> None:
    world, changed = base().apply(gone(node("h1")), 2)
    assert WEB_1 not in world.proxies
    assert {e.wire_port for e in world.endpoints(WEB)} == {0, 15006}
    assert (changed.services, changed.endpoints, changed.proxies) == (set(), {WEB}, {WEB_1})


def test_a_changed_service_touches_itself_and_its_instances() -> None:
    world, changed = step(base(), service("web", ports=[{"number": 90, "name": "http"}]))
    assert world.endpoints(WEB)[0].ports == ((90, 90),)
    assert (changed.services, changed.endpoints, changed.proxies) == ({WEB}, set(), {WEB_1, ProxyId("web-2", "shop")})


def test_a_service_that_goes() -> None:
    world, changed = base().apply(gone(service("web")), 2)
    assert WEB not in world.services
    assert world.endpoints(WEB) == ()
    assert world.services_of(WEB_1) == ()
    assert (changed.services, changed.proxies) == ({WEB}, {WEB_1, ProxyId("web-2", "shop")})


def test_rules_touch_the_services_they_mean() -> None:
    for made in (rule("r", "web"), routes("v", "web.shop.svc", "nobody")):
        world, changed = step(base(), made)
        assert changed == ChangeSet(services=frozenset({WEB}), refs=frozenset({made.ref}))
        _, changed = world.apply(gone(made), 3)
        assert changed.services == {WEB}
    _, changed = step(base(), rule("r", "*.mesh"))
    assert changed.services == {WEB, "db.shop.mesh"}
    _, changed = step(base(), rule("r", "*"))
    assert changed.services == {WEB, "db.shop.mesh"}


def test_policies_touch_their_namespace() -> None:
    _, changed = step(base(), resource("AuthorizationPolicy", "a", {}, "meshwright-system"))
    assert (changed.services, changed.namespaces) == (set(), {"meshwright-system"})


def test_the_same_again_touches_nothing() -> None:
    world = base()
    _, changed = step(world, service("web"), instance("web-1", "web", "10.0.0.1"), node("h1", "web-1.shop"))
    assert changed == ChangeSet()


def test_the_old_world_stays_as_it_was() -> None:
    world = base()
    before = world.endpoints(WEB), dict(world.services), dict(world.proxies)
    world.apply(gone(service("web"), node("h1")) + put(instance("web-2", "db", "10.0.0.5")), 2)
    assert (world.endpoints(WEB), dict(world.services), dict(world.proxies)) == before


def test_a_name_that_means_another_host_now_touches_both() -> None:
    world = world_of(service("alias", namespace="other", hosts=["late.shop"]), rule("r", "late.shop", "other"))
    assert world.destination_rule("late.shop", "other") is not None
    world, changed = step(world, service("late"))
    assert world.destination_rule("late.shop", "other") is None
    assert changed.services == {"late.shop.mesh", "late.shop"}


def test_a_virtual_service_whose_name_means_another_host_now() -> None:
    made = routes("v", "late.shop", namespace="other")
    world = world_of(service("alias", namespace="other", hosts=["late.shop"]), made)
    assert world.virtual_services("late.shop") == (made,)
    world, changed = step(world, service("late"))
    assert (world.virtual_services("late.shop"), world.virtual_services("late.shop.mesh")) == ((), (made,))
    assert changed.services == {"late.shop.mesh", "late.shop"}


# -- several changes in one step ---------------------------------------


def test_a_workload_that_changes_twice_leaves_its_first_service() -> None:
    world, changed = step(base(), instance("web-1", "db", "10.0.0.1"), instance("web-1", "nothing", "10.0.0.1"))
    assert [e.address for e in world.endpoints(WEB)] == ["10.0.0.2"]
    assert [e.address for e in world.endpoints("db.shop.mesh")] == ["10.0.0.3"]
    assert (changed.services, changed.endpoints, changed.proxies) == (set(), {WEB}, {WEB_1})


def test_a_new_identity_beside_a_rival_for_the_host() -> None:
    rival = service("zzz", hosts=[WEB])
    world, changed = step(base(), rival, node("h1", "web-1.shop", account="another"))
    assert world.services[WEB].owner.name == "web"
    assert changed.services == {WEB}


def test_a_protocol_is_the_business_of_the_instances_too() -> None:
    ports = [{"number": 80, "name": "http", "protocol": "TCP", "targetPort": 8080}]
    world, changed = step(base(), service("web", ports=ports))
    assert world.endpoints(WEB) == base().endpoints(WEB)
    assert (changed.services, changed.proxies) == ({WEB}, {WEB_1, ProxyId("web-2", "shop")})


def test_made_anew_it_is_younger() -> None:
    old = service("old", hosts=["api.example.com"], created="2030-01-01T00:00:00Z")
    other = service("other", hosts=["api.example.com"], created="2031-01-01T00:00:00Z")
    again = service("old", hosts=["api.example.com"], created="2032-01-01T00:00:00Z")
    assert again == old
    world, changed = world_of(old, other).apply(gone(old) + put(again), 2)
    assert world.services["api.example.com"].owner == other.ref
    assert changed.services == {"api.example.com"}
    world, _ = step(world_of(old, other), again)
    assert world.services["api.example.com"].owner == other.ref


def test_enrolled_and_declared_in_either_order() -> None:
    things = (service("web"), instance("web-1", "web", "10.0.0.1"), node("h", "web-1.shop"))
    for order in (things, things[::-1]):
        assert world_of(*order).endpoints(WEB)[0].wire_port == 15006
    world, _ = base().apply(gone(instance("web-1", "web", "10.0.0.1")) + put(node("h1", "web-1.shop", port=1)), 2)
    assert [e.address for e in world.endpoints(WEB)] == ["10.0.0.2"]
