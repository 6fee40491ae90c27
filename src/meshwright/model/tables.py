# SPDX-License-Identifier: Apache-2.0
"""The World's facts and indexes; every table is a persistent map."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from meshwright.model import hosts
from meshwright.model.identity import DEFAULT_TRUST_DOMAIN, ProxyId
from meshwright.model.meta import Resource
from meshwright.model.proxy import Node, Proxy
from meshwright.model.service import Endpoint, Service
from meshwright.model.shards import Shards


class MeshSettings(msgspec.Struct, frozen=True):
    """The settings of the mesh that the World depends on."""

    trust_domain: str = DEFAULT_TRUST_DOMAIN
    domain: str = hosts.MESH_DOMAIN
    root_namespace: str = "meshwright-system"


Pair = tuple[str, str, str]


class Tables(NamedTuple):
    """resources: (kind, namespace) -> name -> resource.
    enrolments: proxy -> names of the nodes that enrol it.
    claims: slot -> the ServiceEntries that may have it, the winner first.
    services, endpoints: by slot. A slot is a host, or, where an outside host is declared by one namespace for itself only, `HOST NAMESPACE`
    (a host has no space): what others don't see takes nothing from them.
    privates: host -> the namespaces that have a slot of their own for it, sorted.
    rules: (kind, host that may be meant) -> DestinationRules or VirtualServices, the oldest first.
    selectors: (namespace, label, value) -> names of ServiceEntries, each below one pair of its selector.
    workloads: (namespace, label, value) -> names of the WorkloadEntries that have it.
    """

    resources: Shards[tuple[str, str], Shards[str, Resource]] = Shards()
    nodes: Shards[str, Node] = Shards()
    enrolments: Shards[ProxyId, tuple[str, ...]] = Shards()
    proxies: Shards[ProxyId, Proxy] = Shards()
    claims: Shards[str, tuple[Resource, ...]] = Shards()
    services: Shards[str, Service] = Shards()
    rules: Shards[tuple[str, str], tuple[Resource, ...]] = Shards()
    selectors: Shards[Pair, tuple[str, ...]] = Shards()
    workloads: Shards[Pair, Shards[str, bool]] = Shards()
    endpoints: Shards[str, tuple[Endpoint, ...]] = Shards()
    privates: Shards[str, tuple[str, ...]] = Shards()


def precedence(resource: Resource) -> tuple[str, str, str]:
    """Sorts the winner of a conflict first: the oldest, then by name, then by namespace."""
    metadata = resource.metadata
    return metadata.creation_timestamp or "~", metadata.name, metadata.namespace


def may_claim(host: str, namespace: str, mesh: MeshSettings) -> bool:
    """Hosts of the mesh's own form belong to the namespace in them, so that no namespace can take another's traffic."""
    owner = hosts.owner_namespace(host, mesh.domain)
    return owner is None or namespace in (owner, mesh.root_namespace)


def slot_of(resource: Resource, host: str, mesh: MeshSettings) -> str:
    """Where a ServiceEntry's claim to a host is decided: among those of its own namespace when nobody else sees it, else among all. A host
    of the mesh's own form has one owner for everybody."""
    namespace = resource.metadata.namespace
    exported = set(resource.spec.export_to)
    if exported and exported <= {".", namespace} and hosts.owner_namespace(host, mesh.domain) is None:
        return private_slot(host, namespace)
    return host


def private_slot(host: str, namespace: str) -> str:
    return f"{host} {namespace}"


def host_of(slot: str) -> str:
    return slot.partition(" ")[0]


def rule_keys(resource: Resource | None, mesh: MeshSettings) -> frozenset[str]:
    """Every host that a DestinationRule or VirtualService may mean; which of them it does mean depends on the services that are there."""
    if resource is None:
        return frozenset()
    namespace = resource.metadata.namespace
    return frozenset(host for written in written_hosts(resource) for host in hosts.candidates(written, namespace, mesh.domain))


def written_hosts(rule: Resource) -> tuple[str, ...]:
    """The hosts in a DestinationRule or VirtualService, as written."""
    return (rule.spec.host,) if rule.kind == "DestinationRule" else rule.spec.hosts


def selector_pair(resource: Resource | None) -> Pair | None:
    """The one pair by which a ServiceEntry with a selector is found."""
    selector = resource.spec.workload_selector if resource is not None else None
    if resource is None or selector is None or not selector.labels:
        return None
    key = min(selector.labels)
    return resource.metadata.namespace, key, selector.labels[key]
