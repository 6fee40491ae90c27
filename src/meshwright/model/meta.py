# SPDX-License-Identifier: Apache-2.0
"""What every document has: a reference, metadata, conditions; and the Resource that the rest of the code passes around."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Ref(NamedTuple):
    """Names one resource. `kind` is the kind's name (`VirtualService`); sorts by kind, namespace, name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


class Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Kubernetes object metadata, as far as a mesh needs it. The server fills uid, resource_version, generation, creation_timestamp."""

    name: str
    namespace: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""


class Condition(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A Kubernetes condition. `type` is Accepted | ResolvedRefs | Programmed; `status` is True | False | Unknown; times are RFC 3339."""

    type: str
    status: str
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


class AddressStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One address that the mesh gave to a service (Istio's status.addresses of a ServiceEntry)."""

    value: str
    host: str = ""


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the mesh says of a resource."""

    conditions: tuple[Condition, ...] = ()
    addresses: tuple[AddressStatus, ...] = ()


class Resource(msgspec.Struct, frozen=True, eq=False):
    """A decoded, valid document. Equal and hashed by `digest`: sha256 over kind, namespace, name, labels, annotations and spec as canonical
    JSON (plus the addresses in status), so that a view made of resources is a cache key."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: Any
    status: Status
    digest: bytes

    @property
    def ref(self) -> Ref:
        return Ref(self.kind, self.metadata.namespace, self.metadata.name)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resource) and other.digest == self.digest
