# SPDX-License-Identifier: Apache-2.0
"""One step of the World: changes in, new tables and a ChangeSet out. The cost grows with what the changes touch."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from meshwright.model import hosts
from meshwright.model.change import Change, ChangeSet
from meshwright.model.derive import accounts_of, endpoint_order, instance_with, instances, service_of, services_with
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref, Resource
from meshwright.model.proxy import EnrolledWorkload, Node, Proxy
from meshwright.model.service import Endpoint, Service
from meshwright.model.shards import Draft, Shards
from meshwright.model.tables import MeshSettings, Pair, Tables, host_of, may_claim, precedence, rule_keys, selector_pair, slot_of

POLICIES = ("AuthorizationPolicy", "PeerAuthentication")
RULES = ("DestinationRule", "VirtualService")
_NOBODY: Shards[str, bool] = Shards()


def advance(tables: Tables, mesh: MeshSettings, changes: Sequence[Change]) -> tuple[Tables, ChangeSet]:
    """The tables after the changes, and what they touched."""
    step = _Step(tables, mesh)
    for change in changes:
        if change.ref is not None:
            step.resource(change.ref, change.resource)
        else:
            step.node(change.node_name, change.node)
    return step.finish()


class _Step:
    """Drafts of the tables that may change, and what has been touched so far. Implements derive.Facts on the drafts."""

    def __init__(self, tables: Tables, mesh: MeshSettings) -> None:
        self._old = tables
        self._mesh = mesh
        self._drafts: dict[str, Draft[Any, Any]] = {}
        self._homes: dict[tuple[str, str], Draft[str, Resource]] = {}
        self._workloads: dict[Pair, Draft[str, bool]] = {}
        self._slots: set[str] = set()  # their Service is derived anew
        self._enrolled: dict[str, tuple[Node, dict[ProxyId, EnrolledWorkload]]] = {}
        self._moved: dict[Ref, Resource | None] = {}  # WorkloadEntries and what they were before
        self._rule_keys: set[str] = set()
        self._services: set[str] = set()
        self._endpoints: set[str] = set()
        self._namespaces: set[str] = set()
        self._proxies: set[ProxyId] = set()
        self._refs: set[Ref] = set()

    def _draft(self, table: str) -> Draft[Any, Any]:
        found = self._drafts.get(table)
        if found is None:
            found = self._drafts[table] = Draft(getattr(self._old, table))
        return found

    # -- derive.Facts ---------------------------------------

    def entry(self, kind: str, namespace: str, name: str) -> Resource | None:
        home = (kind, namespace)
        names = self._homes.get(home)
        if names is None:
            names = self._old.resources.get(home)
        found: Resource | None = names.get(name) if names is not None else None
        return found

    def proxy(self, id: ProxyId) -> Proxy | None:
        found: Proxy | None = self._now("proxies").get(id)
        return found

    def service(self, slot: str) -> Service | None:
        found: Service | None = self._now("services").get(slot)
        return found

    def slot(self, resource: Resource, host: str) -> str:
        return slot_of(resource, host, self._mesh)

    def selecting(self, pair: Pair) -> Iterable[str]:
        names: tuple[str, ...] = self._now("selectors").get(pair, ())
        return names

    def having(self, pair: Pair) -> Iterable[str]:
        draft = self._workloads.get(pair)
        names: Shards[str, bool] = draft.done() if draft is not None else self._old.workloads.get(pair, _NOBODY)
        return (name for name, _ in names.unsorted())

    def _now(self, table: str) -> Any:
        draft = self._drafts.get(table)
        return draft if draft is not None else getattr(self._old, table)

    # -- changes ---------------------------------------

    def resource(self, ref: Ref, new: Resource | None) -> None:
        home = (ref.kind, ref.namespace)
        names = self._homes.get(home)
        if names is None:
            names = self._homes[home] = Draft(self._old.resources.get(home) or Shards())
        old: Resource | None = names.get(ref.name)
        names.put(ref.name, new)
        if old is not None and new is not None and old.digest == new.digest and precedence(old) == precedence(new):
            return
        if old is None and new is None:
            return
        self._refs.add(ref)
        if ref.kind == "ServiceEntry":
            self._service_entry(old, new)
        elif ref.kind == "WorkloadEntry":
            self._workload(ref, old, new)
        elif ref.kind in RULES:
            self._rule(ref.kind, old, new)
        elif ref.kind in POLICIES:
            self._namespaces.add(ref.namespace)

    def _service_entry(self, old: Resource | None, new: Resource | None) -> None:
        before = self._claimed(old)
        after = self._claimed(new)
        claims = self._draft("claims")
        for slot in before | after:
            kept = [claim for claim in claims.get(slot, ()) if old is None or claim.ref != old.ref]
            if new is not None and slot in after:
                insort(kept, new, key=precedence)
            claims.put(slot, tuple(kept) or None)
        self._slots |= before | after
        old_pair, new_pair = selector_pair(old), selector_pair(new)
        if old_pair != new_pair:
            selectors = self._draft("selectors")
            if old is not None and old_pair is not None:
                selectors.put(old_pair, tuple(name for name in selectors.get(old_pair, ()) if name != old.metadata.name) or None)
            if new is not None and new_pair is not None:
                selectors[new_pair] = tuple(sorted({*selectors.get(new_pair, ()), new.metadata.name}))

    def _claimed(self, resource: Resource | None) -> set[str]:
        if resource is None:
            return set()
        return {self.slot(resource, host) for host in resource.spec.hosts if may_claim(host, resource.metadata.namespace, self._mesh)}

    def _workload(self, ref: Ref, old: Resource | None, new: Resource | None) -> None:
        self._moved.setdefault(ref, old)
        before = set(old.spec.labels.items()) if old is not None else set()
        after = set(new.spec.labels.items()) if new is not None else set()
        for key, value in before ^ after:
            pair = (ref.namespace, key, value)
            names = self._workloads.get(pair)
            if names is None:
                names = self._workloads[pair] = Draft(self._old.workloads.get(pair) or Shards())
            names.put(ref.name, True if (key, value) in after else None)

    def _rule(self, kind: str, old: Resource | None, new: Resource | None) -> None:
        before, after = rule_keys(old, self._mesh), rule_keys(new, self._mesh)
        rules = self._draft("rules")
        for host in before | after:
            kept = [rule for rule in rules.get((kind, host), ()) if old is None or rule.ref != old.ref]
            if new is not None and host in after:
                insort(kept, new, key=precedence)
            rules.put((kind, host), tuple(kept) or None)
        self._rule_keys |= before | after

    def node(self, name: str, new: Node | None) -> None:
        nodes, enrolments = self._draft("nodes"), self._draft("enrolments")
        old: Node | None = nodes.get(name)
        nodes.put(name, new)
        before = frozenset(self._workloads_of(old)) if old is not None else frozenset()
        after = frozenset(self._workloads_of(new)) if new is not None else frozenset()
        for id in before | after:
            names = {*enrolments.get(id, ()), name} if id in after else {*enrolments.get(id, ())} - {name}
            enrolments.put(id, tuple(sorted(names)) or None)
            self._enrol(id)

    def _enrol(self, id: ProxyId) -> None:
        """The proxy as its nodes say now: of several nodes one that is not banned counts, then the first by name."""
        nodes, proxies = self._draft("nodes"), self._draft("proxies")
        found = [node for name in self._draft("enrolments").get(id, ()) if (node := nodes.get(name)) is not None]
        counts = min(found, key=lambda node: (node.banned, node.name)) if found else None
        made = _proxy(counts, id, self._workloads_of(counts)[id]) if counts is not None else None
        if proxies.get(id) == made:
            return
        proxies.put(id, made)
        self._proxies.add(id)
        workload = self.entry("WorkloadEntry", id.namespace, id.name)
        if workload is not None:
            self._moved.setdefault(workload.ref, workload)

    def _workloads_of(self, node: Node) -> dict[ProxyId, EnrolledWorkload]:
        """By proxy; of two with one name the first counts."""
        known = self._enrolled.get(node.name)
        if known is None or known[0] is not node:
            made = {ProxyId(workload.name, workload.namespace): workload for workload in reversed(node.workloads)}
            known = self._enrolled[node.name] = (node, made)
        return known[1]

    # -- what follows ---------------------------------------

    def finish(self) -> tuple[Tables, ChangeSet]:
        for slot in sorted(self._slots):
            self._derive_service(slot)
        for slot in sorted(self._slots):
            self._derive_endpoints(slot)
        for ref, old in self._moved.items():
            self._move(ref, old)
        for key in self._rule_keys:
            self._services.update(self._covered(key))
        self._services, self._endpoints = set(map(host_of, self._services)), set(map(host_of, self._endpoints))
        self._endpoints -= self._services
        changed = ChangeSet(
            frozenset(self._services),
            frozenset(self._endpoints),
            frozenset(self._namespaces),
            frozenset(self._proxies),
            frozenset(self._refs),
        )
        return self._tables(), changed

    def _tables(self) -> Tables:
        for home, names in self._homes.items():
            self._draft("resources").put(home, names.done() if len(names) else None)
        for pair, workloads in self._workloads.items():
            self._draft("workloads").put(pair, workloads.done() if len(workloads) else None)
        return self._old._replace(**{table: draft.done() for table, draft in self._drafts.items()})

    def _derive_service(self, slot: str) -> None:
        services = self._draft("services")
        claims = self._now("claims").get(slot, ())
        old, new = services.get(slot), service_of(claims[0], slot) if claims else None
        if old == new:
            if claims and self._moved_first(slot, claims[0]):
                self._services.add(slot)
            return
        services.put(slot, new)
        self._services.add(slot)
        if old is None or new is None:
            host = host_of(slot)
            if slot != host:
                self._note_private(host, slot.partition(" ")[2], there=new is not None)
            # Which host a short name means depends on which hosts there are.
            self._services.update(alias for alias in hosts.candidates(host, "", self._mesh.domain) if services.get(alias) is not None)

    def _moved_first(self, slot: str, first: Resource) -> bool:
        """The same service by a claim of another age: which of several slots of the host counts may be another."""
        before = self._old.claims.get(slot, ())
        alone = slot == host_of(slot) and slot not in self._now("privates")
        return not alone and bool(before) and precedence(before[0]) != precedence(first)

    def _note_private(self, host: str, namespace: str, *, there: bool) -> None:
        privates = self._draft("privates")
        namespaces = {*privates.get(host, ())} - {namespace} | ({namespace} if there else set())
        privates.put(host, tuple(sorted(namespaces)) or None)

    def _derive_endpoints(self, slot: str) -> None:
        service = self.service(slot)
        endpoints = self._draft("endpoints")
        old: tuple[Endpoint, ...] = endpoints.get(slot, ())
        new = instances(self, service, self._now("claims").get(slot)[0].spec) if service is not None else ()
        for endpoint in {*old, *new} if slot in self._services else {*old} ^ {*new}:
            self._touch_proxy(endpoint.workload)
        if old != new:
            endpoints.put(slot, new or None)
            self._endpoints.add(slot)
            if service is not None:
                self._compare_accounts(service, old, new)

    def _touch_proxy(self, workload: Ref | None) -> None:
        if workload is not None:
            id = ProxyId(workload.name, workload.namespace)
            if self.proxy(id) is not None:
                self._proxies.add(id)

    def _move(self, ref: Ref, old: Resource | None) -> None:
        """One WorkloadEntry (or its proxy) changed: its endpoint in each service that selects it, or did."""
        new = self.entry(*ref)
        touched: dict[str, Service] = {}
        for version in (old, new):
            if version is not None:
                touched.update((service.slot, service) for service in services_with(self, version))
        for slot, service in touched.items():
            if slot not in self._slots:
                selected = new is not None and all(new.spec.labels.get(key) == value for key, value in service.selector)
                self._replace_endpoint(service, ref, instance_with(self, service, new) if new is not None and selected else None)
        if old is not None and new is not None and old.spec.labels != new.spec.labels:
            self._touch_proxy(ref)

    def _replace_endpoint(self, service: Service, ref: Ref, new: Endpoint | None) -> None:
        endpoints = self._draft("endpoints")
        all_old: tuple[Endpoint, ...] = endpoints.get(service.slot, ())
        kept = [endpoint for endpoint in all_old if endpoint.workload != ref]
        old = next((endpoint for endpoint in all_old if endpoint.workload == ref), None)
        if old == new:
            return
        if new is not None:
            insort(kept, new, key=endpoint_order)
        endpoints.put(service.slot, tuple(kept) or None)
        self._endpoints.add(service.slot)
        if old is None or new is None or old.ports != new.ports or old.labels != new.labels:
            self._touch_proxy(ref)
        if _proves(old) != _proves(new):
            self._compare_accounts(service, all_old, kept)

    def _compare_accounts(self, service: Service, old: Iterable[Endpoint], new: Iterable[Endpoint]) -> None:
        if accounts_of(service, old, "") != accounts_of(service, new, ""):
            self._services.add(service.slot)

    def _covered(self, key: str) -> Iterator[str]:
        """The services that a rule for this host covers; those that came or went in this step are touched already."""
        services = self._old.services
        if key.startswith("*"):
            yield from (slot for slot, _ in services.unsorted() if host_of(slot).endswith(key[1:]))
        elif key in services or key in self._old.privates:
            yield key


def _proves(endpoint: Endpoint | None) -> str | None:
    """The identity that an endpoint adds to those of its service."""
    return endpoint.service_account if endpoint is not None and endpoint.wire_port else None


def _proxy(node: Node, id: ProxyId, workload: EnrolledWorkload) -> Proxy:
    return Proxy(
        id=id,
        node=node.name,
        service_account=workload.service_account,
        labels=tuple(sorted(workload.labels.items())),
        settings=workload.proxy,
        banned=node.banned,
    )
