# SPDX-License-Identifier: Apache-2.0
"""How messages of ours become bytes: always the same ones."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2
from google.protobuf.message import Message

from meshwright.model.meta import Ref
from meshwright.model.snapshot import TypeUrl, XdsResource


def octets(message: Message) -> bytes:
    """Serialised, the same bytes in every process."""
    done: bytes = message.SerializeToString(deterministic=True)
    return done


def packed(message: Message) -> Any:
    """The message in an Any."""
    full_name = message.DESCRIPTOR.full_name
    return any_pb2.Any(type_url=f"type.googleapis.com/{full_name}", value=octets(message))


def resource(type: TypeUrl, message: Any, *origins: Ref | None) -> XdsResource:
    """`message` is named by its field `name` (`cluster_name` for endpoints). Origins that are None or repeated are left out."""
    name = message.cluster_name if type is TypeUrl.ENDPOINT else message.name
    return XdsResource(type, name, octets(message), tuple(dict.fromkeys(ref for ref in origins if ref is not None)))
