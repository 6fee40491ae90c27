# SPDX-License-Identifier: Apache-2.0
"""compile(World) -> Snapshot, in two halves: an outbound one for each scope, shared by its proxies, and an inbound one for each proxy."""

from __future__ import annotations

from typing import NamedTuple

from meshwright.model.proxy import Proxy
from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl
from meshwright.translate import inbound as inbound_part
from meshwright.translate.memo import CompileCache
from meshwright.translate.outbound import NAMES, Outbound, compile_outbound, update_outbound
from meshwright.translate.view import ScopeKey, WorldReader

__all__ = [
    "NAMES",
    "CompileCache",
    "Inbound",
    "Outbound",
    "ScopeKey",
    "compile_inbound",
    "compile_outbound",
    "make_snapshot",
    "scope_key",
    "update_outbound",
]


class Inbound(NamedTuple):
    """What one workload's proxy has of its own."""

    clusters: ResourceSet
    listeners: ResourceSet


def scope_key(proxy: Proxy) -> ScopeKey:
    return ScopeKey(proxy.namespace, proxy.settings.loopback)


def compile_inbound(world: WorldReader, proxy: Proxy, previous: Inbound | None) -> Inbound:
    """The previous one when its bytes are the same; a set that is not the same is a successor of the previous one's."""
    view = inbound_part.inbound_view(world, proxy)
    clusters = {r.name: r for r in inbound_part.clusters(view)}
    listeners = {r.name: r for r in inbound_part.listeners(view)}
    if previous is None:
        return Inbound(ResourceSet(TypeUrl.CLUSTER, clusters), ResourceSet(TypeUrl.LISTENER, listeners))
    made = Inbound(
        previous.clusters.replace(clusters.values(), previous.clusters.resources.keys() - clusters.keys()),
        previous.listeners.replace(listeners.values(), previous.listeners.resources.keys() - listeners.keys()),
    )
    return previous if made.clusters is previous.clusters and made.listeners is previous.listeners else made


def make_snapshot(outbound: Outbound, inbound: Inbound) -> Snapshot:
    """The outbound layer first. Names of the two never meet (`outbound|...`, `inbound...`)."""
    return Snapshot(
        {
            TypeUrl.CLUSTER: (outbound.clusters, inbound.clusters),
            TypeUrl.ENDPOINT: (outbound.endpoints,),
            TypeUrl.LISTENER: (outbound.listeners, inbound.listeners),
            TypeUrl.ROUTE: (outbound.routes,),
            TypeUrl.NAMES: (outbound.names,),
        }
    )
