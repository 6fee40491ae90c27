# SPDX-License-Identifier: Apache-2.0
"""Who is who: SPIFFE IDs of the form that Istio uses, and the id of a proxy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

DEFAULT_TRUST_DOMAIN = "cluster.local"
_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
MAX_PROXY_ID = 200


def is_dns_label(text: str) -> bool:
    """RFC 1123 label: what a namespace and a service account are."""
    return _LABEL.fullmatch(text) is not None


def is_dns_subdomain(text: str) -> bool:
    """RFC 1123 subdomain of at most 253 characters: what an object's name is."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def is_trust_domain(text: str) -> bool:
    return _TRUST_DOMAIN.fullmatch(text) is not None


class SpiffeId(NamedTuple):
    """`spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT` (SPIFFE-ID section 2; Istio's path)."""

    trust_domain: str
    namespace: str
    service_account: str

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Raises ValueError for every other form, so that accepted, stored and wire form are one."""
        parts = text.split("/")
        if len(parts) == 7 and parts[0] == "spiffe:" and parts[1] == "" and parts[3] == "ns" and parts[5] == "sa":
            made = cls(parts[2], parts[4], parts[6])
            if is_trust_domain(made.trust_domain) and is_dns_label(made.namespace) and is_dns_subdomain(made.service_account):
                return made
        raise ValueError(f"{text[:200]!r} is not spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def principal(self) -> str:
        """As AuthorizationPolicy writes it: without the scheme."""
        return f"{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


class ProxyId(NamedTuple):
    """One workload's proxy: `NAME.NAMESPACE`, the node id that Envoy sends and, with `.workload.TRUST_DOMAIN` behind it, the DNS name in
    its certificate. A namespace has no dot, so the last one divides."""

    name: str
    namespace: str

    @classmethod
    def parse(cls, text: str) -> ProxyId:
        """Raises ValueError."""
        name, _, namespace = text.rpartition(".")
        if len(text) <= MAX_PROXY_ID and is_dns_subdomain(name) and is_dns_label(namespace):
            return cls(name, namespace)
        raise ValueError(f"{text[:MAX_PROXY_ID]!r} is not a proxy's id: NAME.NAMESPACE")

    @classmethod
    def from_dns_san(cls, text: str, trust_domain: str) -> ProxyId:
        """Raises ValueError."""
        suffix = f".workload.{trust_domain}"
        if not text.endswith(suffix):
            raise ValueError(f"{text[:253]!r} does not end in {suffix}")
        return cls.parse(text[: -len(suffix)])

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"

    def dns_san(self, trust_domain: str) -> str:
        return f"{self}.workload.{trust_domain}"


class Holder(NamedTuple):
    """Whose certificate it is: the workload, what it is to its peers, and the host (node) that may run it. A workload that moves to
    another host leaves certificates behind that name the old one: the control plane takes them no more."""

    proxy: ProxyId
    spiffe: SpiffeId
    node: str

    def dns_sans(self) -> tuple[str, str]:
        return self.proxy.dns_san(self.spiffe.trust_domain), f"{self.node}.node.{self.spiffe.trust_domain}"

    @classmethod
    def from_sans(cls, uris: Sequence[str], names: Sequence[str], trust_domain: str) -> Holder:
        """Exactly what `issue` writes: one URI, a SPIFFE ID of this trust domain, and two DNS names. Raises ValueError."""
        if len(uris) != 1 or len(names) != 2:
            raise ValueError("not the names of a workload")
        suffix = f".node.{trust_domain}"
        nodes = [name for name in names if name.endswith(suffix)]
        workloads = [name for name in names if not name.endswith(suffix)]
        if len(nodes) != 1 or not is_dns_subdomain(nodes[0][: -len(suffix)]):
            raise ValueError("no node is named")
        made = cls(ProxyId.from_dns_san(workloads[0], trust_domain), SpiffeId.parse(uris[0]), nodes[0][: -len(suffix)])
        if made.spiffe.trust_domain != trust_domain or made.spiffe.namespace != made.proxy.namespace:
            raise ValueError("the SPIFFE ID is not of this trust domain and namespace")
        return made
