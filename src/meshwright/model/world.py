# SPDX-License-Identifier: Apache-2.0
"""The World: everything the mesh is to be at one revision, immutable, with its indexes; and what differs between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref, Resource
from meshwright.model.proxy import Node, Proxy
from meshwright.model.service import Endpoint, Service


class Change(NamedTuple):
    """One fact that changed: a resource (`ref`) or a node (`node`); the new value, or None when it is gone."""

    ref: Ref | None = None
    resource: Resource | None = None
    node_name: str = ""
    node: Node | None = None


class ChangeSet(NamedTuple):
    """What one step touched.

    services: hosts whose Service, DestinationRule, VirtualService or SAN set changed (views that see them are compiled anew).
    endpoints: hosts of which only the endpoints changed (one ClusterLoadAssignment each, no view is compiled).
    namespaces: namespaces whose policies (AuthorizationPolicy, PeerAuthentication) changed; the mesh's root namespace stands for all.
    proxies: proxies that were enrolled, changed or removed, or whose own WorkloadEntry changed.
    refs: the resources that changed.
    """

    services: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    proxies: frozenset[ProxyId] = frozenset()
    refs: frozenset[Ref] = frozenset()


class WorldView(Protocol):
    """What readers of the World use. Built by `World.empty(settings)` and `world.apply(changes, revision) -> (World, ChangeSet)`."""

    revision: int

    @property
    def services(self) -> Mapping[str, Service]: ...

    @property
    def proxies(self) -> Mapping[ProxyId, Proxy]: ...

    def resource(self, ref: Ref) -> Resource | None: ...

    def endpoints(self, host: str) -> tuple[Endpoint, ...]: ...
