# SPDX-License-Identifier: Apache-2.0
"""Runs one Session on one gRPC stream: a reader task feeds it, the handler's own task writes what it wants written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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
        "_session",
        "_started",
        "_task",
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
        self._task: asyncio.Task[Any] | None = None
        self._wake: float | None = None
        self._writing: float | None = None
        self._started = clock.monotonic()
        self._end: Ended | None = None
        self._logged: dict[TypeUrl, float] = {}

    # as a Sink

    def offer(self, snapshot: Snapshot, revision: int) -> None:
        if self._session is None:
            self._first = (snapshot, revision)
            self._nudge()
        else:
            self._apply(lambda session, now: session.offer(snapshot, revision, now))

    def cut(self, reason: str) -> None:
        self.end(Ended(grpc.StatusCode.PERMISSION_DENIED, reason))

    # for the server

    def end(self, ended: Ended) -> None:
        """Ends the stream, even in the middle of a write that doesn't come to its end."""
        if self._end is None:
            self._end = ended
            self._nudge()
            if self._writing is not None and self._task is not None:
                self._task.cancel()

    def tick(self, now: float, settle_patience: float) -> None:
        """Called a few times a second."""
        if self._writing is not None and now - self._writing > WRITE_PATIENCE:
            self._counters.cut += 1
            self.end(Ended(grpc.StatusCode.RESOURCE_EXHAUSTED, "the client reads too slowly"))
        elif self._wake is not None and now >= self._wake:
            self._wake = None
            self._apply(lambda session, at: session.tick(at))
        if self.on_settled is not None and now - self._started > settle_patience:
            self.settle()

    async def run(self, attachment: Attachment, first: Request, offer_patience: float) -> None:
        """`first`: the request that told us who is there. Raises Ended."""
        self._attachment = attachment
        self._task = asyncio.current_task()
        reader: asyncio.Task[None] | None = None
        try:
            snapshot, revision = await self._first_offer(offer_patience)
            self._session = Session(self._frames, snapshot, revision)
            self._apply(lambda session, now: session.request(first, now))
            reader = asyncio.create_task(self._read())
            await self._write()
        finally:
            self._attachment = None
            attachment.detach()
            self.settle()
            if reader is not None:
                reader.cancel()

    # inside

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
                if request.error is not None:
                    self._log_nack(request)
                if request.node and request.node != str(self.peer.proxy):
                    raise Broken("the node's id changed")
                self._apply(lambda session, now, request=request: session.request(request, now))  # type: ignore[misc]
            self.end(Ended(grpc.StatusCode.OK, ""))
        except Broken as e:
            self.end(Ended(grpc.StatusCode.INVALID_ARGUMENT, str(e)))
        except asyncio.CancelledError:
            raise
        except Exception as e:  # noqa: BLE001 - gRPC raises several kinds when the client has gone; whatever it is, it ends this stream only
            log.info("xds.read_failed", node=str(self.peer.proxy), error=type(e).__name__)
            self.end(Ended(grpc.StatusCode.INTERNAL, "reading failed"))

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
        except asyncio.CancelledError:
            # Ours (see `end`), or gRPC's because the client has gone: then it stays a cancellation.
            if self._task is not None and self._task.uncancel() == 0:
                self._raise_if_ended()
            raise
        finally:
            self._writing = None
        self._counters.responses += 1
        self._counters.response_bytes += len(message)

    def _apply(self, step: Callable[[Session, float], Effects]) -> None:
        if self._session is None or self._end is not None:
            return
        try:
            effects = step(self._session, self._clock.monotonic())
        except Broken as e:
            self.end(Ended(grpc.StatusCode.INVALID_ARGUMENT, str(e)))
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

    def settle(self) -> None:
        if self.on_settled is not None:
            done, self.on_settled = self.on_settled, None
            done()

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
