# SPDX-License-Identifier: Apache-2.0
"""Envoy's configuration stream on one side, the control plane's on the other; the session in between decides what is said to whom.
Envoy's stream never ends because the control plane's did."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import grpc
import grpc.aio

from meshwright.agent import log, wire
from meshwright.agent.backoff import Backoff
from meshwright.agent.names import BadNames, NamesFile
from meshwright.agent.session import NAMES, Cache, Session
from meshwright.agent.upstream import ADS, CONNECT_SECONDS

MAX_STREAMS = 4  # two Envoys overlap during a hot restart
FIRST_REQUEST_SECONDS = 15.0
WRITE_SECONDS = 60.0
GRACE_SECONDS = 1.0
STEADY_SECONDS = 5.0  # a stream that lasts so long, or brings something, is a good one: the next break starts with short waits


class Parts(NamedTuple):
    """What a relay is made of. `dial` makes a new channel with the newest identity."""

    node_id: str
    dial: Callable[[], Any]
    names: NamesFile
    backoff: Callable[[], Backoff]
    changed: Callable[[], None]
    """Called when a connection came or went."""


class Relay:
    """Serves DeltaAggregatedResources."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.cache = Cache()
        self._streams: set[_Stream] = set()

    @property
    def envoys(self) -> int:
        return len(self._streams)

    @property
    def connected(self) -> bool:
        """Whether an Envoy has its stream to the control plane."""
        return any(stream.session.connected for stream in self._streams)

    def redial(self) -> None:
        """There is a new identity: streams to the control plane are opened anew with it; Envoy's stay."""
        for stream in self._streams:
            stream.redial.set()

    async def serve(self, _: object, context: Any) -> None:
        """The gRPC handler."""
        if len(self._streams) >= MAX_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams")
        stream = _Stream(self, context)
        self._streams.add(stream)
        try:
            await stream.run()
        except _Rejected as error:
            log.warning("envoy.rejected", reason=str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._streams.discard(stream)
            self.parts.changed()


class _Rejected(Exception):
    """Envoy's stream is ended; the message says why."""


class _Stream:
    """One Envoy's stream and, one after the other, those to the control plane."""

    def __init__(self, relay: Relay, context: Any) -> None:
        self._parts = relay.parts
        self._context = context
        self.session = Session(relay.cache, relay.parts.names.version)
        self.redial = asyncio.Event()
        self._away = False  # the control plane could not be reached: the cache answers
        self._call: Any = None
        self._to_upstream = asyncio.Lock()
        self._to_envoy = asyncio.Lock()

    async def run(self) -> None:
        """Until Envoy ends it."""
        try:
            first = await asyncio.wait_for(self._read(), FIRST_REQUEST_SECONDS)
        except asyncio.TimeoutError as error:
            raise _Rejected("no request") from error
        if first is None:
            return
        await self._take(first)
        log.info("envoy.connected")
        await _first_of(self._from_envoy(), self._from_upstream())
        log.info("envoy.gone")

    # Envoy's side

    async def _from_envoy(self) -> None:
        while (request := await self._read()) is not None:
            await self._take(request)

    async def _read(self) -> wire.Request | None:
        raw = await self._context.read()
        if raw is grpc.aio.EOF:
            return None
        try:
            return wire.decode_request(raw)
        except wire.Malformed as error:
            raise _Rejected("not a DeltaDiscoveryRequest") from error

    async def _take(self, request: wire.Request) -> None:
        if request.node is not None and request.node.id != self._parts.node_id:
            raise _Rejected(f"node.id must be {self._parts.node_id}")
        if request.node is None and not self.session.started:
            raise _Rejected("the first request must have a node")
        if request.error is not None:
            log.warning("envoy.refused", type=request.type_url, message=wire.status_message(request.error)[:2000])
        forward = self.session.from_envoy(request)
        if forward is not None:
            await self._send_upstream([forward])
        elif self._away:
            await self._serve_cache()

    async def _send_envoy(self, raw: bytes) -> None:
        """A write that has begun is finished even when the attempt that it belongs to is given up: gRPC allows one at a time."""
        await asyncio.shield(asyncio.create_task(self._write_envoy(raw)))

    async def _write_envoy(self, raw: bytes) -> None:
        async with self._to_envoy:
            try:
                await asyncio.wait_for(self._context.write(raw), WRITE_SECONDS)
            except asyncio.TimeoutError as error:
                raise _Rejected(f"no reading for {WRITE_SECONDS:.0f} s") from error

    async def _serve_cache(self) -> None:
        for response in list(self.session.from_cache()):
            await self._send_envoy(response)

    # the control plane's side

    async def _from_upstream(self) -> None:
        backoff = self._parts.backoff()
        while True:
            self.redial.clear()
            attempt = asyncio.create_task(self._attempt(backoff))
            rotated = asyncio.create_task(self.redial.wait())
            try:
                await asyncio.wait({attempt}, timeout=GRACE_SECONDS)
                if not self.session.connected:
                    await self._now_away()
                await asyncio.wait({attempt, rotated}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _cancel(attempt, rotated)
            if attempt.cancelled():
                continue  # there is a new identity: at once
            log.warning("upstream.away", reason=str(attempt.result()))
            await self._now_away()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.redial.wait(), backoff.next())

    async def _now_away(self) -> None:
        self._away = True
        self._parts.changed()
        await self._serve_cache()

    async def _attempt(self, backoff: Backoff) -> str:
        """One stream to the control plane from its beginning to its end; why it ended."""
        channel = self._parts.dial()
        steady: asyncio.TimerHandle | None = None
        try:
            await asyncio.wait_for(channel.channel_ready(), CONNECT_SECONDS)
            call = channel.stream_stream(ADS)()
            await self._open(call)
            steady = asyncio.get_running_loop().call_later(STEADY_SECONDS, backoff.reset)
            while True:
                raw = await call.read()
                if raw is grpc.aio.EOF:
                    code, details = await call.code(), await call.details()
                    return f"{code.name}: {details}" if details else str(code.name)
                backoff.reset()
                await self._take_response(raw)
        except asyncio.TimeoutError:
            return "no connection in time"
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except wire.Malformed as error:
            return f"a response that can't be read: {error}"
        finally:
            if steady is not None:
                steady.cancel()
            self.session.close()
            self._call = None
            await channel.close()

    async def _open(self, call: Any) -> None:
        async with self._to_upstream:  # nothing of Envoy's gets between the first requests
            requests = list(self.session.open())
            self._call = call
            self._away = False
            for request in requests:
                await asyncio.wait_for(call.write(request), WRITE_SECONDS)
        self._parts.changed()
        log.info("upstream.opened")

    async def _take_response(self, raw: bytes) -> None:
        response = wire.decode_response(raw)
        if response.type_url != NAMES:
            await self._send_envoy(self.session.from_upstream(raw, response))
            return
        error = ""
        try:
            self._parts.names.take(response)
            self.session.names_version = self._parts.names.version
        except BadNames as problem:
            error = str(problem)
            log.warning("names.refused", message=error)
        await self._send_upstream([self.session.acknowledge_names(response, error)])

    async def _send_upstream(self, requests: list[bytes]) -> None:
        """What can't be sent is not lost: the session remembers it for the next stream."""
        async with self._to_upstream:
            call = self._call
            if call is None:
                return
            for request in requests:
                try:
                    await asyncio.wait_for(call.write(request), WRITE_SECONDS)
                except (grpc.RpcError, asyncio.InvalidStateError):
                    return  # it just ended; its reader sees that too
                except asyncio.TimeoutError:
                    call.cancel()
                    return


async def _first_of(*parts: Coroutine[Any, Any, None]) -> None:
    """Runs them until one ends, raises what it raised, ends the others."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _cancel(*tasks)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, or asyncio complains; what matters was raised by the first to end
