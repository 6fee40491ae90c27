# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from envoy.config.endpoint.v3 import endpoint_pb2

from meshwright.model.meta import Ref
from meshwright.translate.endpoint import load_assignment, places
from meshwright.translate.memo import CompileCache
from meshwright.translate.parts import endpoint_parts
from meshwright.translate.view import service_view
from tests.unit.translate.small_world import SmallWorld, document, endpoint, message, port, service

ONE = endpoint("10.0.0.1", {80: 9080}, labels=(("version", "v1"),))
TWO = endpoint("10.0.0.2", {80: 9081}, labels=(("version", "v2"), ("zone", "x")), wire_port=0, weight=7)


def test_mutual_tls_goes_to_the_sidecar_and_to_the_application_where_there_is_none() -> None:
    assert places((ONE, TWO), 80, (), mutual=True) == (("", "10.0.0.1", 15006, 0), ("", "10.0.0.2", 9081, 7))


def test_without_mutual_tls_calls_go_past_the_sidecar() -> None:
    assert places((ONE, TWO), 80, (), mutual=False) == (("", "10.0.0.1", 9080, 0), ("", "10.0.0.2", 9081, 7))


def test_a_subset_has_the_instances_with_all_of_its_labels() -> None:
    assert [place[1] for place in places((ONE, TWO), 80, (("version", "v2"),), mutual=True)] == ["10.0.0.2"]
    assert places((ONE, TWO), 80, (("version", "v2"), ("zone", "y")), mutual=True) == ()


def test_an_instance_without_the_port_is_no_place() -> None:
    assert places((ONE,), 81, (), mutual=True) == ()


def test_the_same_place_stands_once() -> None:
    assert len(places((ONE, endpoint("10.0.0.1", {80: 1})), 80, (), mutual=True)) == 1


def test_assignments_are_by_locality_and_written_as_protobuf_would() -> None:
    where = places((endpoint("10.0.0.9", locality="eu/a/1"), TWO, endpoint("10.0.0.3", locality="eu/b")), 80, (), mutual=True)
    made = load_assignment("outbound|80||a.shop.mesh", where, (Ref("ServiceEntry", "shop", "a"),))
    found = message(made)
    assert found.cluster_name == made.name
    assert [(g.locality.region, g.locality.zone, g.locality.sub_zone, len(g.lb_endpoints)) for g in found.endpoints] == [
        ("", "", "", 1),
        ("eu", "a", "1", 1),
        ("eu", "b", "", 1),
    ]
    assert found.endpoints[0].lb_endpoints[0].load_balancing_weight.value == 7
    assert endpoint_pb2.ClusterLoadAssignment.FromString(made.body).SerializeToString(deterministic=True) == made.body


def test_names_are_no_addresses_over_eds() -> None:
    where = places((ONE, endpoint("host.example.com")), 80, (), mutual=True)
    found = message(load_assignment("c", where, ()))
    assert [e.endpoint.address.socket_address.address for g in found.endpoints for e in g.lb_endpoints] == ["10.0.0.1"]


def test_endpoints_are_compiled_once_for_all_scopes() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh", port(80), port(81)), ONE, TWO)
    world = world.with_resources(document("DestinationRule", "a", {"host": "a", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}))
    cache = CompileCache()
    seen = []
    for namespace in ("shop", "other"):
        view = service_view(world, "a.shop.mesh", namespace)
        assert view is not None
        seen.append(endpoint_parts(world, view, cache))
    assert len(seen[0]) == 4
    assert all(one is other for one, other in zip(*seen, strict=True))


def test_origins_are_the_instances_and_the_owner() -> None:
    workload = Ref("WorkloadEntry", "shop", "a-1")
    world = SmallWorld().with_service(service("a.shop.mesh"), endpoint("10.0.0.1", workload=workload))
    view = service_view(world, "a.shop.mesh", "shop")
    assert view is not None
    (found,) = endpoint_parts(world, view, CompileCache())
    assert found.origins == (workload, Ref("ServiceEntry", "shop", "a"))
