# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3 import route_components_pb2, route_pb2

from meshwright.model.networking import Location, Resolution
from meshwright.translate import route
from meshwright.translate.view import service_view
from tests.unit.translate.small_world import SmallWorld, document, message, port, service

HOST = "reviews.shop.mesh"


def world(*rules: dict[str, Any], **spec: Any) -> SmallWorld:
    made = SmallWorld().with_service(service(HOST)).with_service(service("ratings.shop.mesh"))
    made = made.with_resources(
        document("DestinationRule", "r", {"host": "reviews", "subsets": [{"name": n, "labels": {"version": n}} for n in ("v1", "v2")]})
    )
    return made.with_resources(document("VirtualService", "r", {"hosts": ["reviews"], "http": list(rules), **spec})) if rules else made


def compiled(made: SmallWorld, number: int = 80) -> Any:
    view = service_view(made, HOST, "shop")
    assert view is not None
    return message(route.route_configuration("outbound|80", [route.virtual_host(view, number)])).virtual_hosts[0]


def to(subset: str = "", weight: int = 0, host: str = "reviews") -> dict[str, Any]:
    destination: dict[str, Any] = {"host": host, **({"subset": subset} if subset else {})}
    return {"destination": destination, **({"weight": weight} if weight else {})}


def test_without_rules_everything_goes_to_the_service_with_istios_retries_and_no_timeout() -> None:
    host = compiled(world())
    assert list(host.domains) == [HOST, "reviews.shop.svc.cluster.local", "reviews.shop.svc", "reviews.shop", "reviews"]
    assert [r.route.cluster for r in host.routes] == ["outbound|80||reviews.shop.mesh"]
    assert host.routes[0].route.HasField("timeout")
    assert host.routes[0].route.timeout.seconds == 0
    assert host.retry_policy.num_retries.value == 2
    assert "connect-failure" in host.retry_policy.retry_on
    assert [p.name for p in host.retry_policy.retry_host_predicate] == ["envoy.retry_host_predicates.previous_hosts"]


def test_put_together_bytes_are_what_protobuf_would_write() -> None:
    made = world({"route": [to("v1")]})
    parts = []
    for name in sorted(made.services):
        view = service_view(made, name, "shop")
        assert view is not None
        parts.append(route.virtual_host(view, 80))
    body = route.route_configuration("outbound|80", parts).body
    again = route_pb2.RouteConfiguration.FromString(body)
    assert [h.name for h in again.virtual_hosts] == ["ratings.shop.mesh", HOST, "block_all"]
    assert again.SerializeToString(deterministic=True) == body


def test_other_names_are_refused_and_clusters_may_come_later() -> None:
    made = message(route.route_configuration("outbound|80", []))
    assert [list(h.domains) for h in made.virtual_hosts] == [["*"]]
    assert made.virtual_hosts[0].routes[0].direct_response.status == 502
    assert made.HasField("validate_clusters")
    assert not made.validate_clusters.value
    assert made.ignore_port_in_host_matching


def test_routes_carry_the_name_of_the_rule() -> None:
    host = compiled(world({"match": [{"uri": {"prefix": "/a"}, "name": "m"}], "route": [to()]}, {"name": "rest", "route": [to()]}))
    assert [r.name for r in host.routes] == ["shop/r#0.m", "shop/r#rest"]


def test_weights_become_weighted_clusters_and_zero_gets_nothing() -> None:
    host = compiled(world({"route": [to("v1", 75), to("v2", 25), to("", 0)]}))
    weighted = host.routes[0].route.weighted_clusters
    assert [(c.name, c.weight.value) for c in weighted.clusters] == [("outbound|80|v1|" + HOST, 75), ("outbound|80|v2|" + HOST, 25)]


def test_all_the_weight_on_one_is_a_plain_cluster() -> None:
    host = compiled(world({"route": [to("v1", 100), to("v2", 0)]}))
    assert host.routes[0].route.cluster == "outbound|80|v1|" + HOST


def test_a_rule_that_leads_nowhere_fails_closed_and_says_where() -> None:
    host = compiled(world({"route": [to(host="gone")]}))
    assert host.routes[0].direct_response.status == 500
    assert "shop/r#0" in host.routes[0].direct_response.body.inline_string
    assert "outbound|80||gone" in host.routes[0].direct_response.body.inline_string
    assert compiled(world({"route": [to("v9")]})).routes[0].direct_response.status == 500


def test_the_share_of_a_missing_destination_fails_and_does_not_go_elsewhere() -> None:
    host = compiled(world({"route": [to("v1", 50), to("v9", 50)]}))
    action = host.routes[0].route
    assert [c.name for c in action.weighted_clusters.clusters] == ["outbound|80|v1|" + HOST, "outbound|80|v9|" + HOST]
    assert action.cluster_not_found_response_code == route_components_pb2.RouteAction.INTERNAL_SERVER_ERROR


def test_timeouts_and_retries() -> None:
    retries = {"attempts": 3, "retryOn": "gateway-error,418", "perTryTimeout": "1.5s"}
    action = compiled(world({"timeout": "2500ms", "retries": retries, "route": [to()]})).routes[0].route
    assert (action.timeout.seconds, action.timeout.nanos) == (2, 500_000_000)
    assert action.retry_policy.num_retries.value == 3
    assert action.retry_policy.retry_on == "gateway-error,retriable-status-codes"
    assert list(action.retry_policy.retriable_status_codes) == [418]
    assert action.retry_policy.per_try_timeout.nanos == 500_000_000


def test_no_attempts_switches_retries_off() -> None:
    action = compiled(world({"retries": {"attempts": 0}, "route": [to()]})).routes[0].route
    assert action.HasField("retry_policy")
    assert action.retry_policy.retry_on == ""


def test_matches() -> None:
    request = {
        "uri": {"prefix": "/api"},
        "ignoreUriCase": True,
        "method": {"exact": "GET"},
        "authority": {"prefix": "rev"},
        "headers": {"end-user": {"regex": "j.*"}},
        "withoutHeaders": {"x-debug": {"exact": "1"}},
        "queryParams": {"page": {"exact": "2"}},
    }
    match = compiled(world({"match": [request], "route": [to()]})).routes[0].match
    assert match.prefix == "/api"
    assert match.HasField("case_sensitive")
    assert not match.case_sensitive.value
    found = {h.name: h for h in match.headers}
    assert found[":method"].string_match.exact == "GET"
    assert found[":authority"].string_match.prefix == "rev"
    assert found["end-user"].string_match.safe_regex.regex == "j.*"
    assert found["x-debug"].invert_match
    assert found["x-debug"].treat_missing_header_as_empty
    assert not found["end-user"].treat_missing_header_as_empty
    assert not found["end-user"].invert_match
    assert match.query_parameters[0].string_match.exact == "2"


def test_without_a_header_of_any_value_is_without_the_header() -> None:
    header = compiled(world({"match": [{"withoutHeaders": {"x": {"regex": ".*"}}}], "route": [to()]})).routes[0].match.headers[0]
    assert header.present_match
    assert header.invert_match


@pytest.mark.parametrize(("uri", "field"), [({"exact": "/a"}, "path"), ({"prefix": "/a"}, "prefix"), ({"regex": "/a.*"}, "safe_regex")])
def test_paths(uri: dict[str, str], field: str) -> None:
    match = compiled(world({"match": [{"uri": uri}], "route": [to()]})).routes[0].match
    assert match.WhichOneof("path_specifier") == field


def test_matches_are_alternatives_and_a_match_for_another_port_is_left_out() -> None:
    made = world({"match": [{"uri": {"exact": "/a"}}, {"uri": {"exact": "/b"}, "port": 81}, {"uri": {"exact": "/c"}}], "route": [to()]})
    assert [r.match.path for r in compiled(made).routes] == ["/a", "/c"]


def test_what_comes_after_a_rule_for_everything_is_left_out() -> None:
    host = compiled(world({"match": [{"uri": {"prefix": "/"}}], "route": [to("v1")]}, {"route": [to("v2")]}))
    assert [r.route.cluster for r in host.routes] == ["outbound|80|v1|" + HOST]


def test_rules_without_one_for_everything_leave_the_rest_without_a_route() -> None:
    host = compiled(world({"match": [{"uri": {"exact": "/a"}}], "route": [to()]}))
    assert len(host.routes) == 1


def test_origins_are_rules_first_then_owners() -> None:
    made = world({"route": [to()]})
    parts = []
    for name in sorted(made.services):
        view = service_view(made, name, "shop")
        assert view is not None
        parts.append(route.virtual_host(view, 80))
    origins = route.route_configuration("outbound|80", parts).origins
    assert [str(ref) for ref in origins] == ["VirtualService/shop/r", "ServiceEntry/shop/ratings", "ServiceEntry/shop/reviews"]


def test_an_outside_wildcard_host_is_a_domain_too() -> None:
    outside = service("*.example.com", port(80), location=Location.MESH_EXTERNAL, resolution=Resolution.NONE)
    view = service_view(SmallWorld().with_service(outside), "*.example.com", "shop")
    assert view is not None
    made = message(route.route_configuration("outbound|80", [route.virtual_host(view, 80)]))
    assert list(made.virtual_hosts[0].domains) == ["*.example.com"]
