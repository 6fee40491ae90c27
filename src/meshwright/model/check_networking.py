# SPDX-License-Identifier: Apache-2.0
"""The checks of ServiceEntry, WorkloadEntry, VirtualService and DestinationRule, each a pure function of the spec."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from meshwright.errors import Violation
from meshwright.model import hosts, labels
from meshwright.model.check_match import check_match, is_retry_on, pattern_length
from meshwright.model.identity import is_dns_label, is_dns_subdomain
from meshwright.model.jsontext import child
from meshwright.model.networking import (
    ClientTLSMode,
    ClientTLSSettings,
    Destination,
    DestinationRule,
    HTTPRoute,
    HTTPRouteDestination,
    Resolution,
    RouteDestination,
    ServiceEntry,
    TrafficPolicy,
    VirtualService,
    WorkloadEntry,
)

PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "TCP", "TLS", "HTTPS")
_PROTOCOLS_NOT_YET = frozenset({"GRPC-WEB", "UDP", "MONGO", "MYSQL", "REDIS"})
MAX_HOSTS = 128
# Each TCP port is a listener on every sidecar that sees the service.
MAX_PORTS = 256
# What one document is multiplied into is bounded as well: a mebibyte of it must not become gigabytes of configuration.
MAX_DOORS = 512  # hosts times ports
MAX_PLACES = 65_536  # hosts times ports times endpoints
MAX_RULES = 16_384  # matches times destinations times hosts; a wildcard counts as MAX_HOSTS
MAX_SUBSETS = 64
MAX_EXPORTS = 256
MAX_SANS = 32
MAX_SAN_CHARACTERS = 4096  # of all together
# Reading patterns takes about 2 us a character, in the loop that serves everybody.
MAX_PATTERNS = 32_768
_HEEDED = {
    ClientTLSMode.DISABLE: frozenset[str](),
    ClientTLSMode.ISTIO_MUTUAL: frozenset({"subjectAltNames"}),
    ClientTLSMode.SIMPLE: frozenset({"sni", "subjectAltNames", "caCertificates"}),
}


def required(path: str, what: Sequence[object], message: str) -> Iterator[Violation]:
    if not what:
        yield Violation(path, "Required", message)


def unique(path: str, values: Sequence[object], field: str = "") -> Iterator[Violation]:
    """`field`: of the list's items, '' when the items are the values."""
    if len(set(values)) == len(values):
        return
    seen: set[object] = set()
    for index, value in enumerate(values):
        if value in seen and value != "":
            yield Violation(f"{path}[{index}]{field}", "Duplicate", f"{value} is there twice")
        seen.add(value)


def check_host(path: str, host: str, *, wildcard: bool = False, short: bool = True) -> Iterator[Violation]:
    wrong = hosts.problem(host, wildcard=wildcard, short=short)
    if wrong is not None:
        yield Violation(path, "Invalid", f"host {host[:64]!r} {wrong}")


def check_sans(path: str, names: Sequence[str]) -> Iterator[Violation]:
    if len(names) > MAX_SANS or sum(map(len, names)) > MAX_SAN_CHARACTERS:
        yield Violation(path, "OutOfRange", f"has too many names: at most {MAX_SANS}, of {MAX_SAN_CHARACTERS} characters in all")
        return
    for index, name in enumerate(names):
        if not name or len(name) > 2048:
            yield Violation(f"{path}[{index}]", "Invalid", "must be a name of 1 to 2048 characters")


def check_export_to(spec: ServiceEntry | VirtualService | DestinationRule) -> Iterator[Violation]:
    if len(spec.export_to) > MAX_EXPORTS:
        yield Violation("spec.exportTo", "OutOfRange", f"has {len(spec.export_to)} namespaces, the limit is {MAX_EXPORTS}: use *")
        return
    for index, name in enumerate(spec.export_to):
        path = f"spec.exportTo[{index}]"
        if name == "~":
            yield Violation(path, "NotSupported", "~ is not supported yet; use . for the own namespace")
        elif name not in (".", "*") and not is_dns_label(name):
            yield Violation(path, "Invalid", f"must be ., * or a namespace, not {name[:64]!r}")
    if "*" in spec.export_to and len(spec.export_to) > 1:
        yield Violation("spec.exportTo", "Invalid", "* means every namespace: it must stand alone")


# -- ServiceEntry, WorkloadEntry ---------------------------------------


def service_hosts(spec: ServiceEntry) -> Iterator[Violation]:
    yield from required("spec.hosts", spec.hosts, "must name at least one host")
    if len(spec.hosts) > MAX_HOSTS:
        yield Violation("spec.hosts", "OutOfRange", f"has {len(spec.hosts)} hosts, the limit is {MAX_HOSTS}")
        return
    for index, host in enumerate(spec.hosts):
        if host.startswith("*") and hosts.problem(host, wildcard=True) is None:
            yield Violation(f"spec.hosts[{index}]", "NotSupported", f"{host}: wildcard hosts of a ServiceEntry are not supported yet")
        else:
            yield from check_host(f"spec.hosts[{index}]", host, short=False)
    yield from unique("spec.hosts", spec.hosts)


def service_ports(spec: ServiceEntry) -> Iterator[Violation]:
    yield from required("spec.ports", spec.ports, "must have at least one port")
    if len(spec.ports) > MAX_PORTS:
        yield Violation("spec.ports", "OutOfRange", f"has {len(spec.ports)} ports, the limit is {MAX_PORTS}")
        return
    doors = len(spec.hosts) * len(spec.ports)
    if doors > MAX_DOORS:
        yield Violation("spec", "OutOfRange", f"has {doors} pairs of a host and a port, the limit is {MAX_DOORS}: make several of it")
    for index, port in enumerate(spec.ports):
        path = f"spec.ports[{index}]"
        if not is_dns_label(port.name):
            yield Violation(
                f"{path}.name", "Invalid", f"{port.name[:64]!r} is not a port's name: lower-case letters, digits, -, at most 63"
            )
        if port.protocol and port.protocol not in PROTOCOLS:
            reason = "NotSupported" if port.protocol in _PROTOCOLS_NOT_YET else "NotAllowed"
            yield Violation(f"{path}.protocol", reason, f"must be one of {', '.join(PROTOCOLS)}, not {port.protocol[:64]!r}")
    yield from unique("spec.ports", [port.number for port in spec.ports], ".number")
    yield from unique("spec.ports", [port.name for port in spec.ports], ".name")


def service_resolution(spec: ServiceEntry) -> Iterator[Violation]:
    if spec.resolution is Resolution.NONE:
        yield Violation("spec.resolution", "NotSupported", "NONE (also the default) is not supported yet; supported: STATIC, DNS")
    if spec.endpoints and spec.workload_selector is not None:
        yield Violation(
            "spec.workloadSelector", "Invalid", "must not stand beside endpoints: the instances come from the one or from the other"
        )
    if spec.workload_selector is not None:
        yield from required("spec.workloadSelector.labels", tuple(spec.workload_selector.labels), "must have at least one label")
        yield from labels.check_labels("spec.workloadSelector.labels", spec.workload_selector.labels)


def service_endpoints(spec: ServiceEntry) -> Iterator[Violation]:
    places = len(spec.hosts) * len(spec.ports) * len(spec.endpoints)
    if places > MAX_PLACES:
        yield Violation("spec.endpoints", "OutOfRange", f"hosts, ports and endpoints make {places} places, the limit is {MAX_PLACES}")
        return
    names = frozenset(port.name for port in spec.ports)
    for index, endpoint in enumerate(spec.endpoints):
        path = f"spec.endpoints[{index}]"
        yield from _instance(path, endpoint)
        if spec.resolution is Resolution.STATIC and hosts.problem(endpoint.address) is None and not hosts.is_ip(endpoint.address):
            yield Violation(f"{path}.address", "Invalid", f"must be an IP address when resolution is STATIC, not {endpoint.address[:64]!r}")
        for name in endpoint.ports:
            if name not in names and "" not in names:  # a port without a name is told by itself
                yield Violation(child(f"{path}.ports", name), "Invalid", "is not the name of a port in spec.ports")


def service_names(spec: ServiceEntry) -> Iterator[Violation]:
    yield from check_sans("spec.subjectAltNames", spec.subject_alt_names)


def workload(spec: WorkloadEntry) -> Iterator[Violation]:
    yield from _instance("spec", spec)
    for name in spec.ports:
        if not is_dns_label(name):
            yield Violation(
                child("spec.ports", name), "Invalid", "the key must be a port's name: lower-case letters, digits, -, at most 63"
            )


def _instance(path: str, spec: WorkloadEntry) -> Iterator[Violation]:
    yield from _address(f"{path}.address", spec.address)
    yield from labels.check_labels(f"{path}.labels", spec.labels)
    segments = spec.locality.split("/") if spec.locality else []
    if len(segments) > 3 or not all(segment and labels.is_value(segment) for segment in segments):
        yield Violation(f"{path}.locality", "Invalid", "must be like region/zone/subzone")
    if spec.network and not labels.is_value(spec.network):
        yield Violation(f"{path}.network", "Invalid", "must be letters, digits, -_. up to 63")
    if spec.service_account and not is_dns_subdomain(spec.service_account):
        yield Violation(f"{path}.serviceAccount", "Invalid", f"{spec.service_account[:64]!r} is not a service account's name")


def _address(path: str, text: str) -> Iterator[Violation]:
    if text.startswith("unix:"):
        yield Violation(path, "NotSupported", "unix sockets are not supported yet")
        return
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        wrong = hosts.problem(text)
        if wrong is not None:
            yield Violation(path, "Invalid", f"{text[:64]!r} is neither an IPv4 or IPv6 address nor a host: it {wrong}")
        return
    if "%" in text:
        yield Violation(path, "Invalid", "must be an address without a zone")
    elif str(address) != text:
        yield Violation(path, "Invalid", f"must be written as {address}")
    elif address.is_unspecified or address.is_multicast:
        yield Violation(path, "Invalid", f"{address} is no instance's address")


# -- VirtualService ---------------------------------------


def route_hosts(spec: VirtualService) -> Iterator[Violation]:
    yield from required("spec.hosts", spec.hosts, "must name at least one host")
    if len(spec.hosts) > MAX_HOSTS:
        yield Violation("spec.hosts", "OutOfRange", f"has {len(spec.hosts)} hosts, the limit is {MAX_HOSTS}")
        return
    for index, host in enumerate(spec.hosts):
        yield from check_host(f"spec.hosts[{index}]", host, wildcard=True)
    yield from unique("spec.hosts", spec.hosts)


def route_gateways(spec: VirtualService) -> Iterator[Violation]:
    for index, name in enumerate(spec.gateways):
        if name != "mesh":
            yield Violation(f"spec.gateways[{index}]", "NotSupported", "only `mesh` (the sidecars) is supported yet")


def routes(spec: VirtualService) -> Iterator[Violation]:
    if not spec.http and not spec.tcp:
        yield Violation("spec", "Required", "must have http or tcp")
    reach = MAX_HOSTS if any(host.startswith("*") for host in spec.hosts) else min(len(spec.hosts), MAX_HOSTS)
    rules = reach * sum(max(1, len(route.match)) * max(1, len(route.route)) for route in spec.http)
    rules += reach * sum(max(1, len(tcp.match)) * max(1, len(tcp.route)) for tcp in spec.tcp)
    if rules > MAX_RULES:
        told = f"{rules} by matches, destinations and hosts (a wildcard counts as {MAX_HOSTS})"
        yield Violation("spec", "OutOfRange", f"has too many rules: {told}, the limit is {MAX_RULES}")
        return
    patterns = sum(pattern_length(match) for route in spec.http for match in route.match)
    if patterns > MAX_PATTERNS:
        yield Violation("spec.http", "OutOfRange", f"has patterns of {patterns} characters in all, the limit is {MAX_PATTERNS}")
        return
    for index, route in enumerate(spec.http):
        yield from _http_route(f"spec.http[{index}]", route)
    for index, tcp in enumerate(spec.tcp):
        yield from _destinations(f"spec.tcp[{index}].route", tcp.route)


def _http_route(path: str, route: HTTPRoute) -> Iterator[Violation]:
    for index, match in enumerate(route.match):
        yield from check_match(f"{path}.match[{index}]", match)
    yield from _destinations(f"{path}.route", route.route)
    if route.retries is not None:
        if not is_retry_on(route.retries.retry_on):
            yield Violation(f"{path}.retries.retryOn", "NotAllowed", f"{route.retries.retry_on[:64]!r} has a word that Envoy doesn't know")
        if route.retries.per_try_timeout is not None and not route.retries.per_try_timeout.nanoseconds:
            yield Violation(f"{path}.retries.perTryTimeout", "OutOfRange", "must be at least 1ms")


def _destinations(path: str, choices: Sequence[HTTPRouteDestination | RouteDestination]) -> Iterator[Violation]:
    yield from required(path, choices, "must have at least one destination")
    for index, choice in enumerate(choices):
        yield from _destination(f"{path}[{index}].destination", choice.destination)
    if len(choices) > 1:
        total = sum(choice.weight for choice in choices)
        if total != 100:
            yield Violation(path, "OutOfRange", f"the weights must add up to 100, they add up to {total}")


def _destination(path: str, destination: Destination) -> Iterator[Violation]:
    yield from check_host(f"{path}.host", destination.host)
    if destination.subset and not is_dns_label(destination.subset):
        yield Violation(f"{path}.subset", "Invalid", f"{destination.subset[:64]!r} is not a subset's name")


# -- DestinationRule ---------------------------------------


def rule_host(spec: DestinationRule) -> Iterator[Violation]:
    yield from check_host("spec.host", spec.host, wildcard=True)


def rule_policy(spec: DestinationRule) -> Iterator[Violation]:
    yield from _policy("spec.trafficPolicy", spec.traffic_policy)


def rule_subsets(spec: DestinationRule) -> Iterator[Violation]:
    if len(spec.subsets) > MAX_SUBSETS:
        yield Violation("spec.subsets", "OutOfRange", f"has {len(spec.subsets)} subsets, the limit is {MAX_SUBSETS}")
        return
    for index, subset in enumerate(spec.subsets):
        path = f"spec.subsets[{index}]"
        if not is_dns_label(subset.name):
            yield Violation(
                f"{path}.name", "Invalid", f"{subset.name[:64]!r} is not a subset's name: lower-case letters, digits, -, at most 63"
            )
        yield from labels.check_labels(f"{path}.labels", subset.labels)
        yield from _policy(f"{path}.trafficPolicy", subset.traffic_policy)
    yield from unique("spec.subsets", [subset.name for subset in spec.subsets], ".name")


def _policy(path: str, policy: TrafficPolicy | None) -> Iterator[Violation]:
    if policy is not None and policy.tls is not None:
        yield from _tls(f"{path}.tls", policy.tls)


def _tls(path: str, tls: ClientTLSSettings) -> Iterator[Violation]:
    for name, value in (("sni", tls.sni), ("subjectAltNames", tls.subject_alt_names), ("caCertificates", tls.ca_certificates)):
        if value and name not in _HEEDED[tls.mode]:
            yield Violation(f"{path}.{name}", "Invalid", f"has no meaning in the mode {tls.mode.value}")
    if tls.sni:
        yield from check_host(f"{path}.sni", tls.sni)
    yield from check_sans(f"{path}.subjectAltNames", tls.subject_alt_names)
    if tls.ca_certificates and (not tls.ca_certificates.startswith("/") or "/../" in f"{tls.ca_certificates}/"):
        yield Violation(f"{path}.caCertificates", "Invalid", "must be the absolute path of a file on the sidecar's host")


SERVICE_ENTRY = (service_hosts, service_ports, service_resolution, service_endpoints, service_names, check_export_to)
WORKLOAD_ENTRY = (workload,)
VIRTUAL_SERVICE = (route_hosts, route_gateways, routes, check_export_to)
DESTINATION_RULE = (rule_host, rule_policy, rule_subsets, check_export_to)
