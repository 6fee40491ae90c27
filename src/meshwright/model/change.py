# SPDX-License-Identifier: Apache-2.0
"""What goes into a step of the World, and what comes out beside the new World."""

from __future__ import annotations

from typing import NamedTuple

from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref, Resource
from meshwright.model.proxy import Node


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
    proxies: proxies that were enrolled, changed or removed, or whose own WorkloadEntry or one of whose services changed.
    refs: the resources that changed.
    """

    services: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    proxies: frozenset[ProxyId] = frozenset()
    refs: frozenset[Ref] = frozenset()
