# SPDX-License-Identifier: Apache-2.0
"""Conflicts and references: never a refusal, always a condition that says who and where."""

from __future__ import annotations

from typing import Any

import msgspec

from meshwright.model.checks import check, world_checks
from meshwright.model.meta import Condition, Resource
from meshwright.model.world import World
from tests.unit.model.samples import put, resource, service, world_of

OLD, NEW = "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"


def routes(name: str, host: str, *destinations: dict[str, Any], created: str = "", namespace: str = "shop") -> Resource:
    http = [{"route": [{"destination": destination, "weight": 100 if i == 0 else 0}]} for i, destination in enumerate(destinations)]
    return resource("VirtualService", name, {"hosts": [host], "http": http}, namespace, created)


def accepted(world: World, made: Resource) -> Condition:
    return world_checks(world, made)[0]


def resolved(world: World, made: Resource) -> Condition:
    return world_checks(world, made)[1]


def test_all_is_well() -> None:
    subsets = resource("DestinationRule", "web", {"host": "web", "subsets": [{"name": "v1"}]})
    vs = routes("web", "web", {"host": "web.shop", "subset": "v1", "port": {"number": 80}})
    world = world_of(service("web"), subsets, vs)
    for made in (vs, subsets, service("web")):
        assert [(c.type, c.status, c.message) for c in world_checks(world, made)] == [
            ("Accepted", "True", ""),
            ("ResolvedRefs", "True", ""),
        ]


def test_what_is_not_there() -> None:
    vs = routes("web", "nobody", {"host": "gone"}, {"host": "web", "subset": "v9"}, {"host": "web", "port": {"number": 99}})
    told = resolved(world_of(service("web"), vs), vs)
    assert (told.status, told.reason) == ("False", "HostNotFound")
    assert "no service nobody" in told.message
    assert "spec.http[0].route[0].destination: there is no service gone" in told.message
    assert "spec.http[1].route[0].destination: no DestinationRule for web.shop.mesh has the subset v9" in told.message
    assert "spec.http[2].route[0].destination: web.shop.mesh has no port 99" in told.message


def test_first_reason_counts() -> None:
    world = world_of(service("web"))
    assert resolved(world, routes("v", "web", {"host": "web", "subset": "x"})).reason == "SubsetNotFound"
    assert resolved(world, routes("v", "web", {"host": "web", "port": {"number": 1}})).reason == "PortNotFound"


def test_tcp_routes_are_looked_at_too() -> None:
    made = resource("VirtualService", "v", {"hosts": ["web"], "tcp": [{"route": [{"destination": {"host": "gone"}}]}]})
    assert "spec.tcp[0].route[0].destination" in resolved(world_of(service("web")), made).message


def test_a_long_story_is_cut() -> None:
    made = routes("v", "web", *({"host": f"gone{i}"} for i in range(30)))
    assert resolved(world_of(service("web")), made).message.endswith("and 20 more")


def test_a_service_that_is_not_exported_is_not_there() -> None:
    world = world_of(service("web", exportTo=["."]), service("front", namespace="other"))
    assert "not exported" in resolved(world, routes("v", "front", {"host": "web.shop"}, namespace="other")).message


def test_a_rule_for_nobody() -> None:
    assert resolved(world_of(), resource("DestinationRule", "d", {"host": "web"})).reason == "HostNotFound"
    assert resolved(world_of(), resource("DestinationRule", "d", {"host": "*.mesh"})).status == "True"


def test_the_younger_of_two_services_is_told_who_has_the_host() -> None:
    old = service("z", hosts=["api.example.com"], created=OLD)
    new = service("a", namespace="other", hosts=["api.example.com", "own.example.com"], created=NEW)
    world = world_of(old, new)
    assert accepted(world, old).status == "True"
    told = accepted(world, new)
    assert (told.status, told.reason) == ("False", "Conflict")
    assert told.message == "host api.example.com belongs to ServiceEntry/shop/z, which is older"


def test_as_old_the_name_decides() -> None:
    a, b = service("a", hosts=["api.example.com"], created=OLD), service("b", hosts=["api.example.com"], created=OLD)
    world = world_of(b, a)
    assert accepted(world, a).status == "True"
    assert accepted(world, b).message == "host api.example.com belongs to ServiceEntry/shop/a, which is as old and first by name"


def test_another_namespaces_host() -> None:
    told = accepted(world_of(), service("web", namespace="other", hosts=["web.shop.mesh"]))
    assert (told.reason, told.message) == ("NotAllowed", "host web.shop.mesh belongs to the namespace shop")


def test_two_rules_of_one_namespace_for_one_host() -> None:
    old, new = routes("z", "web", {"host": "web"}, created=OLD), routes("a", "web.shop.svc.cluster.local", {"host": "web"}, created=NEW)
    world = world_of(service("web"), old, new)
    assert accepted(world, old).status == "True"
    assert accepted(world, new).message == "host web.shop.mesh is ruled by VirtualService/shop/z, which is older"
    elsewhere = routes("b", "web.shop", {"host": "web.shop"}, created=NEW, namespace="other")
    assert accepted(world.apply(put(elsewhere), 2)[0], elsewhere).status == "True"


def test_two_destination_rules_conflict_also_before_there_is_the_service() -> None:
    old, new = (resource("DestinationRule", name, {"host": "web"}, created=at) for name, at in (("z", OLD), ("a", NEW)))
    assert accepted(world_of(old, new), new).reason == "Conflict"


def test_what_is_not_stored_yet_is_judged_as_if_it_were() -> None:
    old = service("z", hosts=["api.example.com"], created=OLD)
    assert accepted(world_of(old), service("a", hosts=["api.example.com"], created=NEW)).reason == "Conflict"


def test_a_condition_says_of_which_generation_it_is() -> None:
    made = service("web")
    made = msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, generation=4))
    assert {condition.observed_generation for condition in world_checks(world_of(made), made)} == {4}


def test_policies_have_nothing_to_resolve() -> None:
    made = resource("AuthorizationPolicy", "a", {})
    assert {condition.status for condition in world_checks(world_of(made), made)} == {"True"}
    assert list(check(made)) == []
