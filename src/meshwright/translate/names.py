# SPDX-License-Identifier: Apache-2.0
"""The names of what Envoy runs: one grammar, `parse(str(x)) == x` for every name here.

cluster   outbound|PORT|SUBSET|HOST     inbound|TARGETPORT||
listener  outbound|http|PORT            outbound|http|PORT|HOST   outbound|tcp|PORT|HOST   inbound
route     outbound|PORT                 outbound|PORT|HOST
rule      NAMESPACE/VIRTUALSERVICE#RULE (Envoy's Route.name; RULE is the route's name or its index)
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from meshwright.model import hosts

INBOUND = "inbound"
AGENT_CLUSTER = "meshwright-agent"
IDENTITY_SECRET = "default"  # noqa: S105 -- a name, not a secret
TRUST_SECRET = "ROOTCA"  # noqa: S105
MAX_SNI = 255


class OutboundCluster(NamedTuple):
    port: int
    subset: str
    host: str

    def __str__(self) -> str:
        return f"outbound|{self.port}|{self.subset}|{self.host}"


class InboundCluster(NamedTuple):
    target: int

    def __str__(self) -> str:
        return f"inbound|{self.target}||"


class HttpListener(NamedTuple):
    """`host` is empty for the listener that all HTTP services of one port share."""

    port: int
    host: str = ""

    def __str__(self) -> str:
        return f"outbound|http|{self.port}|{self.host}" if self.host else f"outbound|http|{self.port}"


class TcpListener(NamedTuple):
    port: int
    host: str

    def __str__(self) -> str:
        return f"outbound|tcp|{self.port}|{self.host}"


class InboundListener(NamedTuple):
    def __str__(self) -> str:
        return INBOUND


class OutboundRoute(NamedTuple):
    port: int
    host: str = ""

    def __str__(self) -> str:
        return f"outbound|{self.port}|{self.host}" if self.host else f"outbound|{self.port}"


class RuleName(NamedTuple):
    """A route of a VirtualService, as Envoy's errors and logs name it."""

    namespace: str
    name: str
    rule: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}#{self.rule}"


Name = OutboundCluster | InboundCluster | HttpListener | TcpListener | InboundListener | OutboundRoute | RuleName


def parse(text: str) -> Name:
    """Raises ValueError for what is no name of ours."""
    if text == INBOUND:
        return InboundListener()
    head, hash_mark, rule = text.partition("#")
    namespace, slash, name = head.partition("/")
    if hash_mark and slash:
        return RuleName(namespace, name, rule)
    try:
        return _piped(text.split("|"))
    except ValueError:
        raise ValueError(f"{text[:300]!r} is no name of a cluster, listener or route of the mesh") from None


def _piped(parts: list[str]) -> Name:
    match parts:
        case ["inbound", target, "", ""]:
            return InboundCluster(_number(target))
        case ["outbound", "http", port]:
            return HttpListener(_number(port))
        case ["outbound", "http", port, host] if host:
            return HttpListener(_number(port), host)
        case ["outbound", "tcp", port, host] if host:
            return TcpListener(_number(port), host)
        case ["outbound", port]:
            return OutboundRoute(_number(port))
        case ["outbound", port, host] if host:
            return OutboundRoute(_number(port), host)
        case ["outbound", port, subset, host] if host:
            return OutboundCluster(_number(port), subset, host)
    raise ValueError(parts)


def _number(text: str) -> int:
    number = int(text)
    if str(number) != text or number < 0:
        raise ValueError(text)
    return number


def server_name(port: int, host: str) -> str:
    """The SNI by which a sidecar asks for (host, port) of its peer: `outbound_.PORT_._.HOST`. A wildcard or a host too long for an SNI
    (Envoy refuses both) stands as its digest."""
    name = f"outbound_.{port}_._.{host}"
    if "*" in host or len(name) > MAX_SNI:
        return f"outbound_.{port}_._.{hashlib.sha256(host.encode()).hexdigest()}.digest"
    return name


def aliases(host: str, namespace: str, domain: str) -> tuple[str, ...]:
    """Other names of a service, as seen from `namespace`: `NAME.NS.mesh` and `NAME.NS.svc.cluster.local` are also
    `NAME.NS.svc.cluster.local`, `NAME.NS.svc` and `NAME.NS`, and `NAME` within NS. Outside hosts have none."""
    if not host.endswith((f".{domain}", f".{hosts.CLUSTER_DOMAIN}")):
        return ()
    split = hosts.parts(host, namespace, domain)
    if split is None:
        return ()
    name, home = split
    found = [f"{name}.{home}.{hosts.CLUSTER_DOMAIN}", f"{name}.{home}.svc", f"{name}.{home}"]
    if home == namespace:
        found.append(name)
    return tuple(alias for alias in found if alias != host)


def rivals(host: str, namespace: str, domain: str) -> frozenset[str]:
    """The hosts whose aliases depend on whether `host` is there (with itself)."""
    return frozenset((host, *hosts.candidates(host, namespace, domain)))


def spellings(host: str, domain: str) -> frozenset[str]:
    """Everything a document may write and mean this host."""
    split = hosts.parts(host, "", domain)
    return rivals(host, "", domain) | ({split[0]} if split else frozenset())
