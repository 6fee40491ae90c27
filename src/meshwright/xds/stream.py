# SPDX-License-Identifier: Apache-2.0
"""Runs one Session on one gRPC stream: a reader task feeds it, the handler's own task writes what it wants written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import grpc
import structlog

from meshwright.clock import Clock
from meshwright.control.ports import Attachment, PeerIdentity
from meshwright.model.snapshot import Snapshot, TypeUrl
from meshwright.xds.frames import Frames
from meshwright.xds.request import Request, parse
from meshwright.xds.session import Effects, Session
from meshwright.xds.subscription import Broken

log = structlog.get_logger(__name__)
WRITE_PATIENCE = 60.0
_LOG_INTERVAL = 1.0
# What a client may make us read: so much at once, so much a second; beyond that it is read later. In bytes; a request and a name have a
# price of their own.
READ_BURST = 8 * 1024 * 1024
READ_RATE = 1024 * 1024
_REQUEST_PRICE = 1024
_NAME_PRICE = 64


class Context(Protocol):
    """What is used of grpc.aio.ServicerContext."""

    async def read(self) -> Any: ...

    async def write(self, message: bytes) -> None: ...


@dataclass(slots=True)
class Counters:
    """Of a server since its start, for /metrics; `streams` is now."""

    streams: int = 0
    opened: int = 0
    denied: int = 0
    limited: int = 0
    requests: int = 0
    responses: int = 0
    response_bytes: int = 0
    nacks: int = 0
    cut: int = 0


class Ended(Exception):
    """The stream ends from our side with this status."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class Stream:
    """A Sink. Made when the peer is known; `run` returns when the client has gone, or raises Ended."""

    __slots__ = (
        "_attachment",
        "_clock",
        "_context",
        "_counters",
        "_end",
        "_first",
        "_frames",
        "_logged",
        "_outbox",
        "_paid",
        "_reader",
        "_session",
        "_started",
        "_waiter",
        "_wake",
        "_writing",
        "on_settled",
        "peer",
    )  # fmt: skip

    def __init__(self, peer: PeerIdentity, context: Context, frames: Frames, clock: Clock, counters: Counters) -> None:
        self.peer = peer
        self.on_settled: Callable[[], None] | None = None
        self._context = context
        self._frames = frames
        self._clock = clock
        self._counters = counters
        self._session: Session | None = None
        self._first: tuple[Snapshot, int] | None = None
        self._attachment: Attachment | None = None
        self._outbox: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._wake: float | None = None
        self._writing: float | None = None
        self._started = clock.monotonic()
        self._paid = self._started - READ_BURST / READ_RATE
        self._end: Ended | None = None
        self._logged: dict[TypeUrl, float] = {}

    # as a Sink

    def offer(self, snapshot: Snapshot, revision: int) -> None:
        if self._session is None:
            self._first = (snapshot, revision)
            self._nudge()
        else:
            self._apply(partial(self._session.offer, snapshot, revision))

    def cut(self, reason: str) -> None:
        self._end_soon(Ended(grpc.StatusCode.PERMISSION_DENIED, reason))

    # for the server

    def end(self, ended: Ended) -> None:
        """Ends the stream. gRPC can't take back a message that the client doesn't read, nor send a status before it: the session is over
        at once, but the call stays (and counts as a stream of this proxy) until the client reads on or its connection breaks."""
        if self._end is None:
            self._end = ended
            self._release()
            self._nudge()

    def tick(self, now: float, settle_patience: float) -> None:
        """Called a few times a second."""
        if self._writing is not None and now - self._writing > WRITE_PATIENCE and self._end is None:
            self._counters.cut += 1
            self.end(Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, "the client reads too slowly"))
        elif self._wake is not None and now >= self._wake and self._session is not None:
            self._wake = None
            self._apply(self._session.tick)
        if self.on_settled is not None and now - self._started > settle_patience:
            self.settle()

    async def run(self, attachment: Attachment, first: Request, offer_patience: float) -> None:
        """`first`: the request that told us who is there. Raises Ended."""
        self._attachment = attachment
        try:
            snapshot, revision = await self._first_offer(offer_patience)
            self._session = Session(self._frames, snapshot, revision)
            self._apply(partial(self._session.request, first))
            self._reader = asyncio.create_task(self._read())
            await self._write()
        finally:
            self._release()

    def settle(self) -> None:
        """The first configuration is complete, or this stream needs no more patience."""
        if self.on_settled is not None:
            done, self.on_settled = self.on_settled, None
            done()

    # inside

    def _end_soon(self, ended: Ended) -> None:
        """Not before whoever called us has returned: `end` calls `detach`, and the controller may be walking over its streams."""
        asyncio.get_running_loop().call_soon(self.end, ended)

    def _release(self) -> None:
        if self._attachment is not None:
            attachment, self._attachment = self._attachment, None
            attachment.detach()
        self._session = None
        self._outbox.clear()
        self.settle()
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()

    async def _first_offer(self, patience: float) -> tuple[Snapshot, int]:
        try:
            async with asyncio.timeout(patience):
                while self._first is None:
                    self._raise_if_ended()
                    await self._sleep()
        except TimeoutError as e:
            raise Ended(grpc.StatusCode.UNAVAILABLE, "no configuration for this proxy yet") from e
        return self._first

    async def _read(self) -> None:
        try:
            while True:
                data = await self._context.read()
                if data is grpc.aio.EOF:
                    break
                self._counters.requests += 1
                request = parse(data)
                await self._pay(len(data), request)
                if request.error is not None:
                    self._log_nack(request)
                if request.node and request.node != str(self.peer.proxy):
                    raise Broken("the node's id changed")
                if self._session is not None:
                    self._apply(partial(self._session.request, request))
            self.end(Ended(grpc.StatusCode.OK, ""))
        except Broken as e:
            self.end(Ended(grpc.StatusCode.INVALID_ARGUMENT, str(e)))
        except asyncio.CancelledError:
            raise
        except Exception as e:  # noqa: BLE001 - gRPC raises several kinds when the client has gone; whatever it is, it ends this stream only
            log.info("xds.read_failed", node=str(self.peer.proxy), error=type(e).__name__)
            self.end(Ended(grpc.StatusCode.INTERNAL, "reading failed"))

    async def _pay(self, size: int, request: Request) -> None:
        """Who talks without end waits, and costs others nothing."""
        names = len(request.subscribe) + len(request.unsubscribe) + len(request.versions)
        now = self._clock.monotonic()
        self._paid = max(self._paid, now - READ_BURST / READ_RATE) + (size + _REQUEST_PRICE + _NAME_PRICE * names) / READ_RATE
        if self._paid > now:
            await asyncio.sleep(self._paid - now)

    async def _write(self) -> None:
        while True:
            while self._outbox:
                self._raise_if_ended()
                await self._write_one(self._outbox.popleft())
            self._raise_if_ended()
            await self._sleep()

    async def _write_one(self, message: bytes) -> None:
        self._writing = self._clock.monotonic()
        try:
            await self._context.write(message)
        finally:
            self._writing = None
        self._counters.responses += 1
        self._counters.response_bytes += len(message)

    def _apply(self, step: Callable[[float], Effects]) -> None:
        if self._end is not None:
            return
        try:
            effects = step(self._clock.monotonic())
        except Broken as e:
            self._end_soon(Ended(grpc.StatusCode.INVALID_ARGUMENT, str(e)))
            return
        self._wake = effects.wake
        if effects.writes:
            self._outbox.extend(effects.writes)
            self._nudge()
        if self._attachment is not None:
            for refusal in effects.refusals:
                self._attachment.rejected(refusal)
            if effects.acked:
                self.settle()
                self._attachment.acked(effects.acked)

    def _log_nack(self, request: Request) -> None:
        self._counters.nacks += 1
        now = self._clock.monotonic()
        if now - self._logged.get(request.type, -_LOG_INTERVAL) >= _LOG_INTERVAL:
            self._logged[request.type] = now
            log.warning("xds.nack", node=str(self.peer.proxy), type=request.type.name, message=request.error)

    def _raise_if_ended(self) -> None:
        if self._end is not None:
            raise self._end

    def _nudge(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _sleep(self) -> None:
        """Until `_nudge`. Nothing is missed: whoever changes what we wait for does so in this event loop, between two of our awaits."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
