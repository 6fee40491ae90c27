# SPDX-License-Identifier: Apache-2.0
"""Chains of pure checks: what a document that has the right shape may still not say.

A check looks at one thing and yields the violations it finds; paths are as in the document (camelCase). World-wide checks
(references, conflicts) never refuse a document, they become its conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from meshwright.errors import Violation
from meshwright.model.check_networking import DESTINATION_RULE, SERVICE_ENTRY, VIRTUAL_SERVICE, WORKLOAD_ENTRY
from meshwright.model.check_security import AUTHORIZATION_POLICY, PEER_AUTHENTICATION
from meshwright.model.conditions import world_checks
from meshwright.model.meta import Resource
from meshwright.model.networking import DestinationRule, ServiceEntry, Spec, VirtualService, WorkloadEntry
from meshwright.model.security import AuthorizationPolicy, PeerAuthentication

__all__ = ["check", "check_spec", "world_checks"]

_CHAINS: Mapping[type[Spec], tuple[Callable[[Any], Iterator[Violation]], ...]] = {
    ServiceEntry: SERVICE_ENTRY,
    WorkloadEntry: WORKLOAD_ENTRY,
    VirtualService: VIRTUAL_SERVICE,
    DestinationRule: DESTINATION_RULE,
    PeerAuthentication: PEER_AUTHENTICATION,
    AuthorizationPolicy: AUTHORIZATION_POLICY,
}


def check_spec(spec: Spec) -> Iterator[Violation]:
    """Everything wrong with a decoded spec, in the order of the chain."""
    for one in _CHAINS[type(spec)]:
        yield from one(spec)


def check(resource: Resource) -> Iterator[Violation]:
    """Everything wrong with a Resource on its own."""
    return check_spec(resource.spec)
