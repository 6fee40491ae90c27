# SPDX-License-Identifier: Apache-2.0
"""The table of the rule API's kinds, and what of Istio's API is known by name but not supported yet.

A field or word of Istio's that is in no table here is unknown to Istio too, so the answer to it is a likely misspelling; one that is
here gets the honest answer "not supported yet". Source of the names: istio.io/api networking/v1 and security/v1.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from meshwright.model import networking as net
from meshwright.model import security as sec
from meshwright.model.duration import Duration

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
STORED_VERSION = "v1"


class Kind(NamedTuple):
    """One kind. `versions` are served, the first is stored and answered; `spec` is the struct of the document's spec."""

    name: str
    group: str
    versions: tuple[str, ...]
    plural: str
    spec: type[net.Spec]

    @property
    def api_versions(self) -> tuple[str, ...]:
        """As documents may have it."""
        return _SERVED[self.name]

    @property
    def api_version(self) -> str:
        """As stored and answered: `networking.istio.io/v1`."""
        return f"{self.group}/{STORED_VERSION}"


_NET = (STORED_VERSION, "v1beta1", "v1alpha3")
_SEC = (STORED_VERSION, "v1beta1")

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("ServiceEntry", NETWORKING, _NET, "serviceentries", net.ServiceEntry),
            Kind("WorkloadEntry", NETWORKING, _NET, "workloadentries", net.WorkloadEntry),
            Kind("VirtualService", NETWORKING, _NET, "virtualservices", net.VirtualService),
            Kind("DestinationRule", NETWORKING, _NET, "destinationrules", net.DestinationRule),
            Kind("PeerAuthentication", SECURITY, _SEC, "peerauthentications", sec.PeerAuthentication),
            Kind("AuthorizationPolicy", SECURITY, _SEC, "authorizationpolicies", sec.AuthorizationPolicy),
        )
    }
)
_SERVED = {kind.name: tuple(f"{kind.group}/{version}" for version in kind.versions) for kind in KINDS.values()}
_BY_PLURAL = {(kind.group, kind.plural): kind for kind in KINDS.values()}

_NOT_YET = "Gateway Sidecar EnvoyFilter WorkloadGroup ProxyConfig RequestAuthentication Telemetry WasmPlugin TrafficExtension"
KINDS_NOT_YET = frozenset(_NOT_YET.split())

FIELDS_NOT_YET: Mapping[type[net.Spec], frozenset[str]] = MappingProxyType(
    {
        struct: frozenset(names.split())
        for struct, names in (
            (net.ServiceEntry, "addresses"),
            (net.VirtualService, "tls"),
            (
                net.HTTPRoute,
                "redirect directResponse delegate rewrite fault mirror mirrors mirrorPercentage mirrorPercent corsPolicy headers",
            ),
            (net.HTTPMatchRequest, "scheme sourceLabels gateways sourceNamespace statPrefix"),
            (net.HTTPRouteDestination, "headers"),
            (net.HTTPRetry, "retryRemoteLocalities backoff retryIgnorePreviousHosts"),
            (net.L4MatchAttributes, "destinationSubnets gateways sourceLabels sourceNamespace sourceSubnet"),
            (net.DestinationRule, "workloadSelector"),
            (net.TrafficPolicy, "connectionPool outlierDetection portLevelSettings tunnel proxyProtocol retryBudget"),
            (net.LoadBalancerSettings, "consistentHash localityLbSetting zoneAwareLbSetting warmup warmupDurationSecs"),
            (net.ClientTLSSettings, "clientCertificate privateKey credentialName insecureSkipVerify caCrl"),
            (sec.PeerAuthentication, "portLevelMtls"),
            (sec.AuthorizationPolicy, "targetRefs targetRef provider"),
            (sec.Rule, "when"),
            (
                sec.Source,
                "requestPrincipals notRequestPrincipals serviceAccounts notServiceAccounts ipBlocks notIpBlocks"
                " remoteIpBlocks notRemoteIpBlocks trustDomains notTrustDomains",
            ),
        )
    }
)

WORDS_NOT_YET: Mapping[type[enum.Enum], frozenset[str]] = MappingProxyType(
    {
        net.Resolution: frozenset({"DNS_ROUND_ROBIN", "DYNAMIC_DNS"}),
        net.SimpleLB: frozenset({"PASSTHROUGH"}),
        net.ClientTLSMode: frozenset({"MUTUAL"}),
        sec.MutualTLSMode: frozenset({"PERMISSIVE", "DISABLE"}),
        sec.Action: frozenset({"AUDIT", "CUSTOM"}),
    }
)


def by_plural(group: str, plural: str) -> Kind | None:
    """The kind behind a route of the API: `("networking.istio.io", "virtualservices")`."""
    return _BY_PLURAL.get((group, plural))


def by_kind(group: str, kind: str) -> Kind | None:
    """The kind that a document names: `("networking.istio.io", "VirtualService")`."""
    found = KINDS.get(kind)
    return found if found is not None and found.group == group else None


def _schema_of(cls: type) -> dict[str, Any]:
    if cls is Duration:
        return {"type": "string", "format": "duration", "description": "Like 1h30m, 2.5s or 100ms.", "maxLength": 32}
    raise NotImplementedError(cls.__name__)


def json_schemas(ref_template: str = "#/components/schemas/{name}") -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """JSON schemas (2020-12) of all specs: per kind the schema that refers to its struct, and the components by struct name."""
    specs = [kind.spec for kind in KINDS.values()]
    refs, components = msgspec.json.schema_components(specs, schema_hook=_schema_of, ref_template=ref_template)
    return dict(zip(KINDS, refs, strict=True)), components
