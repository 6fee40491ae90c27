# SPDX-License-Identifier: Apache-2.0
"""Endpoints: ClusterLoadAssignments by locality, put together from ready-made bytes of each instance."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from itertools import groupby
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from meshwright.model.meta import Ref
from meshwright.model.service import Endpoint
from meshwright.model.snapshot import TypeUrl, XdsResource
from meshwright.model.wire import delimited
from meshwright.translate.wire import octets

Labels = tuple[tuple[str, str], ...]
Place = tuple[str, str, int, int]  # locality, address, port, weight (0: as any other)


def places(endpoints: tuple[Endpoint, ...], port: int, labels: Labels, *, mutual: bool) -> tuple[Place, ...]:
    """Where the instances with these labels are reached: with mutual TLS at the sidecar's port where there is one, else at the
    application's. Sorted; each (address, port) once."""
    wanted = set(labels)
    found: dict[tuple[str, int], Place] = {}
    for instance in endpoints:
        if not wanted <= set(instance.labels):
            continue
        target = next((target for number, target in instance.ports if number == port), 0)
        if mutual and instance.wire_port and target:
            target = instance.wire_port
        if target:
            found.setdefault((instance.address, target), (instance.locality, instance.address, target, instance.weight))
    return tuple(sorted(found.values()))


def assignment(cluster: str, where: tuple[Place, ...]) -> Any:
    """The message, for a cluster that carries its own endpoints."""
    message = endpoint_pb2.ClusterLoadAssignment()
    message.ParseFromString(_body(cluster, where))
    return message


def load_assignment(cluster: str, where: tuple[Place, ...], origins: tuple[Ref, ...]) -> XdsResource:
    """The resource. Addresses that are no IP addresses are left out: Envoy would refuse the whole of it."""
    usable = tuple(place for place in where if _is_ip(place[1]))
    return XdsResource(TypeUrl.ENDPOINT, cluster, _body(cluster, usable), origins)


def _body(cluster: str, where: tuple[Place, ...]) -> bytes:
    parts = [delimited(1, cluster.encode())]
    for locality, members in groupby(where, key=lambda place: place[0]):
        head = delimited(1, _locality(locality)) if locality else b""
        instances = b"".join(delimited(2, _instance(address, port, weight)) for _, address, port, weight in members)
        parts.append(delimited(2, head + instances))
    return b"".join(parts)


# The three below are pure and small; an endpoint stays the same while its neighbours come and go.
@lru_cache(maxsize=65_536)
def _instance(address: str, port: int, weight: int) -> bytes:
    instance = endpoint_components_pb2.LbEndpoint()
    socket = instance.endpoint.address.socket_address
    socket.address = address
    socket.port_value = port
    if weight:
        instance.load_balancing_weight.value = weight
    return octets(instance)


@lru_cache(maxsize=1_024)
def _locality(text: str) -> bytes:
    region, _, rest = text.partition("/")
    zone, _, sub_zone = rest.partition("/")
    return octets(base_pb2.Locality(region=region, zone=zone, sub_zone=sub_zone))


@lru_cache(maxsize=65_536)
def _is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True
