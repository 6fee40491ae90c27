# SPDX-License-Identifier: Apache-2.0
"""The outbound part of a scope: put together from the parts of its services, and kept up to date part by part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from meshwright.model.meta import Ref
from meshwright.model.snapshot import ResourceSet, TypeUrl, XdsResource
from meshwright.model.world import ChangeSet
from meshwright.translate import cluster, listener, names, parts, route
from meshwright.translate.memo import CompileCache
from meshwright.translate.parts import ServiceParts
from meshwright.translate.route import HostPart
from meshwright.translate.view import ScopeKey, WorldReader, service_view

NAMES = "names"


class Outbound(NamedTuple):
    """What all proxies of one scope share; the same object for all of them."""

    clusters: ResourceSet
    endpoints: ResourceSet
    listeners: ResourceSet
    routes: ResourceSet
    names: ResourceSet


class ScopeParts(NamedTuple):
    """What an Outbound was put together from. Never changed, only replaced: `services` by host; `ports`: for each port that services
    share, their virtual hosts by host, sorted; `wanted`: which hosts' rules name a host (as written)."""

    outbound: Outbound
    services: dict[str, ServiceParts]
    ports: dict[int, dict[str, HostPart]]
    wanted: dict[str, frozenset[str]]


def compile_outbound(world: WorldReader, key: ScopeKey, cache: CompileCache) -> Outbound:
    """From scratch (apart from what the cache knows)."""
    services: dict[str, ServiceParts] = {}
    ports: dict[int, dict[str, HostPart]] = {}
    wanted: dict[str, set[str]] = {}
    for host in sorted(world.services):
        made = parts.service_parts(world, key, host, cache)
        if made is None:
            continue
        services[host] = made
        for port, host_part in made.shared:
            ports.setdefault(port, {})[host] = host_part
        for name in made.wants:
            wanted.setdefault(name, set()).add(host)
    everything = services.values()
    shared_routes, shared_listeners = _shared(key, ports, ports)
    outbound = Outbound(
        _set(TypeUrl.CLUSTER, (r for p in everything for r in p.clusters)),
        _set(TypeUrl.ENDPOINT, (r for p in everything for r in p.endpoints)),
        _set(TypeUrl.LISTENER, (*shared_listeners, *(r for p in everything for r in p.listeners))),
        _set(TypeUrl.ROUTE, (*shared_routes, *(r for p in everything for r in p.routes))),
        _set(TypeUrl.NAMES, (_names(services),)),
    )
    frozen = {name: frozenset(hosts) for name, hosts in wanted.items()}
    cache.scopes.put(key, ScopeParts(outbound, services, ports, frozen))
    return outbound


def update_outbound(world: WorldReader, key: ScopeKey, previous: Outbound, changed: ChangeSet, cache: CompileCache) -> Outbound:
    """The same as compile_outbound gives, at the cost of what changed. `previous` is the scope's Outbound of the World before; every set
    is its successor there, and where nothing changed the very same object."""
    known: ScopeParts | None = cache.scopes.get(key)
    if known is None or known.outbound is not previous:
        return _succeed(previous, compile_outbound(world, key, cache), key, cache)
    hosts = _affected(world, key, known, changed)
    instances = [host for host in changed.endpoints if host not in hosts and host in known.services]
    new = {host: parts.service_parts(world, key, host, cache) for host in sorted(hosts)}
    new |= {host: _with_endpoints(world, key, host, known.services[host], cache) for host in sorted(instances)}
    new = {host: made for host, made in new.items() if made != known.services.get(host)}
    if not new:
        return previous
    return _replaced(key, known, new, cache)


def _affected(world: WorldReader, key: ScopeKey, known: ScopeParts, changed: ChangeSet) -> set[str]:
    """The hosts whose view may be another one: those that changed, those whose aliases depend on them, those whose rules name them."""
    domain = world.mesh.domain
    hosts: set[str] = set()
    for host in changed.services:
        hosts |= {rival for rival in names.rivals(host, key.namespace, domain) if rival in known.services or rival in world.services}
        hosts.add(host)
        for name in names.spellings(host, domain):
            hosts |= known.wanted.get(name, frozenset())
    for host in changed.endpoints:
        service = world.services.get(host)
        if service is not None and cluster.discovery(service) is not cluster.Discovery.EDS:
            hosts.add(host)
    return hosts


def _with_endpoints(world: WorldReader, key: ScopeKey, host: str, old: ServiceParts, cache: CompileCache) -> ServiceParts | None:
    view = service_view(world, host, key.namespace)
    return None if view is None else old._replace(endpoints=parts.endpoint_parts(world, view, cache))


def _replaced(key: ScopeKey, known: ScopeParts, new: dict[str, ServiceParts | None], cache: CompileCache) -> Outbound:
    """Everything of `known` with the parts of these hosts exchanged (None: gone)."""
    services = dict(known.services)
    upserts: tuple[list[XdsResource], ...] = ([], [], [], [])
    removed: tuple[set[str], ...] = (set(), set(), set(), set())
    shared: dict[int, dict[str, HostPart | None]] = {}
    named = rewired = False
    for host, made in new.items():
        before, after = services.get(host, ServiceParts()), made or ServiceParts()
        for i in range(4):
            # The first four fields are the resources of the first four sets.
            gone, there = before[i], after[i]
            if gone is not there:
                upserts[i].extend(there)  # type: ignore[arg-type]
                removed[i].update({r.name for r in gone} - {r.name for r in there})  # type: ignore[union-attr]
        if before.shared != after.shared:
            for port, _ in before.shared:
                shared.setdefault(port, {})[host] = None
            for port, host_part in after.shared:
                shared.setdefault(port, {})[host] = host_part
        named = named or before.line != after.line
        rewired = rewired or before.wants != after.wants
        if made is None:
            services.pop(host, None)
        else:
            services[host] = made
    ports = _exchange(known.ports, shared)
    routes, listeners = _shared(key, ports, shared)
    empty = [port for port in shared if port not in ports]
    old = known.outbound
    outbound = Outbound(
        old.clusters.replace(upserts[0], removed[0]),
        old.endpoints.replace(upserts[1], removed[1]),
        old.listeners.replace((*upserts[2], *listeners), removed[2] | {str(names.HttpListener(port)) for port in empty}),
        old.routes.replace((*upserts[3], *routes), removed[3] | {str(names.OutboundRoute(port)) for port in empty}),
        old.names.replace((_names(services),)) if named else old.names,
    )
    wanted = _wanted(known.wanted, new, known.services) if rewired else known.wanted
    cache.scopes.put(key, ScopeParts(outbound, services, ports, wanted))
    return outbound


def _exchange(ports: dict[int, dict[str, HostPart]], shared: dict[int, dict[str, HostPart | None]]) -> dict[int, dict[str, HostPart]]:
    """The virtual hosts by port with these exchanged, sorted by host; ports without any are gone."""
    if not shared:
        return ports
    result = dict(ports)
    for port, changes in shared.items():
        old = result.get(port, {})
        hosts = dict(old)
        for host, host_part in changes.items():
            if host_part is None:
                hosts.pop(host, None)
            else:
                hosts[host] = host_part
        if hosts.keys() - old.keys():
            hosts = {host: hosts[host] for host in sorted(hosts)}
        if hosts:
            result[port] = hosts
        else:
            result.pop(port, None)
    return result


def _wanted(
    wanted: dict[str, frozenset[str]], new: dict[str, ServiceParts | None], before: dict[str, ServiceParts]
) -> dict[str, frozenset[str]]:
    result = dict(wanted)
    for host, made in new.items():
        wants = made.wants if made is not None else frozenset()
        wanted_before = before[host].wants if host in before else frozenset()
        for name in wanted_before - wants:
            rest = result[name] - {host}
            if rest:
                result[name] = rest
            else:
                del result[name]
        for name in wants - wanted_before:
            result[name] = result.get(name, frozenset()) | {host}
    return result


def _shared(key: ScopeKey, ports: dict[int, dict[str, HostPart]], which: Iterable[int]) -> tuple[list[XdsResource], list[XdsResource]]:
    """Route configurations and listeners of these ports, as far as they have virtual hosts."""
    routes, listeners = [], []
    for port in which:
        if port in ports:
            made = route.route_configuration(str(names.OutboundRoute(port)), ports[port].values())
            routes.append(made)
            owners: tuple[Ref, ...] = tuple(ref for ref in made.origins if ref.kind == "ServiceEntry")
            listeners.append(listener.shared_http(key.loopback, port, owners))
    return routes, listeners


def _names(services: dict[str, ServiceParts]) -> XdsResource:
    lines = sorted(made.line for made in services.values() if made.line)
    owners = tuple(dict.fromkeys(made.origin for _, made in sorted(services.items()) if made.line and made.origin is not None))
    return XdsResource(TypeUrl.NAMES, NAMES, "".join(f"{line}\n" for line in lines).encode(), owners)


def _set(type: TypeUrl, resources: Iterable[XdsResource]) -> ResourceSet:
    return ResourceSet(type, {r.name: r for r in resources})


def _succeed(previous: Outbound, fresh: Outbound, key: ScopeKey, cache: CompileCache) -> Outbound:
    """The fresh content as successor of the previous sets."""
    outbound = Outbound(
        *(
            old.replace(new.resources.values(), old.resources.keys() - new.resources.keys())
            for old, new in zip(previous, fresh, strict=True)
        )
    )
    known: ScopeParts | None = cache.scopes.get(key)
    if all(mine is theirs for mine, theirs in zip(outbound, previous, strict=True)):
        outbound = previous
    if known is not None:
        cache.scopes.put(key, known._replace(outbound=outbound))
    return outbound
