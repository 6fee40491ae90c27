# SPDX-License-Identifier: Apache-2.0
"""The enrolled: hosts (Node) and the proxies they may run (Proxy). Facts come from enrolment, never from what a proxy says."""

from __future__ import annotations

import msgspec

from meshwright.model.identity import ProxyId, SpiffeId


class ProxySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How the sidecar stands on its host. `inbound_port` is where its one inbound listener binds; `loopback` is the /16 of the loopback
    network (two octets) in which its outbound listeners bind; `ip_families` says on which families the inbound listener binds."""

    inbound_port: int = 15006
    loopback: str = "127.240"
    ip_families: tuple[str, ...] = ("IPv4",)


class EnrolledWorkload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One workload that a node may run, with the identity that it gets."""

    name: str
    namespace: str = "default"
    service_account: str = "default"
    labels: dict[str, str] = {}
    proxy: ProxySettings = ProxySettings()


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One host. `ssh_host_keys` are public keys in OpenSSH form (`ssh-ed25519 AAAA...`, no comment). `banned` ends its identities."""

    name: str
    ssh_host_keys: tuple[str, ...] = ()
    workloads: tuple[EnrolledWorkload, ...] = ()
    banned: bool = False


class Proxy(msgspec.Struct, frozen=True):
    """One enrolled workload's proxy, as the World knows it. Hashable."""

    id: ProxyId
    node: str
    service_account: str
    labels: tuple[tuple[str, str], ...]
    settings: ProxySettings
    banned: bool = False

    @property
    def namespace(self) -> str:
        return self.id.namespace

    def spiffe_id(self, trust_domain: str) -> SpiffeId:
        return SpiffeId(trust_domain, self.id.namespace, self.service_account)
