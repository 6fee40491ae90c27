# SPDX-License-Identifier: Apache-2.0
"""What the World derives from ServiceEntries and WorkloadEntries: services with a virtual address each, and their endpoints."""

from __future__ import annotations

import enum

import msgspec

from meshwright.model.meta import Ref
from meshwright.model.networking import Location, Resolution


class Protocol(enum.Enum):
    """How a port is treated. HTTP covers HTTP/1.1 and upgrades to HTTP/2 between sidecars."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    TCP = "TCP"

    @property
    def is_http(self) -> bool:
        return self is not Protocol.TCP


class ServicePort(msgspec.Struct, frozen=True):
    """`target` is the port on the instance (for an outside service: on the real host)."""

    number: int
    name: str
    protocol: Protocol
    target: int


class Service(msgspec.Struct, frozen=True):
    """One host of one ServiceEntry. `owner` is the ServiceEntry that won the host. `vip` is the service's number (1..65535) in the mesh's
    /16: NUMBER -> 240.240.HI.LO in status.addresses, LOOPBACK.HI.LO for an explicit sidecar. `export_to` empty means every namespace;
    "." is already replaced by the namespace. `digest` is the owner's. `slot` is where the World keeps it
    and its endpoints (tables.Tables)."""

    host: str
    namespace: str
    owner: Ref
    ports: tuple[ServicePort, ...]
    location: Location
    resolution: Resolution
    vip: int
    selector: tuple[tuple[str, str], ...]
    export_to: tuple[str, ...]
    subject_alt_names: tuple[str, ...]
    digest: bytes
    slot: str = ""

    def visible(self, namespace: str) -> bool:
        """Whether it is exported to the namespace."""
        return not self.export_to or "*" in self.export_to or namespace in self.export_to

    @property
    def has_tcp(self) -> bool:
        return any(not p.protocol.is_http for p in self.ports)


class Endpoint(msgspec.Struct, frozen=True):
    """One instance of one service. `wire_port` is 0, or the inbound port of the sidecar in front of it (mutual TLS, SNI names the service
    port). `ports` maps service port number -> port of the application. Sorted by (address, workload)."""

    address: str
    ports: tuple[tuple[int, int], ...]
    labels: tuple[tuple[str, str], ...]
    weight: int
    locality: str
    network: str
    service_account: str
    workload: Ref | None
    wire_port: int

    def target(self, service_port: int) -> int:
        for number, target in self.ports:
            if number == service_port:
                return target
        raise KeyError(service_port)
