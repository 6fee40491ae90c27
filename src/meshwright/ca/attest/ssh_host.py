# SPDX-License-Identifier: Apache-2.0
"""Attestation by a host's SSH key: whoever enrolled the host read its key over a connection that proved it; the host signs a message that
binds node, workload, nonce, the new key and the trust domain together."""

from __future__ import annotations

import base64
import binascii
import hmac

from meshwright.ca.attest import sshsig
from meshwright.ca.attest.refusal import Refused
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import Node

MAX_PUBLIC_KEY = 8 * 1024


def message(node: str, proxy: ProxyId, *, nonce: str, spki_sha256: str, trust_domain: str) -> bytes:
    """What is signed: six lines. None of the parts can hold a line feed (they were parsed or made by us)."""
    lines = ("meshwright-attest-v1", node, str(proxy), nonce, spki_sha256, trust_domain)
    return "".join(line + "\n" for line in lines).encode()


def prove(node: Node, public_key: str, signature: str, signed: bytes) -> None:
    """Raises Refused unless an enrolled key of `node` signed."""
    wire = key_blob(public_key)
    enrolled = [key_blob(line) for line in node.ssh_host_keys]
    if not any(hmac.compare_digest(wire, other) for other in enrolled):
        raise Refused("KeyNotEnrolled")
    parsed = sshsig.parse(signature)
    if parsed.public_key != wire:
        raise Refused("SignatureOfOtherKey")
    sshsig.verify(parsed, signed)


def key_blob(line: str) -> bytes:
    """The wire form in an OpenSSH public key line (`TYPE BASE64 [COMMENT]`). Raises Refused."""
    fields = line.split(" ", 2) if len(line) <= MAX_PUBLIC_KEY else []
    if len(fields) < 2:
        raise Refused("KeyMalformed")
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("KeyMalformed") from error
    kind = fields[0].encode(errors="replace")
    if blob[: 4 + len(kind)] != len(kind).to_bytes(4, "big") + kind:
        raise Refused("KeyMalformed")
    return blob
