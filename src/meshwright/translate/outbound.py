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
_NOTHING = ServiceParts()
Parts = dict[str, ServiceParts | None]  # by host; None: not there (any more)
Steps = list[tuple[ServiceParts, ServiceParts, str]]  # what a host's parts were, what they are, the host


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
    for host in world.hosts_for(key.namespace):
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
    new: Parts = {host: parts.service_parts(world, key, host, cache) for host in sorted(hosts)}
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
        hosts |= {
            rival
            for rival in names.rivals(host, key.namespace, domain)
            if rival in known.services or world.service_for(rival, key.namespace)
        }
        hosts.add(host)
        for name in names.spellings(host, domain):
            hosts |= known.wanted.get(name, frozenset())
    for host in changed.endpoints:
        service = world.service_for(host, key.namespace)
        if service is not None and cluster.discovery(service) is not cluster.Discovery.EDS:
            hosts.add(host)
    return hosts


def _with_endpoints(world: WorldReader, key: ScopeKey, host: str, old: ServiceParts, cache: CompileCache) -> ServiceParts | None:
    view = service_view(world, host, key.namespace)
    return None if view is None else old._replace(endpoints=parts.endpoint_parts(world, view, cache))


def _replaced(key: ScopeKey, known: ScopeParts, new: Parts, cache: CompileCache) -> Outbound:
    """Everything of `known` with the parts of these hosts exchanged (None: gone)."""
    steps = [(known.services.get(host, _NOTHING), made or _NOTHING, host) for host, made in new.items()]
    services = {host: made for host, made in (known.services | new).items() if made is not None}
    shared = _shared_changes(steps)
    ports = _exchange(known.ports, shared)
    routes, listeners = _shared(key, ports, shared)
    empty = [port for port in shared if port not in ports]
    gone_routes = [str(names.OutboundRoute(port)) for port in empty]
    gone_listeners = [str(names.HttpListener(port)) for port in empty]
    old = known.outbound
    outbound = Outbound(
        _successor(old.clusters, [(before.clusters, after.clusters) for before, after, _ in steps]),
        _successor(old.endpoints, [(before.endpoints, after.endpoints) for before, after, _ in steps]),
        _successor(old.listeners, [(before.listeners, after.listeners) for before, after, _ in steps], listeners, gone_listeners),
        _successor(old.routes, [(before.routes, after.routes) for before, after, _ in steps], routes, gone_routes),
        old.names.replace((_names(services),)) if any(before.line != after.line for before, after, _ in steps) else old.names,
    )
    cache.scopes.put(key, ScopeParts(outbound, services, ports, _wanted(known.wanted, steps)))
    return outbound


def _successor(
    old: ResourceSet,
    steps: Iterable[tuple[tuple[XdsResource, ...], tuple[XdsResource, ...]]],
    also: Iterable[XdsResource] = (),
    gone: Iterable[str] = (),
) -> ResourceSet:
    """`steps`: what a host's resources of this type were and are."""
    upserts, removed = list(also), set(gone)
    for before, after in steps:
        if before is not after:
            upserts.extend(after)
            removed |= {r.name for r in before} - {r.name for r in after}
    return old.replace(upserts, removed)


def _shared_changes(steps: Steps) -> dict[int, dict[str, HostPart | None]]:
    """By port and host: the virtual hosts that are other ones, None where there is none any more."""
    changes: dict[int, dict[str, HostPart | None]] = {}
    for before, after, host in steps:
        if before.shared == after.shared:
            continue
        for port, _ in before.shared:
            changes.setdefault(port, {})[host] = None
        for port, host_part in after.shared:
            changes.setdefault(port, {})[host] = host_part
    return changes


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


def _wanted(wanted: dict[str, frozenset[str]], steps: Steps) -> dict[str, frozenset[str]]:
    if all(before.wants == after.wants for before, after, _ in steps):
        return wanted
    result = dict(wanted)
    for before, after, host in steps:
        for name in before.wants - after.wants:
            rest = result.pop(name) - {host}
            if rest:
                result[name] = rest
        for name in after.wants - before.wants:
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
