# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from meshwright.model.meta import Ref
from meshwright.model.proxy import Proxy, ProxySettings
from meshwright.model.service import Protocol
from meshwright.model.snapshot import TypeUrl
from meshwright.translate.compile import CompileCache, Inbound, compile_inbound, compile_outbound, make_snapshot, scope_key
from tests.unit.translate.small_world import SmallWorld, document, endpoint, message, port, proxy, service, unpacked

ME = proxy("reviews")
WORKLOAD = Ref("WorkloadEntry", "shop", "reviews")


def serving(*services: Any, labels: tuple[tuple[str, str], ...] = ()) -> SmallWorld:
    world = SmallWorld()
    for made in services:
        targets = {p.number: p.target for p in made.ports}
        world = world.with_service(made, endpoint("10.0.0.1", targets, workload=WORKLOAD, labels=labels))
    return replace(world, served={ME.id: tuple(made.host for made in services)})


def listener(world: SmallWorld, who: Proxy = ME) -> Any:
    return message(compile_inbound(world, who, None).listeners.resources["inbound"])


def chain_filters(made: Any) -> list[list[str]]:
    return [[f.name.removeprefix("envoy.filters.network.") for f in chain.filters] for chain in made.filter_chains]


def http_filters(made: Any) -> list[Any]:
    manager = unpacked(made.filter_chains[0].filters[0].typed_config, http_connection_manager_pb2.HttpConnectionManager)
    return list(manager.http_filters)


def test_who_serves_nothing_has_no_listener() -> None:
    made = compile_inbound(SmallWorld(), ME, None)
    assert not made.listeners.resources
    assert not made.clusters.resources


def test_a_chain_for_each_service_and_port_by_server_name() -> None:
    world = serving(service("reviews.shop.mesh", port(80, target=9080)), service("db.shop.mesh", port(5432, Protocol.TCP)))
    made = listener(world)
    assert [list(chain.filter_chain_match.server_names) for chain in made.filter_chains] == [
        ["outbound_.5432_._.db.shop.mesh"],
        ["outbound_.80_._.reviews.shop.mesh"],
    ]
    assert chain_filters(made) == [["tcp_proxy"], ["http_connection_manager"]]
    assert [f.name for f in made.listener_filters] == ["envoy.filters.listener.tls_inspector"]
    assert not made.HasField("default_filter_chain")


def test_every_chain_wants_a_certificate_of_the_trust_domain() -> None:
    made = listener(serving(service("reviews.shop.mesh"), service("db.shop.mesh", port(5432, Protocol.TCP))))
    for chain in made.filter_chains:
        context = unpacked(chain.transport_socket.typed_config, tls_pb2.DownstreamTlsContext)
        assert context.require_client_certificate.value
        combined = context.common_tls_context.combined_validation_context
        assert [m.matcher.prefix for m in combined.default_validation_context.match_typed_subject_alt_names] == ["spiffe://cluster.local/"]
        assert combined.validation_context_sds_secret_config.name == "ROOTCA"
        assert chain.filter_chain_match.transport_protocol == "tls"


def test_what_peers_say_about_the_caller_is_replaced() -> None:
    made = listener(serving(service("reviews.shop.mesh")))
    manager = unpacked(made.filter_chains[0].filters[0].typed_config, http_connection_manager_pb2.HttpConnectionManager)
    assert manager.forward_client_cert_details == http_connection_manager_pb2.HttpConnectionManager.SANITIZE_SET
    assert manager.set_current_client_cert_details.uri
    assert manager.normalize_path.value
    assert manager.merge_slashes


def test_where_it_binds() -> None:
    world = serving(service("reviews.shop.mesh"))
    seen = {}
    for families in (("IPv4",), ("IPv6",), ("IPv4", "IPv6")):
        who = proxy("reviews", settings=ProxySettings(inbound_port=15106, ip_families=families))
        socket = listener(world, who).address.socket_address
        assert socket.port_value == 15106
        seen[families] = (socket.address, socket.ipv4_compat)
    assert seen == {("IPv4",): ("0.0.0.0", False), ("IPv6",): ("::", False), ("IPv4", "IPv6"): ("::", True)}


def test_services_of_one_application_port_share_its_cluster() -> None:
    world = serving(service("a.shop.mesh", port(80, target=9080)), service("b.shop.mesh", port(81, Protocol.HTTP2, target=9080)))
    made = compile_inbound(world, ME, None)
    assert list(made.clusters.resources) == ["inbound|9080||"]
    assert [str(ref) for ref in made.clusters.resources["inbound|9080||"].origins] == ["ServiceEntry/shop/a", "ServiceEntry/shop/b"]


def test_deny_stands_before_allow_before_the_router() -> None:
    world = serving(service("reviews.shop.mesh")).with_resources(
        document("AuthorizationPolicy", "allow", {"rules": [{}]}),
        document("AuthorizationPolicy", "deny", {"action": "DENY", "rules": [{}]}),
    )
    filters = http_filters(listener(world))
    assert [f.name for f in filters] == ["envoy.filters.http.rbac", "envoy.filters.http.rbac", "envoy.filters.http.router"]
    names = [list(unpacked(f.typed_config, http_rbac_pb2.RBAC).rules.policies) for f in filters[:2]]
    assert names == [["ns[shop]-policy[deny]-rule[0]"], ["ns[shop]-policy[allow]-rule[0]"]]


def test_policies_stand_on_tcp_chains_too() -> None:
    world = serving(service("db.shop.mesh", port(5432, Protocol.TCP)))
    world = world.with_resources(document("AuthorizationPolicy", "none", {}))
    assert chain_filters(listener(world)) == [["rbac", "tcp_proxy"]]


def test_enrolled_labels_count_more_than_those_of_a_workload_entry() -> None:
    world = serving(service("reviews.shop.mesh"), labels=(("app", "harmless"), ("tier", "web")))
    for selector, selected in (({"app": "reviews"}, True), ({"app": "harmless"}, False), ({"tier": "web"}, True)):
        policy = document("AuthorizationPolicy", "p", {"selector": {"matchLabels": selector}})
        filters = http_filters(listener(world.with_resources(policy), proxy("reviews", app="reviews")))
        assert (len(filters) == 2) is selected


def test_origins_are_the_policies_and_the_services() -> None:
    world = serving(service("reviews.shop.mesh")).with_resources(document("AuthorizationPolicy", "p", {}))
    origins = compile_inbound(world, ME, None).listeners.resources["inbound"].origins
    assert [str(ref) for ref in origins] == ["AuthorizationPolicy/shop/p", "ServiceEntry/shop/reviews"]


def test_the_same_bytes_keep_the_previous_object_and_others_succeed_it() -> None:
    world = serving(service("reviews.shop.mesh"))
    before = compile_inbound(world, ME, None)
    assert compile_inbound(serving(service("reviews.shop.mesh")), ME, before) is before
    after = compile_inbound(world.with_resources(document("AuthorizationPolicy", "p", {})), ME, before)
    assert after.clusters is before.clusters
    assert after.listeners.parent_key == before.listeners.key
    assert after.listeners.changed == {"inbound"}
    gone = compile_inbound(SmallWorld(), ME, after)
    assert gone.listeners.changed == {"inbound"}
    assert not gone.listeners.resources


def test_a_snapshot_has_the_outbound_layer_and_the_own_one() -> None:
    world = serving(service("reviews.shop.mesh"))
    outbound = compile_outbound(world, scope_key(ME), CompileCache())
    inbound: Inbound = compile_inbound(world, ME, None)
    snapshot = make_snapshot(outbound, inbound)
    assert snapshot.layers[TypeUrl.CLUSTER] == (outbound.clusters, inbound.clusters)
    assert snapshot.names(TypeUrl.LISTENER) == ["inbound", "outbound|http|80"]
    assert snapshot.get(TypeUrl.NAMES, "names") is not None
    assert make_snapshot(outbound, inbound).same(snapshot)
