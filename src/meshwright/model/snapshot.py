# SPDX-License-Identifier: Apache-2.0
"""What a proxy is to run, in ready bytes. Made by translate, carried by xds; everything here is immutable and shared by all who hold it."""

from __future__ import annotations

import enum
import hashlib
import itertools
from collections.abc import Iterable, Mapping

from meshwright.model.meta import Ref
from meshwright.model.wire import delimited


class TypeUrl(enum.Enum):
    """The resource types, in make-before-break order. NAMES is our own: the hosts-file lines of the mesh's names, read by the agent."""

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    NAMES = "type.googleapis.com/meshwright.v1.Names"

    __hash__ = object.__hash__  # a key of many small tables; enum's own is several times slower


class XdsResource:
    """One xDS resource, serialised once. `body` is the serialised message of the type; `version` the first 16 hex digits of its sha256;
    `frame` is it as field 2 (`resources`) of a DeltaDiscoveryResponse, so that a response is a concatenation of frames.
    `origins`: the resources of the rule API that it was made from, the most specific first; a NACK becomes a condition on them."""

    __slots__ = ("body", "frame", "name", "origins", "type", "version")

    def __init__(self, type: TypeUrl, name: str, body: bytes, origins: tuple[Ref, ...]) -> None:
        self.type = type
        self.name = name
        self.body = body
        self.version = hashlib.sha256(body).hexdigest()[:16]
        self.origins = origins
        any_message = delimited(1, type.value) + delimited(2, body)
        self.frame = delimited(2, delimited(3, name) + delimited(1, self.version) + delimited(2, any_message))

    def __repr__(self) -> str:
        return f"XdsResource({self.type.name}, {self.name!r}, {self.version})"


_KEYS = itertools.count(1)


class ResourceSet:
    """Resources of one type by name; immutable. A successor knows its parent and which names differ from it, so that the delta between
    two neighbours costs what changed and not what there is. `key` is never given twice (id() is, once its object is gone)."""

    __slots__ = ("__weakref__", "changed", "key", "parent_key", "resources", "type")

    def __init__(
        self,
        type: TypeUrl,
        resources: Mapping[str, XdsResource],
        *,
        parent: ResourceSet | None = None,
        changed: frozenset[str] = frozenset(),
    ) -> None:
        self.type = type
        self.resources = resources
        self.key = next(_KEYS)
        self.parent_key = parent.key if parent is not None else 0
        self.changed = changed

    def replace(self, upserts: Iterable[XdsResource], removed: Iterable[str] = ()) -> ResourceSet:
        """The successor with these changes (self, when they change nothing)."""
        new = dict(self.resources)
        changed = set()
        for resource in upserts:
            old = new.get(resource.name)
            if old is None or old.version != resource.version:
                new[resource.name] = resource
                changed.add(resource.name)
        for name in removed:
            if new.pop(name, None) is not None:
                changed.add(name)
        return ResourceSet(self.type, new, parent=self, changed=frozenset(changed)) if changed else self


class Snapshot:
    """All resources of one proxy: per type a tuple of layers with disjoint names: the outbound one, shared by all proxies of a scope
    (the same object), and the workload's own inbound one. Two snapshots with the same layer objects are the same."""

    __slots__ = ("layers",)

    def __init__(self, layers: Mapping[TypeUrl, tuple[ResourceSet, ...]]) -> None:
        self.layers = layers

    def get(self, type: TypeUrl, name: str) -> XdsResource | None:
        for layer in self.layers.get(type, ()):
            found = layer.resources.get(name)
            if found is not None:
                return found
        return None

    def names(self, type: TypeUrl) -> list[str]:
        return sorted(name for layer in self.layers.get(type, ()) for name in layer.resources)

    def same(self, other: Snapshot | None) -> bool:
        if other is None or self.layers.keys() != other.layers.keys():
            return False
        return all(
            len(mine) == len(other.layers[t]) and all(a is b for a, b in zip(mine, other.layers[t], strict=True))
            for t, mine in self.layers.items()
        )
