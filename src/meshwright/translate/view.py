# SPDX-License-Identifier: Apache-2.0
"""What one scope sees of one service: everything that compiling it may read, frozen and hashable, hence the key of the caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from meshwright.model import hosts
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Resource
from meshwright.model.networking import Destination
from meshwright.model.proxy import Proxy
from meshwright.model.service import Endpoint, Service
from meshwright.translate import names


class MeshFacts(Protocol):
    """The settings of the mesh that reach Envoy."""

    @property
    def trust_domain(self) -> str: ...
    @property
    def domain(self) -> str: ...
    @property
    def root_namespace(self) -> str: ...


class WorldReader(Protocol):
    """What translate reads of the World."""

    @property
    def mesh(self) -> MeshFacts: ...
    @property
    def proxies(self) -> Mapping[ProxyId, Proxy]: ...
    def hosts_for(self, namespace: str) -> list[str]: ...
    def service_for(self, host: str, namespace: str) -> Service | None: ...
    def endpoints(self, slot: str) -> tuple[Endpoint, ...]: ...
    def service_accounts(self, slot: str) -> tuple[Any, ...]: ...
    def destination_rule(self, host: str, from_namespace: str) -> Resource | None: ...
    def virtual_services(self, host: str, from_namespace: str | None = None) -> tuple[Resource, ...]: ...
    def policies(self, namespace: str) -> tuple[Resource, ...]: ...
    def services_of(self, proxy_id: ProxyId) -> tuple[tuple[Service, Endpoint], ...]: ...
    def resolve_host(self, name: str, namespace: str) -> str | None: ...


class ScopeKey(NamedTuple):
    """All proxies of one scope share one outbound part. `loopback` is the /16 (two octets) on whose addresses it listens."""

    namespace: str
    loopback: str


class Known(NamedTuple):
    """A destination that is there and visible: its service ports and the names of its subsets."""

    host: str
    ports: tuple[int, ...]
    subsets: tuple[str, ...]


class ServiceView(NamedTuple):
    """`domains` are the names that lead to it, its host first. `http` and `tcp` are the VirtualServices that rule its HTTP and TCP
    ports; `destinations` says what each host that they name is (or None), by the rule's namespace and the host as written.
    `identities` are the SPIFFE IDs of the instances."""

    service: Service
    domains: tuple[str, ...]
    http: Resource | None
    tcp: Resource | None
    rule: Resource | None
    identities: tuple[str, ...]
    destinations: tuple[tuple[tuple[str, str], Known | None], ...]

    def known(self, home: str, written: str) -> Known | None:
        for name, known in self.destinations:
            if name == (home, written):
                return known
        return None


class Upstream(NamedTuple):
    """Where a Destination leads: the cluster's name, and whether there is such a cluster in the scope."""

    cluster: str
    exists: bool


def service_view(world: WorldReader, host: str, namespace: str) -> ServiceView | None:
    """None: the namespace does not see this host."""
    service = world.service_for(host, namespace)
    if service is None:
        return None
    http, tcp = _rulers(world, host, namespace)
    return ServiceView(
        service,
        _granted_domains(world, host, namespace),
        http,
        tcp,
        world.destination_rule(host, namespace),
        tuple(sorted({str(account) for account in world.service_accounts(service.slot)})),
        _destinations(world, namespace, http, tcp),
    )


def upstream(view: ServiceView, home: str, destination: Destination, listener_port: int) -> Upstream:
    """Where a rule of namespace `home` leads. The port is the destination's, else the only port of its service, else the port that
    was called (as Istio has it)."""
    known = view.known(home, destination.host)
    if known is None:
        port = destination.port.number if destination.port else listener_port
        return Upstream(str(names.OutboundCluster(port, destination.subset, destination.host)), exists=False)
    port = known.ports[0] if len(known.ports) == 1 else listener_port
    if destination.port is not None:
        port = destination.port.number
    exists = port in known.ports and (not destination.subset or destination.subset in known.subsets)
    return Upstream(str(names.OutboundCluster(port, destination.subset, known.host)), exists)


def _rulers(world: WorldReader, host: str, namespace: str) -> tuple[Resource | None, Resource | None]:
    """The first VirtualService with HTTP rules for callers in this namespace, and the first with TCP rules."""
    rules = world.virtual_services(host, namespace)
    return next((rule for rule in rules if rule.spec.http), None), next((rule for rule in rules if rule.spec.tcp), None)


def _granted_domains(world: WorldReader, host: str, namespace: str) -> tuple[str, ...]:
    """Only the names that no other visible service has the better claim to: a domain may stand in one virtual host only."""
    domain = world.mesh.domain
    return tuple(
        name
        for name in (host, *names.aliases(host, namespace, domain))
        if _owner(world, hosts.candidates(name, namespace, domain), namespace) == host
    )


def _owner(world: WorldReader, claimants: tuple[str, ...], namespace: str) -> str | None:
    return next((host for host in claimants if world.service_for(host, namespace) is not None), None)


def _destinations(
    world: WorldReader, namespace: str, http: Resource | None, tcp: Resource | None
) -> tuple[tuple[tuple[str, str], Known | None], ...]:
    found: dict[tuple[str, str], Known | None] = {}
    for resource in (http, tcp):
        if resource is None:
            continue
        home = resource.metadata.namespace
        for route in (*resource.spec.http, *resource.spec.tcp):
            for choice in route.route:
                key = (home, choice.destination.host)
                if key not in found:
                    found[key] = _known(world, choice.destination.host, home, namespace)
    return tuple(sorted(found.items(), key=lambda item: item[0]))


def _known(world: WorldReader, written: str, home: str, namespace: str) -> Known | None:
    host = world.resolve_host(written, home)
    service = world.service_for(host, namespace) if host is not None else None
    if service is None:
        return None
    rule = world.destination_rule(service.host, namespace)
    subsets = tuple(sorted(subset.name for subset in rule.spec.subsets)) if rule else ()
    return Known(service.host, tuple(port.number for port in service.ports), subsets)
