# SPDX-License-Identifier: Apache-2.0
"""How the control plane is reached: mutual TLS with the identity at hand, chain and name verified."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from meshwright.agent.settings import Settings
from meshwright.agent.state import Identity

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
RENEW = "/meshwright.v1.Certificates/Renew"
CONNECT_SECONDS = 10.0
MAX_MESSAGE = 64 * 1024 * 1024


def credentials(identity: Identity) -> Any:
    """Client certificate and the roots to trust."""
    return grpc.ssl_channel_credentials(identity.bundle, identity.key, identity.chain)


def target(settings: Settings) -> str:
    host, port = settings.discovery
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def options(settings: Settings) -> list[tuple[str, str | int]]:
    return [
        # The name in the certificate; the address to connect to may be another one.
        ("grpc.ssl_target_name_override", settings.server_name),
        ("grpc.default_authority", settings.server_name),
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        # A host that vanished says nothing: without pings a stream to it would stay open for ever.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]


def channel(settings: Settings, identity: Identity) -> Any:
    """A grpc.aio.Channel; to be closed by the caller. One is made for each attempt, so that no back-off but ours applies."""
    return grpc.aio.secure_channel(target(settings), credentials(identity), options(settings))


async def reachable(settings: Settings) -> bool:
    """Whether anything listens where the control plane should."""
    host, port = settings.discovery
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_SECONDS)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.close()
    return True
