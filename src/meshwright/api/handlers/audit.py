# SPDX-License-Identifier: Apache-2.0
"""The audit, page by page."""

from __future__ import annotations

from starlette.responses import Response

from meshwright.api.answers import json_answer
from meshwright.api.call import Call


async def listing(call: Call) -> Response:
    """`{"items": [...], "head": SHA-256 of the newest line}`; go on with `after` = the last item's seq."""
    items = await call.parts.audit.after(call.number("after", 0), call.number("limit", 1000))
    return json_answer({"items": items, "head": call.parts.audit.head})
