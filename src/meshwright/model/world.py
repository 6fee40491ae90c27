# SPDX-License-Identifier: Apache-2.0
"""The World: everything the mesh is to be at one revision, immutable, with its indexes; and what differs between two of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from meshwright.errors import Invalid, Violation
from meshwright.model import hosts
from meshwright.model.canonical import digest, to_spec_json
from meshwright.model.change import Change, ChangeSet
from meshwright.model.derive import VIP_PREFIX, accounts_of, instance_with, services_with, vip_of
from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.meta import AddressStatus, Ref, Resource, Status
from meshwright.model.proxy import Node, Proxy
from meshwright.model.service import Endpoint, Service
from meshwright.model.step import POLICIES, advance
from meshwright.model.tables import MeshSettings, Pair, Tables, host_of, may_claim, precedence, private_slot, slot_of, written_hosts

__all__ = ["Change", "ChangeSet", "MeshSettings", "World", "allocate_vips"]

FIRST_VIP, LAST_VIP = 2, 65_534


class World:
    """One revision. Mappings iterate in sorted order; all that is returned is immutable and may be kept."""

    __slots__ = ("_tables", "mesh", "revision")

    def __init__(self, mesh: MeshSettings, revision: int = 0, tables: Tables | None = None) -> None:
        self.mesh = mesh
        self.revision = revision
        self._tables = tables if tables is not None else Tables()

    @classmethod
    def empty(cls, mesh: MeshSettings | None = None) -> World:
        """Revision 0: nothing is known."""
        return cls(mesh if mesh is not None else MeshSettings())

    def apply(self, changes: Sequence[Change], revision: int) -> tuple[World, ChangeSet]:
        """The World after the changes and what they touched. The result depends on what is there after them, not on the way to it."""
        tables, changed = advance(self._tables, self.mesh, changes)
        return World(self.mesh, revision, tables), changed

    # -- facts ---------------------------------------

    @property
    def services(self) -> Mapping[str, Service]:
        """Every Service by its slot: its host, and what else `tables.Tables` says. Which of them a namespace has is `service_for`."""
        return self._tables.services

    def hosts_for(self, namespace: str) -> list[str]:
        """The hosts that a namespace may see a service of, sorted."""
        own = private_slot("", namespace)
        return sorted({host_of(slot) for slot, _ in self._tables.services.unsorted() if " " not in slot or slot.endswith(own)})

    def service_for(self, host: str, namespace: str) -> Service | None:
        """The service that a namespace calls by this host: of the one that is declared for all who see it, and the one that the namespace
        declares for itself, the oldest, then the first by name. None: it sees none."""
        services = self._tables.services
        shared: Service | None = services.get(host)
        if shared is not None and not shared.visible(namespace):
            shared = None
        own: Service | None = services.get(private_slot(host, namespace)) if host in self._tables.privates else None
        if shared is None or own is None:
            return shared or own
        return min(shared, own, key=self._age)

    def services_at(self, host: str) -> tuple[Service, ...]:
        """All of a host, whoever sees them."""
        slots = (host, *(private_slot(host, namespace) for namespace in self._tables.privates.get(host, ())))
        return tuple(service for slot in slots if (service := self._tables.services.get(slot)) is not None)

    @property
    def proxies(self) -> Mapping[ProxyId, Proxy]:
        """Every enrolled workload's proxy, the banned too."""
        return self._tables.proxies

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self._tables.nodes

    def resource(self, ref: Ref) -> Resource | None:
        return self.entry(ref.kind, ref.namespace, ref.name)

    def resources(self, kind: str, namespace: str | None = None) -> tuple[Resource, ...]:
        """All of a kind, of one namespace or of all, sorted by namespace and name."""
        homes = self._tables.resources
        wanted = [home for home in homes if home[0] == kind] if namespace is None else [(kind, namespace)]
        return tuple(names[name] for home in wanted if (names := homes.get(home)) is not None for name in names)

    # -- services ---------------------------------------

    def endpoints(self, slot: str) -> tuple[Endpoint, ...]:
        """The instances of a service, sorted by address and workload; those of banned proxies are not in it."""
        found: tuple[Endpoint, ...] = self._tables.endpoints.get(slot, ())
        return found

    def service_accounts(self, slot: str) -> tuple[SpiffeId, ...]:
        """The identities of the sidecars in front of a service's endpoints, sorted: who may answer for it."""
        service = self._tables.services.get(slot)
        return accounts_of(service, self.endpoints(slot), self.mesh.trust_domain) if service is not None else ()

    def resolve_host(self, name: str, namespace: str) -> str | None:
        """The host of the service that `name`, written in a document of `namespace`, means; None when there is no such service."""
        services = self._tables.services
        found = hosts.candidates(name, namespace, self.mesh.domain)
        return next((host for host in found if host in services or private_slot(host, namespace) in services), None)

    def services_of(self, proxy_id: ProxyId) -> tuple[tuple[Service, Endpoint], ...]:
        """The services that a proxy's workload is an instance of, with the instance it is, sorted by host."""
        workload = self.entry("WorkloadEntry", proxy_id.namespace, proxy_id.name)
        if workload is None:
            return ()
        found = ((service, instance_with(self, service, workload)) for service in services_with(self, workload))
        first: dict[str, tuple[Service, Endpoint]] = {}
        for service, endpoint in sorted(found, key=lambda pair: self._age(pair[0])):
            if endpoint is not None:
                first.setdefault(service.host, (service, endpoint))
        return tuple(first[host] for host in sorted(first))

    def _age(self, service: Service) -> tuple[str, str, str]:
        """Which of a host's services is before the others."""
        return precedence(self.claims(service.slot)[0])

    # -- rules ---------------------------------------

    def destination_rule(self, host: str, from_namespace: str) -> Resource | None:
        """The one rule for callers in `from_namespace`: their own namespace's, else that of the service's namespace, else the mesh's; in
        each the one for this very host before one with a wildcard, then the oldest. Not those that are not exported to the caller."""
        rules = self._rules("DestinationRule", host)
        for namespace in self._order(host, from_namespace) if rules else ():
            for rule in rules:
                if rule.metadata.namespace == namespace and exported(rule, from_namespace):
                    return rule
        return None

    def virtual_services(self, host: str, from_namespace: str | None = None) -> tuple[Resource, ...]:
        """The VirtualServices that rule a host, the first counts: for callers in `from_namespace` their own namespace's, then that of the
        service's namespace, then the mesh's (nobody else's, so that no namespace changes what another one's calls do). Without
        `from_namespace` all of them: the service's namespace's, the mesh's, then by age. Those for this very host come before wildcards;
        of two in one namespace for one host the older is there."""
        rules = self._winners(host)
        if len(rules) < 1:
            return ()
        if from_namespace is None:
            first = self._order(host, "")
            return tuple(sorted(rules, key=lambda rule: _place(first, rule)))
        allowed = self._order(host, from_namespace)
        seen = [rule for rule in rules if rule.metadata.namespace in allowed and exported(rule, from_namespace)]
        return tuple(sorted(seen, key=lambda rule: _place(allowed, rule)))

    def policies(self, namespace: str) -> tuple[Resource, ...]:
        """AuthorizationPolicies and PeerAuthentications of the mesh's root namespace and of this one, by kind, namespace and name."""
        homes = sorted({self.mesh.root_namespace, namespace})
        return tuple(policy for kind in POLICIES for home in homes for policy in self.resources(kind, home))

    def claims(self, slot: str) -> tuple[Resource, ...]:
        """The ServiceEntries that claim a slot, the winner first."""
        found: tuple[Resource, ...] = self._tables.claims.get(slot, ())
        return found

    def winner(self, resource: Resource, host: str) -> Resource:
        """The ServiceEntry that has the host where this one is seen: in its own namespace, when nobody else sees it."""
        slot = self.slot(resource, host)
        service = self.service_for(host, resource.metadata.namespace) if slot != host else None
        return self.claims(service.slot if service is not None else slot)[0]

    def rivals(self, rule: Resource) -> tuple[Resource, ...]:
        """The rules of the same kind and namespace that may mean a host that this one may mean, this one among them, the oldest first."""
        found: dict[Ref, Resource] = {}
        for written in written_hosts(rule):
            for host in hosts.candidates(written, rule.metadata.namespace, self.mesh.domain):
                found.update((other.ref, other) for other in self._tables.rules.get((rule.kind, host), ()))
        return tuple(other for other in found.values() if other.metadata.namespace == rule.metadata.namespace)

    def may_claim(self, host: str, namespace: str) -> bool:
        """False for a host of the mesh's own form with another namespace in it."""
        return may_claim(host, namespace, self.mesh)

    def _order(self, host: str, from_namespace: str) -> list[str]:
        service = self.service_for(host, from_namespace)
        return [from_namespace, service.namespace if service is not None else from_namespace, self.mesh.root_namespace]

    def _rules(self, kind: str, host: str) -> list[Resource]:
        """The rules that mean a host: those for this very host, then those with a wildcard, the longest first; each the oldest first."""
        rules = self._tables.rules
        found = [rule for rule in rules.get((kind, host), ()) if self._means(rule, host)]
        for wildcard in hosts.wildcards(host):
            found.extend(rules.get((kind, wildcard), ()))
        return found

    def _means(self, rule: Resource, host: str) -> bool:
        namespace = rule.metadata.namespace
        domain = self.mesh.domain
        # A full outside name means itself, also where the rule's own namespace sees no such service.
        return any(
            self.resolve_host(written, namespace) == host or hosts.candidates(written, namespace, domain) == (host,)
            for written in written_hosts(rule)
        )

    def _winners(self, host: str) -> list[Resource]:
        rules = self._tables.rules
        found: dict[Ref, Resource] = {}
        for key in (host, *hosts.wildcards(host)):
            taken: set[str] = set()
            for rule in rules.get(("VirtualService", key), ()):
                if rule.metadata.namespace not in taken and (key != host or self._means(rule, host)):
                    taken.add(rule.metadata.namespace)
                    found.setdefault(rule.ref, rule)
        return list(found.values())

    # -- derive.Facts ---------------------------------------

    def entry(self, kind: str, namespace: str, name: str) -> Resource | None:
        names = self._tables.resources.get((kind, namespace))
        found: Resource | None = names.get(name) if names is not None else None
        return found

    def proxy(self, id: ProxyId) -> Proxy | None:
        found: Proxy | None = self._tables.proxies.get(id)
        return found

    def service(self, slot: str) -> Service | None:
        found: Service | None = self._tables.services.get(slot)
        return found

    def slot(self, resource: Resource, host: str) -> str:
        return slot_of(resource, host, self.mesh)

    def selecting(self, pair: Pair) -> Iterable[str]:
        names: tuple[str, ...] = self._tables.selectors.get(pair, ())
        return names

    def having(self, pair: Pair) -> Iterable[str]:
        names: Mapping[str, bool] = self._tables.workloads.get(pair, {})
        return iter(names)

    def numbers(self) -> Iterator[int]:
        """Every service number that a ServiceEntry has, also of one that lost its host."""
        for (kind, _), names in self._tables.resources.unsorted():
            if kind == "ServiceEntry":
                for _, resource in names.unsorted():
                    yield from (vip_of(resource, address.host) for address in resource.status.addresses)


def exported(rule: Resource, namespace: str) -> bool:
    """Whether a rule's `exportTo` lets callers of a namespace heed it."""
    to = rule.spec.export_to
    return not to or "*" in to or namespace in to or ("." in to and rule.metadata.namespace == namespace)


def _place(order: Sequence[str], rule: Resource) -> int:
    namespace = rule.metadata.namespace
    return order.index(namespace) if namespace in order else len(order)


def allocate_vips(world: World, resource: Resource, taken: Collection[int] = ()) -> Resource:
    """The ServiceEntry with a number for each of its hosts: those it has, else the lowest free ones. `taken`: numbers given since this
    World was made. Raises Invalid when there is none left."""
    kept = {address.host: address for address in resource.status.addresses if vip_of(resource, address.host)}
    if resource.status.addresses and all(host in kept for host in resource.spec.hosts) and len(kept) == len(resource.spec.hosts):
        return resource
    used = {*world.numbers(), *taken, *(vip_of(resource, host) for host in kept)}
    free = (number for number in range(FIRST_VIP, LAST_VIP + 1) if number not in used)
    addresses = []
    for host in resource.spec.hosts:
        address = kept.get(host)
        if address is None:
            number = next(free, None)
            if number is None:
                raise Invalid(
                    (Violation("spec.hosts", "Exhausted", f"all {LAST_VIP - FIRST_VIP + 1} service numbers of the mesh are given"),)
                )
            address = AddressStatus(f"{VIP_PREFIX}{number >> 8}.{number & 255}", host)
        addresses.append(address)
    status = Status(resource.status.conditions, tuple(addresses))
    made = digest(resource.kind, resource.metadata, to_spec_json(resource.spec), status.addresses)
    return msgspec.structs.replace(resource, status=status, digest=made)
