# SPDX-License-Identifier: Apache-2.0
"""Ready-made snapshots of about the size of a real mesh's (2.3 kB a service, of which 0.9 kB routes), and a Fleet that only hands them out:
the floor for a server that also has to make them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ConfigSource
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager

from meshwright.control.ports import Attachment, PeerIdentity, Refusal, Sink
from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl, XdsResource

_ROUTE_PAD = 560
_CLUSTER_PAD = 780
_ADS = ConfigSource(ads={}, resource_api_version="V3")


def _any(type: TypeUrl, name: str, message: object) -> XdsResource:
    return XdsResource(type, name, message.SerializeToString(deterministic=True), ())  # type: ignore[attr-defined]


def cluster(name: str) -> XdsResource:
    made = Cluster(name=name, type=Cluster.EDS, eds_cluster_config={"eds_config": _ADS}, connect_timeout={"seconds": 10})
    made.metadata.filter_metadata["pad"].fields["pad"].string_value = "x" * _CLUSTER_PAD
    return _any(TypeUrl.CLUSTER, name, made)


def assignment(name: str, endpoints: int, salt: int) -> XdsResource:
    made = ClusterLoadAssignment(cluster_name=name)
    locality = made.endpoints.add()
    for i in range(endpoints):
        address = locality.lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = f"10.{salt % 250}.{i // 250}.{i % 250}", 15006
    made.endpoints[0].locality.region = "here"
    made.policy.overprovisioning_factor.value = 140
    made.named_endpoints["pad"].hostname = "x" * 250
    return _any(TypeUrl.ENDPOINT, name, made)


def routes(names: Iterable[str], salt: int) -> XdsResource:
    made = RouteConfiguration(name="http.80")
    for name in names:
        host = made.virtual_hosts.add(name=f"{name}:80", domains=[f"{name}.mesh", f"{name}.mesh:80"])
        route = host.routes.add(match={"prefix": "/"}, route={"cluster": name, "timeout": {"seconds": 15 + salt}})
        salt = 0
        route.metadata.filter_metadata["pad"].fields["pad"].string_value = "x" * _ROUTE_PAD
    return _any(TypeUrl.ROUTE, "http.80", made)


def listener(name: str, port: int, route: str) -> XdsResource:
    manager = HttpConnectionManager(stat_prefix=name, rds={"route_config_name": route, "config_source": _ADS})
    made = Listener(name=name, address={"socket_address": {"address": "127.240.0.1", "port_value": port}})
    made.filter_chains.add().filters.add(name="http").typed_config.Pack(manager)
    return _any(TypeUrl.LISTENER, name, made)


class Scope:
    """What all proxies of one scope share, and its successors."""

    def __init__(self, names: list[str], endpoints: int) -> None:
        self.names = names
        self.endpoints = endpoints
        self.sets = {
            TypeUrl.CLUSTER: _set(TypeUrl.CLUSTER, (cluster(n) for n in names)),
            TypeUrl.ENDPOINT: _set(TypeUrl.ENDPOINT, (assignment(n, endpoints, 0) for n in names)),
            TypeUrl.LISTENER: _set(TypeUrl.LISTENER, [listener("outbound.80", 80, "http.80")]),
            TypeUrl.ROUTE: _set(TypeUrl.ROUTE, [routes(names, 0)]),
        }

    def change(self, what: str, salt: int) -> None:
        """`endpoint`: one assignment is another; `route`: one virtual host is."""
        type = TypeUrl.ENDPOINT if what == "endpoint" else TypeUrl.ROUTE
        made = assignment(self.names[0], self.endpoints, salt) if what == "endpoint" else routes(self.names, salt)
        self.sets[type] = self.sets[type].replace([made])


def _set(type: TypeUrl, made: Iterable[XdsResource]) -> ResourceSet:
    return ResourceSet(type, {r.name: r for r in made})


class _Attached:
    def __init__(self, fleet: ReadyMade, scope: int, sink: Sink, own: dict[TypeUrl, ResourceSet]) -> None:
        self.fleet = fleet
        self.scope = scope
        self.sink = sink
        self.own = own

    def offer(self, revision: int) -> None:
        sets = self.fleet.scopes[self.scope].sets
        layers = {t: (s, self.own[t]) if t in self.own else (s,) for t, s in sets.items()}
        self.sink.offer(Snapshot(layers), revision)

    def acked(self, revision: int) -> None:
        self.fleet.note(self, revision)

    def rejected(self, refusal: Refusal) -> None:
        raise AssertionError(refusal)

    def detach(self) -> None:
        self.fleet.attached.discard(self)


class ReadyMade:
    """A Fleet. Namespaces are called ns-000, ns-001 ...; scoped: each sees its own ten services."""

    def __init__(self, services: int, endpoints: int, *, scoped: bool) -> None:
        names = [f"outbound|80||svc-{i:05d}.shop" for i in range(services)]
        parts = [names[i : i + 10] for i in range(0, services, 10)] if scoped else [names]
        self.scopes = [Scope(part, endpoints) for part in parts]
        self.attached: set[_Attached] = set()
        self.revision = 1
        self.acks: dict[_Attached, tuple[int, float]] = {}

    def ready(self) -> bool:
        return True

    def admit(self, peer: PeerIdentity) -> None: ...

    def attach(self, peer: PeerIdentity, sink: Sink) -> Attachment:
        own = {
            TypeUrl.CLUSTER: _set(TypeUrl.CLUSTER, [self._inbound(str(peer.proxy))]),
            TypeUrl.LISTENER: _set(TypeUrl.LISTENER, [listener(f"inbound.{peer.proxy}", 15006, "")]),
        }
        attached = _Attached(self, int(peer.proxy.namespace[3:]), sink, own)
        self.attached.add(attached)
        attached.offer(self.revision)
        return attached

    @staticmethod
    def _inbound(name: str) -> XdsResource:
        made = Cluster(name=f"inbound|{name}", type=Cluster.STATIC)
        return _any(TypeUrl.CLUSTER, made.name, made)

    def note(self, attached: _Attached, revision: int) -> None:
        self.acks[attached] = (revision, time.monotonic())

    def change(self, what: str, salt: int) -> list[_Attached]:
        """Changes the first scope; who is concerned."""
        self.scopes[0].change(what, salt)
        self.revision += 1
        concerned = [a for a in self.attached if a.scope == 0]
        for attached in concerned:
            attached.offer(self.revision)
        return concerned

    def last_ack(self, concerned: list[_Attached]) -> float | None:
        """When the last of them ACKed the current revision; None while one has not."""
        times = []
        for attached in concerned:
            revision, at = self.acks.get(attached, (0, 0.0))
            if revision < self.revision:
                return None
            times.append(at)
        return max(times, default=0.0)
