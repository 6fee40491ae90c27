# SPDX-License-Identifier: Apache-2.0
"""Is it alive, is it ready, its numbers, its description."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from meshwright.api.answers import JSON, json_answer
from meshwright.api.call import Call
from meshwright.api.openapi import document
from meshwright.errors import Unavailable


async def healthz(call: Call) -> Response:
    return json_answer({"status": "alive"})


async def readyz(call: Call) -> Response:
    if not call.parts.controller.ready():
        raise Unavailable("the first World is not complete yet")
    return json_answer({"status": "ready"})


async def metrics(call: Call) -> Response:
    return Response(call.api.metrics.text(), 200, {"Content-Type": CONTENT_TYPE_LATEST})


async def openapi_json(call: Call) -> Response:
    return Response(document(), 200, None, JSON)
