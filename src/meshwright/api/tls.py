# SPDX-License-Identifier: Apache-2.0
"""The TLS of the HTTPS door: one context for as long as the process lives, into which each new certificate is loaded."""

from __future__ import annotations

import os
import ssl


class ServerTls:
    """`context` is what the server listens with. TLS 1.2 with forward secrecy, or 1.3."""

    def __init__(self, chain: bytes, key: bytes) -> None:
        """PEM both. Raises ValueError when they don't belong together."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.options |= ssl.OP_NO_RENEGOTIATION
        self.load(chain, key)

    def load(self, chain: bytes, key: bytes) -> None:
        """From now on new connections get this certificate; those that are open keep theirs. The key is never written to a disk:
        OpenSSL reads it from a file in memory. Raises ValueError and changes nothing when the pair can't be used."""
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain, key)
        _load(self.context, chain, key)


def _load(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    fd = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(key.rstrip() + b"\n" + chain)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    except ssl.SSLError as error:
        raise ValueError(f"the certificate can't be used: {error.reason}") from error
    finally:
        os.close(fd)
