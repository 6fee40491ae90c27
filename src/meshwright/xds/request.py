# SPDX-License-Identifier: Apache-2.0
"""A DeltaDiscoveryRequest, read once and checked at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from google.protobuf.message import DecodeError

from meshwright.model.snapshot import TypeUrl
from meshwright.xds.blame import MAX_MESSAGE
from meshwright.xds.subscription import MAX_NAMES, Broken

MAX_NAME = 512
_TYPES = {type.value: type for type in TypeUrl}


class Request(NamedTuple):
    """`versions`: initial_resource_versions. `error`: Envoy's words, None for an ACK or when it answers nothing. `node`: the node's id,
    '' when the request doesn't say."""

    type: TypeUrl
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = {}
    nonce: str = ""
    error: str | None = None
    node: str = ""
    envoy_version: str = ""


def parse(data: bytes) -> Request:
    """Raises Broken for what is no request, is beyond a limit or of a type that is not served here."""
    try:
        message = DeltaDiscoveryRequest.FromString(data)
    except (DecodeError, UnicodeDecodeError) as e:
        raise Broken("not a DeltaDiscoveryRequest") from e
    type = _TYPES.get(message.type_url)
    if type is None:
        raise Broken(f"type {message.type_url[:200]!r} is not served here")
    has_node = message.HasField("node")
    return Request(
        type=type,
        subscribe=_names(message.resource_names_subscribe),
        unsubscribe=_names(message.resource_names_unsubscribe),
        versions=_versions(message.initial_resource_versions) if message.initial_resource_versions else {},
        nonce=message.response_nonce[:64],
        error=_printable(message.error_detail.message[:MAX_MESSAGE]) if message.HasField("error_detail") else None,
        node=message.node.id[: MAX_NAME + 1] if has_node else "",
        envoy_version=_envoy_version(message) if has_node else "",
    )


def _printable(text: str) -> str:
    """What a proxy says is read by people at terminals, for which some characters are orders."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _names(given: Sequence[str]) -> tuple[str, ...]:
    if len(given) > MAX_NAMES:
        raise Broken(f"more than {MAX_NAMES} names in a request")
    names = tuple(given)
    if names and (max(map(len, names)) > MAX_NAME or not all(names)):
        raise Broken(f"a name is empty or longer than {MAX_NAME}")
    return names


def _versions(given: Mapping[str, str]) -> Mapping[str, str]:
    versions = dict(given) if len(given) <= MAX_NAMES else {}
    if not versions or max(map(len, versions)) > MAX_NAME:
        raise Broken(f"initial_resource_versions has more than {MAX_NAMES} names or one longer than {MAX_NAME}")
    return versions


def _envoy_version(message: DeltaDiscoveryRequest) -> str:
    version = message.node.user_agent_build_version.version
    if version.major_number or version.minor_number:
        return f"{version.major_number}.{version.minor_number}.{version.patch}"
    return _printable(message.node.user_agent_version[:32])
