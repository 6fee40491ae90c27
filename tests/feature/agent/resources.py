# SPDX-License-Identifier: Apache-2.0
"""Resources for a real Envoy, small."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 (registers the type)
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from google.protobuf import json_format

Json = dict[str, Any]
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def listener(name: str, port: int, route: Json, *, tls: bool = False) -> bytes:
    """HTTP on a loopback port. `route` is a RouteConfiguration, or {"rds": name}."""
    routing = {"rds": {"route_config_name": route["rds"], "config_source": {"ads": {}}}} if "rds" in route else {"route_config": route}
    hcm = {
        "@type": _HCM,
        "stat_prefix": name,
        "delayed_close_timeout": "0s",
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        **routing,
    }
    chain: Json = {"filters": [{"name": "hcm", "typed_config": hcm}]}
    if tls:
        context = {"@type": _TLS + "DownstreamTlsContext", "common_tls_context": _common(), "require_client_certificate": True}
        chain["transport_socket"] = {"name": "tls", "typed_config": context}
    document = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain],
    }
    return json_format.ParseDict(document, listener_pb2.Listener()).SerializeToString()


def route(name: str, action: Json) -> bytes:
    return json_format.ParseDict(route_document(name, action), route_pb2.RouteConfiguration()).SerializeToString()


def route_document(name: str, action: Json) -> Json:
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **action}]}]}


def says(text: str) -> Json:
    return {"direct_response": {"status": 200, "body": {"inline_string": text}}}


def cluster(name: str, port: int) -> bytes:
    """Mutual TLS to a loopback port, a new connection for each request."""
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    context = {"@type": _TLS + "UpstreamTlsContext", "common_tls_context": _common()}
    document = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "transport_socket": {"name": "tls", "typed_config": context},
    }
    from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401

    return json_format.ParseDict(document, cluster_pb2.Cluster()).SerializeToString()


def _common() -> Json:
    return {
        "tls_certificate_sds_secret_configs": [_secret("default")],
        "validation_context_sds_secret_config": _secret("ROOTCA"),
    }


def _secret(name: str) -> Json:
    api = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "meshwright-agent"}}],
    }
    return {"name": name, "sds_config": {"api_config_source": api, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}}
