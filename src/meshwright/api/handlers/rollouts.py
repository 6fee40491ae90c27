# SPDX-License-Identifier: Apache-2.0
"""Has everybody taken this revision?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from meshwright.api.answers import json_answer
from meshwright.api.call import Call
from meshwright.api.handlers.resources import current_revision
from meshwright.errors import BadRequest, NotFound


async def get(call: Call) -> Response:
    """Answers at once, or with `wait` as soon as the rollout isn't pending any more. NotFound: the store has not come that far."""
    text = call.param("revision")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(f"{text[:32]!r} is not a revision: a whole number, as in the header Meshwright-Revision", path="revision")
    revision, wait = int(text), call.number("wait", 0)
    await _refuse_unreached(call, revision)
    return json_answer(await _wait(call, revision, wait) if wait else call.parts.controller.rollout(revision))


async def _refuse_unreached(call: Call, revision: int) -> None:
    """What the controller serves, the store has; what it doesn't serve yet, only the store knows."""
    if revision > call.parts.controller.revision:
        newest = await current_revision(call)
        if revision > newest:
            raise NotFound(f"there is no revision {revision}; the newest is {newest}", path="revision")


async def _wait(call: Call, revision: int, seconds: int) -> Mapping[str, Any]:
    """Until the controller answers; a caller that goes away doesn't leave its place taken."""

    async def asked() -> Mapping[str, Any]:
        return await call.parts.controller.wait(revision, float(seconds))

    waiting, leaving = asyncio.create_task(asked()), asyncio.create_task(_gone(call.request))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        return waiting.result()
    finally:
        for task in (waiting, leaving):
            task.cancel()
        await asyncio.gather(waiting, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
