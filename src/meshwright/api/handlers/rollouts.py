# SPDX-License-Identifier: Apache-2.0
"""Has everybody taken this revision?"""

from __future__ import annotations

from starlette.responses import Response

from meshwright.api.answers import json_answer
from meshwright.api.call import Call
from meshwright.errors import BadRequest


async def get(call: Call) -> Response:
    """Answers at once, or with `wait` as soon as the rollout isn't pending any more."""
    text = call.param("revision")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(f"{text[:32]!r} is not a revision: a whole number, as in the header Meshwright-Revision", path="revision")
    controller, wait = call.parts.controller, call.number("wait", 0)
    return json_answer(await controller.wait(int(text), float(wait)) if wait else controller.rollout(int(text)))
