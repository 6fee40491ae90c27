# SPDX-License-Identifier: Apache-2.0
"""TLS on both ends: which mode a call uses, and the transport sockets. Identity and roots come by SDS from the host's agent."""

from __future__ import annotations

from functools import cache
from typing import Any

from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2

from meshwright.model.meta import Resource
from meshwright.model.networking import ClientTLSMode, ClientTLSSettings, Location, TrafficPolicy
from meshwright.model.service import Service
from meshwright.translate import names
from meshwright.translate.wire import packed

SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
_SOCKET = "envoy.transport_sockets.tls"
_San = common_pb2.SubjectAltNameMatcher


def client_tls(service: Service, rule: Resource | None, subset: str) -> ClientTLSSettings:
    """The subset's settings, else the rule's, else mutual TLS inside the mesh and none outside."""
    found: ClientTLSSettings | None = None
    if rule is not None:
        policies: list[TrafficPolicy | None] = [s.traffic_policy for s in rule.spec.subsets if subset and s.name == subset]
        for policy in (*policies, rule.spec.traffic_policy):
            if found is None and policy is not None:
                found = policy.tls
    if found is not None:
        return found
    return ClientTLSSettings(mode=ClientTLSMode.ISTIO_MUTUAL if service.location is Location.MESH_INTERNAL else ClientTLSMode.DISABLE)


def mutual(identities: tuple[str, ...], server_name: str, alpn: str, trust_domain: str) -> Any:
    """The client's side between sidecars. No identity known: an id that nobody can have, so that nothing is trusted."""
    context = tls_pb2.UpstreamTlsContext(common_tls_context=_own_identity(), sni=server_name)
    validation = context.common_tls_context.combined_validation_context
    for identity in identities or (f"spiffe://{trust_domain}/nobody",):
        matcher = validation.default_validation_context.match_typed_subject_alt_names.add(san_type=_San.URI)
        matcher.matcher.exact = identity
    if alpn:
        context.common_tls_context.alpn_protocols.append(alpn)
    return base_pb2.TransportSocket(name=_SOCKET, typed_config=packed(context))


def originated(service: Service, settings: ClientTLSSettings, alpn: str) -> Any:
    """SIMPLE: the server's chain and one of its names are verified, always."""
    context = tls_pb2.UpstreamTlsContext()
    common = context.common_tls_context
    common.tls_params.CopyFrom(_versions())
    validation = common.validation_context
    validation.trusted_ca.filename = settings.ca_certificates or SYSTEM_ROOTS
    for name in settings.subject_alt_names or service.subject_alt_names or (service.host,):
        matcher = validation.match_typed_subject_alt_names.add(san_type=_San.URI if "://" in name else _San.DNS)
        matcher.matcher.exact = name
    # For a wildcard host the name asked for is that of each request (see cluster: auto_sni).
    context.sni = settings.sni or ("" if "*" in service.host else service.host)
    if alpn:
        common.alpn_protocols.append(alpn)
    return base_pb2.TransportSocket(name=_SOCKET, typed_config=packed(context))


def downstream(trust_domain: str, *, http: bool) -> Any:
    """The server's side: a client certificate of the mesh's trust domain, always."""
    context = tls_pb2.DownstreamTlsContext(common_tls_context=_own_identity())
    context.require_client_certificate.value = True
    matchers = context.common_tls_context.combined_validation_context.default_validation_context.match_typed_subject_alt_names
    matchers.add(san_type=_San.URI).matcher.prefix = f"spiffe://{trust_domain}/"
    if http:
        context.common_tls_context.alpn_protocols.extend(["h2", "http/1.1"])
    return base_pb2.TransportSocket(name=_SOCKET, typed_config=packed(context))


@cache
def _versions() -> Any:
    return common_pb2.TlsParameters(
        tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2, tls_maximum_protocol_version=common_pb2.TlsParameters.TLSv1_3
    )


@cache
def _own_identity() -> Any:
    """Read only: constructors copy it."""
    context = tls_pb2.CommonTlsContext(tls_params=_versions(), tls_certificate_sds_secret_configs=[_secret(names.IDENTITY_SECRET)])
    context.combined_validation_context.default_validation_context.SetInParent()
    context.combined_validation_context.validation_context_sds_secret_config.CopyFrom(_secret(names.TRUST_SECRET))
    return context


def _secret(name: str) -> Any:
    """From the host's agent; no timeout: without identity or roots a socket waits, it never opens without them."""
    source = config_source_pb2.ConfigSource(resource_api_version=config_source_pb2.V3)
    source.api_config_source.api_type = config_source_pb2.ApiConfigSource.DELTA_GRPC
    source.api_config_source.transport_api_version = config_source_pb2.V3
    source.api_config_source.grpc_services.add().envoy_grpc.cluster_name = names.AGENT_CLUSTER
    source.initial_fetch_timeout.SetInParent()
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)
