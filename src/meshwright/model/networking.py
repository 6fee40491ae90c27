# SPDX-License-Identifier: Apache-2.0
"""Istio's networking kinds as frozen structs. Field names are Istio's (camelCase on the wire, snake_case here).

Every field of Istio's proto that is not here is refused by name ("not supported yet"), never ignored: see decode.
What is known but not supported is in kinds. Source: istio.io/api networking/v1.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from meshwright.model.duration import Duration


class Spec(msgspec.Struct, frozen=True, eq=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Base of every message of the rule API."""


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
OptionalPort = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
# Envoy adds up the weights of a locality in 32 bits and doesn't say when they overflow.
EndpointWeight = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Attempts = Annotated[int, msgspec.Meta(ge=0, le=1_000)]


# -- ServiceEntry, WorkloadEntry ---------------------------------------


class Location(enum.Enum):
    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(enum.Enum):
    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"


class ServicePort(Spec, frozen=True):
    """`protocol` is HTTP | HTTP2 | GRPC | TCP | TLS | HTTPS, upper case after decoding; `target_port` 0 means `number`."""

    number: Port
    name: str
    protocol: str = ""
    target_port: OptionalPort = 0


class WorkloadSelector(Spec, frozen=True):
    """ServiceEntry's selector (`labels`)."""

    labels: dict[str, str] = {}


class WorkloadEntry(Spec, frozen=True):
    """One instance. `ports` maps a service port's name to the port the application listens on."""

    address: str
    ports: dict[str, Port] = {}
    labels: dict[str, str] = {}
    network: str = ""
    locality: str = ""
    weight: EndpointWeight = 0
    service_account: str = ""


class ServiceEntry(Spec, frozen=True):
    hosts: tuple[str, ...]
    ports: tuple[ServicePort, ...] = ()
    location: Location = Location.MESH_EXTERNAL
    resolution: Resolution = Resolution.NONE
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()


# -- VirtualService ---------------------------------------


class StringMatch(Spec, frozen=True):
    """Exactly one of the three."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class PortSelector(Spec, frozen=True):
    number: Port


class Destination(Spec, frozen=True):
    host: str
    subset: str = ""
    port: PortSelector | None = None


class HTTPMatchRequest(Spec, frozen=True):
    name: str = ""
    uri: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = {}
    without_headers: dict[str, StringMatch] = {}
    query_params: dict[str, StringMatch] = {}
    port: OptionalPort = 0
    ignore_uri_case: bool = False


class HTTPRouteDestination(Spec, frozen=True):
    destination: Destination
    weight: Percent = 0


class HTTPRetry(Spec, frozen=True):
    attempts: Attempts = 0
    per_try_timeout: Duration | None = None
    retry_on: str = ""


class HTTPRoute(Spec, frozen=True):
    """`timeout` None: no timeout, as in Istio."""

    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    timeout: Duration | None = None
    retries: HTTPRetry | None = None


class L4MatchAttributes(Spec, frozen=True):
    port: OptionalPort = 0


class RouteDestination(Spec, frozen=True):
    destination: Destination
    weight: Percent = 0


class TCPRoute(Spec, frozen=True):
    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualService(Spec, frozen=True):
    """`gateways` may only be empty or `["mesh"]` yet."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[str, ...] = ()


# -- DestinationRule ---------------------------------------


class SimpleLB(enum.Enum):
    UNSPECIFIED = "UNSPECIFIED"
    RANDOM = "RANDOM"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"
    LEAST_CONN = "LEAST_CONN"


class LoadBalancerSettings(Spec, frozen=True):
    simple: SimpleLB | None = None


class ClientTLSMode(enum.Enum):
    """MUTUAL is not supported yet."""

    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class ClientTLSSettings(Spec, frozen=True):
    """SIMPLE verifies the chain against the system's (or `ca_certificates`, a path on the host) and the names in
    `subject_alt_names`, else the host of the service."""

    mode: ClientTLSMode = ClientTLSMode.DISABLE
    sni: str = ""
    subject_alt_names: tuple[str, ...] = ()
    ca_certificates: str = ""


class TrafficPolicy(Spec, frozen=True):
    load_balancer: LoadBalancerSettings | None = None
    tls: ClientTLSSettings | None = None


class Subset(Spec, frozen=True):
    name: str
    labels: dict[str, str] = {}
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(Spec, frozen=True):
    host: str
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
