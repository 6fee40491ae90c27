# SPDX-License-Identifier: Apache-2.0
"""The discovery envelope in protobuf's wire form, by hand: the protobuf runtime and Envoy's messages would cost more memory than all the
rest of the agent. Numbers are those of envoy/service/discovery/v3/discovery.proto and extensions/transport_sockets/tls/v3; what a field is
not known here is skipped. Bodies of resources are never looked into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from meshwright.model.wire import delimited, varint

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type, not a password)
_NODE_EXTENSIONS = 9


class Malformed(ValueError):
    """Bytes that are no protobuf message of this form."""


@dataclass(frozen=True)
class Node:
    """`raw`: the message without its list of extensions, which is 60 kB long and nobody here reads."""

    id: str
    raw: bytes


@dataclass(frozen=True)
class Request:
    """DeltaDiscoveryRequest. `error` is the raw google.rpc.Status of a NACK, None in an ACK."""

    type_url: str
    node: Node | None = None
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: bytes | None = None


@dataclass(frozen=True)
class Resource:
    """One resource of a response: `frame` is it ready to be put into another response; `body` is the value inside its Any."""

    name: str
    version: str
    frame: bytes

    @property
    def body(self) -> bytes:
        """Read on demand: only names are."""
        for number, value in _fields(self.frame):
            if number == 2 and isinstance(value, bytes):
                for inner, content in _fields(_bytes(value)):
                    if inner == 2:
                        return _any_value(_bytes(content))
        return b""


@dataclass(frozen=True)
class Response:
    """DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()


# Writing


def encode_request(request: Request) -> bytes:
    out = bytearray()
    if request.node is not None:
        out += delimited(1, request.node.raw)
    out += delimited(2, request.type_url)
    for name in request.subscribe:
        out += delimited(3, name)
    for name in request.unsubscribe:
        out += delimited(4, name)
    for name, version in request.versions.items():
        out += delimited(5, delimited(1, name) + delimited(2, version))
    if request.nonce:
        out += delimited(6, request.nonce)
    if request.error is not None:
        out += delimited(7, request.error)
    return bytes(out)


def encode_response(type_url: str, nonce: str, frames: Iterable[bytes], removed: Iterable[str] = ()) -> bytes:
    parts = [*frames, delimited(4, type_url), delimited(5, nonce), *(delimited(6, name) for name in removed)]
    return b"".join(parts)


def with_nonce(response: bytes, nonce: str) -> bytes:
    """The same response with another nonce: of a field that is there twice the last one holds."""
    return response + delimited(5, nonce)


def resource_frame(name: str, version: str, type_url: str, body: bytes) -> bytes:
    """A Resource as field 2 of a response."""
    packed = delimited(1, type_url) + delimited(2, body)
    return delimited(2, delimited(3, name) + delimited(1, version) + delimited(2, packed))


def key_pair_secret(name: str, chain: bytes, key: bytes) -> bytes:
    """Secret with a TlsCertificate, both parts inline."""
    certificate = delimited(1, delimited(2, chain)) + delimited(2, delimited(2, key))
    return delimited(1, name) + delimited(2, certificate)


def trust_secret(name: str, bundle: bytes) -> bytes:
    """Secret with a CertificateValidationContext whose trusted_ca is inline."""
    return delimited(1, name) + delimited(4, delimited(1, delimited(2, bundle)))


def status(code: int, message: str) -> bytes:
    """google.rpc.Status."""
    return varint(1 << 3) + varint(code) + delimited(2, message)


# Reading


def decode_request(data: bytes) -> Request:
    """Raises Malformed."""
    type_url, nonce, node, error = "", "", None, None
    subscribe: list[str] = []
    unsubscribe: list[str] = []
    versions: dict[str, str] = {}
    for number, value in _fields(data):
        if number == 1:
            node = _node(_bytes(value))
        elif number == 2:
            type_url = _text(value)
        elif number == 3:
            subscribe.append(_text(value))
        elif number == 4:
            unsubscribe.append(_text(value))
        elif number == 5:
            entry = dict(_fields(_bytes(value)))
            versions[_text(entry.get(1, b""))] = _text(entry.get(2, b""))
        elif number == 6:
            nonce = _text(value)
        elif number == 7:
            error = _bytes(value)
    return Request(type_url, node, tuple(subscribe), tuple(unsubscribe), versions, nonce, error)


def decode_response(data: bytes) -> Response:
    """Raises Malformed."""
    type_url, nonce = "", ""
    resources: list[Resource] = []
    removed: list[str] = []
    for number, value in _fields(data):
        if number == 2:
            resources.append(_resource(_bytes(value)))
        elif number == 4:
            type_url = _text(value)
        elif number == 5:
            nonce = _text(value)
        elif number == 6:
            removed.append(_text(value))
    return Response(type_url, nonce, tuple(resources), tuple(removed))


def status_message(raw: bytes) -> str:
    """The words in a google.rpc.Status ('' when it is none)."""
    try:
        return next((_text(value) for number, value in _fields(raw) if number == 2), "")
    except Malformed:
        return ""


def _node(raw: bytes) -> Node:
    name = ""
    kept = bytearray()
    for number, value, piece in _pieces(raw):
        if number == 1:
            name = _text(value)
        if number != _NODE_EXTENSIONS:
            kept += piece
    return Node(name, bytes(kept))


def _resource(raw: bytes) -> Resource:
    name, version = "", ""
    for number, value in _fields(raw):
        if number == 3:
            name = _text(value)
        elif number == 1:
            version = _text(value)
    return Resource(name, version, delimited(2, raw))


def _any_value(raw: bytes) -> bytes:
    return next((_bytes(value) for number, value in _fields(raw) if number == 2), b"")


def _text(value: bytes | int) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise Malformed("text that is not UTF-8") from error


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise Malformed("a number where bytes belong")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    for number, value, _ in _pieces(data):
        yield number, value


def _pieces(data: bytes) -> Iterator[tuple[int, bytes | int, bytes]]:
    """(field number, value, the whole field as it stood) of a message."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: bytes | int
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            length, at = (8, at) if kind == 1 else (4, at) if kind == 5 else _varint(data, at)
            raw = data[at : at + length]
            value = raw if kind == 2 else int.from_bytes(raw, "little")
            at += length
            if at > len(data):
                raise Malformed("cut short")
        else:
            raise Malformed("a group, or no wire type at all")
        if number == 0:
            raise Malformed("field number 0")
        yield number, value, data[start:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed("cut short")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
