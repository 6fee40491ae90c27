# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from meshwright.model.meta import Resource
from meshwright.model.networking import Location, Resolution
from meshwright.model.service import Endpoint, Protocol, Service
from meshwright.translate.cluster import ClusterView, clusters, inbound_cluster
from tests.unit.translate.small_world import document, endpoint, message, port, service, unpacked

REVIEWS = service("reviews.shop.mesh", port(80, target=9080))
OUTSIDE: dict[str, Any] = {"location": Location.MESH_EXTERNAL, "resolution": Resolution.DNS}
ID = "spiffe://cluster.local/ns/shop/sa/reviews"


def made(
    of: Service, rule: Resource | None = None, identities: tuple[str, ...] = (ID,), endpoints: tuple[Endpoint, ...] = ()
) -> dict[str, Any]:
    view = ClusterView(of, rule, identities, "cluster.local", endpoints)
    return {resource.name: message(resource) for resource in clusters(view)}


def rule(policy: dict[str, Any] | None = None, subsets: list[dict[str, Any]] | None = None, host: str = "reviews") -> Resource:
    return document("DestinationRule", "r", {"host": host, **({"trafficPolicy": policy} if policy else {}), "subsets": subsets or []})


def context(cluster: Any) -> Any:
    return unpacked(cluster.transport_socket.typed_config, tls_pb2.UpstreamTlsContext)


def options(cluster: Any) -> Any:
    (found,) = cluster.typed_extension_protocol_options.values()
    return unpacked(found, http_protocol_options_pb2.HttpProtocolOptions)


def sans(validation: Any) -> list[str]:
    return [m.matcher.exact for m in validation.match_typed_subject_alt_names]


def test_inside_the_mesh_calls_are_mutual_tls_over_http2_with_pinned_identities() -> None:
    cluster = made(REVIEWS)["outbound|80||reviews.shop.mesh"]
    tls = context(cluster)
    assert tls.sni == "outbound_.80_._.reviews.shop.mesh"
    assert list(tls.common_tls_context.alpn_protocols) == ["h2"]
    combined = tls.common_tls_context.combined_validation_context
    assert sans(combined.default_validation_context) == [ID]
    assert combined.validation_context_sds_secret_config.name == "ROOTCA"
    (secret,) = tls.common_tls_context.tls_certificate_sds_secret_configs
    assert secret.name == "default"
    assert secret.sds_config.api_config_source.grpc_services[0].envoy_grpc.cluster_name == "meshwright-agent"
    assert secret.sds_config.HasField("initial_fetch_timeout")
    assert options(cluster).explicit_http_config.WhichOneof("protocol_config") == "http2_protocol_options"
    assert cluster.type == cluster_pb2.Cluster.EDS


def test_without_a_known_identity_nothing_is_trusted() -> None:
    combined = context(made(REVIEWS, identities=())["outbound|80||reviews.shop.mesh"]).common_tls_context.combined_validation_context
    assert sans(combined.default_validation_context) == ["spiffe://cluster.local/nobody"]


def test_subsets_are_clusters_of_their_own_with_the_service_s_server_name() -> None:
    subsets = [{"name": "v2", "labels": {"version": "v2"}}, {"name": "v1", "labels": {"version": "v1"}}]
    found = made(REVIEWS, rule(subsets=subsets))
    assert list(found) == ["outbound|80||reviews.shop.mesh", "outbound|80|v1|reviews.shop.mesh", "outbound|80|v2|reviews.shop.mesh"]
    assert {context(cluster).sni for cluster in found.values()} == {"outbound_.80_._.reviews.shop.mesh"}


def test_a_subset_s_policy_counts_before_the_rule_s() -> None:
    subsets = [
        {"name": "plain", "trafficPolicy": {"tls": {"mode": "DISABLE"}, "loadBalancer": {"simple": "RANDOM"}}},
        {"name": "other"},
    ]
    found = made(REVIEWS, rule({"loadBalancer": {"simple": "ROUND_ROBIN"}}, subsets))
    plain, other = found["outbound|80|plain|reviews.shop.mesh"], found["outbound|80|other|reviews.shop.mesh"]
    assert not plain.HasField("transport_socket")
    assert plain.lb_policy == cluster_pb2.Cluster.RANDOM
    assert other.HasField("transport_socket")
    assert other.lb_policy == cluster_pb2.Cluster.ROUND_ROBIN


@pytest.mark.parametrize(
    ("simple", "policy"),
    [("UNSPECIFIED", "LEAST_REQUEST"), ("LEAST_CONN", "LEAST_REQUEST"), ("LEAST_REQUEST", "LEAST_REQUEST"), ("RANDOM", "RANDOM")],
)
def test_load_balancing(simple: str, policy: str) -> None:
    cluster = made(REVIEWS, rule({"loadBalancer": {"simple": simple}}))["outbound|80||reviews.shop.mesh"]
    assert cluster_pb2.Cluster.LbPolicy.Name(cluster.lb_policy) == policy


def test_least_request_is_the_default() -> None:
    assert made(REVIEWS)["outbound|80||reviews.shop.mesh"].lb_policy == cluster_pb2.Cluster.LEAST_REQUEST


def test_tcp_inside_the_mesh_has_tls_but_no_protocol() -> None:
    cluster = made(service("db.shop.mesh", port(5432, Protocol.TCP)))["outbound|5432||db.shop.mesh"]
    assert not cluster.typed_extension_protocol_options
    assert list(context(cluster).common_tls_context.alpn_protocols) == []
    assert sans(context(cluster).common_tls_context.combined_validation_context.default_validation_context) == [ID]


def test_an_outside_host_is_resolved_by_envoy_and_called_in_clear() -> None:
    itself = endpoint("api.example.com", {80: 8080}, wire_port=0)
    cluster = made(service("api.example.com", port(80, target=8080), **OUTSIDE), endpoints=(itself,))["outbound|80||api.example.com"]
    assert not cluster.HasField("transport_socket")
    dns = unpacked(cluster.cluster_type.typed_config, dns_cluster_pb2.DnsCluster)
    assert dns.respect_dns_ttl
    assert not cluster.wait_for_warm_on_init.value
    socket = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (socket.address, socket.port_value) == ("api.example.com", 8080)
    assert options(cluster).explicit_http_config.WhichOneof("protocol_config") == "http_protocol_options"


def test_simple_tls_verifies_chain_and_name() -> None:
    outside = service("api.example.com", port(80, target=443), **OUTSIDE)
    tls = context(made(outside, rule({"tls": {"mode": "SIMPLE"}}, host="api.example.com"))["outbound|80||api.example.com"])
    validation = tls.common_tls_context.validation_context
    assert tls.sni == "api.example.com"
    assert validation.trusted_ca.filename == "/etc/ssl/certs/ca-certificates.crt"
    assert sans(validation) == ["api.example.com"]
    assert list(tls.common_tls_context.alpn_protocols) == ["http/1.1"]


def test_simple_tls_with_its_own_roots_names_and_server_name() -> None:
    settings = {"mode": "SIMPLE", "sni": "front", "subjectAltNames": ["a.example.com"], "caCertificates": "/etc/ca.pem"}
    outside = service("api.example.com", subject_alt_names=("ignored",), **OUTSIDE)
    tls = context(made(outside, rule({"tls": settings}, host="api.example.com"))["outbound|80||api.example.com"])
    assert tls.sni == "front"
    assert tls.common_tls_context.validation_context.trusted_ca.filename == "/etc/ca.pem"
    assert sans(tls.common_tls_context.validation_context) == ["a.example.com"]


def test_simple_tls_falls_back_on_the_names_of_the_service() -> None:
    outside = service("api.example.com", subject_alt_names=("b.example.com",), **OUTSIDE)
    tls = context(made(outside, rule({"tls": {"mode": "SIMPLE"}}, host="api.example.com"))["outbound|80||api.example.com"])
    assert sans(tls.common_tls_context.validation_context) == ["b.example.com"]


def test_a_wildcard_host_asks_for_the_name_of_each_request() -> None:
    outside = service("*.example.com", **OUTSIDE)
    endpoints = (endpoint("front.example.com", {80: 443}, wire_port=0),)
    cluster = made(outside, rule({"tls": {"mode": "SIMPLE"}}, host="*.example.com"), endpoints=endpoints)["outbound|80||*.example.com"]
    assert options(cluster).upstream_http_protocol_options.auto_sni
    assert context(cluster).sni == ""
    assert sans(context(cluster).common_tls_context.validation_context) == ["*.example.com"]


@pytest.mark.parametrize("host", ["api.example.com", "*.example.com"])
def test_what_has_no_place_to_go_has_no_endpoints(host: str) -> None:
    resolution = Resolution.NONE if host.startswith("api") else Resolution.DNS
    outside = service(host, location=Location.MESH_EXTERNAL, resolution=resolution)
    cluster = made(outside, endpoints=(endpoint("*.example.com", wire_port=0),))[f"outbound|80||{host}"]
    assert cluster.type == cluster_pb2.Cluster.STATIC
    assert not cluster.HasField("load_assignment")


def test_panic_is_off_and_limits_are_high() -> None:
    cluster = made(REVIEWS)["outbound|80||reviews.shop.mesh"]
    assert cluster.common_lb_config.HasField("healthy_panic_threshold")
    assert cluster.common_lb_config.healthy_panic_threshold.value == 0
    assert cluster.circuit_breakers.thresholds[0].max_requests.value == 2**32 - 1


def test_origins_are_the_rule_and_the_owner() -> None:
    (found,) = clusters(ClusterView(REVIEWS, rule(), (ID,), "cluster.local", ()))
    assert [str(ref) for ref in found.origins] == ["DestinationRule/shop/r", "ServiceEntry/shop/reviews"]


def test_the_application_is_called_on_loopback_in_its_own_protocol() -> None:
    cluster = message(inbound_cluster(9080, Protocol.HTTP2, ()))
    assert cluster.name == "inbound|9080||"
    socket = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (socket.address, socket.port_value) == ("127.0.0.1", 9080)
    assert options(cluster).explicit_http_config.WhichOneof("protocol_config") == "http2_protocol_options"
    assert not cluster.HasField("transport_socket")
