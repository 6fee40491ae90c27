# SPDX-License-Identifier: Apache-2.0
"""Just enough HTTP/2 and protobuf for a fake proxy that costs little: headers out are literal, headers in are skipped, flow-control windows
are opened once as wide as they go, of a response only the first fields are read."""

from __future__ import annotations

import asyncio
import struct

from meshwright.xds.server import DELTA_ADS

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK = END_STREAM = 1
_END_HEADERS = 4
_WIDE = 2**31 - 1
_MAX_FRAME = 2**24 - 1


def frame(type: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((type, flags)) + struct.pack(">I", stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def opening(authority: bytes, *, tls: bool) -> bytes:
    """Everything up to the first message: preface, settings, window, request headers of stream 1."""
    settings = struct.pack(">HIHI", 4, _WIDE, 5, _MAX_FRAME)
    headers = b"".join(
        (
            b"\x83",
            b"\x87" if tls else b"\x86",
            b"\x04" + bytes((len(DELTA_ADS),)) + DELTA_ADS.encode(),
            b"\x01" + bytes((len(authority),)) + authority,
            _literal(b"te", b"trailers"),
            _literal(b"content-type", b"application/grpc"),
        )
    )
    window = struct.pack(">I", _WIDE - 65_535)
    return _PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW, 0, 0, window) + frame(_HEADERS, _END_HEADERS, 1, headers)


def message(body: bytes) -> bytes:
    """DATA frames with one gRPC message; 16 kB a frame is what any server takes."""
    data = b"\x00" + struct.pack(">I", len(body)) + body
    return b"".join(frame(_DATA, 0, 1, data[i : i + 16_384]) for i in range(0, len(data), 16_384))


class Connection(asyncio.Protocol):
    """Calls `on_message(head, size, body)` for each gRPC message: `head` its first bytes (up to HEAD), `body` all of it when
    `wants_body()` said so as it began, else None. `on_end(why)` when stream or connection end."""

    HEAD = 512

    def __init__(self) -> None:
        self.received = 0
        self._buffer = bytearray()
        self._frame_left = 0
        self._message_left = -1
        self._size = 0
        self._prefix = bytearray()
        self._head = bytearray()
        self._keep = False
        self.transport: asyncio.Transport | None = None

    def on_message(self, head: bytes, size: int, body: bytes | None) -> None:
        raise NotImplementedError

    def on_end(self, why: str) -> None:
        raise NotImplementedError

    def wants_body(self) -> bool:
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.on_end(f"connection lost: {exc}")

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        view = memoryview(data)
        while view:
            if self._frame_left:
                take = min(self._frame_left, len(view))
                self._frame_left -= take
                self._payload(view[:take])
                view = view[take:]
                continue
            need = 9 - len(self._buffer)
            self._buffer += view[:need]
            view = view[need:]
            if len(self._buffer) == 9:
                view = self._frame(view)

    def _frame(self, view: memoryview) -> memoryview:
        length = int.from_bytes(self._buffer[:3], "big")
        type, flags = self._buffer[3], self._buffer[4]
        if type == _DATA:
            self._buffer.clear()
            self._frame_left = length
            return view
        have = len(view)
        if have < length:  # small frames that straddle two reads: wait for the rest
            self._rest = bytes(self._buffer) + bytes(view)
            self.data_received = self._joined  # type: ignore[method-assign]
            self._buffer.clear()
            return view[have:]
        self._buffer.clear()
        self._control(type, flags, bytes(view[:length]))
        return view[length:]

    def _joined(self, data: bytes) -> None:
        del self.data_received  # type: ignore[attr-defined]
        self.received -= len(self._rest)
        self.data_received(self._rest + data)

    def _control(self, type: int, flags: int, payload: bytes) -> None:
        if type == _SETTINGS and not flags & _ACK:
            self.send(frame(_SETTINGS, _ACK, 0, b""))
        elif type == _PING and not flags & _ACK:
            self.send(frame(_PING, _ACK, 0, payload))
        elif type in (_RST, _GOAWAY) or (type == _HEADERS and flags & END_STREAM):
            self.on_end(f"frame {type}: {payload[:80]!r}")

    def _payload(self, view: memoryview) -> None:
        while view:
            if self._message_left < 0:
                need = 5 - len(self._prefix)
                self._prefix += view[:need]
                view = view[need:]
                if len(self._prefix) < 5:
                    return
                self._size = self._message_left = int.from_bytes(self._prefix[1:], "big")
                self._prefix.clear()
                self._head = bytearray()
                self._keep = self.wants_body()
            take = min(self._message_left, len(view))
            if self._keep:
                self._head += view[:take]
            elif len(self._head) < self.HEAD:
                self._head += view[: min(take, self.HEAD - len(self._head))]
            self._message_left -= take
            view = view[take:]
            if not self._message_left:
                self._message_left = -1
                head = bytes(self._head)
                self.on_message(head[: self.HEAD], self._size, head if self._keep else None)


def first_fields(head: bytes) -> tuple[bytes, bytes]:
    """(type_url, nonce) of a DeltaDiscoveryResponse that begins with its small fields."""
    at, type_url, nonce = 0, b"", b""
    while not (type_url and nonce):
        tag = head[at]
        length, at = _varint(head, at + 1)
        if tag == 0x22:
            type_url = head[at : at + length]
        elif tag == 0x2A:
            nonce = head[at : at + length]
        at += length
    return type_url, nonce


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
