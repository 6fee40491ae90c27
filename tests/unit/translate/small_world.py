# SPDX-License-Identifier: Apache-2.0
"""A World for unit tests: what it answers is what it was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from meshwright.model import hosts
from meshwright.model.decode import decode
from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.meta import Ref, Resource
from meshwright.model.networking import Location, Resolution
from meshwright.model.proxy import Proxy, ProxySettings
from meshwright.model.service import Endpoint, Protocol, Service, ServicePort
from meshwright.model.snapshot import XdsResource
from meshwright.model.world import exported
from meshwright.translate.bootstrap import MESSAGES


class Mesh(NamedTuple):
    trust_domain: str = "cluster.local"
    domain: str = "mesh"
    root_namespace: str = "meshwright-system"


@dataclass(frozen=True)
class SmallWorld:
    services: Mapping[str, Service] = field(default_factory=dict)
    instances: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    resources: tuple[Resource, ...] = ()
    proxies: Mapping[ProxyId, Proxy] = field(default_factory=dict)
    served: Mapping[ProxyId, tuple[str, ...]] = field(default_factory=dict)
    mesh: Mesh = field(default_factory=Mesh)

    def with_service(self, service: Service, *endpoints: Endpoint) -> SmallWorld:
        return replace(
            self, services={**self.services, service.host: service}, instances={**self.instances, service.host: tuple(endpoints)}
        )

    def without_service(self, host: str) -> SmallWorld:
        return replace(
            self,
            services={h: s for h, s in self.services.items() if h != host},
            instances={h: e for h, e in self.instances.items() if h != host},
        )

    def with_resources(self, *resources: Resource) -> SmallWorld:
        gone = {r.ref for r in resources}
        return replace(self, resources=(*(r for r in self.resources if r.ref not in gone), *resources))

    def without_resource(self, ref: Ref) -> SmallWorld:
        return replace(self, resources=tuple(r for r in self.resources if r.ref != ref))

    def hosts_for(self, namespace: str) -> list[str]:
        return sorted(self.services)

    def service_for(self, host: str, namespace: str) -> Service | None:
        service = self.services.get(host)
        return service if service is not None and service.visible(namespace) else None

    def endpoints(self, host: str) -> tuple[Endpoint, ...]:
        return self.instances.get(host, ())

    def service_accounts(self, host: str) -> tuple[str, ...]:
        namespace = self.services[host].namespace
        found = {str(SpiffeId(self.mesh.trust_domain, namespace, e.service_account)) for e in self.endpoints(host) if e.service_account}
        return tuple(sorted(found))

    def destination_rule(self, host: str, from_namespace: str) -> Resource | None:
        for r in self.resources:
            if r.kind != "DestinationRule" or not exported(r, from_namespace):
                continue
            if self.resolve_host(r.spec.host, r.metadata.namespace) == host:
                return r
        return None

    def virtual_services(self, host: str, from_namespace: str | None = None) -> tuple[Resource, ...]:
        return tuple(
            r
            for r in self.resources
            if r.kind == "VirtualService"
            and (from_namespace is None or exported(r, from_namespace))
            and any(self.resolve_host(h, r.metadata.namespace) == host for h in r.spec.hosts)
        )

    def policies(self, namespace: str) -> tuple[Resource, ...]:
        homes = (namespace, self.mesh.root_namespace)
        return tuple(r for r in self.resources if r.kind in ("AuthorizationPolicy", "PeerAuthentication") and r.metadata.namespace in homes)

    def services_of(self, proxy_id: ProxyId) -> tuple[tuple[Service, Endpoint], ...]:
        return tuple(
            (self.services[host], e)
            for host in self.served.get(proxy_id, ())
            for e in self.endpoints(host)
            if e.workload is not None and e.workload.name == proxy_id.name
        )

    def resolve_host(self, name: str, namespace: str) -> str | None:
        for host in hosts.candidates(name, namespace, self.mesh.domain):
            if host in self.services:
                return host
        return None


def port(number: int = 80, protocol: Protocol = Protocol.HTTP, target: int = 0) -> ServicePort:
    return ServicePort(number, f"{protocol.value.lower()}-{number}", protocol, target or number)


def service(host: str, *ports: ServicePort, vip: int = 2, **changes: Any) -> Service:
    labels = host.split(".")
    namespace = labels[1] if host.endswith((".mesh", ".svc.cluster.local")) else "default"
    facts: dict[str, Any] = {
        "host": host,
        "namespace": namespace,
        "owner": Ref("ServiceEntry", namespace, labels[0].replace("*", "any")),
        "ports": ports or (port(),),
        "location": Location.MESH_INTERNAL,
        "resolution": Resolution.STATIC,
        "vip": vip,
        "selector": (),
        "export_to": (),
        "subject_alt_names": (),
        "digest": host.encode(),
        "slot": host,
    }
    return Service(**{**facts, **changes})


def endpoint(address: str, ports: dict[int, int] | None = None, **changes: Any) -> Endpoint:
    facts: dict[str, Any] = {
        "address": address,
        "ports": tuple(sorted((ports or {80: 9080}).items())),
        "labels": (),
        "weight": 0,
        "locality": "",
        "network": "",
        "service_account": "",
        "workload": None,
        "wire_port": 15006,
    }
    return Endpoint(**{**facts, **changes})


def document(kind: str, name: str, spec: dict[str, Any], namespace: str = "shop") -> Resource:
    group = "security" if kind in ("AuthorizationPolicy", "PeerAuthentication") else "networking"
    meta = {"name": name, "namespace": namespace}
    return decode({"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": meta, "spec": spec})


def proxy(name: str, namespace: str = "shop", settings: ProxySettings | None = None, **labels: str) -> Proxy:
    return Proxy(
        id=ProxyId(name, namespace),
        node="host",
        service_account=name,
        labels=tuple(sorted(labels.items())),
        settings=settings or ProxySettings(),
    )


def message(resource: XdsResource | None) -> Any:
    """The resource as its protobuf message."""
    assert resource is not None
    made = MESSAGES[resource.type]()
    made.ParseFromString(resource.body)
    return made


def unpacked(any_message: Any, kind: Any) -> Any:
    made = kind()
    assert any_message.Unpack(made), any_message.type_url
    return made
