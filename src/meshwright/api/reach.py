# SPDX-License-Identifier: Apache-2.0
"""How far a namespace's editor reaches: what it writes changes what its own namespace calls, not where others' calls to the outside go."""

from __future__ import annotations

from meshwright.api.call import Call
from meshwright.api.policy import Role
from meshwright.errors import Forbidden
from meshwright.model import hosts
from meshwright.model.meta import Resource
from meshwright.model.networking import ServiceEntry


def refuse_reach(call: Call, resource: Resource, previous: Resource | None) -> None:
    """Raises Forbidden. A host of the form NAME.NAMESPACE.DOMAIN is its namespace's (the World sees to that); any other host has no owner
    that could be known, so who declares one for other namespaces takes their calls."""
    spec = resource.spec
    if Role.MESH_ADMIN in call.principal.roles or not isinstance(spec, ServiceEntry):
        return
    if previous is not None and previous.spec == spec:
        return
    namespace, domain = resource.metadata.namespace, call.parts.controller.world.mesh.domain
    outside = [host for host in spec.hosts if hosts.owner_namespace(host, domain) is None]
    if outside and not (spec.export_to and set(spec.export_to) <= {".", namespace}):
        raise Forbidden(
            f"{outside[0]} is no host of namespace {namespace!r}: only a mesh-admin may export it to others; say exportTo: [.]",
            path="spec.exportTo",
        )
