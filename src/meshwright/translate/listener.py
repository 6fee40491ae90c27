# SPDX-License-Identifier: Apache-2.0
"""Outbound listeners, on loopback addresses: one a port for all services that are only HTTP, own ones for services with a TCP port."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2

from meshwright.model.meta import Ref
from meshwright.model.service import Service, ServicePort
from meshwright.model.snapshot import TypeUrl, XdsResource
from meshwright.translate import filter as filters
from meshwright.translate import names
from meshwright.translate.view import ServiceView, upstream
from meshwright.translate.wire import octets, resource

# Where calls go that no rule and no destination takes: a cluster that is never there, so Envoy closes them.
_NOWHERE = "nowhere"


def shared_address(loopback: str) -> str:
    """The address of all services that are only HTTP."""
    return f"{loopback}.0.1"


def own_address(loopback: str, service: Service) -> str:
    """The address of a service with a TCP port: LOOPBACK.HI.LO."""
    return f"{loopback}.{service.vip >> 8}.{service.vip & 255}"


def shared_http(loopback: str, port: int, origins: tuple[Ref, ...]) -> XdsResource:
    listener = _listener(str(names.HttpListener(port)), shared_address(loopback), port)
    manager = filters.outbound_manager(f"outbound_{port}", str(names.OutboundRoute(port)))
    listener.filter_chains.add().filters.add().CopyFrom(manager)
    return XdsResource(TypeUrl.LISTENER, listener.name, octets(listener), origins)


def own(loopback: str, view: ServiceView) -> tuple[XdsResource, ...]:
    """The listeners of a service that has an address of its own."""
    return tuple(_own_port(loopback, view, port) for port in view.service.ports)


def _own_port(loopback: str, view: ServiceView, port: ServicePort) -> XdsResource:
    service = view.service
    address = own_address(loopback, service)
    stat_prefix = f"outbound_{port.number}_{service.host}"
    if port.protocol.is_http:
        listener = _listener(str(names.HttpListener(port.number, service.host)), address, port.number)
        made = filters.outbound_manager(stat_prefix, str(names.OutboundRoute(port.number, service.host)))
        rule = None
    else:
        listener = _listener(str(names.TcpListener(port.number, service.host)), address, port.number)
        made = filters.tcp_proxy(stat_prefix, _choices(view, port.number))
        rule = view.tcp.ref if view.tcp else None
    listener.filter_chains.add().filters.add().CopyFrom(made)
    return resource(TypeUrl.LISTENER, listener, rule, service.owner)


def _choices(view: ServiceView, port: int) -> list[tuple[str, int]]:
    """(cluster, weight) of the first TCP rule that takes this port."""
    if view.tcp is None:
        return [(str(names.OutboundCluster(port, "", view.service.host)), 0)]
    home = view.tcp.metadata.namespace
    for rule in view.tcp.spec.tcp:
        if rule.match and all(match.port not in (0, port) for match in rule.match):
            continue
        choices = [(upstream(view, home, choice.destination, port), choice.weight) for choice in rule.route]
        if len(choices) > 1:
            choices = [choice for choice in choices if choice[1] > 0]
        # Envoy closes the calls to a cluster that is not there.
        return [(to.cluster, weight) for to, weight in choices] or [(_NOWHERE, 0)]
    # Rules there are, but none for this port: as without them.
    return [(str(names.OutboundCluster(port, "", view.service.host)), 0)]


def _listener(name: str, address: str, port: int) -> Any:
    listener = listener_pb2.Listener(name=name, traffic_direction=base_pb2.OUTBOUND)
    listener.address.socket_address.address = address
    listener.address.socket_address.port_value = port
    return listener
