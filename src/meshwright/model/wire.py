# SPDX-License-Identifier: Apache-2.0
"""Protobuf's wire format, as far as messages are put together from ready-made field bytes: which is how the big ones are made without
reading and writing again the parts that did not change. Standard library only: the agent uses it too."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """Unsigned."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(number: int, payload: bytes | str) -> bytes:
    """A field of wire type 2: a message, a string, bytes."""
    data = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | 2) + varint(len(data)) + data
