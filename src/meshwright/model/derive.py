# SPDX-License-Identifier: Apache-2.0
"""How Services and Endpoints follow from ServiceEntries, WorkloadEntries and enrolled proxies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.meta import Ref, Resource
from meshwright.model.networking import Resolution, ServiceEntry, WorkloadEntry
from meshwright.model.proxy import Proxy
from meshwright.model.service import Endpoint, Service, ServicePort
from meshwright.model.service import Protocol as PortProtocol
from meshwright.model.tables import Pair, host_of

VIP_PREFIX = "240.240."
_HTTP2 = ("HTTP2", "GRPC")
_OCTETS = frozenset(map(str, range(256)))


class Facts(Protocol):
    """The tables that deriving needs, of a finished World or of one in the making."""

    def entry(self, kind: str, namespace: str, name: str) -> Resource | None: ...
    def proxy(self, id: ProxyId) -> Proxy | None: ...
    def service(self, slot: str) -> Service | None: ...
    def slot(self, resource: Resource, host: str) -> str: ...
    def selecting(self, pair: Pair) -> Iterable[str]: ...
    def having(self, pair: Pair) -> Iterable[str]: ...


def protocol_of(protocol: str, name: str) -> PortProtocol:
    """By the port's `protocol`, else by what its name begins with; TLS and HTTPS are carried unread."""
    word = protocol or name.partition("-")[0].upper()
    if word in _HTTP2:
        return PortProtocol.HTTP2
    return PortProtocol.HTTP if word == "HTTP" else PortProtocol.TCP


def vip_of(resource: Resource, host: str) -> int:
    """The number that a host has by its ServiceEntry's status, or 0."""
    for address in resource.status.addresses:
        if address.host == host and address.value.startswith(VIP_PREFIX):
            high, _, low = address.value[len(VIP_PREFIX) :].partition(".")
            if high in _OCTETS and low in _OCTETS:
                return int(high) << 8 | int(low)
    return 0


def service_of(resource: Resource, slot: str) -> Service:
    """One host of a ServiceEntry as the Service of a slot."""
    spec: ServiceEntry = resource.spec
    host = host_of(slot)
    namespace = resource.metadata.namespace
    ports = tuple(ServicePort(p.number, p.name, protocol_of(p.protocol, p.name), p.target_port or p.number) for p in spec.ports)
    everywhere = not spec.export_to or "*" in spec.export_to
    return Service(
        host=host,
        namespace=namespace,
        owner=resource.ref,
        ports=ports,
        location=spec.location,
        resolution=spec.resolution,
        vip=vip_of(resource, host),
        selector=tuple(sorted(spec.workload_selector.labels.items())) if spec.workload_selector else (),
        export_to=() if everywhere else tuple(sorted({namespace if name == "." else name for name in spec.export_to})),
        subject_alt_names=spec.subject_alt_names,
        digest=resource.digest,
        slot=slot,
    )


def _is_address(text: str) -> bool:
    """An IP address and not a name: documents hold nothing else."""
    return ":" in text or text.replace(".", "").isdigit()


def instance_of(service: Service, spec: WorkloadEntry, workload: Ref | None, proxy: Proxy | None) -> Endpoint | None:
    """One instance of a service. None when it must not get traffic: its proxy is banned (in clear text it must not be called either), or it
    has a name where the service wants addresses."""
    if proxy is not None and proxy.banned:
        return None
    if service.resolution is Resolution.STATIC and not _is_address(spec.address):
        return None
    return Endpoint(
        address=spec.address,
        ports=tuple([(port.number, spec.ports.get(port.name, port.target)) for port in service.ports]),
        labels=tuple(sorted(spec.labels.items())),
        weight=spec.weight,
        locality=spec.locality,
        network=spec.network,
        service_account=proxy.service_account if proxy is not None else spec.service_account,
        workload=workload,
        wire_port=proxy.settings.inbound_port if proxy is not None else 0,
    )


def endpoint_order(endpoint: Endpoint) -> tuple[Any, ...]:
    return endpoint.address, endpoint.workload or (), endpoint.ports


def services_with(facts: Facts, workload: Resource) -> Iterator[Service]:
    """The services that select this WorkloadEntry, in no order."""
    namespace = workload.metadata.namespace
    own = workload.spec.labels
    for key, value in own.items():
        for name in facts.selecting((namespace, key, value)):
            entry = facts.entry("ServiceEntry", namespace, name)
            if entry is None or not entry.spec.workload_selector.labels.items() <= own.items():
                continue
            for host in entry.spec.hosts:
                service = facts.service(facts.slot(entry, host))
                if service is not None and service.owner.name == name and service.namespace == namespace:
                    yield service


def instance_with(facts: Facts, service: Service, workload: Resource) -> Endpoint | None:
    """The endpoint that a WorkloadEntry is of a service that selects it."""
    metadata = workload.metadata
    proxy = facts.proxy(ProxyId(metadata.name, metadata.namespace))
    return instance_of(service, workload.spec, workload.ref, proxy)


def instances(facts: Facts, service: Service, spec: ServiceEntry) -> tuple[Endpoint, ...]:
    """All endpoints of a service, sorted."""
    if service.selector:
        found = [instance_with(facts, service, workload) for workload in _selected(facts, service)]
    elif spec.endpoints:
        found = [instance_of(service, endpoint, None, None) for endpoint in spec.endpoints]
    elif service.resolution is Resolution.DNS and spec.workload_selector is None:
        found = [instance_of(service, WorkloadEntry(address=service.host), None, None)]
    else:
        found = []
    return tuple(sorted((endpoint for endpoint in found if endpoint is not None), key=endpoint_order))


def _selected(facts: Facts, service: Service) -> Iterator[Resource]:
    key, value = service.selector[0]
    wanted = service.selector
    for name in facts.having((service.namespace, key, value)):
        workload = facts.entry("WorkloadEntry", service.namespace, name)
        if workload is not None and all(workload.spec.labels.get(k) == v for k, v in wanted):
            yield workload


def accounts_of(service: Service, endpoints: Iterable[Endpoint], trust_domain: str) -> tuple[SpiffeId, ...]:
    """Who may answer for a service: the identities of the sidecars in front of its endpoints, sorted. Endpoints without a sidecar prove
    nothing and are called without mutual TLS, so what they say of themselves is not in it."""
    names = {endpoint.service_account for endpoint in endpoints if endpoint.wire_port}
    return tuple(SpiffeId(trust_domain, service.namespace, name) for name in sorted(names))
