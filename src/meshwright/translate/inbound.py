# SPDX-License-Identifier: Apache-2.0
"""The inbound listener of one workload: a filter chain for each (service, port) that it serves, chosen by SNI, mutual TLS only."""

from __future__ import annotations

from typing import Any, NamedTuple

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from meshwright.model.meta import Ref, Resource
from meshwright.model.proxy import Proxy, ProxySettings
from meshwright.model.service import Protocol, ServicePort
from meshwright.model.snapshot import TypeUrl, XdsResource
from meshwright.translate import authz, cluster, names, tls
from meshwright.translate import filter as filters
from meshwright.translate.view import WorldReader
from meshwright.translate.wire import packed, resource


class Served(NamedTuple):
    """One port of one service, and the application port behind it."""

    host: str
    port: ServicePort
    target: int
    owner: Ref


class InboundView(NamedTuple):
    """Everything the inbound part of one workload is made from."""

    settings: ProxySettings
    served: tuple[Served, ...]
    policies: tuple[Resource, ...]
    trust_domain: str


def inbound_view(world: WorldReader, proxy: Proxy) -> InboundView:
    served: dict[tuple[str, int], Served] = {}
    labels: dict[str, str] = {}
    for service, instance in world.services_of(proxy.id):
        labels.update(instance.labels)
        targets = dict(instance.ports)
        for port in service.ports:
            if port.number in targets:
                served[service.host, port.number] = Served(service.host, port, targets[port.number], service.owner)
    # What was enrolled counts more than what a WorkloadEntry says: it can't be edited to slip from under a policy.
    labels.update(proxy.labels)
    root = world.mesh.root_namespace
    policies = authz.selected(world.policies(proxy.namespace), labels, root, proxy.namespace)
    return InboundView(proxy.settings, tuple(served[key] for key in sorted(served)), policies, world.mesh.trust_domain)


def clusters(view: InboundView) -> tuple[XdsResource, ...]:
    """One for each application port. Where services disagree on the protocol of one port, HTTP/2 wins over HTTP, HTTP over TCP."""
    ranks = (Protocol.TCP, Protocol.HTTP, Protocol.HTTP2)
    found: dict[int, tuple[Protocol, tuple[Ref, ...]]] = {}
    for served in view.served:
        protocol, owners = found.get(served.target, (Protocol.TCP, ()))
        found[served.target] = (max(protocol, served.port.protocol, key=ranks.index), (*owners, served.owner))
    return tuple(cluster.inbound_cluster(target, *found[target]) for target in sorted(found))


def listeners(view: InboundView) -> tuple[XdsResource, ...]:
    """None at all for a workload that serves nothing."""
    if not view.served:
        return ()
    listener = listener_pb2.Listener(name=str(names.InboundListener()), traffic_direction=base_pb2.INBOUND)
    _bind(listener.address.socket_address, view.settings)
    inspector = listener.listener_filters.add(name="envoy.filters.listener.tls_inspector")
    inspector.typed_config.CopyFrom(packed(tls_inspector_pb2.TlsInspector()))
    origins: dict[Ref, None] = {}
    for served in view.served:
        chain = authz.Chain(served.target, served.port.protocol.is_http, view.trust_domain)
        decision = authz.decide(view.policies, chain)
        origins |= dict.fromkeys(decision.origins)
        _add_chain(listener, served, decision, view.trust_domain)
    return (resource(TypeUrl.LISTENER, listener, *origins, *(served.owner for served in view.served)),)


def _bind(socket: Any, settings: ProxySettings) -> None:
    socket.port_value = settings.inbound_port
    socket.address = "::" if "IPv6" in settings.ip_families else "0.0.0.0"  # noqa: S104 -- mutual TLS for all comers is its purpose
    socket.ipv4_compat = "IPv6" in settings.ip_families and "IPv4" in settings.ip_families


def _add_chain(listener: Any, served: Served, decision: authz.Decision, trust_domain: str) -> None:
    server_name = names.server_name(served.port.number, served.host)
    target = str(names.InboundCluster(served.target))
    stat_prefix = f"inbound_{served.port.number}_{served.host}"
    http = served.port.protocol.is_http
    chain = listener.filter_chains.add(name=server_name)
    chain.filter_chain_match.server_names.append(server_name)
    chain.filter_chain_match.transport_protocol = "tls"
    chain.transport_socket.CopyFrom(tls.downstream(trust_domain, http=http))
    if http:
        chain.filters.add().CopyFrom(filters.inbound_manager(stat_prefix, target, decision.rules))
        return
    for rbac in decision.rules:
        chain.filters.add().CopyFrom(filters.network_rbac(stat_prefix, rbac))
    chain.filters.add().CopyFrom(filters.tcp_proxy(stat_prefix, [(target, 0)]))
