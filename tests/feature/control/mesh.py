# SPDX-License-Identifier: Apache-2.0
"""Documents as the API would store them, and the store that they go into."""

from __future__ import annotations

from typing import Any

import msgspec

from meshwright.model.decode import decode, encode
from meshwright.model.meta import Ref, Resource
from meshwright.model.proxy import EnrolledWorkload, Node, ProxySettings
from meshwright.model.world import Change, MeshSettings, World, allocate_vips
from meshwright.store.base import Delete, Put, Store

Document = dict[str, Any]
MESH = MeshSettings()


def document(kind: str, name: str, spec: Document, namespace: str = "shop", **labels: str) -> Document:
    group = "security" if kind in ("AuthorizationPolicy", "PeerAuthentication") else "networking"
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def service(name: str, namespace: str = "shop", *, port: int = 80, export_to: tuple[str, ...] = ()) -> Document:
    """`NAME.NAMESPACE.mesh`, HTTP, the instances labelled app=NAME."""
    spec: Document = {
        "hosts": [f"{name}.{namespace}.mesh"],
        "ports": [{"number": port, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "workloadSelector": {"labels": {"app": name}},
    }
    if export_to:
        spec["exportTo"] = list(export_to)
    return document("ServiceEntry", name, spec, namespace)


def instance(name: str, address: str, app: str, namespace: str = "shop", account: str = "default") -> Document:
    return document("WorkloadEntry", name, {"address": address, "labels": {"app": app}, "serviceAccount": account}, namespace)


def route(name: str, host: str, namespace: str = "shop", *, timeout: str = "3s", to: str = "") -> Document:
    destinations = [{"destination": {"host": to or host}}]
    return document("VirtualService", name, {"hosts": [host], "http": [{"timeout": timeout, "route": destinations}]}, namespace)


def allow(name: str, app: str, path: str, namespace: str = "shop") -> Document:
    rule = {"to": [{"operation": {"paths": [path]}}]}
    return document("AuthorizationPolicy", name, {"selector": {"matchLabels": {"app": app}}, "action": "ALLOW", "rules": [rule]}, namespace)


def node(
    name: str, *workloads: str, namespace: str = "shop", banned: bool = False, loopback: str = "127.240", account: str = "default"
) -> Node:
    settings = ProxySettings(loopback=loopback)
    enrolled = tuple(EnrolledWorkload(w, namespace, account, {"app": w.rpartition("-")[0] or w}, settings) for w in workloads)
    return Node(name, (), enrolled, banned)


class Mesh:
    """Writes into a store; gives services their addresses as the API does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._world = World.empty(MESH)
        self._generations: dict[Ref, int] = {}

    def operation(self, what: Document | Node) -> Put:
        if isinstance(what, Node):
            return Put(f"nodes/{what.name}", msgspec.json.encode(what))
        resource = self._managed(decode(what))
        self._world, _ = self._world.apply([Change(ref=resource.ref, resource=resource)], 1)
        return Put(key_of(resource.ref), msgspec.json.encode(encode(resource)))

    def _managed(self, resource: Resource) -> Resource:
        generation = self._generations[resource.ref] = self._generations.get(resource.ref, 0) + 1
        metadata = msgspec.structs.replace(resource.metadata, generation=generation, creation_timestamp="2030-01-01T00:00:00Z")
        resource = msgspec.structs.replace(resource, metadata=metadata)
        old = self._world.resource(resource.ref)
        if old is not None:
            resource = msgspec.structs.replace(resource, status=old.status)
        return allocate_vips(self._world, resource) if resource.kind == "ServiceEntry" else resource

    async def put(self, *what: Document | Node) -> int:
        return await self.store.commit([self.operation(one) for one in what])

    async def delete(self, kind: str, name: str, namespace: str = "shop") -> int:
        ref = Ref(kind, namespace, name)
        self._world, _ = self._world.apply([Change(ref=ref)], 1)
        return await self.store.commit([Delete(key_of(ref))])


def key_of(ref: Ref) -> str:
    return f"resources/{ref.kind}/{ref.namespace}/{ref.name}"
