# SPDX-License-Identifier: Apache-2.0
"""Network and HTTP filters: the HTTP connection manager, the TCP proxy, RBAC, and the log of what failed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.access_loggers.stream.v3 import stream_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from meshwright.translate.wire import packed

_Manager = http_connection_manager_pb2.HttpConnectionManager
_HTTP_LINE = (
    "%START_TIME% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:AUTHORITY)% %PATH(NQ)% "
    "route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER% upstream=%UPSTREAM_HOST% peer=%DOWNSTREAM_PEER_URI_SAN% "
    "id=%REQ(X-REQUEST-ID)% failure=%UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
)
_TCP_LINE = (
    "%START_TIME% TCP %RESPONSE_FLAGS% cluster=%UPSTREAM_CLUSTER% upstream=%UPSTREAM_HOST% peer=%DOWNSTREAM_PEER_URI_SAN% "
    "failure=%UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
)
# Envoy's words for failures of its own or of the network; a caller that hangs up (DC) is no failure.
_FAILURES = ("LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "NC", "URX", "UPE")


def outbound_manager(stat_prefix: str, route_configuration: str) -> Any:
    """HTTP from applications of this host, routed by a route configuration that comes over ADS."""
    manager = _manager(stat_prefix)
    manager.rds.route_config_name = route_configuration
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = config_source_pb2.V3
    manager.http_filters.add().CopyFrom(_router())
    return _network("envoy.filters.network.http_connection_manager", manager)


def inbound_manager(stat_prefix: str, cluster: str, rules: Sequence[Any]) -> Any:
    """HTTP from other sidecars to one application port. What peers say about who called is replaced by what their certificate says."""
    manager = _manager(stat_prefix)
    manager.forward_client_cert_details = _Manager.SANITIZE_SET
    manager.set_current_client_cert_details.uri = True
    manager.http2_protocol_options.allow_connect = True
    manager.route_config.name = cluster
    manager.route_config.validate_clusters.SetInParent()
    host = manager.route_config.virtual_hosts.add(name=cluster, domains=["*"])
    route = host.routes.add(name="default")
    route.match.prefix = "/"
    route.route.cluster = cluster
    route.route.timeout.SetInParent()
    for rbac in rules:
        manager.http_filters.add(name="envoy.filters.http.rbac").typed_config.CopyFrom(packed(http_rbac_pb2.RBAC(rules=rbac)))
    manager.http_filters.add().CopyFrom(_router())
    return _network("envoy.filters.network.http_connection_manager", manager)


def network_rbac(stat_prefix: str, rbac: Any) -> Any:
    return _network("envoy.filters.network.rbac", network_rbac_pb2.RBAC(stat_prefix=stat_prefix, rules=rbac))


def tcp_proxy(stat_prefix: str, choices: Sequence[tuple[str, int]]) -> Any:
    """`choices`: (cluster, weight); the weight counts only where there are several."""
    proxy = tcp_proxy_pb2.TcpProxy(stat_prefix=stat_prefix)
    if len(choices) == 1:
        proxy.cluster = choices[0][0]
    else:
        for cluster, weight in choices:
            proxy.weighted_clusters.clusters.add(name=cluster, weight=weight)
    proxy.access_log.add().CopyFrom(_log(_TCP_LINE, http=False))
    return _network("envoy.filters.network.tcp_proxy", proxy)


def _manager(stat_prefix: str) -> Any:
    manager = _Manager(stat_prefix=stat_prefix)
    manager.MergeFrom(_manager_defaults())
    return manager


@cache
def _manager_defaults() -> Any:
    manager = _Manager(merge_slashes=True, server_header_transformation=_Manager.PASS_THROUGH)
    manager.normalize_path.value = True
    # Long calls are the application's business: no idle limit on a stream, as in Istio.
    manager.stream_idle_timeout.SetInParent()
    manager.upgrade_configs.add(upgrade_type="websocket")
    manager.access_log.add().CopyFrom(_log(_HTTP_LINE, http=True))
    return manager


@cache
def _router() -> Any:
    made = http_connection_manager_pb2.HttpFilter(name="envoy.filters.http.router")
    made.typed_config.CopyFrom(packed(router_pb2.Router()))
    return made


@cache
def _log(line: str, *, http: bool) -> Any:
    """Only what failed in the mesh (5xx, or Envoy had to answer or close itself), to the unit's journal; paths without their query."""
    log = accesslog_pb2.AccessLog(name="envoy.access_loggers.stdout")
    sink = stream_pb2.StdoutAccessLog()
    sink.log_format.text_format_source.inline_string = line
    log.typed_config.CopyFrom(packed(sink))
    if not http:
        log.filter.response_flag_filter.flags.extend(_FAILURES)
        return log
    either = log.filter.or_filter
    comparison = either.filters.add().status_code_filter.comparison
    comparison.op = accesslog_pb2.ComparisonFilter.GE
    comparison.value.default_value = 500
    comparison.value.runtime_key = "meshwright.log_status"
    either.filters.add().response_flag_filter.flags.extend(_FAILURES)
    return log


def _network(name: str, message: Any) -> Any:
    made = listener_components_pb2.Filter(name=name)
    made.typed_config.CopyFrom(packed(message))
    return made
