# SPDX-License-Identifier: Apache-2.0
"""Clusters: where calls to (service, port, subset) go, and by which TLS; and the applications behind the inbound listener."""

from __future__ import annotations

import enum
from functools import cache
from typing import Any, NamedTuple

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.clusters.common.dns.v3 import dns_pb2 as dns_common_pb2
from envoy.extensions.clusters.dns.v3 import dns_cluster_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from meshwright.model.meta import Resource
from meshwright.model.networking import ClientTLSMode, ClientTLSSettings, Location, Resolution, SimpleLB, TrafficPolicy
from meshwright.model.service import Endpoint, Protocol, Service, ServicePort
from meshwright.model.snapshot import TypeUrl, XdsResource
from meshwright.translate import endpoint, names, tls
from meshwright.translate.wire import octets, packed, resource

_Cluster = cluster_pb2.Cluster
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HIGH = 2**32 - 1


class Discovery(enum.Enum):
    """How a cluster gets its endpoints. NONE: not at all, calls fail."""

    EDS = "EDS"
    DNS = "DNS"
    NONE = "NONE"


class ClusterView(NamedTuple):
    """What the clusters of one service are made from. `endpoints` only where they are part of the cluster (DNS)."""

    service: Service
    rule: Resource | None
    identities: tuple[str, ...]
    trust_domain: str
    endpoints: tuple[Endpoint, ...]


def discovery(service: Service) -> Discovery:
    if service.resolution is Resolution.DNS:
        return Discovery.DNS
    if service.location is Location.MESH_INTERNAL or service.resolution is Resolution.STATIC:
        return Discovery.EDS
    # Resolution NONE outside means "wherever the caller meant": there is no such place in explicit mode.
    return Discovery.NONE


def subsets(rule: Resource | None) -> tuple[tuple[str, endpoint.Labels], ...]:
    """(name, labels) of the whole service and of each subset."""
    if rule is None:
        return (("", ()),)
    return (("", ()), *sorted((s.name, tuple(sorted(s.labels.items()))) for s in rule.spec.subsets))


def clusters(view: ClusterView) -> tuple[XdsResource, ...]:
    """One for each port and subset."""
    made = []
    for port in view.service.ports:
        for subset, labels in subsets(view.rule):
            made.append(_cluster(view, port, subset, labels))
    return tuple(made)


def inbound_cluster(target: int, protocol: Protocol, owners: tuple[Any, ...]) -> XdsResource:
    """The application at 127.0.0.1:target."""
    cluster = _base(str(names.InboundCluster(target)))
    cluster.type = _Cluster.STATIC
    cluster.load_assignment.ParseFromString(octets(endpoint.assignment(cluster.name, (("", "127.0.0.1", target, 0),))))
    if protocol.is_http:
        _speak(cluster, protocol is Protocol.HTTP2)
    return resource(TypeUrl.CLUSTER, cluster, *owners)


def _cluster(view: ClusterView, port: ServicePort, subset: str, labels: endpoint.Labels) -> XdsResource:
    service, rule = view.service, view.rule
    cluster = _base(str(names.OutboundCluster(port.number, subset, service.host)))
    cluster.lb_policy = _balancing(rule, subset)
    settings = tls.client_tls(service, rule, subset)
    mutual = settings.mode is ClientTLSMode.ISTIO_MUTUAL
    match discovery(service):
        case Discovery.EDS:
            cluster.type = _Cluster.EDS
            cluster.eds_cluster_config.eds_config.CopyFrom(_over_ads())
        case Discovery.DNS:
            _resolve(cluster, view, port, labels, mutual)
        case Discovery.NONE:
            cluster.type = _Cluster.STATIC
    http2 = port.protocol is Protocol.HTTP2 or (port.protocol is Protocol.HTTP and mutual)
    if port.protocol.is_http:
        _speak(cluster, http2, auto_sni=settings.mode is ClientTLSMode.SIMPLE and not settings.sni and "*" in service.host)
    _secure(cluster, view, port, settings)
    return resource(TypeUrl.CLUSTER, cluster, rule.ref if rule else None, service.owner)


def _base(name: str) -> Any:
    cluster = _Cluster()
    cluster.CopyFrom(_defaults())
    cluster.name = name
    return cluster


@cache
def _defaults() -> Any:
    cluster = _Cluster()
    cluster.connect_timeout.seconds = 10
    threshold = cluster.circuit_breakers.thresholds.add()
    for limit in (threshold.max_connections, threshold.max_pending_requests, threshold.max_requests, threshold.max_retries):
        limit.value = _HIGH
    # Zero: unhealthy endpoints are not used again when many are unhealthy.
    cluster.common_lb_config.healthy_panic_threshold.SetInParent()
    return cluster


@cache
def _over_ads() -> Any:
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    source.ads.SetInParent()
    return source


def _balancing(rule: Resource | None, subset: str) -> int:
    found = None
    if rule is not None:
        policies: list[TrafficPolicy | None] = [s.traffic_policy for s in rule.spec.subsets if subset and s.name == subset]
        for policy in (*policies, rule.spec.traffic_policy):
            if found is None and policy is not None and policy.load_balancer is not None:
                found = policy.load_balancer.simple
    simple = {SimpleLB.RANDOM: _Cluster.RANDOM, SimpleLB.ROUND_ROBIN: _Cluster.ROUND_ROBIN}
    return int(simple.get(found, _Cluster.LEAST_REQUEST)) if found else int(_Cluster.LEAST_REQUEST)


def _resolve(cluster: Any, view: ClusterView, port: ServicePort, labels: endpoint.Labels, mutual: bool) -> None:
    """Envoy resolves the endpoints' names. A wildcard is no name."""
    places = tuple(place for place in endpoint.places(view.endpoints, port.number, labels, mutual=mutual) if "*" not in place[1])
    if not places:
        cluster.type = _Cluster.STATIC
        return
    cluster.cluster_type.CopyFrom(_by_dns())
    # A name that nobody answers for must not hold up everybody's configuration: Envoy takes no cluster while another one warms.
    cluster.wait_for_warm_on_init.value = False
    cluster.load_assignment.ParseFromString(octets(endpoint.assignment(cluster.name, places)))


@cache
def _by_dns() -> Any:
    """Every address that a name has is an endpoint."""
    made = dns_cluster_pb2.DnsCluster(respect_dns_ttl=True)
    # IPv6 first, as AUTO has it, breaks hosts without an IPv6 route as soon as a name has an AAAA record.
    made.dns_lookup_family = dns_common_pb2.V4_PREFERRED
    made.dns_refresh_rate.seconds = 60
    made.dns_failure_refresh_rate.base_interval.seconds = 1
    made.dns_failure_refresh_rate.max_interval.seconds = 10
    return cluster_pb2.Cluster.CustomClusterType(name="envoy.clusters.dns", typed_config=packed(made))


def _speak(cluster: Any, http2: bool, *, auto_sni: bool = False) -> None:
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(_http_options(http2, auto_sni))


@cache
def _http_options(http2: bool, auto_sni: bool) -> Any:
    options = http_protocol_options_pb2.HttpProtocolOptions()
    if http2:
        # Extended CONNECT carries the upgrade to WebSocket between sidecars.
        options.explicit_http_config.http2_protocol_options.allow_connect = True
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    if auto_sni:
        options.upstream_http_protocol_options.auto_sni = True
    return packed(options)


def _secure(cluster: Any, view: ClusterView, port: ServicePort, settings: ClientTLSSettings) -> None:
    alpn = ""
    if port.protocol.is_http:
        alpn = "h2" if port.protocol is Protocol.HTTP2 or settings.mode is ClientTLSMode.ISTIO_MUTUAL else "http/1.1"
    if settings.mode is ClientTLSMode.ISTIO_MUTUAL:
        server_name = names.server_name(port.number, view.service.host)
        identities = settings.subject_alt_names or view.identities
        cluster.transport_socket.CopyFrom(tls.mutual(identities, server_name, alpn, view.trust_domain))
    elif settings.mode is ClientTLSMode.SIMPLE:
        cluster.transport_socket.CopyFrom(tls.originated(view.service, settings, alpn))
