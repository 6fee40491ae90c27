# SPDX-License-Identifier: Apache-2.0
"""What is true of a document in the World around it: conflicts (Accepted) and references (ResolvedRefs). Neither refuses it, because what
it refers to may come later; times are filled in by whoever keeps the conditions."""

from __future__ import annotations

from collections.abc import Iterator

from meshwright.model import hosts
from meshwright.model.change import Change
from meshwright.model.meta import Condition, Resource
from meshwright.model.networking import Destination, ServiceEntry, VirtualService
from meshwright.model.tables import precedence, written_hosts
from meshwright.model.world import World

MAX_TOLD = 10
Problem = tuple[str, str]


def world_checks(world: World, resource: Resource) -> tuple[Condition, ...]:
    """Accepted and ResolvedRefs of a resource. One that is not in the World (yet) is judged as if it were."""
    if world.resource(resource.ref) != resource:
        world, _ = world.apply([Change(ref=resource.ref, resource=resource)], world.revision)
    generation = resource.metadata.generation
    return (
        _condition("Accepted", "Accepted", _conflicts(world, resource), generation),
        _condition("ResolvedRefs", "ResolvedRefs", _missing(world, resource), generation),
    )


def _condition(type_: str, fine: str, problems: Iterator[Problem], generation: int) -> Condition:
    found = list(dict.fromkeys(problems))
    if not found:
        return Condition(type_, "True", fine, observed_generation=generation)
    told = "; ".join(message for _, message in found[:MAX_TOLD])
    more = f"; and {len(found) - MAX_TOLD} more" if len(found) > MAX_TOLD else ""
    return Condition(type_, "False", found[0][0], told + more, observed_generation=generation)


# -- conflicts ---------------------------------------


def _conflicts(world: World, resource: Resource) -> Iterator[Problem]:
    if isinstance(resource.spec, ServiceEntry):
        for host in resource.spec.hosts:
            yield from _claim(world, resource, host)
    elif resource.kind in ("VirtualService", "DestinationRule"):
        yield from _rivalry(world, resource)


def _claim(world: World, resource: Resource, host: str) -> Iterator[Problem]:
    if not world.may_claim(host, resource.metadata.namespace):
        yield "NotAllowed", f"host {host} belongs to the namespace {hosts.owner_namespace(host, world.mesh.domain)}"
        return
    winner = world.winner(resource, host)
    if winner.ref != resource.ref:
        yield "Conflict", f"host {host} belongs to {winner.ref}, {_why(winner, resource)}"


def _rivalry(world: World, resource: Resource) -> Iterator[Problem]:
    """The first of several rules of one kind and namespace for one host counts."""
    namespace = resource.metadata.namespace
    mine = {_meant(world, written, namespace) for written in written_hosts(resource)}
    for other in world.rivals(resource):
        if precedence(other) < precedence(resource):
            for host in sorted(mine & {_meant(world, written, namespace) for written in written_hosts(other)}):
                yield "Conflict", f"host {host} is ruled by {other.ref}, {_why(other, resource)}"


def _meant(world: World, written: str, namespace: str) -> str:
    """The host that is meant, also while there is no such service."""
    return world.resolve_host(written, namespace) or hosts.candidates(written, namespace, world.mesh.domain)[0]


def _why(winner: Resource, loser: Resource) -> str:
    older = winner.metadata.creation_timestamp != loser.metadata.creation_timestamp
    return "which is older" if older else "which is as old and first by name"


# -- references ---------------------------------------


def _missing(world: World, resource: Resource) -> Iterator[Problem]:
    namespace = resource.metadata.namespace
    if resource.kind in ("VirtualService", "DestinationRule"):
        for host in written_hosts(resource):
            if not host.startswith("*") and world.resolve_host(host, namespace) is None:
                yield "HostNotFound", f"there is no service {host}"
    if isinstance(resource.spec, VirtualService):
        for path, destination in _destinations(resource.spec):
            yield from _destination(world, namespace, destination, path)


def _destinations(spec: VirtualService) -> Iterator[tuple[str, Destination]]:
    for number, http in enumerate(spec.http):
        yield from ((f"spec.http[{number}].route[{i}].destination", choice.destination) for i, choice in enumerate(http.route))
    for number, tcp in enumerate(spec.tcp):
        yield from ((f"spec.tcp[{number}].route[{i}].destination", choice.destination) for i, choice in enumerate(tcp.route))


def _destination(world: World, namespace: str, destination: Destination, path: str) -> Iterator[Problem]:
    host = world.resolve_host(destination.host, namespace)
    if host is None:
        yield "HostNotFound", f"{path}: there is no service {destination.host}"
        return
    service = world.service_for(host, namespace)
    if service is None:
        yield "HostNotFound", f"{path}: {host} is not exported to the namespace {namespace}"
        return
    numbers = [port.number for port in service.ports]
    if destination.port is not None and destination.port.number not in numbers:
        yield "PortNotFound", f"{path}: {host} has no port {destination.port.number}"
    if destination.subset:
        rule = world.destination_rule(host, namespace)
        if rule is None or all(subset.name != destination.subset for subset in rule.spec.subsets):
            yield "SubsetNotFound", f"{path}: no DestinationRule for {host} has the subset {destination.subset}"
