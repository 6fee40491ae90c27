# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from meshwright.model.service import Protocol
from meshwright.translate import listener
from meshwright.translate.view import service_view
from tests.unit.translate.small_world import SmallWorld, document, message, port, service, unpacked

DB = "db.shop.mesh"


def own(world: SmallWorld) -> dict[str, Any]:
    view = service_view(world, DB, "shop")
    assert view is not None
    return {resource.name: message(resource) for resource in listener.own("127.240", view)}


def proxied(found: Any) -> Any:
    return unpacked(found.filter_chains[0].filters[-1].typed_config, tcp_proxy_pb2.TcpProxy)


def world(*routes: dict[str, Any]) -> SmallWorld:
    made = SmallWorld().with_service(service(DB, port(5432, Protocol.TCP), port(80), vip=300))
    made = made.with_resources(document("DestinationRule", "d", {"host": "db", "subsets": [{"name": "a"}, {"name": "b"}]}))
    return made.with_resources(document("VirtualService", "v", {"hosts": ["db"], "tcp": list(routes)})) if routes else made


def test_http_services_share_a_listener_a_port() -> None:
    made = message(listener.shared_http("127.240", 80, ()))
    assert made.name == "outbound|http|80"
    assert (made.address.socket_address.address, made.address.socket_address.port_value) == ("127.240.0.1", 80)
    manager = unpacked(made.filter_chains[0].filters[0].typed_config, http_connection_manager_pb2.HttpConnectionManager)
    assert manager.rds.route_config_name == "outbound|80"
    assert manager.rds.config_source.HasField("ads")
    assert manager.normalize_path.value
    assert manager.merge_slashes
    assert manager.stat_prefix == "outbound_80"
    assert [u.upgrade_type for u in manager.upgrade_configs] == ["websocket"]


def test_a_service_with_a_tcp_port_has_its_own_address_for_all_its_ports() -> None:
    found = own(world())
    assert sorted(found) == ["outbound|http|80|db.shop.mesh", "outbound|tcp|5432|db.shop.mesh"]
    assert {made.address.socket_address.address for made in found.values()} == {"127.240.1.44"}
    assert proxied(found["outbound|tcp|5432|db.shop.mesh"]).cluster == "outbound|5432||db.shop.mesh"


def test_tcp_rules() -> None:
    weighted = [{"destination": {"host": "db", "subset": "a"}, "weight": 80}, {"destination": {"host": "db", "subset": "b"}, "weight": 20}]
    proxy = proxied(own(world({"match": [{"port": 5432}], "route": weighted}))["outbound|tcp|5432|db.shop.mesh"])
    assert [(c.name, c.weight) for c in proxy.weighted_clusters.clusters] == [
        ("outbound|5432|a|db.shop.mesh", 80),
        ("outbound|5432|b|db.shop.mesh", 20),
    ]


def test_a_tcp_rule_for_another_port_does_not_count() -> None:
    found = own(world({"match": [{"port": 1}], "route": [{"destination": {"host": "db", "subset": "a"}}]}))
    assert proxied(found["outbound|tcp|5432|db.shop.mesh"]).cluster == "outbound|5432||db.shop.mesh"


def test_a_tcp_rule_that_leads_nowhere_names_a_cluster_that_is_not_there() -> None:
    found = own(world({"route": [{"destination": {"host": "db", "subset": "gone"}}]}))
    assert proxied(found["outbound|tcp|5432|db.shop.mesh"]).cluster == "outbound|5432|gone|db.shop.mesh"
