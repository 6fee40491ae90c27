# SPDX-License-Identifier: Apache-2.0
"""Envoy's secrets: `default` (certificate chain and key) and `ROOTCA` (the bundle), pushed again whenever they change.
Nothing else is served, and only to who may open the agent's socket."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, NamedTuple

import grpc
import grpc.aio

from meshwright.agent import log, wire
from meshwright.agent.state import Identity

SDS = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
IDENTITY = "default"
ROOTS = "ROOTCA"
MAX_STREAMS = 256  # Envoy opens one for each place that uses a secret
WRITE_SECONDS = 60.0


class _Secret(NamedTuple):
    version: str
    frame: bytes


class Secrets:
    """Serves DeltaSecrets."""

    def __init__(self, identity: Identity, node_id: str) -> None:
        self.node_id = node_id
        self.known = _secrets(identity)
        self._streams: set[_Stream] = set()

    def update(self, identity: Identity) -> None:
        """Pushes what differs to every stream."""
        self.known = _secrets(identity)
        for stream in self._streams:
            stream.due.set()

    async def serve(self, _: object, context: Any) -> None:
        """The gRPC handler."""
        if len(self._streams) >= MAX_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        stream = _Stream(self, context)
        self._streams.add(stream)
        pusher = asyncio.create_task(stream.push())
        try:
            await stream.read()
        except wire.Malformed as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._streams.discard(stream)
            pusher.cancel()
            await asyncio.wait({pusher})


class _Stream:
    """What one stream is subscribed to and has been sent."""

    def __init__(self, secrets: Secrets, context: Any) -> None:
        self._secrets = secrets
        self._context = context
        self._sent: dict[str, str] = {}  # subscribed name -> version sent; '' nothing yet, '-' that there is none
        self.due = asyncio.Event()

    async def read(self) -> None:
        """Takes note of requests until Envoy ends the stream. Raises Malformed."""
        while (raw := await self._context.read()) is not grpc.aio.EOF:
            request = wire.decode_request(raw)
            if request.node is not None and request.node.id != self._secrets.node_id:
                raise wire.Malformed(f"node.id must be {self._secrets.node_id}")
            if request.error is not None:
                log.warning("envoy.refused", type=wire.SECRET, message=wire.status_message(request.error)[:2000])
            for name in request.unsubscribe:
                self._sent.pop(name, None)
            for name in request.subscribe[:16]:
                if name in self._secrets.known or len(self._sent) < 16:
                    self._sent[name] = request.versions.get(name, "")
            if request.subscribe:
                self.due.set()

    async def push(self) -> None:
        """Sends what is due."""
        count = 0
        while True:
            await self.due.wait()
            self.due.clear()
            known = self._secrets.known
            fresh = [n for n, version in self._sent.items() if n in known and known[n].version != version]
            absent = [n for n, version in self._sent.items() if n not in known and version != "-"]
            if not fresh and not absent:
                continue
            count += 1
            response = wire.encode_response(wire.SECRET, str(count), [known[n].frame for n in fresh], absent)
            self._sent.update({n: known[n].version for n in fresh} | dict.fromkeys(absent, "-"))
            await asyncio.wait_for(self._context.write(response), WRITE_SECONDS)


def _secrets(identity: Identity) -> dict[str, _Secret]:
    bodies = {
        IDENTITY: wire.key_pair_secret(IDENTITY, identity.chain, identity.key),
        ROOTS: wire.trust_secret(ROOTS, identity.bundle),
    }
    public = {IDENTITY: identity.chain, ROOTS: identity.bundle}
    made = {}
    for name, body in bodies.items():
        version = hashlib.sha256(public[name]).hexdigest()[:16]  # of what everybody may know
        made[name] = _Secret(version, wire.resource_frame(name, version, wire.SECRET, body))
    return made
