# SPDX-License-Identifier: Apache-2.0
"""The way to a first identity: a nonce, then a proof. The only writes without a token; the issuer audits them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from meshwright.api.answers import json_answer
from meshwright.api.call import Call
from meshwright.errors import BadRequest
from meshwright.model.jsontext import parse_json


async def nonce(call: Call) -> Response:
    body = _object(call)
    if set(body) != {"node"} or not isinstance(body["node"], str):
        raise BadRequest('the body must be {"node": NAME}')
    return json_answer(await call.parts.attestation.nonce(body["node"]))


async def attest(call: Call) -> Response:
    return json_answer(await call.parts.attestation.attest(_object(call), call.source))


def _object(call: Call) -> dict[str, Any]:
    body = parse_json(call.body)
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body
