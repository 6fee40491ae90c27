# SPDX-License-Identifier: Apache-2.0
"""What one service contributes to one scope, each piece compiled once however many scopes have it."""

from __future__ import annotations

from typing import NamedTuple

from meshwright.model.meta import Ref
from meshwright.model.networking import ClientTLSMode
from meshwright.model.service import Endpoint
from meshwright.model.snapshot import XdsResource
from meshwright.translate import cluster, endpoint, listener, names, route, tls
from meshwright.translate.memo import CompileCache
from meshwright.translate.route import HostPart
from meshwright.translate.view import ScopeKey, ServiceView, WorldReader, service_view


class ServiceParts(NamedTuple):
    """`shared`: virtual hosts by port, for the listeners that HTTP-only services share. `line`: the names (hosts file), '' for none.
    `wants`: the hosts that its VirtualServices name, as written."""

    clusters: tuple[XdsResource, ...] = ()
    endpoints: tuple[XdsResource, ...] = ()
    listeners: tuple[XdsResource, ...] = ()
    routes: tuple[XdsResource, ...] = ()
    shared: tuple[tuple[int, HostPart], ...] = ()
    line: str = ""
    origin: Ref | None = None
    wants: frozenset[str] = frozenset()


def service_parts(world: WorldReader, key: ScopeKey, host: str, cache: CompileCache) -> ServiceParts | None:
    """None: the scope does not see the host."""
    view = service_view(world, host, key.namespace)
    if view is None:
        return None
    service = view.service
    listeners: tuple[XdsResource, ...] = ()
    routes: tuple[XdsResource, ...] = ()
    shared: tuple[tuple[int, HostPart], ...] = ()
    if not service.has_tcp:
        shared = tuple((port.number, _host_part(view, port.number, cache)) for port in service.ports)
    elif service.vip:
        # Only these depend on where the scope listens.
        listeners = cache.listeners.get((key.loopback, view), lambda: listener.own(key.loopback, view))
        routes = _own_routes(view, cache)
    return ServiceParts(
        _clusters(world, view, cache),
        endpoint_parts(world, view, cache),
        listeners,
        routes,
        shared,
        _line(key, view),
        service.owner,
        frozenset(written for (_, written), _ in view.destinations),
    )


def endpoint_parts(world: WorldReader, view: ServiceView, cache: CompileCache) -> tuple[XdsResource, ...]:
    """One ClusterLoadAssignment for each port and subset of a service whose endpoints come over EDS."""
    service, rule = view.service, view.rule
    if cluster.discovery(service) is not cluster.Discovery.EDS:
        return ()
    endpoints = world.endpoints(service.slot)
    made = _assignments(service.slot, endpoints, cache)
    found = []
    for port in service.ports:
        for subset, labels in cluster.subsets(rule):
            mutual = tls.client_tls(service, rule, subset).mode is ClientTLSMode.ISTIO_MUTUAL
            key = (port.number, subset, labels, mutual, service.owner)
            if key not in made:
                name = str(names.OutboundCluster(port.number, subset, service.host))
                where = endpoint.places(endpoints, port.number, labels, mutual=mutual)
                made[key] = endpoint.load_assignment(name, where, _origins(service.owner, endpoints))
            found.append(made[key])
    return tuple(found)


def _origins(owner: Ref, endpoints: tuple[Endpoint, ...]) -> tuple[Ref, ...]:
    return (*dict.fromkeys(instance.workload for instance in endpoints if instance.workload is not None), owner)


def _assignments(slot: str, endpoints: tuple[Endpoint, ...], cache: CompileCache) -> dict[tuple[object, ...], XdsResource]:
    """What has been made of this very set of endpoints. By identity first: a World keeps its tuples, and comparing is O(endpoints)."""
    entry = cache.assignments.get(slot)
    if entry is not None and (entry[0] is endpoints or entry[0] == endpoints):
        kept: dict[tuple[object, ...], XdsResource] = entry[1]
        return kept
    made: dict[tuple[object, ...], XdsResource] = {}
    cache.assignments.put(slot, (endpoints, made))
    return made


def _clusters(world: WorldReader, view: ServiceView, cache: CompileCache) -> tuple[XdsResource, ...]:
    service = view.service
    inline = world.endpoints(service.slot) if cluster.discovery(service) is cluster.Discovery.DNS else ()
    key = cluster.ClusterView(service, view.rule, view.identities, world.mesh.trust_domain, inline)
    made: tuple[XdsResource, ...] = cache.clusters.get(key, lambda: cluster.clusters(key))
    return made


def _host_part(view: ServiceView, port: int, cache: CompileCache) -> HostPart:
    # Only what a virtual host reads: a change of the instances' identities or of the DestinationRule makes the same bytes.
    key = (view.service, view.domains, view.http, view.destinations, port)
    made: HostPart = cache.hosts.get(key, lambda: route.virtual_host(view, port))
    return made


def _own_routes(view: ServiceView, cache: CompileCache) -> tuple[XdsResource, ...]:
    host = view.service.host
    made = []
    for port in view.service.ports:
        if port.protocol.is_http:
            part = _host_part(view, port.number, cache)
            made.append(route.route_configuration(str(names.OutboundRoute(port.number, host)), (part,)))
    return tuple(made)


def _line(key: ScopeKey, view: ServiceView) -> str:
    """`ADDRESS host alias...`; wildcards have no line, and so has what can't be reached."""
    service = view.service
    if not view.domains or not service.ports or "*" in service.host:
        return ""
    if not service.has_tcp:
        return f"{listener.shared_address(key.loopback)} {' '.join(view.domains)}"
    return f"{listener.own_address(key.loopback, service)} {' '.join(view.domains)}" if service.vip else ""
