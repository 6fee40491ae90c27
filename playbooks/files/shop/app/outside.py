# SPDX-License-Identifier: Apache-2.0
"""outside.py PLAIN TLS CERTIFICATE KEY: a server of somebody else, which is in no mesh. It says whether it was spoken to by
TLS."""

from __future__ import annotations

import ssl
import sys
import threading
from typing import Any

from answer import Handler, Server


class Outside(Handler):
    service = "outside"

    def answer(self, path: str) -> dict[str, Any] | None:
        secure = isinstance(self.connection, ssl.SSLSocket)
        return {"tls": self.connection.version() if secure else None, "host": self.headers.get("host"), "path": path}


class TlsServer(Server):
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake in the connection's own thread, so that a silent client holds up nobody."""
        request.settimeout(10)
        super().finish_request(self.context.wrap_socket(request, server_side=True), client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        print(f"{client_address[0]}: {sys.exc_info()[1]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    TlsServer.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    TlsServer.context.load_cert_chain(sys.argv[3], sys.argv[4])
    plain = Server(sys.argv[1], Outside)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    TlsServer(sys.argv[2], Outside).serve_forever()
