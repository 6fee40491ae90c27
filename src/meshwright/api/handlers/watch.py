# SPDX-License-Identifier: Apache-2.0
"""Lists, and watches: one JSON line a change, bounded in time, with bookmarks so that a client knows where to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from meshwright.api.answers import json_answer
from meshwright.api.call import Call
from meshwright.api.stored import Target, document_of, selected, selector_of, shown, target_of
from meshwright.errors import Compacted, Limited, MeshwrightError, Unavailable
from meshwright.model.meta import Ref
from meshwright.store.base import Event, Record

log = structlog.get_logger()

DEFAULT_SECONDS = 300
BOOKMARK_SECONDS = 15.0
GRACE_SECONDS = 30.0
FIRST_SECONDS = 0.25


async def list_or_watch(call: Call) -> Response:
    target = target_of(call)
    if call.query.get("watch") in ("1", "true"):
        return await _watch(call, target)
    wanted = selector_of(call.query.get("labelSelector", ""))
    records, revision = await call.parts.store.list(target.prefix)
    documents = [document for record in records if selected(document := document_of(record), wanted)]
    items = [_shown(call, target, document) for document in documents]
    return json_answer(
        {
            "apiVersion": target.kind.api_version,
            "kind": f"{target.kind.name}List",
            "metadata": {"resourceVersion": str(revision)},
            "items": items,
        }
    )


def _shown(call: Call, target: Target, document: dict[str, Any]) -> dict[str, Any]:
    metadata = document["metadata"]
    ref = Ref(target.kind.name, metadata.get("namespace", "default"), metadata["name"])
    return shown(document, call.parts.controller.conditions(ref))


class _Stream(StreamingResponse):
    """A stream that is over after `seconds` even when its reader doesn't read; `done` is called at the end."""

    def __init__(self, content: AsyncIterator[bytes], seconds: float, watch: _Watch) -> None:
        super().__init__(content, media_type="application/json")
        self._seconds = seconds
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            log.warning("api.watch_stuck", source=self._watch.call.source)
        finally:
            await self._watch.close()


class _Watch:
    """One watch. `at`: everything up to this revision has been told."""

    def __init__(self, call: Call, target: Target, start: int) -> None:
        self.call = call
        self._target = target
        self._wanted = selector_of(call.query.get("labelSelector", ""))
        # With a selector, a resource that stops matching is DELETED to this watcher; one it can't have seen is not mentioned.
        self._seen: set[str] | None = None
        self.at = start
        self._events = call.parts.store.watch(target.prefix, start)
        self._next: asyncio.Task[Event] | None = None
        self._open = True
        call.api.watches += 1

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self.call.api.watches -= 1
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        closing = getattr(self._events, "aclose", None)
        if closing is not None:
            await closing()

    def begin(self, records: list[Record]) -> list[bytes]:
        """What is there, as ADDED."""
        self._seen = set()
        lines = []
        for record in records:
            document = document_of(record)
            if selected(document, self._wanted):
                self._seen.add(record.key)
                lines.append(_line("ADDED", _shown(self.call, self._target, document)))
        return lines

    async def event(self, timeout: float) -> Event | None:
        """The next one, None when there is none in `timeout` seconds. Raises Compacted."""
        if self._next is None:
            self._next = asyncio.create_task(self._one())
        done, _ = await asyncio.wait([self._next], timeout=timeout)
        if not done:
            return None
        ended, self._next = self._next, None
        return ended.result()

    async def _one(self) -> Event:
        async for event in self._events:
            return event
        raise Unavailable("the store ended the watch")

    def line(self, event: Event) -> bytes | None:
        self.at = event.revision
        if event.value is None:
            return self._deleted(event)
        document = document_of(Record(event.key, event.value, event.revision, event.created))
        if not selected(document, self._wanted):
            return self._deleted(event)
        if self._seen is not None:
            self._seen.add(event.key)
        kind = "ADDED" if event.created == event.revision else "MODIFIED"
        return _line(kind, _shown(self.call, self._target, document))

    def _deleted(self, event: Event) -> bytes | None:
        if self._seen is not None and event.key not in self._seen:
            return None
        if self._seen is not None:
            self._seen.discard(event.key)
        _, _, namespace, name = event.key.split("/", 3)
        metadata = {"name": name, "namespace": namespace, "resourceVersion": str(event.revision)}
        return _line("DELETED", {"apiVersion": self._target.kind.api_version, "kind": self._target.kind.name, "metadata": metadata})

    def bookmark(self) -> bytes:
        kind = self._target.kind
        return _line("BOOKMARK", {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"resourceVersion": str(self.at)}})


async def _watch(call: Call, target: Target) -> Response:
    if call.api.watches >= call.parts.limits.watches:
        raise Limited("too many watches are open: end one, or list instead")
    records, revision = await call.parts.store.list(target.prefix)
    given = call.number("resourceVersion", 0)
    if given > revision:
        raise Compacted(f"version {given} is not known here, the newest is {revision}: list again")
    watch = _Watch(call, target, given or revision)
    first: list[bytes] = []
    try:
        if not given:
            first = watch.begin(records)
        # The store says at the first step whether it still has what is asked for: an answer of its own, before the stream begins.
        event = await watch.event(FIRST_SECONDS) if given and given < revision else None
        line = watch.line(event) if event else None
    except BaseException:
        await watch.close()
        raise
    seconds = float(call.number("timeoutSeconds", DEFAULT_SECONDS))
    return _Stream(_lines(watch, [*first, *([line] if line else [])], seconds), seconds, watch)


async def _lines(watch: _Watch, first: list[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Ends when its time is over, with ERROR when the store can't go on (the client lists again), or when the token isn't good any more."""
    clock = watch.call.parts.clock
    now = clock.monotonic()
    end, due = now + seconds, now + BOOKMARK_SECONDS
    for line in first:
        yield line
    yield watch.bookmark()
    try:
        while (now := clock.monotonic()) < end:
            if now >= due:
                due = now + BOOKMARK_SECONDS
                await watch.call.api.authenticator.principal(watch.call.request.headers.get("authorization", ""))
                yield watch.bookmark()
            event = await watch.event(min(due, end) - now)
            told = watch.line(event) if event is not None else None
            if told is not None:
                yield told
    except Compacted as error:
        yield _line("ERROR", {"code": 410, "reason": error.reason, "message": error.message})
    except MeshwrightError as error:
        yield _line("ERROR", {"code": error.http_status, "reason": error.reason, "message": error.message})


def _line(kind: str, document: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "object": document}) + b"\n"
