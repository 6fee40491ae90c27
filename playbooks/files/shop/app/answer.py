# SPDX-License-Identifier: Apache-2.0
"""What the shop's servers share: JSON over HTTP/1.1, and who called. They are told where to listen: PORT (on every address of both
families) or ADDRESS:PORT."""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, where: str, handler: type[BaseHTTPRequestHandler]) -> None:
        address, _colon, port = where.rpartition(":")
        self.address_family = socket.AF_INET if address else socket.AF_INET6
        super().__init__((address or "::", int(port)), handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Handler(BaseHTTPRequestHandler):
    """Subclasses say what a path answers; None is a 404."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one packet
    service = "shop"
    version = "v1"

    def answer(self, path: str) -> dict[str, Any] | None:
        raise NotImplementedError

    def do_GET(self) -> None:
        body = self.answer(self.path.partition("?")[0])
        status = 404 if body is None else int(body.pop("status", 200))
        text = json.dumps({"service": self.service, "version": self.version, "caller": self.caller(), **(body or {})}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def caller(self) -> str | None:
        """The SPIFFE ID of who calls, as this host's Envoy took it from the client's certificate."""
        for element in self.headers.get("x-forwarded-client-cert", "").split(";"):
            key, _equals, value = element.partition("=")
            if key.lower() == "uri":
                return value
        return None

    def log_message(self, format: str, *args: Any) -> None:
        """The demo sends tens of thousands of requests: no line for each."""


def serve(handler: type[Handler], where: str) -> None:
    with Server(where, handler) as server:
        server.serve_forever()
