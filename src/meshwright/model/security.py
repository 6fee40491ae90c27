# SPDX-License-Identifier: Apache-2.0
"""Istio's security kinds as frozen structs (see networking for the conventions). Source: istio.io/api security/v1."""

from __future__ import annotations

import enum

from meshwright.model.networking import Spec


class LabelSelector(Spec, frozen=True):
    """The security kinds' selector (`matchLabels`)."""

    match_labels: dict[str, str] = {}


class MutualTLSMode(enum.Enum):
    """PERMISSIVE and DISABLE are not supported yet."""

    UNSET = "UNSET"
    STRICT = "STRICT"


class MutualTLS(Spec, frozen=True):
    mode: MutualTLSMode = MutualTLSMode.UNSET


class PeerAuthentication(Spec, frozen=True):
    selector: LabelSelector | None = None
    mtls: MutualTLS | None = None


class Source(Spec, frozen=True):
    """Values take Istio's forms: exact, `prefix*`, `*suffix`, `*`. `principals` have no `spiffe://` (`cluster.local/ns/NS/sa/SA`)."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()


class Operation(Spec, frozen=True):
    """`paths` take Istio's forms (exact, `prefix*`, `*suffix`, `*`); `ports` are the application's ports, as strings."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class From(Spec, frozen=True):
    source: Source


class To(Spec, frozen=True):
    operation: Operation


class Rule(Spec, frozen=True, rename={"from_": "from"}):
    """Empty `from_` is any caller, empty `to` any operation."""

    from_: tuple[From, ...] = ()
    to: tuple[To, ...] = ()


class Action(enum.Enum):
    ALLOW = "ALLOW"
    DENY = "DENY"


class AuthorizationPolicy(Spec, frozen=True):
    """No rules: matches nothing (ALLOW without rules denies all, as in Istio)."""

    selector: LabelSelector | None = None
    rules: tuple[Rule, ...] = ()
    action: Action = Action.ALLOW
